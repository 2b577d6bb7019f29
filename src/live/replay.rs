//! Reading a journal that was left behind: group by group, so that it takes no more memory than the
//! largest of them, and what they come to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::format::{
    Change, ENVELOPE_LEN, FormatError, Problem, Section, group_number, open_group, section_len,
};
use crate::storage::{ErrorKind, StorageError};

/// What follows a torn group is hashed so many times at most.
const LOOKED: u64 = 8;
/// Bytes that are looked through at a time for what may be a group.
const WINDOW: usize = 1 << 20;
/// Longest group that is read, in bytes: none is written that comes near.
const LONGEST_GROUP: u64 = 1 << 30;

/// What comes after the last group that can be read.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing, or room that was set aside.
    Empty,
    /// What was being written when it ended.
    Torn,
    /// Groups that were whole once.
    Damaged,
}

/// How far a journal goes.
#[derive(Debug)]
pub struct Replayed {
    /// Where the last whole group ends.
    pub end: u64,
    /// The number of the group that may follow.
    pub next: u64,
    /// Why it goes no further, though there is more that counted once.
    pub damage: Option<StorageError>,
}

/// Hands the changes in a journal to `each` in order, from the group at `from` on, which is the
/// first.
///
/// # Errors
/// If it cannot be read.
pub fn replay(
    file: &File,
    name: &str,
    from: u64,
    mut each: impl FnMut(Change) -> Result<(), StorageError>,
) -> Result<Replayed, StorageError> {
    let fail = |error| StorageError::io(name, error);
    let length = file.metadata().map_err(fail)?.len();
    let (mut at, mut next, mut damage) = (from, 1, None);
    while at < length {
        let group = read_group(file, at, length).map_err(fail)?;
        let opened = match &group {
            Some(bytes) => open_group(next, bytes),
            None => Err(Problem::Truncated.of(Section::Group)),
        };
        match opened {
            Ok(changes) => {
                damage = changes.into_iter().try_for_each(&mut each).err();
            }
            Err(error) => {
                damage = may_end(file, name, at..length, next, error)?;
                break;
            }
        }
        if damage.is_some() {
            break;
        }
        at += group.map_or(0, |bytes| bytes.len() as u64);
        next += 1;
    }
    Ok(Replayed { end: at, next, damage })
}

/// A journal may end where a group cannot be read if none after it can; else returns what is wrong.
fn may_end(
    file: &File,
    name: &str,
    rest: std::ops::Range<u64>,
    next: u64,
    error: FormatError,
) -> Result<Option<StorageError>, StorageError> {
    let at = rest.start;
    match look(file, rest, next).map_err(|error| StorageError::io(name, error))? {
        Rest::Empty => {}
        Rest::Torn => log::warn!("{name}: ends at byte {at}, with {error}"),
        Rest::Damaged => return Ok(Some(ErrorKind::left(&error).of(name))),
    }
    Ok(None)
}

/// The bytes of the group at `at`; `None`: it does not end before `end`, or is none.
fn read_group(file: &File, at: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
    if end - at < ENVELOPE_LEN as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; ENVELOPE_LEN];
    file.read_exact_at(&mut bytes, at)?;
    let length = section_len(&bytes).filter(|length| *length <= (end - at).min(LONGEST_GROUP));
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
        return Ok(None);
    };
    if !bytes.starts_with(&Section::Group.magic()) {
        return Ok(None);
    }
    bytes.resize(length, 0);
    file.read_exact_at(&mut bytes[ENVELOPE_LEN..], at + ENVELOPE_LEN as u64)?;
    Ok(Some(bytes))
}

/// What there is after the last group that can be read. If that was never whole, neither it nor
/// any group after it checks out. Bytes that look like the start of very many groups are not
/// looked into without end: then they are as good as damage.
fn look(file: &File, rest: std::ops::Range<u64>, next: u64) -> io::Result<Rest> {
    let magic = Section::Group.magic();
    let mut left = (rest.end - rest.start).saturating_mul(LOOKED);
    let (mut found, mut window) = (Rest::Empty, vec![0; WINDOW]);
    let mut at = rest.start;
    while at < rest.end {
        let length = WINDOW.min(usize::try_from(rest.end - at).unwrap_or(WINDOW));
        let bytes = &mut window[..length];
        file.read_exact_at(bytes, at)?;
        if bytes.iter().any(|byte| *byte != 0) {
            found = Rest::Torn;
        }
        let starts = bytes.windows(magic.len()).enumerate();
        for start in starts.filter(|(_, bytes)| *bytes == magic).map(|(start, _)| start as u64) {
            let Some(group) = read_group(file, at + start, rest.end)? else { continue };
            match left.checked_sub(group.len() as u64) {
                Some(after) if group_number(&group).is_none_or(|number| number < next) => {
                    left = after;
                }
                _ => return Ok(Rest::Damaged),
            }
        }
        // One may begin at the end of the window.
        let step = if at + length as u64 == rest.end { length } else { length + 1 - magic.len() };
        at += step as u64;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::seal_group;
    use std::io::Write;

    fn looks(bytes: &[u8], next: u64) -> Rest {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        look(&file, 0..bytes.len() as u64, next).unwrap()
    }

    #[test]
    fn what_looks_like_groups_without_end_is_damage() {
        let group = seal_group(5, &[0; 100]);
        let mut head = group[..ENVELOPE_LEN].to_vec();
        assert_eq!(looks(&[&head[..], &[0; 50]].concat(), 5), Rest::Torn);
        assert_eq!(looks(&group, 6), Rest::Torn);
        assert_eq!(looks(&[&head[..], &group].concat(), 5), Rest::Damaged);
        assert_eq!(looks(&[0; 5000], 5), Rest::Empty);
        // Across the end of what is looked through at a time.
        let before = vec![0; WINDOW - 3];
        assert_eq!(looks(&[&before[..], &group, &[0; WINDOW]].concat(), 5), Rest::Damaged);
        // Each is said to have all that follows it, and has to be hashed.
        let length = head.len() * 100;
        head[24..32].copy_from_slice(&(length as u64 / 2).to_le_bytes());
        assert_eq!(looks(&head.repeat(100), 5), Rest::Damaged);
        assert_eq!(looks(&head.repeat(10), 5), Rest::Torn);
    }
}
