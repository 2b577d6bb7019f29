//! A disk whose power can be cut: ext4 in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Scratch;

/// A mounted disk. It takes root, loop devices and ext4.
pub struct Disk {
    folder: PathBuf,
    device: PathBuf,
    _scratch: Scratch,
}

impl Disk {
    /// An empty disk of so many MiB.
    pub fn new(size: u64) -> Self {
        let scratch = Scratch::new();
        let (folder, device) = (scratch.join("disk"), scratch.join("device"));
        fs::create_dir(&folder).unwrap();
        fs::File::create(&device).unwrap().set_len(size << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&device));
        let disk = Self { folder, device, _scratch: scratch };
        disk.mount();
        disk
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).args([&self.device, &self.folder]));
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Nothing that is not on the disk by now gets there. What comes then, fails.
    pub fn cut(&self) {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): not even what is in
        // the journal, and in memory alone, is written.
        let script = "open(my $disk, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); \
                      ioctl($disk, 0x8004587D, $how) or die $!";
        run(Command::new("perl").args(["-e", script]).arg(&self.folder));
    }

    /// Comes back with what it has, once nobody uses it any more.
    pub fn again(&self) {
        run(Command::new("umount").arg(&self.folder));
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
