//! Sets of extended attributes. Layout: `format-spec.md`, "Page of inodes".

use super::wire::{Cursor, Put};
use super::{MAX_XATTR, MAX_XATTR_SET, Problem};

/// Extended attributes of an inode: names and values, ordered by name.
pub type XattrSet = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes a set.
pub(super) fn put_set(out: &mut Vec<u8>, set: &XattrSet) {
    out.put_len(set.len());
    for (name, value) in set {
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_len(value.len());
        out.extend(name);
        out.extend(value);
    }
}

/// Reads a set of at most `room` attributes, and takes them off that.
pub(super) fn parse_set(cursor: &mut Cursor<'_>, room: &mut usize) -> Result<XattrSet, Problem> {
    let count = cursor.count(5)?;
    *room = room.checked_sub(count).ok_or(Problem::Limit("extended attributes of a page"))?;
    let mut set: XattrSet = Vec::with_capacity(count);
    let mut total = 0;
    for _ in 0..count {
        let name_len = usize::from(cursor.u8()?);
        let value_len = cursor.u32()? as usize;
        total += name_len + value_len;
        if value_len > MAX_XATTR || total > MAX_XATTR_SET {
            return Err(Problem::Limit("length of extended attributes"));
        }
        let name = cursor.take(name_len)?.to_vec();
        let value = cursor.take(value_len)?.to_vec();
        let ordered = set.last().is_none_or(|(last, _)| *last < name);
        if name.is_empty() || name.contains(&0) || !ordered {
            return Err(Problem::Malformed("name of an extended attribute"));
        }
        set.push((name, value));
    }
    Ok(set)
}
