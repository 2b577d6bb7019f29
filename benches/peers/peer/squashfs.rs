//! squashfs: the kernel's, and the one in user space, on the same image.

use std::path::Path;
use std::process::Command;

use super::{Peer, command, driver, kernel, version_of};
use crate::mounted::How;

/// The kernel's squashfs on a loop device.
#[derive(Debug)]
pub struct Kernel;

impl Peer for Kernel {
    fn name(&self) -> &'static str {
        "squashfs"
    }

    fn about(&self) -> &'static str {
        "mksquashfs TREE X -comp zstd; mount -t squashfs -o loop,ro X DIR"
    }

    fn version(&self) -> Result<String, String> {
        version_of("mksquashfs", "-version", "squashfs-tools")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut build = command("mksquashfs", &[]);
        build.arg(tree).arg(archive);
        build.args(["-comp", "zstd", "-noappend", "-no-progress", "-quiet"]);
        vec![build]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        kernel("squashfs", archive, dir)
    }
}

/// squashfuse, its newer driver.
#[derive(Debug)]
pub struct Fuse;

impl Peer for Fuse {
    fn name(&self) -> &'static str {
        "squashfuse"
    }

    fn about(&self) -> &'static str {
        "squashfuse_ll -f X DIR, on the image of squashfs"
    }

    fn version(&self) -> Result<String, String> {
        Kernel.version()?;
        version_of("squashfuse_ll", "--help", "squashfuse")
    }

    fn build(&self, _: &Path, _: &Path) -> Vec<Command> {
        Vec::new()
    }

    fn archive_of(&self) -> &'static str {
        Kernel.name()
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        driver("squashfuse_ll", archive, dir)
    }
}
