//! Answers of a mount that can be written to: what its event loop and its other threads give alike.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{
    FileType, INodeNo, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyWrite,
};

use super::adapter::{DOTS, FOREVER, GENERATION, errno};
use super::attributes::{bare_folder, file_attr, file_type};
use crate::fs::{Attr, FsError};
use crate::live::{LiveFs, Writing};

/// fallocate(2): the size stays.
const KEEP_SIZE: i32 = 1;
/// fallocate(2): make a hole.
const PUNCH_HOLE: i32 = 2;
/// fallocate(2): make zeros.
const ZERO_RANGE: i32 = 16;

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

/// Replies with bytes of a file.
pub(super) fn read(fs: &LiveFs, ino: u64, offset: u64, size: u32, reply: ReplyData) {
    match fs.read(ino, offset, size) {
        Ok(data) => reply.data(&data),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Writes, and replies that it was done.
pub(super) fn write(
    fs: &LiveFs,
    ino: u64,
    offset: u64,
    data: &[u8],
    how: Writing,
    reply: ReplyWrite,
) {
    match fs.write(ino, offset, data, how) {
        Ok(written) => reply.written(written),
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

/// fallocate(2).
pub(super) fn allocate(
    fs: &LiveFs,
    ino: u64,
    offset: u64,
    length: u64,
    mode: i32,
) -> Result<(), FsError> {
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

/// "." and "..", as far as they come after `offset`: number, offset after it, name.
fn dots(fs: &LiveFs, folder: u64, offset: u64) -> Result<Vec<(&'static str, u64, u64)>, FsError> {
    let mut dots = Vec::new();
    if offset < 1 {
        dots.push((".", folder, 1));
    }
    if offset < DOTS {
        dots.push(("..", fs.parent(folder)?, DOTS));
    }
    Ok(dots)
}

/// Lists a folder.
pub(super) fn fill(
    fs: &LiveFs,
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

/// Lists a folder with what each file is.
pub(super) fn fill_plus(
    fs: &LiveFs,
    folder: u64,
    offset: u64,
    reply: &mut ReplyDirectoryPlus,
) -> Result<(), FsError> {
    // The kernel takes no more than the number from "." and "..", and counts no look-up.
    for (name, number, next) in dots(fs, folder, offset)? {
        let attr = bare_folder(number);
        if reply.add(attr.ino, next, name, &FOREVER, &attr, GENERATION) {
            return Ok(());
        }
    }
    let mut some = false;
    let listed = fs.list_with_attrs(folder, offset.saturating_sub(DOTS), &mut |entry, attr| {
        let next = entry.next.saturating_add(DOTS);
        let name = OsStr::from_bytes(entry.name);
        let attr = file_attr(attr);
        if reply.add(attr.ino, next, name, &FOREVER, &attr, GENERATION) {
            return false;
        }
        fs.remember(attr.ino.0);
        some = true;
        true
    });
    // What comes before a damage is listed; the kernel then asks for what comes after.
    if some { Ok(()) } else { listed }
}
