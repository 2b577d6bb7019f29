//! A peer's mount: put up, watched, and taken down again whatever happens.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use packfs::mount::mount_at;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::process::{Running, Stop, interrupted};
use crate::results::Failure;

/// How often the table of mounts is looked at while a driver starts.
const LOOK: Duration = Duration::from_micros(500);
/// How long a mount may be busy, and its driver take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a peer shows its archive.
#[derive(Debug)]
pub enum How {
    /// It is a folder already.
    InPlace(PathBuf),
    /// A command that returns once the kernel has mounted it.
    Kernel(Command),
    /// A driver that serves it in the foreground.
    Driver(Command),
}

/// A mounted archive.
#[derive(Debug)]
pub struct Mounted {
    dir: Option<PathBuf>,
    root: PathBuf,
    driver: Option<Running>,
}

impl Mounted {
    /// Mounts on `dir`; the tree then is at `below` in it.
    pub fn new(how: How, dir: &Path, below: &str, limit: Duration) -> Result<Self, Stop> {
        let mut mounted = Self { dir: Some(dir.to_owned()), root: dir.join(below), driver: None };
        match how {
            How::InPlace(folder) => {
                return Ok(Self { dir: None, root: folder, driver: None });
            }
            How::Kernel(mut command) => {
                let mut running = Running::start(command.stdout(Stdio::null()))?;
                // Killed half-way it might leave a loop device behind.
                if running.wait(limit, false)?.is_none() {
                    return Err(over_time("mount", limit));
                }
                let (status, words) = running.end()?;
                if !status.success() {
                    return Err(Stop::crashed(format!("mount: {words}")));
                }
            }
            How::Driver(mut command) => {
                mounted.driver = Some(Running::start(command.stdout(Stdio::null()))?);
                mounted.wait_until_up(dir, limit)?;
            }
        }
        Ok(mounted)
    }

    fn wait_until_up(&mut self, dir: &Path, limit: Duration) -> Result<(), Stop> {
        let start = Instant::now();
        loop {
            let entry = mount_at(dir).map_err(|error| Stop::broken(dir.display(), error))?;
            if entry.is_some() {
                return Ok(());
            }
            self.check_driver()?;
            if interrupted() {
                return Err(Stop::Interrupted);
            }
            if start.elapsed() > limit {
                return Err(over_time("mounting", limit));
            }
            thread::sleep(LOOK);
        }
    }

    /// The tree's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Processor time and peak memory of the driver so far, if it is a process.
    pub fn usage(&self) -> Option<(f64, u64)> {
        self.driver.as_ref().map(Running::usage)
    }

    /// Fails if the driver is gone.
    pub fn check_driver(&mut self) -> Result<(), Stop> {
        if let Some(driver) = &mut self.driver
            && driver.has_ended(Duration::ZERO)?
        {
            let (status, words) = driver.end()?;
            self.driver = None;
            return Err(Stop::crashed(format!("its driver ended ({status}) {words}")));
        }
        Ok(())
    }

    /// Takes it down, and waits until its driver has ended.
    pub fn unmount(mut self) -> Result<(), Stop> {
        let Some(dir) = self.dir.take() else { return Ok(()) };
        let start = Instant::now();
        while let Err(error) = unmount(&dir, UnmountFlags::empty()) {
            if error != Errno::BUSY || start.elapsed() > PATIENCE {
                self.dir = Some(dir);
                return Err(Stop::crashed(format!("unmounting: {error}")));
            }
            thread::sleep(LOOK);
        }
        match &self.driver {
            Some(driver) if !driver.has_ended(PATIENCE)? => {
                Err(Stop::crashed("its driver went on after the unmount"))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Mounted {
    /// First the driver: a mount without one answers everybody with an error.
    fn drop(&mut self) {
        self.driver = None;
        if let Some(dir) = &self.dir {
            let _ = unmount(dir, UnmountFlags::DETACH);
        }
    }
}

fn over_time(what: &str, limit: Duration) -> Stop {
    let seconds = limit.as_secs();
    Stop::Failed(Failure::OverTime(format!("{what} was not done after {seconds} s")))
}
