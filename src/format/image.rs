//! The table of contents of an image. Layout: `format-spec.md`, "Image".

use super::wire::{Cursor, Put};
use super::{
    ENVELOPE_LEN, FormatError, MAX_ITEMS, Problem, Section, TAIL_LEN, open, seal, valid_name,
};

/// Longest key of an object, in bytes.
pub(super) const MAX_KEY: usize = 512;
/// Compression of the table: it is small, so as well as it goes.
const LEVEL: i32 = 19;

/// One object of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its key: the path that it has in a store.
    pub key: String,
    /// Offset of its first byte in the image.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// All objects of an image, ordered by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The objects.
    pub members: Vec<Member>,
}

impl Contents {
    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_len(self.members.len());
        out.put_u32(0);
        for member in &self.members {
            out.put_u64(member.offset);
            out.put_u64(member.length);
            out.put_len(member.key.len());
            out.extend(member.key.as_bytes());
        }
        seal(Section::Contents, &out, Some(LEVEL)).0
    }

    /// Reads a section that must fill `bytes`, of an image of `image_len` bytes.
    ///
    /// # Errors
    /// If the section is damaged or malformed, or a member lies outside of the image.
    pub fn decode(bytes: &[u8], image_len: u64) -> Result<Self, FormatError> {
        let payload = open(Section::Contents, bytes)?;
        Self::parse(&payload, image_len).map_err(|problem| problem.of(Section::Contents))
    }

    fn parse(payload: &[u8], image_len: u64) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let count = cursor.count(20)?;
        cursor.u32()?;
        if count > MAX_ITEMS {
            return Err(Problem::Limit("number of objects"));
        }
        let mut members: Vec<Member> = Vec::with_capacity(count);
        for _ in 0..count {
            let (offset, length) = (cursor.u64()?, cursor.u64()?);
            let key_len = cursor.count(1)?;
            if key_len > MAX_KEY {
                return Err(Problem::Limit("length of a key"));
            }
            let key = std::str::from_utf8(cursor.take(key_len)?).ok().filter(|key| valid_key(key));
            let key = key.ok_or(Problem::Malformed("a key that cannot be one"))?.to_owned();
            let end = offset.checked_add(length).and_then(|end| end.checked_add(TAIL_LEN as u64));
            if offset < ENVELOPE_LEN as u64 || end.is_none_or(|end| end > image_len) {
                return Err(Problem::Malformed("an object outside of the image"));
            }
            if members.last().is_some_and(|last| last.key >= key) {
                return Err(Problem::Malformed("keys out of order"));
            }
            members.push(Member { key, offset, length });
        }
        cursor.end()?;
        Ok(Self { members })
    }

    /// The object of that key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Member> {
        let at = self.members.binary_search_by(|member| member.key.as_str().cmp(key)).ok()?;
        self.members.get(at)
    }
}

/// Whether text can be a key: names of letters, digits, `.`, `_` and `-`, joined by single
/// slashes, none of which leads elsewhere.
pub(super) fn valid_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    key.split('/').all(|name| valid_name(name.as_bytes()) && name.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_round_trip_and_stay_inside_the_image() {
        let member = |key: &str, offset| Member { key: key.into(), offset, length: 10 };
        let contents = Contents { members: vec![member("a/b", 48), member("c", 58)] };
        let bytes = contents.encode();
        assert_eq!(Contents::decode(&bytes, 100).unwrap(), contents);
        assert!(Contents::decode(&bytes, 99).is_err());
        assert_eq!(contents.find("c").unwrap().offset, 58);
        assert!(contents.find("b").is_none());
        let away = Contents { members: vec![member("../a", 48)] };
        assert!(Contents::decode(&away.encode(), 100).is_err());
        let reversed = Contents { members: contents.members.into_iter().rev().collect() };
        assert!(Contents::decode(&reversed.encode(), 100).is_err());
    }
}
