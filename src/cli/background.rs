//! Serving a mount in the background.
//!
//! `packfs mount` starts itself once more, as a child that mounts and serves. The two talk over the
//! child's standard input and output:
//!
//! 1. The child mounts and says `ready`. If it cannot, it says why on standard error and ends; the
//!    parent ends as it did.
//! 2. The parent looks whether the mount answers and says `go`.
//! 3. The child lets go of terminal, folder and standard streams, which tells the parent to end.
//!
//! A parent that ends before `go`, however that comes, closes the child's input: it unmounts.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::mount::MountArgs;
use super::{Failure, Outcome, logger};

const READY: &[u8] = b"ready\n";
const GO: &[u8] = b"go\n";
const NAME: &CStr = c"packfs";

/// Starts the child and returns when its mount answers, or with the exit code of its failure.
pub(super) fn start(args: &MountArgs) -> Outcome {
    spawn(args).map_err(lost)?
}

fn lost(error: io::Error) -> Failure {
    Failure::Failed(format!("lost the process that serves the mount: {error}"))
}

fn spawn(args: &MountArgs) -> io::Result<Outcome> {
    let before = device(args).ok();
    let mut child = Command::new("/proc/self/exe")
        .arg0("packfs")
        .args(args.for_background()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if !says_ready(&mut child)? {
        let status = child.wait()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(Ok(code.map_or(ExitCode::FAILURE, ExitCode::from)));
    }
    let after = device(args);
    if after.as_ref().ok() == before.as_ref() || after.is_err() {
        drop(child.stdin.take());
        child.wait()?;
        let reason = after.err().map_or("it is gone again".to_owned(), |error| error.to_string());
        let dir = args.dir.display();
        return Ok(Err(Failure::Failed(format!("{dir}: the mount does not answer: {reason}"))));
    }
    if let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) {
        input.write_all(GO)?;
        output.read_to_end(&mut Vec::new())?;
    }
    Ok(Ok(ExitCode::SUCCESS))
}

/// The file system that the mount point is on, by its whole path: whoever is in that folder stays
/// below what is mounted on it.
fn device(args: &MountArgs) -> io::Result<u64> {
    Ok(rustix::fs::stat(std::path::absolute(&args.dir)?)?.st_dev)
}

fn says_ready(child: &mut Child) -> io::Result<bool> {
    let mut said = Vec::new();
    if let Some(output) = &mut child.stdout {
        output.take(READY.len() as u64).read_to_end(&mut said)?;
    }
    Ok(said == READY)
}

/// In the child: ends with the parent until [`released`].
pub(super) fn follow_parent() -> Result<(), Failure> {
    rustix::thread::set_name(NAME)
        .and_then(|()| set_parent_process_death_signal(Some(Signal::TERM)))
        .map_err(|error| lost(error.into()))
}

/// In the child: says that the mount is there, and goes to the background if the parent wants it.
pub(super) fn released() -> Result<bool, Failure> {
    match hears_go() {
        Ok(true) => leave().map(|()| true).map_err(lost),
        Ok(false) | Err(_) => Ok(false),
    }
}

fn hears_go() -> io::Result<bool> {
    let mut said = Vec::new();
    io::stdout().write_all(READY)?;
    io::stdout().flush()?;
    io::stdin().take(GO.len() as u64).read_to_end(&mut said)?;
    Ok(said == GO)
}

fn leave() -> io::Result<()> {
    set_parent_process_death_signal(None)?;
    setsid()?;
    std::env::set_current_dir("/")?;
    logger::leave_stderr();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stderr(&null)?;
    // Last: the parent waits for this.
    Ok(dup2_stdout(&null)?)
}
