//! A mount from its start to its end.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, Session, SessionACL};

use super::adapter::{Adapter, Helpers, Lifetime};
use super::ahead::Ahead;
use super::attach::{attach, shared};
use super::linger::Linger;
use super::live::Live;
use super::shown::{Follower, Shown};
use super::trace::Trace;
use super::writable::Writable;
use super::{Access, MountError, Options, UnmountError, mount_at, mounts_at, unmount};
use crate::fs::ArchiveFs;
use crate::live::LiveFs;
use crate::parallel::processors;

/// Fewest threads that read: one that waits for storage must not keep the others waiting.
const MIN_READERS: usize = 4;
/// How far the kernel reads ahead of a sequential reader, in KiB: also its largest request.
const READ_AHEAD_KIB: &str = "1024";

/// An archive that is mounted. Dropping it unmounts, lazily if need be, without waiting for the
/// last user to be gone.
#[derive(Debug)]
pub struct Mounted {
    #[expect(dead_code, reason = "follows until it is dropped, before the session")]
    follower: Option<Follower>,
    session: Option<BackgroundSession>,
    detacher: Detacher,
}

/// Takes one mount off its folder, from any thread.
#[derive(Debug, Clone)]
pub struct Detacher {
    dir: PathBuf,
    /// The device number of the mount: tells it from another that has taken its place.
    device: String,
}

/// How a mount came off its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// At once.
    Clean,
    /// It was in use: it is served, out of sight, until the last user is gone.
    InUse,
    /// It was off already.
    Before,
}

/// What is mounted.
#[derive(Debug, Clone)]
pub enum Files {
    /// Files that can only be read.
    Frozen(Arc<ArchiveFs>),
    /// Files that can be changed.
    Live(Arc<LiveFs>),
}

/// Mounts `files`, those of `archive`, on the folder `dir`, and serves them in the background.
///
/// # Errors
/// If `dir` is no place to mount on, FUSE is not there, or the user may not use it so.
pub fn mount(
    files: Files,
    archive: &Path,
    dir: &Path,
    options: &Options,
) -> Result<Mounted, MountError> {
    let dir = check_mount_point(dir, options.nonempty)?;
    let trace = |path: &PathBuf| {
        let root = match &files {
            Files::Frozen(fs) => fs.store().root().0.to_owned(),
            Files::Live(fs) => fs.base().store().root().0.to_owned(),
        };
        let trace = Trace::create(path, &root);
        trace.map_err(|error| MountError::Trace { path: path.clone(), error })
    };
    let trace = options.trace.as_ref().map(trace).transpose()?;
    let source = options.fsname.as_ref().map_or(archive.as_os_str(), OsStr::new);
    let connection = attach(source, &dir, options)?;
    // From here on, whatever fails must take the mount off again.
    let device = match mount_at(&dir) {
        Ok(Some(entry)) => entry.device,
        Ok(None) => return Err(failed(&dir, io::Error::from(io::ErrorKind::NotConnected))),
        Err(error) => return Err(failed(&dir, error)),
    };
    let detacher = Detacher { dir, device };
    let mut follower = None;
    let served = match files {
        Files::Frozen(fs) => {
            let shown = Arc::new(Shown::new(fs, options.follow));
            let session = serve(Arc::clone(&shown), connection, options, trace);
            session.and_then(|session| {
                if options.follow {
                    follower = Some(Follower::start(shown, session.notifier())?);
                }
                Ok(session)
            })
        }
        Files::Live(fs) => {
            let (acl, config) = (filter(options.access), config());
            let linger = Linger::new(&connection, !options.nopoll);
            linger
                .and_then(|linger| Writable::new(fs, linger, options.snapdir, readers(options)))
                .and_then(|writable| {
                    let links = writable.links();
                    let session = Session::from_fd(writable, connection, acl, config)?.spawn()?;
                    links.notify(session.notifier());
                    Ok(session)
                })
        }
    };
    match served {
        Ok(session) => {
            detacher.raise_read_ahead();
            Ok(Mounted { follower, session: Some(session), detacher })
        }
        Err(error) => Err(failed(&detacher.dir, error)),
    }
}

/// Serves files that can only be read.
fn serve(
    shown: Arc<Shown>,
    connection: OwnedFd,
    options: &Options,
    trace: Option<Trace>,
) -> io::Result<BackgroundSession> {
    let live = Arc::new(Live::new());
    let ahead = Arc::new(Ahead::start(Arc::clone(&shown), Arc::clone(&live))?);
    let traced = trace.is_some();
    let helpers = Helpers { ahead: Arc::clone(&ahead), live, trace };
    let linger = Linger::new(&connection, !options.nopoll)?;
    let lifetime = match lifetime(options.access) {
        Lifetime::Forever if options.follow => Lifetime::Short,
        lifetime => lifetime,
    };
    let follows = options.follow;
    let threads = readers(options);
    let adapter = Adapter::new(shown, lifetime, helpers, linger, threads)?;
    let (acl, config) = (filter(options.access), config());
    let session = Session::from_fd(adapter, connection, acl, config).and_then(Session::spawn)?;
    // A trace shall have what is read, not what is handed over.
    // Nor is anything handed over that may be of the root before.
    if !traced && threads > 1 && !follows {
        ahead.notify(session.notifier());
    }
    Ok(session)
}

/// A mount that failed after it was made: takes it off.
fn failed(dir: &Path, error: io::Error) -> MountError {
    match unmount(dir, true) {
        Ok(()) => MountError::Session { dir: dir.to_owned(), error },
        Err(unmount) => unmount.into(),
    }
}

/// The mount point, free of symlinks, if it is a folder with nothing in or on it.
///
/// # Errors
/// If it is not.
pub fn check_mount_point(dir: &Path, nonempty: bool) -> Result<PathBuf, MountError> {
    let unusable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => MountError::Missing(dir.to_owned()),
        io::ErrorKind::NotConnected => MountError::Stale(dir.to_owned()),
        _ => MountError::Folder { dir: dir.to_owned(), error },
    };
    let real = dir.canonicalize().map_err(unusable)?;
    if !real.metadata().map_err(unusable)?.is_dir() {
        return Err(MountError::NotFolder(dir.to_owned()));
    }
    if nonempty {
        return Ok(real);
    }
    if let Some(entry) = mount_at(&real).map_err(unusable)? {
        let source_name = entry.source.to_string_lossy().into_owned();
        return Err(MountError::Busy { dir: dir.to_owned(), source_name });
    }
    match real.read_dir().map_err(unusable)?.next() {
        Some(_) => Err(MountError::NotEmpty(dir.to_owned())),
        None => Ok(real),
    }
}

/// What the kernel answers from its caches, no session can refuse: where the session has to keep
/// others out, nothing may stay cached.
fn lifetime(access: Access) -> Lifetime {
    match access {
        Access::Root if shared(access) => Lifetime::Zero,
        _ => Lifetime::Forever,
    }
}

/// Whom the session refuses. The kernel itself keeps all others away from an [`Access::Owner`].
fn filter(access: Access) -> SessionACL {
    match access {
        Access::Root if shared(access) => SessionACL::RootAndOwner,
        _ => SessionACL::All,
    }
}

/// How many reads are inflated, or copied to the kernel, at a time.
fn readers(options: &Options) -> usize {
    options.threads.map_or_else(|| processors().max(MIN_READERS), usize::from)
}

/// One event loop: see [`super::pool`].
fn config() -> Config {
    let mut config = Config::default();
    config.n_threads = Some(1);
    config
}

impl Mounted {
    /// What takes the mount off its folder, for another thread to keep.
    #[must_use]
    pub fn detacher(&self) -> Detacher {
        self.detacher.clone()
    }

    /// Serves until the mount is gone, whoever takes it off.
    ///
    /// # Errors
    /// If serving fails; the mount is off then.
    pub fn wait(mut self) -> Result<(), MountError> {
        let served = self.session.take().map_or(Ok(()), BackgroundSession::join);
        // Event loops that broke down leave the mount where it is. Else it is gone, and whatever
        // is mounted there by now, perhaps under the same device number, is not ours to take off.
        if served.is_err() {
            self.detacher.detach()?;
        }
        served.map_err(|error| MountError::Session { dir: self.detacher.dir.clone(), error })
    }

    /// Takes the mount off, and waits until the last user is gone.
    ///
    /// # Errors
    /// If it cannot be taken off, or serving failed.
    pub fn unmount(self) -> Result<(), MountError> {
        self.detacher.detach()?;
        self.wait()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.session.is_some()
            && let Err(error) = self.detacher.detach()
        {
            log::error!("{error}");
        }
    }
}

impl Detacher {
    /// The mount point.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the mount off, lazily if it is in use.
    ///
    /// # Errors
    /// If something else is mounted over it, or the user may not do it.
    pub fn detach(&self) -> Result<Detached, UnmountError> {
        let refused = |error| UnmountError::Refused { dir: self.dir.clone(), error };
        let mounts = mounts_at(&self.dir).map_err(refused)?;
        match mounts.iter().rposition(|entry| entry.device == self.device) {
            None => return Ok(Detached::Before),
            Some(at) if at + 1 < mounts.len() => {
                return Err(UnmountError::Covered(self.dir.clone()));
            }
            Some(_) => {}
        }
        match unmount(&self.dir, false) {
            Ok(()) => Ok(Detached::Clean),
            Err(UnmountError::Busy(_)) => unmount(&self.dir, true).map(|()| Detached::InUse),
            Err(error) => Err(error),
        }
    }

    /// The kernel caps what INIT may ask for at the default of 128 KiB; root may lift that. For
    /// others, and where /sys is not writable, it stays as it is.
    fn raise_read_ahead(&self) {
        let file = format!("/sys/class/bdi/{}/read_ahead_kb", self.device);
        if let Err(error) = std::fs::write(&file, READ_AHEAD_KIB) {
            log::debug!("{file}: {error}");
        }
    }
}
