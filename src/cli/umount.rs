//! `packfs umount`.

use std::ffi::OsString;
use std::fs::DirEntry;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::failure::complain;
use super::{Failure, Outcome};
use crate::live::has_changes;
use crate::mount::{FS_TYPE, UnmountError, mount_at, unmount};
use crate::storage::{Holder, Lock};
use crate::store::CONFIG;

/// Most processes that are named when a mount is in use.
const NAMED: usize = 5;

/// How long a mount may stay in use without anybody who uses it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last commit may take without a word.
const LONG: Duration = Duration::from_secs(1);
/// How long to wait for the end of a process before a look at what it does.
const SHORT: Duration = Duration::from_millis(200);
/// How long to wait before the next attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Unmount an archive
#[derive(Debug, Args)]
pub(super) struct UmountArgs {
    /// The folder it is mounted on
    dir: PathBuf,
    /// Unmount even if it is in use: it is out of sight at once, and ends with its last user
    #[arg(short, long)]
    lazy: bool,
}

/// Unmounts; when it returns the mount is gone, and what was written to it is packed.
pub(super) fn run(args: &UmountArgs) -> Outcome {
    let shown = args.dir.display();
    let fail = |why: String| Err(Failure::Failed(format!("{shown}: {why}")));
    let dir = match args.dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) => return fail(error.to_string()),
    };
    let entry = match mount_at(&dir) {
        Ok(Some(entry)) if entry.fs_type == FS_TYPE => entry,
        Ok(Some(entry)) => return fail(format!("a mount of {}, not of packfs", entry.fs_type)),
        Ok(None) => return fail("nothing is mounted there".to_owned()),
        Err(error) => return fail(error.to_string()),
    };
    // One that is in use ends with its last user.
    let written = Some(entry).filter(|entry| entry.writable && !args.lazy);
    let store = written.map(|entry| PathBuf::from(entry.source));
    // Where the process that serves it is gone, asking the mount for anything fails.
    let moved = store.clone().filter(|store| dir.metadata().is_ok() && is_elsewhere(store));
    let writer = store.and_then(Writer::of);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match unmount(&dir, args.lazy) {
            Ok(()) => break,
            Err(UnmountError::Busy(_)) => {}
            Err(error) => return Err(Failure::Failed(error.to_string())),
        }
        // Reads ahead that nobody waits for any more keep a mount in use for a moment.
        let users = users_of(&dir);
        if !users.is_empty() || Instant::now() > deadline {
            return fail(in_use(&users));
        }
        std::thread::sleep(PAUSE);
    }
    if let Some(store) = moved {
        return fail(format!(
            "unmounted, but {} is not the store that was mounted: where that was moved to, what \
             was written last is in its journal, and goes on with its next mount --rw",
            store.display()
        ));
    }
    writer.map_or(Ok(ExitCode::SUCCESS), |writer| writer.wait(&dir))
}

/// Whether the store of a mount that is served is not where it was: then nobody has its lock. What
/// a mount calls itself may also be something else than a path.
fn is_elsewhere(store: &Path) -> bool {
    store.is_absolute() && !matches!(Lock::watch(store), Ok(None))
}

/// The process that serves a mount which can be written to.
struct Writer {
    store: PathBuf,
    /// Its process, if it has not ended.
    process: Option<OwnedFd>,
}

impl Writer {
    /// Who serves the mount of a store, if that can be told.
    fn of(store: PathBuf) -> Option<Self> {
        // Nothing is made there, whatever it is.
        let holder = store.join(CONFIG).exists().then(|| Holder::of(&store))?;
        let process = holder.process.and_then(|process| Pid::from_raw(process.try_into().ok()?));
        let process = process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok());
        Some(Self { store, process })
    }

    /// Waits until it has packed what was written last, and has ended.
    fn wait(self, dir: &Path) -> Outcome {
        let (start, mut told) = (Instant::now(), false);
        while !self.ends_within(SHORT)? {
            // Mounted elsewhere as well, by another name space say, it goes on.
            if start.elapsed() > PATIENCE && !Holder::of(&self.store).ending {
                complain(&format!(
                    "{}: its process goes on: it is in use elsewhere",
                    dir.display()
                ));
                return Ok(ExitCode::SUCCESS);
            }
            if start.elapsed() > LONG && !told {
                told = true;
                let text =
                    "unmounted; what was written last is being packed, which goes on after ^C";
                complain(&format!("{}: {text}", dir.display()));
            }
        }
        match has_changes(&self.store)? {
            false => Ok(ExitCode::SUCCESS),
            true => Err(Failure::Failed(format!(
                "{}: unmounted, but what was written last could not be packed; it is in the \
                 journal of {}, and goes on with the next mount --rw",
                dir.display(),
                self.store.display()
            ))),
        }
    }

    fn ends_within(&self, time: Duration) -> Result<bool, Failure> {
        let Some(process) = &self.process else { return Ok(true) };
        let mut ended = [PollFd::new(process, PollFlags::IN)];
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        match poll(&mut ended, Some(&time)) {
            Err(Errno::INTR) | Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(Failure::Failed(error.to_string())),
        }
    }
}

fn in_use(users: &[String]) -> String {
    let users = users.join(", ");
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
    let own = std::process::id().to_string();
    let other = |process: &DirEntry| process.file_name().to_str() != Some(own.as_str());
    processes
        .filter(is_process)
        .filter(other)
        .filter(uses)
        .take(NAMED)
        .map(|process| name(&process))
        .collect()
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
