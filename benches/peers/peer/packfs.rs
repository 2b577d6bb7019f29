//! packfs itself, with its defaults.

use std::path::Path;
use std::process::Command;

use super::{Peer, command, version_of};
use crate::mounted::How;

const PROGRAM: &str = env!("CARGO_BIN_EXE_packfs");

/// packfs, as `cargo bench` built it.
#[derive(Debug)]
pub struct Packfs;

impl Peer for Packfs {
    fn name(&self) -> &'static str {
        "packfs"
    }

    fn about(&self) -> &'static str {
        "packfs create TREE X.pfs; packfs mount --foreground X.pfs DIR"
    }

    fn version(&self) -> Result<String, String> {
        version_of(PROGRAM, "--version", "packfs")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut create = command(PROGRAM, &["create", "--quiet", "--force"]);
        create.arg(tree).arg(archive);
        vec![create]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        let mut mount = command(PROGRAM, &["mount", "--foreground"]);
        mount.arg(archive).arg(dir);
        Some(How::Driver(mount))
    }
}
