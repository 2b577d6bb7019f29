//! The systems that are compared.
//!
//! A new peer is a file here, and a line in [`all`].

mod borg;
mod ceiling;
mod dwarfs;
mod erofs;
mod packfs;
mod restic;
mod source;
mod squashfs;
mod tar_zstd;

pub use ceiling::{Ceiling, Fault, serve};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::mounted::How;
use crate::process::{Stop, output};

/// One system.
pub trait Peer {
    /// Its short name.
    fn name(&self) -> &'static str;

    /// What it is and how it is used, in a line.
    fn about(&self) -> &'static str;

    /// Asks its program for its version; or says why it cannot take part.
    fn version(&self) -> Result<String, String>;

    /// The commands that make `archive` of the folder `tree`, one after the other; none if there is
    /// nothing to make.
    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command>;

    /// The peer whose archive this one shows, if it is another.
    fn archive_of(&self) -> &'static str {
        self.name()
    }

    /// How to show `archive` in `dir`; `None` if it cannot be mounted.
    fn mount(&self, tree: &Path, archive: &Path, dir: &Path) -> Option<How>;

    /// Where the tree then is in `dir`.
    fn below(&self) -> &'static str {
        ""
    }

    /// Whether `mount to first ls` is a question to it.
    fn opens(&self) -> bool {
        true
    }
}

/// All peers, in the order to show them.
pub fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(packfs::Packfs),
        Box::new(squashfs::Kernel),
        Box::new(squashfs::Fuse),
        Box::new(erofs::Kernel),
        Box::new(erofs::Fuse),
        Box::new(dwarfs::Dwarfs { level: None }),
        Box::new(dwarfs::Dwarfs { level: Some(3) }),
        Box::new(borg::Borg),
        Box::new(restic::Restic),
        Box::new(tar_zstd::TarZstd),
        Box::new(source::InPlace),
        Box::new(Ceiling { fault: None }),
    ]
}

/// A command with its arguments.
fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The kernel's file system of that kind, on a loop device.
fn kernel(kind: &str, archive: &Path, dir: &Path) -> Option<How> {
    let mut mount = command("mount", &["-t", kind, "-o", "loop,ro"]);
    mount.arg(archive).arg(dir);
    Some(How::Kernel(mount))
}

/// A driver that takes `-f` to stay in the foreground.
fn driver(program: &str, archive: &Path, dir: &Path) -> Option<How> {
    let mut mount = command(program, &["-f"]);
    mount.arg(archive).arg(dir);
    Some(How::Driver(mount))
}

/// The first line that a program prints with a digit in it, on either of its outputs, best one that
/// begins with its name; `package` is what would bring the program.
fn version_of(program: &str, argument: &str, package: &str) -> Result<String, String> {
    let absent = || format!("{program} is not here; the package {package} brings it");
    let mut shell =
        command("sh", &["-c", "command -v \"$0\" >/dev/null && { \"$0\" $1 2>&1; :; }"]);
    shell.args([program, argument]);
    let out = match output(&mut shell, Duration::from_secs(20)) {
        Ok((_, out)) => out,
        Err(Stop::Failed(_)) => return Err(absent()),
        Err(stop) => return Err(crate::message(&stop)),
    };
    let text = String::from_utf8_lossy(&out);
    let lines = || text.lines().filter(|line| line.contains(|c: char| c.is_ascii_digit()));
    // Its own name comes first, unless there is help in front of it.
    let line = lines().find(|line| line.starts_with(program)).or_else(|| lines().next());
    Ok(line.unwrap_or(program).trim().to_owned())
}

/// The length of an archive, in bytes: of a file, or of all files in a folder.
pub fn archive_bytes(archive: &Path) -> Result<u64, Stop> {
    let broken = |error| Stop::broken(archive.display(), error);
    let meta = std::fs::symlink_metadata(archive).map_err(broken)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let entries = std::fs::read_dir(archive).map_err(broken)?;
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.iter().map(|path| archive_bytes(path)).sum()
}
