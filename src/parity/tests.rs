//! A set gives back all it can, and nothing but what was.

use proptest::prelude::*;

use super::{Healer, Health, parity_key, protect};
use crate::format::{Protected, hex};
use crate::storage::{MemoryStorage, Storage};

/// Bytes that look random.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A storage with objects of these lengths, and a set of them.
fn protected(lengths: &[usize], percent: u32) -> (MemoryStorage, Vec<String>, String) {
    let storage = MemoryStorage::default();
    let mut members = Vec::new();
    for (seed, length) in (0..).zip(lengths) {
        let bytes = noise(*length, seed);
        let key = format!("index/{}", hex(blake3::hash(&bytes).as_bytes()));
        storage.put(&key, &bytes).unwrap();
        members.push(Protected { key, length: *length as u64 });
    }
    let keys = members.iter().map(|member| member.key.clone()).collect();
    let (id, bytes) = protect(&storage, members, percent).unwrap();
    let key = parity_key(&id);
    storage.put(&key, &bytes).unwrap();
    (storage, keys, key)
}

fn get(storage: &MemoryStorage, key: &str) -> Vec<u8> {
    storage.get(key, u64::MAX).unwrap().as_ref().to_vec()
}

/// Puts an object anew, changed.
fn hurt(storage: &MemoryStorage, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = get(storage, key);
    change(&mut bytes);
    storage.delete(key).unwrap();
    storage.put(key, &bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    })]
    #[test]
    fn what_is_not_more_than_it_can_is_made_good(
        lengths in prop::collection::vec(0usize..30_000, 1..8),
        percent in 1u32..=100,
        places in prop::collection::vec((any::<usize>(), any::<usize>(), 0u8..4), 1..6),
        set_too: bool,
    ) {
        prop_assume!(lengths.iter().any(|length| *length > 0));
        let (storage, keys, key) = protected(&lengths, percent);
        let before: Vec<Vec<u8>> = keys.iter().map(|key| get(&storage, key)).collect();
        for (which, at, how) in places {
            let which = which % keys.len();
            if storage.size(&keys[which]).is_err() || lengths[which] == 0 {
                continue;
            }
            match how {
                0 => storage.delete(&keys[which]).unwrap(),
                1 => hurt(&storage, &keys[which], |bytes| bytes.truncate(at % (bytes.len() + 1))),
                2 => hurt(&storage, &keys[which], |bytes| bytes.push(7)),
                _ => hurt(&storage, &keys[which], |bytes| {
                    if let Some(byte) = bytes.len().checked_sub(1).map(|last| at % (last + 1)) {
                        bytes[byte] ^= 1;
                    }
                }),
            }
        }
        if set_too {
            // A recovery shard, and the first table.
            hurt(&storage, &key, |bytes| {
                bytes[0] ^= 1;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            });
        }
        let set = super::open(&storage, &key).unwrap();
        prop_assert_eq!(set.damage(&storage, true).is_some(), set_too);
        match set.heal(&storage).unwrap() {
            Health::Whole => {}
            Health::Healed(objects) => {
                for (key, bytes) in objects {
                    storage.delete(&key).unwrap();
                    storage.put(&key, &bytes).unwrap();
                }
            }
            Health::Beyond { shards, recovery, .. } => {
                prop_assert!(shards > recovery);
                return Ok(());
            }
        }
        for (key, before) in keys.iter().zip(&before) {
            prop_assert_eq!(&get(&storage, key), before);
        }
    }
}

#[test]
fn what_is_damaged_is_not_protected() {
    let storage = MemoryStorage::default();
    let key = format!("index/{}", hex(&[7; 32]));
    storage.put(&key, b"other bytes").unwrap();
    assert!(protect(&storage, vec![Protected { key, length: 11 }], 10).is_err());
}

#[test]
fn a_reader_gets_what_is_lost_and_the_archive_stays_as_it_is() {
    let (storage, keys, key) = protected(&[50_000, 9_000, 20_000], 20);
    let (there, gone) = (get(&storage, &keys[0]), get(&storage, &keys[1]));
    storage.delete(&keys[1]).unwrap();
    let healer = Healer::default();
    for _ in 0..2 {
        assert_eq!(healer.range(&storage, &keys[1], 100..200).unwrap(), gone[100..200]);
    }
    assert!(healer.range(&storage, &keys[1], 8_999..9_001).is_none());
    assert!(storage.size(&keys[1]).is_err());
    // More than there is recovery for; and what nothing protects.
    storage.delete(&keys[0]).unwrap();
    assert!(Healer::default().range(&storage, &keys[0], 0..1).is_none());
    assert!(healer.range(&storage, "index/other", 0..1).is_none());
    // Enough again.
    storage.put(&keys[0], &there).unwrap();
    storage.delete(&key).unwrap();
    assert!(Healer::default().range(&storage, &keys[1], 0..1).is_none());
}
