//! What only parity knows of.

use super::keys::parse_root;
use crate::parity;
use crate::storage::{Storage, StorageError};

/// A root that is newer than that of this number, and lost: only parity tells that it was there.
/// Nothing may follow an older one, or be collected, before it is brought back. What a set has that
/// is damaged, nobody knows.
///
/// # Errors
/// If parity sets cannot be listed.
pub fn lost_root(storage: &dyn Storage, newest: u64) -> Result<Option<String>, StorageError> {
    let (sets, broken) = parity::sets(storage)?;
    if let Some((_, error)) = broken.into_iter().next() {
        return Ok(Some(error.to_string()));
    }
    let lost = |key: &&String| {
        parse_root(key).is_some_and(|(number, _)| number > newest)
            && storage.size(key).is_err_and(|error| error.is_not_found())
    };
    let members = sets.iter().flat_map(|set| set.members());
    let lost = members.map(|member| &member.key).find(lost);
    Ok(lost.map(|key| format!("{}: lost, and parity has it", storage.locate(key))))
}
