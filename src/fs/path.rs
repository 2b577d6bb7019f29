//! Paths inside an archive.

use super::{ArchiveFs, Attr, FsError};
use crate::format::Kind;
use crate::tree::ROOT;

/// A file that a path led to.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its path below the root folder, without a slash at either end.
    pub path: Vec<u8>,
    /// What it is.
    pub attr: Attr,
}

impl ArchiveFs {
    /// Follows a path from the root folder; symlinks on the way are not followed.
    ///
    /// Slashes at the ends, double ones and `.` mean nothing.
    ///
    /// # Errors
    /// If there is no such file, `..` is in the path, or a page is damaged.
    pub fn resolve(&self, path: &[u8]) -> Result<Place, FsError> {
        let mut place = Place { path: Vec::new(), attr: self.attr(ROOT)? };
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(FsError::NoEntry),
                _ => {}
            }
            if place.attr.kind != Kind::Folder {
                return Err(FsError::NotFolder);
            }
            place.attr = self.lookup(place.attr.ino, name)?.ok_or(FsError::NoEntry)?;
            place.path = join(&place.path, name);
        }
        Ok(place)
    }
}

/// A name below a path; the empty path is the root folder.
#[must_use]
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let separator = if path.is_empty() { &b""[..] } else { b"/" };
    [path, separator, name].concat()
}
