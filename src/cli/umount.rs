//! `packfs umount`.

use std::ffi::OsString;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Failure, Outcome};
use crate::mount::{FS_TYPE, UnmountError, mount_at, unmount};

/// Most processes that are named when a mount is in use.
const NAMED: usize = 5;

/// Unmount an archive
#[derive(Debug, Args)]
pub(super) struct UmountArgs {
    /// The folder it is mounted on
    dir: PathBuf,
    /// Unmount even if it is in use: it is out of sight at once, and ends with its last user
    #[arg(short, long)]
    lazy: bool,
}

/// Unmounts; when it returns the mount is gone.
pub(super) fn run(args: &UmountArgs) -> Outcome {
    let shown = args.dir.display();
    let fail = |why: String| Err(Failure::Failed(format!("{shown}: {why}")));
    let dir = match args.dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) => return fail(error.to_string()),
    };
    match mount_at(&dir) {
        Ok(Some(entry)) if entry.fs_type == FS_TYPE => {}
        Ok(Some(entry)) => return fail(format!("a mount of {}, not of packfs", entry.fs_type)),
        Ok(None) => return fail("nothing is mounted there".to_owned()),
        Err(error) => return fail(error.to_string()),
    }
    match unmount(&dir, args.lazy) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(UnmountError::Busy(_)) => fail(in_use(&dir)),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn in_use(dir: &Path) -> String {
    let users = users_of(dir).join(", ");
    match users.is_empty() {
        true => "in use; close what uses it, or detach it with --lazy".to_owned(),
        false => format!("in use by {users}; close that, or detach it with --lazy"),
    }
}

/// The processes that have files open below `dir`, or folders there as their own, as far as this
/// user may see.
fn users_of(dir: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let uses = |process: &DirEntry| uses(&process.path(), dir);
    processes.filter(is_process).filter(uses).take(NAMED).map(|process| name(&process)).collect()
}

fn is_process(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
}

fn uses(process: &Path, dir: &Path) -> bool {
    let points_below = |link: PathBuf| link.read_link().is_ok_and(|to| to.starts_with(dir));
    let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    ["cwd", "root", "exe"].iter().any(|link| points_below(process.join(link)))
        || open.map(|entry| entry.path()).any(points_below)
}

fn name(process: &DirEntry) -> String {
    let number: OsString = process.file_name();
    let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
    format!("{} ({})", name.trim_end().escape_debug(), number.display())
}
