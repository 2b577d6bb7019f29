//! Extended records of PAX: `length key=value\n`, before the member they are about or, as
//! globals, for all members that follow.

use std::collections::BTreeMap;

use super::acl;
use super::error::show;
use super::sparse::{self, Runs};
use crate::format::{MAX_NAME, MAX_XATTR, MAX_XATTR_SET, Time};

const XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";
const ACCESS_ACL: &[u8] = b"SCHILY.acl.access";
const DEFAULT_ACL: &[u8] = b"SCHILY.acl.default";
/// Most bytes of names of attributes, each with a NUL (Linux `XATTR_LIST_MAX`).
const MAX_XATTR_NAMES: usize = 64 << 10;
/// Most lines about what was lost of one member.
const MAX_LOST: usize = 16;
const NANOSECONDS: u32 = 1_000_000_000;

/// Values that take the place of a header's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values {
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) ctime: Option<Time>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
}

/// What the records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// 1 if the map is before the data (form 1.0).
    pub(super) version: u64,
    pub(super) name: Option<Vec<u8>>,
    /// Its size with holes; set for every sparse file.
    pub(super) size: Option<u64>,
    pub(super) map: Runs,
    offset: Option<u64>,
}

/// The records of a member.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) values: Values,
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// ACLs as text, by the attribute that they become.
    pub(super) acls: BTreeMap<&'static [u8], Vec<u8>>,
    pub(super) sparse: Sparse,
    /// What cannot be kept.
    pub(super) lost: Vec<String>,
    xattr_bytes: usize,
    xattr_name_bytes: usize,
}

/// Takes in the global records of `body`. Names and attributes cannot be shared, so only numbers
/// and times count.
pub(super) fn parse_globals(body: &[u8], globals: &mut Values) -> Result<(), &'static str> {
    for record in Split(body) {
        let (key, value) = record?;
        globals.set(key, value)?;
    }
    Ok(())
}

/// The records of `body` on top of the global ones.
pub(super) fn parse(body: &[u8], globals: Values) -> Result<Records, &'static str> {
    let mut records = Records::new(globals);
    for record in Split(body) {
        let (key, value) = record?;
        if !records.values.set(key, value)? {
            records.set(key, value)?;
        }
    }
    Ok(records)
}

impl Values {
    /// Takes a record in, if it is about one of these. An empty value stands for the header's.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<bool, &'static str> {
        match key {
            b"uid" => self.uid = optional(value, decimal)?,
            b"gid" => self.gid = optional(value, decimal)?,
            b"size" => self.size = optional(value, decimal)?,
            b"mtime" => self.mtime = optional(value, parse_time)?,
            b"atime" => self.atime = optional(value, parse_time)?,
            b"ctime" => self.ctime = optional(value, parse_time)?,
            b"SCHILY.devmajor" => self.major = optional(value, decimal)?,
            b"SCHILY.devminor" => self.minor = optional(value, decimal)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Records {
    /// Global records alone.
    pub(super) fn new(globals: Values) -> Self {
        Self { values: globals, ..Self::default() }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let text = || Some(value.to_vec()).filter(|text| !text.is_empty());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            ACCESS_ACL => self.set_acl(acl::ACCESS, value),
            DEFAULT_ACL => self.set_acl(acl::DEFAULT, value),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.set_xattr(unescape(name, b"%="), value.to_vec(), true);
                } else if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
                    let value = unbase64(value).ok_or("an attribute that is not base64")?;
                    self.set_xattr(unescape(name, &[]), value, false);
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_acl(&mut self, attribute: &'static [u8], text: &[u8]) {
        if !text.is_empty() {
            self.acls.insert(attribute, text.to_vec());
        }
    }

    /// Adds an attribute, over one of this name only if `replace`.
    pub(super) fn set_xattr(&mut self, name: Vec<u8>, value: Vec<u8>, replace: bool) {
        if !replace && self.xattrs.contains_key(&name) {
            return;
        }
        let bytes = self.xattr_bytes + name.len() + value.len();
        let name_bytes = self.xattr_name_bytes + name.len() + 1;
        let valid = (1..=MAX_NAME).contains(&name.len()) && !name.contains(&0);
        let fits = value.len() <= MAX_XATTR && bytes <= MAX_XATTR_SET;
        if !valid || !fits || name_bytes > MAX_XATTR_NAMES {
            return self.lose(format!("its attribute {}, which Linux cannot hold", show(&name)));
        }
        (self.xattr_bytes, self.xattr_name_bytes) = (bytes, name_bytes);
        self.xattrs.insert(name, value);
    }

    /// Notes what cannot be kept.
    pub(super) fn lose(&mut self, what: String) {
        if self.lost.len() < MAX_LOST {
            self.lost.push(what);
        }
    }
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or("a record of a sparse file that is no number");
        match key {
            b"major" => self.version = number()?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or("an extent without an offset")?;
                sparse::push(&mut self.map, offset, number()?)?;
            }
            b"map" => {
                let mut numbers = value.split(|byte| *byte == b',').map(decimal);
                while let Some(offset) = numbers.next() {
                    let extent = offset.zip(numbers.next().flatten());
                    let (offset, length) = extent.ok_or("a map of holes that is none")?;
                    sparse::push(&mut self.map, offset, length)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Splits a body into keys and values.
struct Split<'a>(&'a [u8]);

impl<'a> Iterator for Split<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.take_record();
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or("an extended record that is none"))
    }
}

impl<'a> Split<'a> {
    fn take_record(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let space = self.0.iter().position(|byte| *byte == b' ')?;
        let length = usize::try_from(decimal(&self.0[..space])?).ok()?;
        let (record, rest) = self.0.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        self.0 = rest;
        Some((&record[..equals], &record[equals + 1..]))
    }
}

fn optional<T>(
    value: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, &'static str> {
    match value {
        b"" => Ok(None),
        _ => parse(value).map(Some).ok_or("an extended record with a value that is none"),
    }
}

/// A number of decimal digits alone.
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Seconds since 1970 with a fraction of any length, of which nanoseconds are kept.
fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nsec = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some(match (negative, nsec) {
        (false, _) => Time { sec: 0i64.checked_add_unsigned(whole)?, nsec },
        (true, 0) => Time { sec: 0i64.checked_sub_unsigned(whole)?, nsec },
        (true, _) => {
            let sec = 0i64.checked_sub_unsigned(whole.checked_add(1)?)?;
            Time { sec, nsec: NANOSECONDS - nsec }
        }
    })
}

/// The text of a time, with no more digits than it needs.
pub(super) fn time_text(time: Time) -> String {
    let (sign, whole, nsec) = match time {
        Time { sec, nsec: 0 } => (if sec < 0 { "-" } else { "" }, sec.unsigned_abs(), 0),
        Time { sec: 0.., nsec } => ("", time.sec.unsigned_abs(), nsec),
        Time { sec, nsec } => ("-", sec.unsigned_abs() - 1, NANOSECONDS.saturating_sub(nsec)),
    };
    let text = format!("{sign}{whole}.{nsec:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Replaces `%` and two hexadecimal digits by the byte they stand for, if that is one of `only`
/// (of all bytes, if `only` is empty).
fn unescape(text: &[u8], only: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|code| !code.starts_with('+'));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match byte.filter(|byte| only.is_empty() || only.contains(byte)) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Decodes base64, with padding or without.
fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.iter().filter(|byte| !matches!(byte, b'=' | b'\n')) {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(out)
}

/// Adds a record to a body.
pub(super) fn put(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits.
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    body.extend(format!("{length} ").bytes());
    body.extend(key);
    body.push(b'=');
    body.extend(value);
    body.push(b'\n');
}

/// Adds the record of an attribute to a body: ACLs as text, so that other programs restore them.
pub(super) fn put_xattr(body: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let acl = match name {
        acl::ACCESS => acl::to_text(name, value).map(|text| (ACCESS_ACL, text)),
        acl::DEFAULT => acl::to_text(name, value).map(|text| (DEFAULT_ACL, text)),
        _ => None,
    };
    if let Some((key, text)) = acl {
        return put(body, key, &text);
    }
    let mut key = XATTR.to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend(b"%25"),
            b'=' => key.extend(b"%3D"),
            _ => key.push(*byte),
        }
    }
    put(body, &key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        let nsec = 999_999_999;
        for sec in [0, 1, -1, -5, i64::MAX, i64::MIN] {
            for nsec in [0, 1, 500_000_000, nsec] {
                let time = Time { sec, nsec };
                assert_eq!(parse_time(time_text(time).as_bytes()), Some(time), "{time:?}");
            }
        }
        let time = Time { sec: -2, nsec: 750_000_000 };
        assert_eq!(time_text(time), "-1.25");
        assert_eq!(parse_time(b"-1.250000000999"), Some(time));
        assert_eq!(parse_time(b"7."), Some(Time { sec: 7, nsec: 0 }));
        for text in ["", "-", "+1", "1.x", "--1", "99999999999999999999", "1e5", ".5"] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn records_of_any_length_and_bytes_are_split() {
        for length in [0, 1, 2, 3, 89, 90, 91, 92, 93, 94, 989, 990, 991, 992, 9_990] {
            let value: Vec<u8> = b"a\n=\0 \xff".iter().copied().cycle().take(length).collect();
            let mut body = Vec::new();
            put(&mut body, b"key", &value);
            put(&mut body, b"k", b"v");
            let records: Result<Vec<_>, _> = Split(&body).collect();
            assert_eq!(records.unwrap(), [(&b"key"[..], &value[..]), (b"k", b"v")]);
        }
        for body in [&b"6 a=b"[..], b"6 a=bc", b"99 a=b\n", b"x a=b\n", b"5 a\n", b"0 a=b\n", b"2"]
        {
            assert!(Split(body).any(|record| record.is_err()), "{body:?}");
        }
    }

    #[test]
    fn attributes_are_read_in_both_forms() {
        let mut body = Vec::new();
        put(&mut body, b"SCHILY.xattr.user.a%3Db%25%41", b"\0\n\xff");
        put(&mut body, b"LIBARCHIVE.xattr.user.%C3%a4%+1", b"AAr/");
        put(&mut body, b"LIBARCHIVE.xattr.user.a%3db%", b"YQ");
        put(&mut body, b"SCHILY.xattr.user.big", &[0; MAX_XATTR + 1]);
        let records = parse(&body, Values::default()).unwrap();
        let names: Vec<&[u8]> = records.xattrs.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"user.a=b%"[..], b"user.a=b%%41", b"user.\xc3\xa4%+1"]);
        assert_eq!(records.xattrs[&b"user.a=b%%41"[..]], b"\0\n\xff");
        assert_eq!(records.xattrs[&b"user.\xc3\xa4%+1"[..]], b"\0\n\xff");
        assert_eq!(records.lost.len(), 1);
    }
}
