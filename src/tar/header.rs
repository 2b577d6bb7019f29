//! The 512-byte header of a member.

use std::ops::Range;

use crate::format::Time;

/// Everything in an archive is padded to a multiple of this many bytes.
pub(super) const BLOCK: usize = 512;

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
pub(super) const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
pub(super) const MAJOR: Range<usize> = 329..337;
pub(super) const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_ATIME: Range<usize> = 476..488;
const STAR_CTIME: Range<usize> = 488..500;
const STAR_MAGIC: Range<usize> = 508..512;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;
/// GNU: four pairs of offset and length, whether more blocks of pairs follow, and the real size.
pub(super) const GNU_SPARSE: Range<usize> = 386..482;
pub(super) const GNU_EXTENDED: usize = 482;
pub(super) const GNU_REAL_SIZE: Range<usize> = 483..495;

/// Which fields a header has after its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header.
#[derive(Clone)]
pub(super) struct Header(pub(super) [u8; BLOCK]);

impl Header {
    /// A ustar header without values, but for its type.
    pub(super) fn ustar(kind: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.0[TYPE] = kind;
        header.0[MAGIC].copy_from_slice(b"ustar\x0000");
        header
    }

    /// Whether this is not a header but (half of) the end of the archive.
    pub(super) fn is_end(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether the checksum matches. Some old writers added up signed bytes.
    pub(super) fn is_intact(&self) -> bool {
        let bytes = || self.0.iter().enumerate();
        let blank = |at, byte| if CHECKSUM.contains(&at) { b' ' } else { byte };
        let unsigned: i64 = bytes().map(|(at, byte)| i64::from(blank(at, *byte))).sum();
        let signed: i64 = bytes().map(|(at, byte)| i64::from(blank(at, *byte).cast_signed())).sum();
        self.number(CHECKSUM).is_ok_and(|stated| stated == unsigned || stated == signed)
    }

    /// Sets the checksum: the last thing to be done to a header.
    pub(super) fn seal(&mut self) {
        self.0[CHECKSUM].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        let text = format!("{sum:06o}\0 ");
        self.0[CHECKSUM].copy_from_slice(text.as_bytes());
    }

    /// The type flag.
    pub(super) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    fn format(&self) -> Format {
        match &self.0[MAGIC] {
            b"ustar  \0" => Format::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] => match &self.0[STAR_MAGIC] {
                b"tar\0" => Format::Star,
                _ => Format::Ustar,
            },
            _ => Format::V7,
        }
    }

    /// The value of a text field: up to its first NUL.
    pub(super) fn text(&self, field: Range<usize>) -> &[u8] {
        let bytes = &self.0[field];
        bytes.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The value of a number field.
    pub(super) fn number(&self, field: Range<usize>) -> Result<i64, &'static str> {
        number(&self.0[field])
    }

    /// The path, as far as the header has room for it.
    pub(super) fn path(&self) -> Vec<u8> {
        let prefix = match self.format() {
            Format::Ustar => self.text(PREFIX),
            Format::Star => self.text(STAR_PREFIX),
            Format::V7 | Format::Gnu => b"",
        };
        let slash: &[u8] = if prefix.is_empty() { b"" } else { b"/" };
        [prefix, slash, self.text(NAME)].concat()
    }

    /// Times of access and of change of the inode, where the format has fields for them.
    pub(super) fn times(&self) -> Result<[Option<Time>; 2], &'static str> {
        let fields = match self.format() {
            Format::Gnu => [GNU_ATIME, GNU_CTIME],
            Format::Star => [STAR_ATIME, STAR_CTIME],
            Format::V7 | Format::Ustar => return Ok([None; 2]),
        };
        let mut times = [None; 2];
        for (time, field) in times.iter_mut().zip(fields) {
            if self.0[field.start] != 0 {
                *time = Some(Time { sec: self.number(field)?, nsec: 0 });
            }
        }
        Ok(times)
    }

    /// Major and minor device number; 0 where the format has no fields for them.
    pub(super) fn device(&self) -> Result<[i64; 2], &'static str> {
        match self.format() {
            Format::V7 => Ok([0; 2]),
            _ => Ok([self.number(MAJOR)?, self.number(MINOR)?]),
        }
    }

    /// Sets the path, or what fits of it. Whether all of it did.
    pub(super) fn set_path(&mut self, path: &[u8]) -> bool {
        if self.set_text(NAME, path) {
            return true;
        }
        // The slash between prefix and name is not stored; the prefix must not be empty, and the
        // name may end in a slash but not be one.
        let least = path.len() - 1 - NAME.len().min(path.len() - 1);
        let most = PREFIX.len().min(path.len() - 2);
        let cut = (least.max(1)..=most).find(|at| path[*at] == b'/');
        let Some(cut) = cut else { return false };
        self.set_text(NAME, &path[cut + 1..]) && self.set_text(PREFIX, &path[..cut])
    }

    /// Sets a text field, or what fits of it. Whether all of it did.
    pub(super) fn set_text(&mut self, field: Range<usize>, text: &[u8]) -> bool {
        let fits = text.len().min(field.len());
        self.0[field.clone()].fill(0);
        self.0[field][..fits].copy_from_slice(&text[..fits]);
        fits == text.len()
    }

    /// Sets a number field to the value nearest to `value` that fits. Whether that is `value`.
    pub(super) fn set_number(&mut self, field: Range<usize>, value: i64) -> bool {
        let digits = field.len() - 1;
        let most = (1i64 << (3 * digits)) - 1;
        let fits = value.clamp(0, most);
        let text = format!("{fits:0digits$o}");
        self.set_text(field, text.as_bytes());
        fits == value
    }
}

/// Reads a number field: octal text, or (GNU, star) a big-endian two's complement number of which
/// the top bit is set to tell it from text.
pub(super) fn number(field: &[u8]) -> Result<i64, &'static str> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return binary(field).ok_or("a number that does not fit 64 bits");
    }
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let digits = field[start..].split(padding).next().unwrap_or_default();
    let digit = |value: i64, byte: &u8| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, digit).ok_or("a number that is none")
}

fn binary(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    let negative = first & 0x40 != 0;
    let mut value = i64::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    for byte in &field[1..] {
        value = value.checked_mul(256)?.checked_add(i64::from(*byte))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_form() {
        let cases: [(&[u8], i64); 8] = [
            (b"0000644\0", 0o644),
            (b"   644 \0", 0o644),
            (b"77777777", 0o7777_7777),
            (b"\0\0\0\0", 0),
            (b"        ", 0),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x05", 5),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
            (b"\x80\0\0\x02\0\0\0\0", 0x2_0000_0000),
        ];
        for (field, value) in cases {
            assert_eq!(number(field), Ok(value), "{field:?}");
        }
        for field in [&b"12345x"[..], b"-1", b"\x80\0\0\0\x80\0\0\0\0\0\0\0", b"9"] {
            assert!(number(field).is_err(), "{field:?}");
        }
    }

    #[test]
    fn a_path_is_split_at_a_slash_or_not_at_all() {
        for (folders, name, fits) in [
            (155, 100, true),
            (156, 100, false),
            (155, 101, false),
            (1, 100, true),
            (0, 101, false),
        ] {
            let mut header = Header::ustar(b'0');
            let path = [vec![b'd'; folders], vec![b'n'; name]].join(&b'/');
            let path = if folders == 0 { path[1..].to_vec() } else { path };
            assert_eq!(header.set_path(&path), fits, "{folders} {name}");
            assert!(!fits || header.path() == path);
        }
        let mut header = Header::ustar(b'5');
        assert!(!header.set_path(&[&[b'd'; 100][..], b"/"].concat()));
        assert!(header.set_path(&[&[b'd'; 100][..], b"/a/"].concat()));
        assert!(header.set_path(b""));
    }
}
