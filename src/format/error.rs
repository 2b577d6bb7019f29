//! What can be wrong with bytes that should be a section.

use super::Section;

/// A section that does not check out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{section}: {problem}")]
pub struct FormatError {
    /// The section that was being read.
    pub section: Section,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end before the section does.
    #[error("cut short")]
    Truncated,
    /// There is something after the section's end.
    #[error("longer than it says it is")]
    Overlong,
    /// The magic is that of something else.
    #[error("not found where it should be (wrong magic)")]
    Magic,
    /// Written by a newer packfs.
    #[error("written in format version {0}, newer than this packfs reads; update packfs")]
    Version(u16),
    /// Needs a feature this packfs does not have.
    #[error("needs format features {0:#x} that this packfs does not have; update packfs")]
    Features(u32),
    /// Needs a feature this packfs does not have.
    #[error("needs the feature \"{0}\" that this packfs does not have; update packfs")]
    Feature(String),
    /// The checksum over the bytes is another.
    #[error("damaged (checksum does not match)")]
    Checksum,
    /// The compressed payload does not inflate to the length it states.
    #[error("damaged (does not inflate to its stated length)")]
    Inflate,
    /// A count or length is over the format's limit.
    #[error("{0} is over the format's limit")]
    Limit(&'static str),
    /// A value that no writer writes.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Problem {
    /// This problem, found in `section`.
    #[must_use]
    pub fn of(self, section: Section) -> FormatError {
        FormatError { section, problem: self }
    }
}
