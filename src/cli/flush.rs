//! `packfs flush`.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::output::print;
use super::progress::interrupted;
use super::{Failure, Outcome, archive};
use crate::live::{Request, ask, has_changes};
use crate::mount::{FS_TYPE, MountEntry, mount_at};

/// Make what was written to a mount part of its store now
#[derive(Debug, Args)]
pub(super) struct FlushArgs {
    /// The store, or the folder that it is mounted on with --rw
    store: PathBuf,
}

pub(super) fn run(args: &FlushArgs) -> Outcome {
    let shown = args.store.display();
    let mounted = mounted(&args.store);
    let store = match &mounted {
        Some(entry) => {
            // What programs wrote to memory that they share with a file may not be there yet.
            let fail = |error| Failure::Failed(format!("{shown}: {error}"));
            let dir = std::fs::File::open(&args.store).map_err(fail)?;
            rustix::fs::syncfs(&dir).map_err(|error| fail(error.into()))?;
            Path::new(&entry.source)
        }
        None => &args.store,
    };
    match request(store, &Request::Flush)? {
        Some(root) => print(|output| Ok(writeln!(output, "{shown}: root {root}")?)),
        None if mounted.as_ref().is_some_and(|entry| entry.writable) => {
            let store = store.display();
            let text =
                format!("{shown}: nobody answers at {store}: was it moved, or its mount killed?");
            Err(Failure::Failed(text))
        }
        None => {
            archive::writable(store)?;
            if has_changes(store)? {
                archive::lock(store)?;
            }
            let text = format!("{shown}: is not mounted with --rw; there is nothing to flush");
            Err(Failure::Failed(text))
        }
    }
}

/// What of packfs is mounted on a folder; its source is the archive.
pub(super) fn mounted(dir: &Path) -> Option<MountEntry> {
    let entry = dir.canonicalize().and_then(|dir| mount_at(&dir)).ok().flatten();
    entry.filter(|entry| entry.fs_type == FS_TYPE)
}

/// Asks whoever writes to a store; `None`: nobody who could be asked does.
pub(super) fn request(store: &Path, request: &Request) -> Result<Option<String>, Failure> {
    let shown = store.display();
    match ask(store, request, interrupted) {
        Ok(None) => Ok(None),
        Ok(Some(Ok(what))) => Ok(Some(what)),
        Ok(Some(Err(why))) => Err(Failure::Failed(why)),
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(Failure::Interrupted),
        Err(error) => Err(Failure::Failed(format!("{shown}: asked its mount: {error}"))),
    }
}

/// Has whoever writes to a store do it, else does it here.
pub(super) fn ask_or(store: &Path, wanted: &Request, here: impl FnOnce() -> Outcome) -> Outcome {
    match request(store, wanted)? {
        Some(_) => Ok(ExitCode::SUCCESS),
        None => here(),
    }
}
