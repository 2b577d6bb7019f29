//! A snapshot: a name for a root. Layout: `format-spec.md`, "Snapshot".

use super::wire::{Cursor, Put};
use super::{FormatError, Id, MAX_NAME, Problem, Section, open, seal};

/// What a snapshot is of. Its name is in its key alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the root.
    pub number: u64,
    /// The id of the root.
    pub root: Id,
    /// When the snapshot was made, in seconds since 1970.
    pub created: i64,
}

/// Whether a snapshot can have that name: 1 to 255 bytes, no `/` or control characters, and no
/// `.` at its start.
#[must_use]
pub fn valid_snapshot_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && !name.chars().any(|c| c == '/' || c.is_control())
}

impl Snapshot {
    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.number);
        out.extend(self.root);
        out.put_u64(self.created.cast_unsigned());
        out.put_u64(0);
        seal(Section::Snapshot, &out, None).0
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Snapshot, bytes)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Snapshot))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let (number, root) = (cursor.u64()?, cursor.array()?);
        let created = cursor.u64()?.cast_signed();
        cursor.u64()?;
        cursor.end()?;
        Ok(Self { number, root, created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_round_trips() {
        let snapshot = Snapshot { number: 3, root: [7; 32], created: -5 };
        assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["a", "v1.0", "before the move", "\u{e4}", "-", "@", "a.b..", &"a".repeat(255)]
        {
            assert!(valid_snapshot_name(name), "{name}");
        }
        let long = "a".repeat(256);
        for name in ["", ".", "..", ".tmp-a", "a/b", "/", "a\n", "\0", "\u{7f}", "\u{85}", &long] {
            assert!(!valid_snapshot_name(name), "{name:?}");
        }
    }
}
