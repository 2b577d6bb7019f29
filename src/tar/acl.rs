//! POSIX ACLs: tar has them as text (`user::rw-,user:1000:r--,...`), the kernel as bytes: a
//! version, then entries of tag, permissions and id, ordered by tag and id.

use std::collections::HashMap;
use std::fs;

use super::error::show;

/// The attribute with a file's ACL.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the ACL that new files in a folder get.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_LEN: usize = 8;
const NO_ID: u32 = u32::MAX;

const USER_OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OWNER: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Numbers of users and groups by name, read when first needed.
#[derive(Default)]
pub(super) struct Names {
    users: Option<HashMap<Vec<u8>, u32>>,
    groups: Option<HashMap<Vec<u8>, u32>>,
}

impl Names {
    fn find(&mut self, tag: u16, name: &[u8]) -> Option<u32> {
        let table = match tag {
            USER => self.users.get_or_insert_with(|| read_table("/etc/passwd")),
            _ => self.groups.get_or_insert_with(|| read_table("/etc/group")),
        };
        table.get(name).copied()
    }
}

/// Names and numbers: the first and third field of each line.
fn read_table(path: &str) -> HashMap<Vec<u8>, u32> {
    let text = fs::read(path).unwrap_or_default();
    let parse = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        Some((name.to_vec(), decimal(fields.nth(1)?)?))
    };
    text.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

fn decimal(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// The kernel's bytes for the ACL in text that is the value of `attribute`. `None` if it says no
/// more than the mode does; an error says what cannot be kept.
pub(super) fn from_text(
    attribute: &[u8],
    text: &[u8],
    names: &mut Names,
) -> Result<Option<Vec<u8>>, String> {
    let mut entries = Vec::new();
    for line in text.split(|byte| matches!(byte, b',' | b'\n')) {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if !line.is_empty() {
            entries.push(parse_entry(line, names)?);
        }
    }
    entries.sort_unstable();
    let in_mode = |tag| attribute == ACCESS && matches!(tag, USER_OWNER | GROUP_OWNER | OTHER);
    if entries.iter().all(|(tag, ..)| in_mode(*tag)) {
        return Ok(None);
    }
    let mut out = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    Ok(Some(out))
}

/// Tag, id and permissions of an entry: `[default:]tag:name:permissions[:id]`.
fn parse_entry(line: &[u8], names: &mut Names) -> Result<(u16, u32, u16), String> {
    let malformed = || format!("an ACL entry that is none: {}", show(line));
    let line = line.strip_prefix(b"default:").unwrap_or(line);
    let mut fields = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
    let tag = fields.next().unwrap_or_default();
    let mut name = fields.next().ok_or_else(malformed)?;
    // `mask` and `other` may go without the empty name.
    let permissions = match fields.next() {
        Some(permissions) => permissions,
        None => std::mem::take(&mut name),
    };
    let tag = match (tag, name.is_empty()) {
        (b"user" | b"u", true) => USER_OWNER,
        (b"user" | b"u", false) => USER,
        (b"group" | b"g", true) => GROUP_OWNER,
        (b"group" | b"g", false) => GROUP,
        (b"mask" | b"m", true) => MASK,
        (b"other" | b"o", true) => OTHER,
        _ => return Err(malformed()),
    };
    let permissions = parse_permissions(permissions).ok_or_else(malformed)?;
    if name.is_empty() {
        return Ok((tag, NO_ID, permissions));
    }
    // A number after the permissions (star) or in place of the name needs no table.
    let number = fields.next().and_then(decimal).or_else(|| decimal(name));
    let unknown = || format!("an ACL entry for {}, who is unknown here", show(name));
    let id = number.or_else(|| names.find(tag, name)).ok_or_else(unknown)?;
    Ok((tag, id, permissions))
}

fn parse_permissions(text: &[u8]) -> Option<u16> {
    let bit = |bits: u16, byte: &u8| match byte {
        b'r' => Some(bits | 4),
        b'w' => Some(bits | 2),
        b'x' => Some(bits | 1),
        b'-' => Some(bits),
        _ => None,
    };
    text.iter().try_fold(0, bit).filter(|_| !text.is_empty())
}

/// The text of the ACL that is the value of `attribute`, if the text says all that the bytes do.
pub(super) fn to_text(attribute: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = String::new();
    for entry in bytes.get(4..)?.chunks_exact(ENTRY_LEN) {
        let bits = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let (name, id) = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER_OWNER => ("user", String::new()),
            USER => ("user", id.to_string()),
            GROUP_OWNER => ("group", String::new()),
            GROUP => ("group", id.to_string()),
            MASK => ("mask", String::new()),
            OTHER => ("other", String::new()),
            _ => return None,
        };
        let letter = |bit, letter| if bits & bit == 0 { '-' } else { letter };
        let comma = if text.is_empty() { "" } else { "," };
        let (read, write, execute) = (letter(4, 'r'), letter(2, 'w'), letter(1, 'x'));
        text += &format!("{comma}{name}:{id}:{read}{write}{execute}");
    }
    let back = from_text(attribute, text.as_bytes(), &mut Names::default());
    back.is_ok_and(|back| back.as_deref() == Some(bytes)).then(|| text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_every_form_is_the_kernels_bytes() {
        let bytes = b"\x02\0\0\0\
            \x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x05\0\0\0\x02\0\x04\0\xe8\x03\0\0\
            \x04\0\x04\0\xff\xff\xff\xff\x08\0\x07\0\0\0\0\0\
            \x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
        let texts = [
            "user::rw-,user:5:r--,user:1000:r--,group::r--,group:0:rwx,mask::rwx,other::---",
            "user::rw-\nuser:1000:r--\ngroup::r--\nuser:5:r--#effective:r--\ngroup:0:rwx\n\
             mask::rwx\nother::---\n",
            "u::rw-,u:nobody-at-all:r--:1000,u:5:r--,g::r--,g:root:rwx,m:rwx,o:---",
            "default:user::rw-,default:user:5:r,default:user:1000:r,group::r--,group:0:rwx,\
             mask::rwx,other::-",
        ];
        for text in texts {
            let read = from_text(ACCESS, text.as_bytes(), &mut Names::default());
            assert_eq!(read.unwrap().unwrap(), bytes, "{text}");
        }
        assert_eq!(to_text(ACCESS, bytes).unwrap(), texts[0].as_bytes());
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let read = |text: &[u8]| from_text(ACCESS, text, &mut Names::default());
        let in_mode = b"user::rwx,group::r-x,other::r-x";
        assert_eq!(read(in_mode), Ok(None));
        let default = from_text(DEFAULT, in_mode, &mut Names::default()).unwrap().unwrap();
        assert_eq!(to_text(DEFAULT, &default).unwrap(), in_mode);
        assert_eq!(to_text(ACCESS, &default), None);
        assert!(read(b"user:no such user:rwx").unwrap_err().contains("no such user"));
        for text in [&b"user"[..], b"user::", b"user::q", b"nobody::r", b"mask:5:r", b":::"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(to_text(ACCESS, b"\x02\0\0\0\x03\0\x06\0\xff\xff\xff\xff"), None);
        assert_eq!(to_text(ACCESS, b"\x02\0\0\0\x10\0\x06\0\xff\xff\xff\xff\0"), None);
        assert_eq!(to_text(ACCESS, b""), None);
    }
}
