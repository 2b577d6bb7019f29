//! Attributes as FUSE wants them.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};

use crate::format::{Kind, Time};
use crate::fs::Attr;

/// What readers are told to read at a time, in bytes: more makes the buffers of those who believe
/// it larger than most files are.
const BLOCK_SIZE: u32 = 128 * 1024;

/// The attributes of an inode.
pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device_number(attr.rdev),
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// All that is told of "." and "..", and, with number 0, of a name that is not there.
pub(super) fn bare_folder(ino: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The type of a file.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Fifo => FileType::NamedPipe,
        Kind::Char => FileType::CharDevice,
        Kind::Folder => FileType::Directory,
        Kind::Block => FileType::BlockDevice,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::Socket => FileType::Socket,
    }
}

fn system_time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.sec.unsigned_abs());
    let whole = match time.sec < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    let exact = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nsec.into())));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The 32 bits in which FUSE carries a device number (the kernel's `new_encode_dev`): 12 of the
/// major number between 8 and 12 of the minor one.
fn device_number(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

/// The device number (Linux `dev_t`) in the 32 bits in which FUSE carries it.
pub(super) fn device_of(number: u32) -> u64 {
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    rustix::fs::makedev((number >> 8) & 0xfff, minor)
}

/// A time as the kernel says it.
pub(super) fn time(time: TimeOrNow) -> Time {
    match time {
        TimeOrNow::SpecificTime(time) => said(time),
        TimeOrNow::Now => SystemTime::now().into(),
    }
}

/// A time of a message. Of one before 1970, fuser takes the nanoseconds off, which the kernel means
/// to be added to its seconds.
pub(super) fn said(time: SystemTime) -> Time {
    match SystemTime::UNIX_EPOCH.duration_since(time) {
        Ok(before) => {
            let sec = i64::try_from(before.as_secs()).map_or(i64::MIN, |sec| -sec);
            Time { sec, nsec: before.subsec_nanos() }
        }
        Err(_) => time.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_keep_12_and_20_bits() {
        assert_eq!(device_number(rustix::fs::makedev(8, 1)), 0x801);
        assert_eq!(device_number(rustix::fs::makedev(0xfff, 0xf_ffff)), u32::MAX);
        assert_eq!(device_number(rustix::fs::makedev(259, 0x1_2345)), 0x1231_0345);
        for number in [0x801, u32::MAX, 0x1231_0345] {
            assert_eq!(device_number(device_of(number)), number);
        }
    }

    #[test]
    fn times_before_1970_and_at_the_ends_of_time_are_kept() {
        let back = system_time(Time { sec: -2, nsec: 800_000_000 });
        let before = SystemTime::UNIX_EPOCH.duration_since(back).unwrap();
        assert_eq!(before, Duration::from_millis(1200));
        for sec in [i64::MIN, i64::MAX] {
            system_time(Time { sec, nsec: 999_999_999 });
        }
    }
}
