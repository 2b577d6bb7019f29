//! `packfs add`: a store has more than before.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::packing::PackingArgs;
use super::progress::{Progress, catch_interrupts};
use super::report::Report;
use super::stdin::{STDIN, Stdin, expect_tar};
use super::{Failure, Outcome, archive, logger, time};
use crate::format::MAX_NAME;
use crate::ingest::{CreateOptions, Source, add};
use crate::maintain::protect::protect;
use crate::maintain::settings::{self, Change};
use crate::store::{OpenOptions, Store};

/// Add files and folders to a store
#[derive(Debug, Args)]
#[command(after_help = "What is added is a new root; the roots before it stay as they are. Each \
    SRC gets its own name below PATH. A folder that is there already keeps what SRC does not have; \
    a file that is there is replaced. SRC/. adds what is in SRC.")]
pub(super) struct AddArgs {
    /// Store to add to
    store: PathBuf,
    /// Files and folders to add; - reads a tar from the standard input
    #[arg(required = true)]
    src: Vec<PathBuf>,
    /// Folder of the archive to add them to; it is made if it is not there
    #[arg(long, value_name = "PATH", default_value = "/")]
    at: OsString,
    #[command(flatten)]
    packing: PackingArgs,
}

pub(super) fn run(args: &AddArgs) -> Outcome {
    let options = CreateOptions { created: time::now(), ..args.packing.options()? };
    let at = components(&args.at)?;
    let mut stdin = Stdin::new();
    let source = match args.src.as_slice() {
        [one] if one.as_os_str() == STDIN => {
            expect_tar()?;
            Source::Tar(&mut stdin)
        }
        [one] if is_content(one) => Source::Folder(one),
        several => {
            check_names(several)?;
            Source::Each(several)
        }
    };
    archive::writable(&args.store)?;
    if !matches!(source, Source::Tar(_)) {
        check_apart(&args.src, &args.store)?;
    }
    catch_interrupts();
    let _lock = archive::lock(&args.store)?;
    // Anew: what is there may have changed until it was locked.
    let store = Store::open(archive::storage(&args.store)?, OpenOptions::default())?;
    logger::start(None)?;
    let progress = Progress::new(args.packing.quiet || args.packing.json);
    let start = Instant::now();
    let added = add(source, &at, &store, &options, &progress);
    let added = added.map_err(Failure::from).and_then(|mut added| {
        let storage = store.shared_storage();
        let change = Change { parity: args.packing.parity, ..Change::default() };
        let protected = settings::write(&storage, change, &progress)
            .and_then(|()| protect(&storage, None, &progress));
        added.written += protected.map_err(|error| match Failure::from(error) {
            Failure::Failed(why) => Failure::Failed(format!(
                "{}: what was added is there, but without parity: {why}; packfs fsck --repair \
                 makes that once it can",
                args.store.display()
            )),
            other => other,
        })?;
        Ok(added)
    });
    let problems = progress.finish();
    let added = added?;
    let (archive, took) = (args.store.as_path(), start.elapsed());
    let report = Report { archive, root: added.root, length: added.written, problems, took };
    if added.root.is_none() && !args.packing.json && !args.packing.quiet {
        let text = format!("{}: nothing to add; all of it is there already\n", archive.display());
        std::io::stdout().write_all(text.as_bytes())?;
        return report.outcome(&args.packing);
    }
    report.print(&args.packing, &added.summary)
}

/// The names on a path of the archive.
fn components(path: &OsString) -> Result<Vec<&[u8]>, Failure> {
    let names = path.as_bytes().split(|byte| *byte == b'/');
    let names: Vec<&[u8]> = names.filter(|name| !matches!(*name, b"" | b".")).collect();
    if names.iter().any(|name| *name == b".." || name.len() > MAX_NAME) {
        return Err(Failure::Usage("--at must be a path without .. and too long names".to_owned()));
    }
    Ok(names)
}

/// Whether a source stands for what is in it: it has no name of its own.
fn is_content(source: &Path) -> bool {
    let path = source.as_os_str().as_bytes();
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    source.file_name().is_none() || path[..end].ends_with(b"/.")
}

fn check_names(sources: &[PathBuf]) -> Result<(), Failure> {
    let mut names = HashSet::new();
    for source in sources {
        if source.as_os_str() == STDIN || is_content(source) {
            let source = source.display();
            return Err(Failure::Usage(format!("{source} must be the only SRC")));
        }
        if !names.insert(source.file_name()) {
            let name = source.file_name().unwrap_or_default().display();
            return Err(Failure::Usage(format!(
                "two SRC are called {name}; add them one after another, or --at different paths"
            )));
        }
    }
    Ok(())
}

/// Each SRC must be there, and neither in the store nor around it: it would be added to itself.
fn check_apart(sources: &[PathBuf], store: &Path) -> Result<(), Failure> {
    let real = |path: &Path| {
        let error = |error| Failure::Failed(format!("{}: {error}", path.display()));
        path.canonicalize().map_err(error)
    };
    let inside = real(store)?;
    for source in sources {
        let show = source.display();
        let kind = source.symlink_metadata().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Failed(format!("{show}: SRC not found")),
            _ => Failure::Failed(format!("{show}: {error}")),
        })?;
        if kind.is_symlink() {
            continue;
        }
        let source = real(source)?;
        if inside.starts_with(&source) || source.starts_with(&inside) {
            return Err(Failure::Failed(format!(
                "{show}: the store is inside of it, or it inside of the store; it cannot be added"
            )));
        }
    }
    Ok(())
}
