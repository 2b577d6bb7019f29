//! What can go wrong with an archive.

use std::io;

/// Why an archive cannot be read or written on, or a member of it cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream under the archive failed.
    #[error("tar: {0}")]
    Io(#[source] io::Error),
    /// The input is compressed in a way that is not read here.
    #[error("the input is compressed with {0}; pipe it through `{0} -d` first")]
    Compressed(&'static str),
    /// The input does not begin as an archive does.
    #[error("the input is not a tar archive")]
    NotTar,
    /// The input ends inside a member.
    #[error("the tar archive is cut short at byte {offset}")]
    CutShort {
        /// Where it ends.
        offset: u64,
    },
    /// Bytes that no archive has.
    #[error("the tar archive is damaged at byte {offset}: {what}")]
    Malformed {
        /// Where the header with them begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A member that cannot be taken; the others can.
    #[error("{}: {why}", show(path))]
    Unfit {
        /// Its path, as it was given.
        path: Vec<u8>,
        /// Why not.
        why: &'static str,
    },
    /// A member's data is longer or shorter than its size and holes say.
    #[error("{}: {found} bytes of data came, where {expected} were due", show(path))]
    Length {
        /// Its path.
        path: Vec<u8>,
        /// How many bytes were due.
        expected: u64,
        /// How many came.
        found: u64,
    },
}

impl TarError {
    /// Whether nothing more can be read or written. If not, only one member is left out.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Unfit { .. })
    }
}

/// A path or name on one line, of bounded length.
pub(super) fn show(path: &[u8]) -> String {
    const MOST: usize = 1024;
    let (shown, rest) = path.split_at_checked(MOST).unwrap_or((path, b""));
    let dots = if rest.is_empty() { "" } else { "..." };
    format!("{}{dots}", String::from_utf8_lossy(shown).escape_debug())
}
