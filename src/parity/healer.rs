//! Heals what a reader meets.

use std::collections::HashSet;
use std::ops::Range;

use parking_lot::Mutex;

use super::set::{Health, Set, sets};
use crate::storage::Storage;

/// Makes objects whole in memory, one at a time, for whoever reads an archive; what lies in it
/// stays as it is.
#[derive(Debug, Default)]
pub struct Healer(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The object that was healed last: who reads one frame of it may read others.
    last: Option<(String, Vec<u8>)>,
    /// Those that could not be.
    beyond: HashSet<String>,
}

impl Healer {
    /// Bytes of an object that is damaged or lost; `None`: nothing protects it, or not enough.
    ///
    /// This reads all that the set protects: a damaged object is rare. It is made whole once,
    /// however many ask for it.
    #[must_use]
    pub fn range(&self, storage: &dyn Storage, key: &str, range: Range<usize>) -> Option<Vec<u8>> {
        let mut state = self.0.lock();
        if let Some((_, object)) = state.last.as_ref().filter(|(last, _)| last == key) {
            return object.get(range).map(<[u8]>::to_vec);
        }
        if state.beyond.contains(key) {
            return None;
        }
        let Some(object) = whole(storage, key) else {
            state.beyond.insert(key.to_owned());
            return None;
        };
        let name = storage.locate(key);
        log::warn!("{name}: damaged, and healed by parity; run packfs fsck --repair");
        let bytes = object.get(range).map(<[u8]>::to_vec);
        state.last = Some((key.to_owned(), object));
        bytes
    }
}

/// An object that is not whole, made so.
fn whole(storage: &dyn Storage, key: &str) -> Option<Vec<u8>> {
    let (sets, _) = sets(storage).ok()?;
    let protects = |set: &&Set| set.members().iter().any(|member| member.key == key);
    sets.iter().filter(protects).find_map(|set| match set.heal(storage) {
        Ok(Health::Healed(objects)) => {
            objects.into_iter().find(|(own, _)| own == key).map(|(_, bytes)| bytes)
        }
        _ => None,
    })
}
