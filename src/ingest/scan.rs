//! Lists a folder: every name below it and all that the files have but their data.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, OFlags, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::CreateError;
use super::catalog::{Catalog, File, ROOT};
use crate::beneath;
use crate::format::{Kind, MAX_XATTR, MAX_XATTR_SET, Time, XattrSet};
use crate::monitor::{Monitor, Phase, Problem};

/// Unit of `st_blocks`, in bytes.
const SECTOR: u64 = 512;

/// Lists all that is below `source`, which must be a folder.
///
/// Files that vanish or are refused are told to the monitor, and left out.
///
/// # Errors
/// If `source` itself cannot be listed, or the monitor says stop.
pub fn scan(
    source: &Path,
    all_times: bool,
    monitor: &dyn Monitor,
) -> Result<(OwnedFd, Catalog), CreateError> {
    monitor.phase(Phase::Scan);
    let fail = |error: Errno| CreateError::Source {
        path: source.display().to_string(),
        source: error.into(),
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::open(source, flags, rustix::fs::Mode::empty()).map_err(fail)?;
    let mut scan = Scan {
        catalog: Catalog::default(),
        links: HashMap::new(),
        all_times,
        monitor,
        buffer: vec![0; MAX_XATTR],
    };
    let stat = rustix::fs::fstat(&root).map_err(fail)?;
    let file = scan.file(&stat, root.as_fd(), b".").map_err(fail)?;
    scan.catalog.files.push(file);
    let mut todo = vec![(ROOT, Vec::new())];
    while let Some((folder, path)) = todo.pop() {
        if monitor.cancelled() {
            return Err(CreateError::Cancelled);
        }
        let folders = scan.folder(root.as_fd(), folder, &path);
        match folders {
            // The last is popped first: so they are visited in the order of their names.
            Ok(folders) => todo.extend(folders.into_iter().rev()),
            Err(error) if folder == ROOT => return Err(fail(error)),
            Err(error) => scan.problem(path, error, "what is in it is left out"),
        }
    }
    Ok((root, scan.catalog))
}

struct Scan<'a> {
    catalog: Catalog,
    links: HashMap<(u64, u64), u32>,
    all_times: bool,
    monitor: &'a dyn Monitor,
    buffer: Vec<u8>,
}

/// A sub-folder still to be listed: its place among the files, and its path.
type Todo = (u32, Vec<u8>);

impl Scan<'_> {
    fn problem(&self, path: Vec<u8>, error: Errno, what: &str) {
        let error = std::io::Error::from(error);
        self.monitor.problem(Problem { path, what: format!("{error}; {what}") });
    }

    /// Lists one folder; returns its sub-folders.
    fn folder(
        &mut self,
        root: BorrowedFd<'_>,
        folder: u32,
        path: &[u8],
    ) -> Result<Vec<Todo>, Errno> {
        let opened = beneath::open_unseen(root, path, OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        let mut folders = Vec::new();
        let (mut files, mut bytes) = (0, 0);
        for name in names {
            let separator = if path.is_empty() { &b""[..] } else { b"/" };
            let path = [path, separator, &name].concat();
            match self.entry(opened.as_fd(), folder, &name) {
                Ok(Some(at)) => {
                    let file = &self.catalog.files[at as usize];
                    files += 1;
                    bytes += file.size;
                    if file.kind() == Some(Kind::Folder) {
                        folders.push((at, path));
                    }
                }
                Ok(None) => {}
                Err(error) => self.problem(path, error, "left out"),
            }
        }
        self.monitor.advance(files, bytes);
        Ok(folders)
    }

    /// Adds one name; returns its file, unless that was known by another name.
    fn entry(
        &mut self,
        folder_fd: BorrowedFd<'_>,
        folder: u32,
        name: &[u8],
    ) -> Result<Option<u32>, Errno> {
        let stat = statat(folder_fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let shared = stat.st_nlink > 1 && Kind::of_mode(stat.st_mode) != Some(Kind::Folder);
        let key = (stat.st_dev, stat.st_ino);
        if shared && let Some(known) = self.links.get(&key) {
            self.catalog.link(folder, name, *known);
            return Ok(None);
        }
        let mut file = self.file(&stat, folder_fd, name)?;
        if file.kind() == Some(Kind::Symlink) {
            file.target = readlinkat(folder_fd, name, Vec::new())?.into_bytes().into();
        }
        let at = self.catalog.add(folder, name, file);
        if shared {
            self.links.insert(key, at);
        }
        Ok(Some(at))
    }

    fn file(&mut self, stat: &Stat, folder: BorrowedFd<'_>, name: &[u8]) -> Result<File, Errno> {
        let kind = Kind::of_mode(stat.st_mode);
        let size = match kind {
            Some(Kind::File) => stat.st_size.cast_unsigned(),
            _ => 0,
        };
        let xattrs = self.xattrs(folder, name)?;
        let mtime = time(stat.st_mtime, stat.st_mtime_nsec);
        let times =
            || (time(stat.st_atime, stat.st_atime_nsec), time(stat.st_ctime, stat.st_ctime_nsec));
        Ok(File {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            rdev: stat.st_rdev,
            mtime,
            times: self.all_times.then(times),
            xattrs: self.catalog.set_of(xattrs),
            sparse: stat.st_blocks.cast_unsigned().saturating_mul(SECTOR) < size,
            ..File::default()
        })
    }

    /// The extended attributes of `name` in `folder`, which need not be one that can be opened.
    fn xattrs(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<XattrSet, Errno> {
        // The only way to name a file in an open folder to these calls.
        let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        path.extend(name);
        let listed = match rustix::fs::llistxattr(path.as_slice(), self.buffer.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) | Ok(0) => return Ok(XattrSet::new()),
            listed => listed?,
        };
        let names = self.buffer[..listed].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        let mut set = XattrSet::new();
        let mut total = 0;
        for name in names {
            let value = self.buffer.as_mut_slice();
            match rustix::fs::lgetxattr(path.as_slice(), name.as_slice(), value) {
                // Taken away meanwhile, or listed though it cannot be had.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                length => {
                    let value = self.buffer[..length?].to_vec();
                    total += name.len() + value.len();
                    set.push((name, value));
                }
            }
        }
        if total > MAX_XATTR_SET {
            return Err(Errno::TOOBIG);
        }
        set.sort();
        Ok(set)
    }
}

fn time(sec: i64, nsec: u64) -> Time {
    Time { sec, nsec: u32::try_from(nsec).unwrap_or(0) }
}

/// Which files are as long as another: only these can be the same all through.
pub(super) fn twins(catalog: &Catalog, files: &[u32]) -> Vec<bool> {
    let mut sizes: HashMap<u64, u32> = HashMap::new();
    for at in files {
        *sizes.entry(catalog.files[*at as usize].size).or_default() += 1;
    }
    files.iter().map(|at| sizes[&catalog.files[*at as usize].size] > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Quiet;

    #[test]
    fn links_are_found_and_folders_come_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("b/d")).unwrap();
        std::fs::create_dir_all(at("a")).unwrap();
        std::fs::write(at("b/file"), "x").unwrap();
        std::fs::hard_link(at("b/file"), at("a/link")).unwrap();
        let (_, catalog) = scan(temp.path(), false, &Quiet::default()).unwrap();
        assert_eq!(catalog.names.len(), 5);
        assert_eq!(catalog.files.len(), 5);
        let regular = catalog.regular();
        assert_eq!(catalog.path(regular[0]), b"a/link");
    }
}
