//! A mounted archive, unmounted when the test ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use packfs::compare::CompareOptions;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};

use super::command::{Outcome, Running, packfs};
use super::{Packfs, Scratch, assert_same, patience};

/// A mounted archive.
pub struct Mount {
    folder: PathBuf,
    daemon: Option<Running>,
    _scratch: Scratch,
}

impl Mount {
    /// Mounts an archive in the background.
    pub fn new(archive: &Path) -> Self {
        Self::with(archive, &[])
    }

    /// Mounts an archive in the background, with these options.
    pub fn with(archive: &Path, options: &[&str]) -> Self {
        Self::by(archive, |archive, folder| packfs!("mount", archive, folder).args(options))
    }

    /// Mounts an archive on a folder that all users can reach.
    pub fn public(archive: &Path, options: &[&str]) -> Self {
        let command =
            |archive: &Path, folder: &Path| packfs!("mount", archive, folder).args(options);
        Self::on(Scratch::public(), archive, command)
    }

    /// Mounts an archive by a command that returns once it is mounted.
    pub fn by(archive: &Path, command: impl FnOnce(&Path, &Path) -> Packfs) -> Self {
        Self::on(Scratch::new(), archive, command)
    }

    fn on(scratch: Scratch, archive: &Path, command: impl FnOnce(&Path, &Path) -> Packfs) -> Self {
        let mount = Self::in_scratch(scratch);
        command(archive, &mount.folder).run().ok();
        assert!(is_mounted(&mount.folder), "packfs mount returned before it was mounted");
        mount
    }

    /// Mounts an archive in the foreground, where its log can be read.
    pub fn foreground(archive: &Path) -> Self {
        Self::foreground_with(archive, &[])
    }

    /// Mounts an archive in the foreground, with these options.
    pub fn foreground_with(archive: &Path, options: &[&str]) -> Self {
        let mut mount = Self::in_scratch(Scratch::new());
        let command = packfs!("mount", "--foreground", archive, mount.folder);
        let daemon = command.args(options).start();
        if !await_mount(&mount.folder, &daemon) {
            panic!("{}", daemon.wait());
        }
        mount.daemon = Some(daemon);
        mount
    }

    /// Mounts an archive in the background; if that fails, how. Then nothing is mounted.
    pub fn try_new(archive: &Path) -> Result<Self, Box<Outcome>> {
        let mount = Self::in_scratch(Scratch::new());
        let outcome = packfs!("mount", archive, mount.folder).run();
        assert_eq!(is_mounted(&mount.folder), outcome.status.success(), "{outcome}");
        if outcome.status.success() { Ok(mount) } else { Err(Box::new(outcome)) }
    }

    /// Mounts a store in the foreground, to be written to; with these options, too.
    pub fn writable(store: &Path, options: &[&str]) -> Self {
        Self::foreground_with(store, &[&["--rw"], options].concat())
    }

    fn in_scratch(scratch: Scratch) -> Self {
        need_fuse();
        let folder = scratch.join("mount");
        fs::create_dir(&folder).unwrap();
        Self { folder, daemon: None, _scratch: scratch }
    }

    /// The folder it is mounted on.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// What a foreground mount has logged so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Running::stderr).unwrap_or_default()
    }

    /// Fails with the differences if the mount differs from a folder.
    #[track_caller]
    pub fn assert_same(&self, source: &Path, options: &CompareOptions) -> u64 {
        self.watch(|folder| assert_same(source, folder, options))
    }

    /// Does something with the mount; if that hangs, cuts the mount off and fails the test.
    pub fn watch<T: Send>(&self, act: impl FnOnce(&Path) -> T + Send) -> T {
        thread::scope(|scope| {
            let (done, finished) = mpsc::channel();
            let acting = scope.spawn(move || {
                let result = act(&self.folder);
                // The other end waits for this alone.
                let _ = done.send(());
                result
            });
            let hangs = finished.recv_timeout(patience()) == Err(mpsc::RecvTimeoutError::Timeout);
            if hangs {
                cut_off(&self.folder);
            }
            let result = acting.join();
            assert!(!hangs, "the mount hangs; its log: {}", self.log());
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Kills the process that serves a foreground mount, and takes away what is left of it.
    pub fn kill(mut self) {
        let daemon = self.daemon.take().expect("a foreground mount");
        daemon.signal(rustix::process::Signal::KILL);
        assert!(daemon.ends_within(patience()), "killed, and still there");
        packfs!("umount", "--lazy", self.folder).run().ok();
        assert!(!is_mounted(&self.folder));
    }

    /// The process that serves a foreground mount.
    pub fn daemon(&self) -> &Running {
        self.daemon.as_ref().expect("a foreground mount")
    }

    /// The most memory that the process of a foreground mount ever took, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Unmounts it; whether packfs did so by itself, and a foreground mount ended well.
    fn unmount(&mut self) -> Result<(), String> {
        unmount_once_free(&self.folder)?;
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        let outcome = daemon.wait();
        if outcome.status.success() { Ok(()) } else { Err(outcome.to_string()) }
    }
}

/// Unmounts a folder with `packfs umount`.
///
/// Another thread may be starting a program: from its fork to its exec, the child has the files
/// open that this process had, and the mount is in use for a moment longer.
pub fn unmount_once_free(folder: &Path) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let outcome = packfs!("umount", folder).run();
        if outcome.status.success() {
            let gone = !is_mounted(folder);
            return if gone { Ok(()) } else { Err(format!("still mounted after {outcome}")) };
        }
        if !outcome.stderr.contains("in use") || start.elapsed() > patience() {
            return Err(outcome.to_string());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !is_mounted(&self.folder) {
            return;
        }
        let result =
            if thread::panicking() { Err("the test failed".to_owned()) } else { self.unmount() };
        if let Err(reason) = result {
            cut_off(&self.folder);
            assert!(thread::panicking(), "{}: unmounting failed: {reason}", self.folder.display());
        }
    }
}

/// Fails the test where there is no FUSE: without it, most of packfs goes untested.
pub fn need_fuse() {
    if let Err(error) = File::options().read(true).write(true).open("/dev/fuse") {
        panic!(
            "these tests need /dev/fuse: {error}; load the fuse module, or let this user use it"
        );
    }
}

/// Whether something is mounted on a folder, by the kernel's table: nobody has to answer.
pub fn is_mounted(folder: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder =
        fs::canonicalize(folder.parent().unwrap()).unwrap().join(folder.file_name().unwrap());
    table.lines().any(|line| line.split(' ').nth(4) == folder.to_str())
}

/// Waits until something is mounted on a folder, or `daemon` has ended; whether it was mounted.
pub fn await_mount(folder: &Path, daemon: &Running) -> bool {
    let table = File::open("/proc/self/mountinfo").unwrap();
    let start = Instant::now();
    while start.elapsed() < patience() {
        if is_mounted(folder) {
            // It is there before it is served: whoever takes it off then, ends its process.
            let _ = folder.metadata();
            return true;
        }
        let mut changes =
            [PollFd::new(&table, PollFlags::PRI), PollFd::new(daemon.ended(), PollFlags::IN)];
        poll(&mut changes, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap();
        if changes[1].revents().contains(PollFlags::IN) {
            return is_mounted(folder);
        }
    }
    panic!("no mount after {:?}; packfs said: {}", start.elapsed(), daemon.stderr());
}

/// Takes a mount away from all who use it, whether or not anyone answers.
fn cut_off(folder: &Path) {
    if unmount(folder, UnmountFlags::FORCE | UnmountFlags::DETACH).is_err() {
        Packfs::program("fusermount3").args(["-u", "-z"]).arg(folder).run();
    }
}
