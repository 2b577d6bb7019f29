//! What only parity knows of.

use super::keys::{ROOTS, parse_root};
use crate::parity;
use crate::storage::{Storage, StorageError};

/// A root that is newer than that of this number, and lost: only parity tells that it was there.
/// Nothing may follow an older one, or be collected, before it is brought back. What a set has that
/// is damaged, nobody knows.
///
/// # Errors
/// If parity sets cannot be listed.
pub fn lost_root(storage: &dyn Storage, newest: u64) -> Result<Option<String>, StorageError> {
    if let Some((_, error)) = parity::sets(storage)?.1.into_iter().next() {
        return Ok(Some(error.to_string()));
    }
    let newer = |key: &String| parse_root(key).is_some_and(|(number, _)| number > newest);
    let lost = parity::lost(storage, ROOTS)?.into_iter().find(newer);
    Ok(lost.map(|key| format!("{}: lost, and parity has it", storage.locate(&key))))
}
