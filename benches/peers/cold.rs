//! Caches of the kernel, dropped.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Stop, output};

const DROP: &str = "/proc/sys/vm/drop_caches";
/// How many bytes of a file may stay in memory: what the kernel read ahead meanwhile.
const LEFT: u64 = 1 << 20;
/// The programs of the workloads.
const TOOLS: [&str; 3] = ["find", "ls", "tar"];
/// Smaller files are not looked at.
const SMALL: u64 = 64 << 10;

/// Drops the kernel's caches of pages, names and inodes.
///
/// # Errors
/// If that cannot be done: figures called cold would be a lie, so the run ends.
pub fn drop_caches() -> Result<(), Stop> {
    rustix::fs::sync();
    fs::write(DROP, "3").map_err(|error| {
        Stop::Broken(format!("{DROP}: {error}; cold figures need root and a kernel that obeys"))
    })
}

/// Runs the programs of the workloads on nothing: the time to read them is not a peer's.
///
/// # Errors
/// If one of them is not there.
pub fn warm_tools() -> Result<(), Stop> {
    for tool in TOOLS {
        output(Command::new(tool).arg("--version"), Duration::from_secs(60))?;
    }
    Ok(())
}

/// Makes sure that an archive, a file or a folder of files, is out of memory.
///
/// # Errors
/// If more of it stayed than the kernel might have read ahead.
pub fn check_cold(archive: &Path) -> Result<(), Stop> {
    let broken = |error| Stop::broken(archive.display(), error);
    if archive.is_dir() {
        for entry in fs::read_dir(archive).map_err(broken)? {
            check_cold(&entry.map_err(broken)?.path())?;
        }
        return Ok(());
    }
    let length = archive.symlink_metadata().map_or(0, |meta| meta.len());
    // Small files tell nothing that large ones do not.
    if !archive.is_file() || length < SMALL {
        return Ok(());
    }
    let mut command = Command::new("fincore");
    command.args(["--bytes", "--noheadings", "--output", "RES"]).arg(archive);
    let (_, text) = output(&mut command, Duration::from_secs(10)).map_err(|stop| match stop {
        Stop::Failed(failure) => Stop::Broken(format!("fincore: {failure:?}")),
        other => other,
    })?;
    let text = String::from_utf8_lossy(&text);
    match text.trim().parse::<u64>() {
        Ok(bytes) if bytes <= LEFT.min(length / 2) => Ok(()),
        Ok(bytes) => Err(Stop::Broken(format!(
            "{}: {bytes} bytes stayed in memory though caches were dropped; is it on a disk?",
            archive.display()
        ))),
        Err(error) => Err(Stop::broken("fincore", error)),
    }
}
