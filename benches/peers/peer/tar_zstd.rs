//! tar and zstd: how small it gets if nobody wants to read it in place.

use std::path::Path;
use std::process::Command;

use super::{Peer, command, version_of};
use crate::mounted::How;

/// A compressed tar, with a window that is larger than most trees' repetitions are apart.
#[derive(Debug)]
pub struct TarZstd;

impl Peer for TarZstd {
    fn name(&self) -> &'static str {
        "tar-zstd"
    }

    fn about(&self) -> &'static str {
        "tar -I 'zstd -12 -T0 --long=27' -cf X -C TREE ."
    }

    fn version(&self) -> Result<String, String> {
        version_of("zstd", "--version", "zstd")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut build = command("tar", &["-I", "zstd -12 -T0 --long=27 -q", "-cf"]);
        build.arg(archive).arg("-C").arg(tree).arg(".");
        vec![build]
    }

    fn mount(&self, _: &Path, _: &Path, _: &Path) -> Option<How> {
        None
    }
}
