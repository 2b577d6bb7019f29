//! Answers that read-only and writable mounts, their event loops and other threads give alike.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{
    Errno, FileType, INodeNo, RenameFlags, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyStatfs, ReplyWrite, ReplyXattr,
};

use super::adapter::{FOREVER, GENERATION};
use super::attributes::{bare_folder, file_attr, file_type};
use crate::format::XattrSet;
use crate::fs::{ArchiveFs, Attr, FsError, Listed, Seek};
use crate::live::{LiveFs, Replace};

/// lseek(2)'s way of asking for data.
const SEEK_DATA: i32 = 3;
/// lseek(2)'s way of asking for a hole.
const SEEK_HOLE: i32 = 4;
/// How far the kernel's offsets into a listing are ahead of the file system's: "." and "..".
pub(super) const DOTS: u64 = 2;
/// fallocate(2): the size stays.
const KEEP_SIZE: i32 = 1;
/// fallocate(2): make a hole.
const PUNCH_HOLE: i32 = 2;
/// fallocate(2): make zeros.
const ZERO_RANGE: i32 = 16;

/// What both kinds of file system can be asked for.
pub(super) trait Files {
    fn attr(&self, ino: u64) -> Result<Attr, FsError>;
    fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError>;
    fn parent(&self, ino: u64) -> Result<u64, FsError>;
    fn target(&self, ino: u64) -> Result<Vec<u8>, FsError>;
    fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError>;
    fn list(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), FsError>;
    fn list_with_attrs(
        &self,
        folder: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed<'_>, &Attr) -> bool,
    ) -> Result<(), FsError>;
}

/// Each method is the one of the same name that the file system has itself.
macro_rules! files {
    ($($of:ty),*) => {$(
        impl Files for $of {
            fn attr(&self, ino: u64) -> Result<Attr, FsError> {
                <$of>::attr(self, ino)
            }
            fn lookup(&self, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError> {
                <$of>::lookup(self, folder, name)
            }
            fn parent(&self, ino: u64) -> Result<u64, FsError> {
                <$of>::parent(self, ino)
            }
            fn target(&self, ino: u64) -> Result<Vec<u8>, FsError> {
                <$of>::target(self, ino)
            }
            fn seek(&self, ino: u64, offset: u64, whence: Seek) -> Result<u64, FsError> {
                <$of>::seek(self, ino, offset, whence)
            }
            fn list(
                &self,
                folder: u64,
                offset: u64,
                each: &mut dyn FnMut(Listed<'_>) -> bool,
            ) -> Result<(), FsError> {
                <$of>::list(self, folder, offset, each)
            }
            fn list_with_attrs(
                &self,
                folder: u64,
                offset: u64,
                each: &mut dyn FnMut(Listed<'_>, &Attr) -> bool,
            ) -> Result<(), FsError> {
                <$of>::list_with_attrs(self, folder, offset, each)
            }
        }
    )*};
}
files!(ArchiveFs, LiveFs);

pub(super) fn errno(error: &FsError) -> Errno {
    Errno::from_i32(error.errno())
}

/// Looks a name up; "." and ".." come from those who export the mount over a network.
pub(super) fn find(fs: &impl Files, folder: u64, name: &[u8]) -> Result<Option<Attr>, FsError> {
    match name {
        b"." => fs.attr(folder).map(Some),
        b".." => fs.attr(fs.parent(folder)?).map(Some),
        _ => fs.lookup(folder, name),
    }
}

/// Replies with the target of a symlink.
pub(super) fn target(fs: &impl Files, ino: u64, reply: ReplyData) {
    match fs.target(ino) {
        Ok(target) => reply.data(&target),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Replies with where data or a hole begins.
pub(super) fn seek(fs: &impl Files, ino: u64, offset: i64, whence: i32, reply: ReplyLseek) {
    let whence = match whence {
        SEEK_DATA => Seek::Data,
        SEEK_HOLE => Seek::Hole,
        // The kernel does all others by itself.
        _ => return reply.error(Errno::EINVAL),
    };
    let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
    match fs.seek(ino, offset, whence) {
        Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Replies with an extended attribute or a list of them: its length to those who ask with no room.
pub(super) fn xattr(bytes: &[u8], room: u32, reply: ReplyXattr) {
    match u32::try_from(bytes.len()) {
        Ok(length) if room == 0 => reply.size(length),
        Ok(length) if length <= room => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

/// Replies with the names of extended attributes.
pub(super) fn xattr_names(xattrs: Result<XattrSet, FsError>, room: u32, reply: ReplyXattr) {
    match xattrs {
        Ok(xattrs) => {
            let names = xattrs.iter().flat_map(|(name, _)| name.iter().copied().chain([0]));
            xattr(&names.collect::<Vec<u8>>(), room, reply);
        }
        Err(error) => reply.error(errno(&error)),
    }
}

/// Replies with a file that the kernel counts once more.
pub(super) fn entry(fs: &LiveFs, found: Result<Attr, FsError>, reply: ReplyEntry) {
    match found {
        Ok(attr) => {
            fs.remember(attr.ino);
            reply.entry(&FOREVER, &file_attr(&attr), GENERATION);
        }
        Err(error) => reply.error(errno(&error)),
    }
}

/// Replies how many bytes were written, or why not.
pub(super) fn written(result: Result<u64, FsError>, reply: ReplyWrite) {
    match result {
        // Never more than was asked for, which fits.
        Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Syncs all that was written, and replies that it is safe.
pub(super) fn synced(fs: &LiveFs, reply: ReplyEmpty) {
    match fs.sync() {
        Ok(()) => reply.ok(),
        Err(error) => {
            log::error!("{error}");
            reply.error(errno(&error.into()));
        }
    }
}

/// Replies how much room there is for what is written.
pub(super) fn disk(fs: &LiveFs, reply: ReplyStatfs) {
    match fs.disk() {
        Ok((disk, inodes)) => {
            let unit = u32::try_from(disk.f_frsize).unwrap_or(4096);
            let (free, available) = (disk.f_bfree, disk.f_bavail);
            // As many more as there is room for names.
            let more = disk.f_bavail.saturating_mul(16);
            let all = inodes.saturating_add(more);
            reply.statfs(disk.f_blocks, free, available, all, more, unit, 255, unit);
        }
        Err(error) => reply.error(errno(&error)),
    }
}

/// Replies that something was done, or why not.
pub(super) fn done(result: Result<(), FsError>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

/// A file is changed by a user. Of writes and new sizes the kernel says whether setuid and setgid
/// are to go; of other changes it does not, and leaves that to who serves the files
/// (FUSE_HANDLE_KILLPRIV_V2).
fn changed_by(fs: &LiveFs, user: u32, ino: u64) -> Result<(), FsError> {
    if user == 0 { Ok(()) } else { fs.drop_privileges(ino) }
}

/// copy_file_range(2), by a user.
pub(super) fn copy(
    fs: &LiveFs,
    user: u32,
    from: (u64, u64),
    to: (u64, u64),
    length: u64,
) -> Result<u64, FsError> {
    changed_by(fs, user, to.0)?;
    fs.copy_range(from, to, length)
}

/// fallocate(2), by a user.
pub(super) fn allocate(
    fs: &LiveFs,
    user: u32,
    ino: u64,
    offset: u64,
    length: u64,
    mode: i32,
) -> Result<(), FsError> {
    changed_by(fs, user, ino)?;
    match mode {
        0 => fs.extend(ino, offset, length),
        // Room that was set aside, and is not the file's, would mean nothing here.
        KEEP_SIZE => Ok(()),
        _ if mode == PUNCH_HOLE | KEEP_SIZE || mode == ZERO_RANGE | KEEP_SIZE => {
            fs.punch(ino, offset, length)
        }
        ZERO_RANGE => fs.extend(ino, offset, length).and_then(|()| fs.punch(ino, offset, length)),
        _ => Err(FsError::Unsupported),
    }
}

/// What a listing begins with: "." and "..", as far as they come after `offset`. With each its
/// number and the offset that continues after it.
fn dots(
    fs: &impl Files,
    folder: u64,
    offset: u64,
) -> Result<Vec<(&'static OsStr, u64, u64)>, FsError> {
    let mut dots = Vec::new();
    if offset < 1 {
        dots.push((OsStr::new("."), folder, 1));
    }
    if offset < DOTS {
        dots.push((OsStr::new(".."), fs.parent(folder)?, DOTS));
    }
    Ok(dots)
}

/// Lists a folder.
pub(super) fn fill(
    fs: &impl Files,
    folder: u64,
    offset: u64,
    reply: &mut ReplyDirectory,
) -> Result<(), FsError> {
    for (name, number, next) in dots(fs, folder, offset)? {
        if reply.add(INodeNo(number), next, FileType::Directory, name) {
            return Ok(());
        }
    }
    fs.list(folder, offset.saturating_sub(DOTS), &mut |entry| {
        let next = entry.next.saturating_add(DOTS);
        let name = OsStr::from_bytes(entry.name);
        !reply.add(INodeNo(entry.ino), next, file_type(entry.kind), name)
    })
}

/// Lists a folder with what each file is, which the kernel may keep for that `lifetime`, and calls
/// `told` with each that it is told of. Returns whether there was anything left to list.
pub(super) fn fill_plus(
    fs: &impl Files,
    folder: u64,
    offset: u64,
    lifetime: &Duration,
    reply: &mut ReplyDirectoryPlus,
    told: impl Fn(u64),
) -> Result<bool, FsError> {
    let dots = dots(fs, folder, offset)?;
    // The kernel takes no more than the number from "." and "..", and counts no look-up.
    for (name, number, next) in &dots {
        let attr = bare_folder(*number);
        if reply.add(attr.ino, *next, name, lifetime, &attr, GENERATION) {
            return Ok(true);
        }
    }
    let mut some = false;
    let listed = fs.list_with_attrs(folder, offset.saturating_sub(DOTS), &mut |entry, attr| {
        some = true;
        let next = entry.next.saturating_add(DOTS);
        let name = OsStr::from_bytes(entry.name);
        let attr = file_attr(attr);
        let full = reply.add(attr.ino, next, name, lifetime, &attr, GENERATION);
        if !full {
            told(attr.ino.0);
        }
        !full
    });
    // What comes before a damage is listed; the kernel then asks for what comes after.
    if some { Ok(true) } else { listed.map(|()| !dots.is_empty()) }
}

/// What is to become of a file that has the new name; `None` if it is not known how to do that.
pub(super) fn replace(flags: RenameFlags) -> Option<Replace> {
    match flags {
        flags if flags.is_empty() => Some(Replace::Yes),
        RenameFlags::RENAME_NOREPLACE => Some(Replace::No),
        RenameFlags::RENAME_EXCHANGE => Some(Replace::Exchange),
        _ => None,
    }
}
