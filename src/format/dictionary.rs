//! The dictionary of pages. Layout: `format-spec.md`, "Dictionary of pages".

use super::{FormatError, Section, open, seal};

/// Bytes that pages of a tree have in common: to zstd, they come before each page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dictionary(pub Vec<u8>);

impl Dictionary {
    /// The section's bytes and checksum.
    #[must_use]
    pub fn encode(&self, level: i32) -> (Vec<u8>, u64) {
        seal(Section::Dictionary, &self.0, Some(level))
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged, malformed or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        open(Section::Dictionary, bytes).map(|bytes| Self(bytes.into_owned()))
    }
}
