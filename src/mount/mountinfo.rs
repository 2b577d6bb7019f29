//! What the kernel says is mounted where: `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const TABLE: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// The device number of the mounted file system, as `major:minor`.
    pub device: String,
    /// The folder it is mounted on.
    pub dir: PathBuf,
    /// Its type, such as `ext4` or `fuse.packfs`.
    pub fs_type: String,
    /// What is mounted: for packfs, the archive.
    pub source: OsString,
    /// Whether it can be written to, as far as it goes by the file system.
    pub writable: bool,
}

/// The topmost mount on `dir`, which must be absolute and free of symlinks; `None` where `dir` is
/// not a mount point.
///
/// # Errors
/// If `/proc/self/mountinfo` cannot be read.
pub fn mount_at(dir: &Path) -> io::Result<Option<MountEntry>> {
    Ok(mounts_at(dir)?.pop())
}

/// All mounts on `dir`, each covering those before it.
pub(super) fn mounts_at(dir: &Path) -> io::Result<Vec<MountEntry>> {
    let text = std::fs::read(TABLE).map_err(|error| {
        // The bare error would seem to be about `dir`.
        io::Error::other(format!("{TABLE}: {error}"))
    })?;
    Ok(parse(&text).filter(|entry| entry.dir == dir).collect())
}

fn parse(text: &[u8]) -> impl Iterator<Item = MountEntry> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line)
}

/// `36 35 98:0 /root /dir rw,noatime shared:1 - ext3 /dev/root rw`: the fields before the lone
/// dash vary in number.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = fields.nth(2)?;
    let dir = fields.nth(1)?;
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let source = fields.next()?;
    let options = fields.next()?;
    Some(MountEntry {
        device: String::from_utf8_lossy(device).into_owned(),
        dir: OsString::from_vec(unescape(dir)).into(),
        fs_type: String::from_utf8_lossy(&unescape(fs_type)).into_owned(),
        source: OsString::from_vec(unescape(source)),
        writable: options.split(|&byte| byte == b',').any(|option| option == b"rw"),
    })
}

/// Undoes the kernel's escapes of blanks, backslashes and `#`: a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(octal);
        out.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    out
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_their_optional_fields() {
        let text = b"22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
            40 22 0:35 / /mnt/a\\040b\\134c rw shared:1 master:2 - fuse.packfs /x\\040y.pfs ro\n\
            cut short\n";
        let entries: Vec<_> = parse(text).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].dir, Path::new("/"));
        assert_eq!(entries[1].device, "0:35");
        assert_eq!(entries[1].dir, Path::new("/mnt/a b\\c"));
        assert_eq!(entries[1].fs_type, "fuse.packfs");
        assert_eq!(entries[1].source, "/x y.pfs");
        assert!(entries[0].writable && !entries[1].writable);
    }

    #[test]
    fn only_octal_escapes_are_undone() {
        assert_eq!(unescape(b"\\011\\12\\999\\+12\\777\\"), b"\t\\12\\999\\+12\\777\\");
    }

    #[test]
    fn the_root_folder_is_a_mount_point() {
        assert!(mount_at(Path::new("/")).unwrap().is_some());
        assert_eq!(mount_at(Path::new("/no such folder")).unwrap(), None);
    }
}
