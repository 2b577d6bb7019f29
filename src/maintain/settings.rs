//! Changes the settings of an archive.
//!
//! Order: parity that is not wanted any more goes first; else it lets go of the settings, which are
//! then written as a whole. Whoever changes them [protects](super::protect::protect) the new ones.

use std::collections::HashSet;
use std::sync::Arc;

use super::Error;
use super::protect::{let_go, protect};
use crate::format::{BlockHash, Config};
use crate::monitor::Monitor;
use crate::storage::Storage;
use crate::store::{CONFIG, read_config};

/// What is to be changed; `None`: it stays as it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which hash names blocks from now on, and how many bytes of it are kept. Packs that are not
    /// rebuilt keep theirs: they say which it is, and what they have is not known by the new one.
    pub naming: Option<(BlockHash, u8)>,
    /// How many recovery shards of a hundred data shards there are to be; 0: none.
    pub parity: Option<u32>,
}

impl Change {
    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn of(self, was: &Config) -> Config {
        let (hash, hash_len) = self.naming.unwrap_or((was.hash, was.hash_len));
        let percent = |percent: u32| u8::try_from(percent).ok().filter(|percent| *percent > 0);
        let parity = self.parity.map_or(was.parity, percent);
        Config { hash, hash_len, parity, ..was.clone() }
    }
}

/// Changes settings and protects what is to be protected then; the caller holds the lock of the
/// store. Returns the bytes of parity that were written. Where there is no room for these, as much
/// parity is to be there as before.
///
/// # Errors
/// As [`write`] and [`protect`].
pub fn apply(
    storage: &Arc<dyn Storage>,
    change: Change,
    monitor: &dyn Monitor,
) -> Result<u64, Error> {
    let was = read_config(&**storage)?;
    write(storage, change, monitor)?;
    protect(storage, None, monitor).inspect_err(|_| {
        let config = Config { parity: was.parity, ..change.of(&was) };
        if let Err(error) = storage.put(CONFIG, &config.encode()) {
            log::warn!("{error}; parity is still to be what was asked for");
        }
    })
}

/// Changes settings; the caller holds the lock of the store.
///
/// # Errors
/// If they cannot be read or written, or parity is not wanted that can make good what is damaged.
pub fn write(
    storage: &Arc<dyn Storage>,
    change: Change,
    monitor: &dyn Monitor,
) -> Result<(), Error> {
    let was = read_config(&**storage)?;
    let config = change.of(&was);
    match change.parity {
        Some(0) => _ = protect(storage, Some(0), monitor)?,
        _ if config == was => return Ok(()),
        // Settings that are not those that a set protects would be taken for damaged.
        _ => _ = let_go(storage, &HashSet::from([CONFIG.to_owned()]), monitor)?,
    }
    if config != was {
        storage.put(CONFIG, &config.encode())?;
    }
    Ok(())
}
