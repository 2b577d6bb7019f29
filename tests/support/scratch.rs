//! Folders for a test's files, which go when the test ends, however deep they have become.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, XattrFlags};
use rustix::fs::{chmodat, fchmod, fstat, openat, setxattr, statat, unlinkat};
use rustix::io::Errno;

/// An empty folder of its own.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A folder on a file system that has extended attributes: in `TMPDIR` if that is set.
    pub fn new() -> Self {
        static TOP: OnceLock<PathBuf> = OnceLock::new();
        Self::below(TOP.get_or_init(|| {
            let mut places = [PathBuf::from(env!("CARGO_TARGET_TMPDIR")), std::env::temp_dir()];
            if std::env::var_os("TMPDIR").is_some() {
                places.reverse();
            }
            let fits =
                |top: &PathBuf| setxattr(top, "user.packfs", b"", XattrFlags::empty()).is_ok();
            let top = places.iter().filter_map(|place| top_in(place).ok()).find(fits);
            top.expect("no place with extended attributes; set TMPDIR to one")
        }))
    }

    /// A folder that every user can reach and write to.
    pub fn public() -> Self {
        static TOP: OnceLock<PathBuf> = OnceLock::new();
        let scratch = Self::below(TOP.get_or_init(|| top_in(&std::env::temp_dir()).unwrap()));
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
        scratch
    }

    fn below(top: &Path) -> Self {
        // Both kinds may have the same top.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = top.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a name in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in it, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            eprintln!("{}: cannot remove it: {error}", self.0.display());
        }
    }
}

/// The folder of this process in a place; those of processes that are gone are removed.
fn top_in(place: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(place)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("packfs-test-").and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another run may be at it, too.
            let _ = remove_tree(&entry.path());
        }
    }
    let top = place.join(format!("packfs-test-{}", std::process::id()));
    if !top.exists() {
        fs::create_dir(&top)?;
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755))?;
    }
    Ok(top)
}

/// Removes a folder and all in it, but nothing on other file systems; for any depth, with few
/// descriptors.
pub fn remove_tree(path: &Path) -> Result<(), Errno> {
    let device = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?.st_dev;
    let mut at = open_folder(CWD, path.as_os_str().as_encoded_bytes())?;
    let mut levels = vec![(Vec::new(), remove_files(&at)?)];
    while let Some((name, folders)) = levels.last_mut() {
        if let Some(folder) = folders.pop() {
            let below = open_folder(&at, &folder)?;
            if fstat(&below)?.st_dev == device {
                at = below;
                levels.push((folder, remove_files(&at)?));
            }
        } else if name.is_empty() {
            break;
        } else {
            let name = std::mem::take(name);
            levels.pop();
            at = open_folder(&at, b"..")?;
            unlinkat(&at, name, AtFlags::REMOVEDIR)?;
        }
    }
    fs::remove_dir(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Removes all that is no folder; the names of the folders.
fn remove_files(at: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() != FileType::Directory {
            unlinkat(at, name, AtFlags::empty())?;
        } else if name != b"." && name != b".." {
            folders.push(name.to_vec());
        }
    }
    Ok(folders)
}

fn open_folder<Fd: std::os::fd::AsFd>(at: Fd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(at.as_fd(), name, flags, Mode::empty());
    let folder = open().or_else(|_| {
        chmodat(at.as_fd(), name, Mode::RWXU, AtFlags::empty())?;
        open()
    })?;
    // Without write permission, nothing in it could be removed; on other file systems, let it be.
    let _ = fchmod(&folder, Mode::RWXU);
    Ok(folder)
}
