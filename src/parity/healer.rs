//! Heals what a reader meets.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::set::{Health, PARITY, open};
use crate::storage::Storage;

/// Makes objects whole in memory, one at a time, for whoever reads an archive; what lies in it
/// stays as it is.
#[derive(Debug, Default)]
pub struct Healer(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The object that was healed last: who reads one frame of it may read others.
    last: Option<(String, Arc<Vec<u8>>)>,
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
        state.last = Some((key.to_owned(), Arc::new(object)));
        bytes
    }
}

/// An object that is not whole, made so.
fn whole(storage: &dyn Storage, key: &str) -> Option<Vec<u8>> {
    for set in storage.list(PARITY).ok()? {
        let Ok(set) = open(storage, &set) else { continue };
        if !set.members().iter().any(|member| member.key == key) {
            continue;
        }
        if let Ok(Health::Healed(objects)) = set.heal(storage) {
            return objects.into_iter().find(|(own, _)| own == key).map(|(_, bytes)| bytes);
        }
    }
    None
}
