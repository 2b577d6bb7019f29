//! DwarFS.

use std::path::Path;
use std::process::Command;

use super::{Peer, command, version_of};
use crate::mounted::How;

/// DwarFS at a level; `None` for its default.
#[derive(Debug)]
pub struct Dwarfs {
    pub level: Option<u8>,
}

impl Peer for Dwarfs {
    fn name(&self) -> &'static str {
        match self.level {
            None => "dwarfs",
            Some(_) => "dwarfs-3",
        }
    }

    fn about(&self) -> &'static str {
        match self.level {
            None => "mkdwarfs -i TREE -o X; dwarfs X DIR -f",
            Some(_) => "mkdwarfs -l 3 -i TREE -o X; dwarfs X DIR -f",
        }
    }

    fn version(&self) -> Result<String, String> {
        version_of("mkdwarfs", "--help", "dwarfs")?;
        version_of("dwarfs", "--help", "dwarfs")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut build = command("mkdwarfs", &["--no-progress", "--force", "-i"]);
        build.arg(tree).arg("-o").arg(archive);
        if let Some(level) = self.level {
            build.args(["-l", &level.to_string()]);
        }
        vec![build]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        let mut mount = command("dwarfs", &[]);
        mount.arg(archive).arg(dir).arg("-f");
        Some(How::Driver(mount))
    }
}
