//! EROFS: the kernel's, and the one in user space, on the same image.

use std::path::Path;
use std::process::Command;

use super::{Peer, command, driver, kernel, version_of};
use crate::mounted::How;

/// The kernel's EROFS on a loop device.
#[derive(Debug)]
pub struct Kernel;

impl Peer for Kernel {
    fn name(&self) -> &'static str {
        "erofs"
    }

    fn about(&self) -> &'static str {
        "mkfs.erofs -zlz4hc X TREE; mount -t erofs -o loop,ro X DIR"
    }

    fn version(&self) -> Result<String, String> {
        version_of("mkfs.erofs", "--version", "erofs-utils")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut build = command("mkfs.erofs", &["-zlz4hc", "--quiet"]);
        build.arg(archive).arg(tree);
        vec![build]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        kernel("erofs", archive, dir)
    }
}

/// erofsfuse.
#[derive(Debug)]
pub struct Fuse;

impl Peer for Fuse {
    fn name(&self) -> &'static str {
        "erofsfuse"
    }

    fn about(&self) -> &'static str {
        "erofsfuse -f X DIR, on the image of erofs"
    }

    fn version(&self) -> Result<String, String> {
        Kernel.version()?;
        version_of("erofsfuse", "--version", "erofsfuse")
    }

    fn build(&self, _: &Path, _: &Path) -> Vec<Command> {
        Vec::new()
    }

    fn archive_of(&self) -> &'static str {
        Kernel.name()
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        driver("erofsfuse", archive, dir)
    }
}
