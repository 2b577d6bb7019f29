//! How much of a frame is inflated for whom.

use std::sync::Arc;

use packfs::index::FrameId;
use packfs::storage;
use packfs::store::{OpenOptions, Store};

use super::small;
use crate::support::Scratch;

const LENGTH: u32 = 1 << 20;
const ID: FrameId = FrameId { segment: 0, frame: 0 };

/// A store of one frame, and what that inflates to.
fn one_frame() -> (Scratch, Store, Vec<u8>) {
    let text: String =
        (0..100_000u32).map(|n| format!("{} ", n.wrapping_mul(2_654_435_761))).collect();
    let bytes = text.as_bytes()[..LENGTH as usize].to_vec();
    let (scratch, _, archive) = small(|folder| folder.file("file", &bytes));
    let store = Store::open(storage::open(&archive).unwrap(), OpenOptions::default()).unwrap();
    (scratch, store, bytes)
}

#[test]
fn a_frame_is_inflated_as_far_as_it_is_wanted_and_goes_on_from_there() {
    let (_scratch, store, bytes) = one_frame();
    let frame = store.frame(ID, LENGTH, 1).unwrap();
    let reach = |wanted: u32| {
        let there = |there: &[u8]| {
            assert!(bytes.starts_with(there), "other bytes");
            there.len()
        };
        let length = store.reach(ID, &frame, wanted, there).unwrap();
        assert!(length >= wanted as usize);
        length
    };
    let first = reach(1);
    assert!(first <= 128 << 10, "{first}");
    assert_eq!(store.inflated_bytes(), first as u64);
    assert_eq!(reach(u32::try_from(first).unwrap()), first, "no more for the same");
    let further = reach(300 << 10);
    assert!(further < LENGTH as usize && further - (300 << 10) < 128 << 10, "{further}");
    assert_eq!(store.inflated_bytes(), further as u64, "what was inflated is not inflated again");
    assert!(frame.whole().is_none());
    assert_eq!(reach(LENGTH), LENGTH as usize);
    assert_eq!(frame.whole(), Some(&bytes[..]));
    assert_eq!(store.inflated_bytes(), u64::from(LENGTH));
    assert!(Arc::ptr_eq(&frame, &store.frame(ID, LENGTH, LENGTH).unwrap()));
    let held = store.working_set_counts().bytes;
    assert!(held < u64::from(LENGTH) + 4096, "what it took to go on is gone: {held}");
}

#[test]
fn what_is_about_to_be_read_is_inflated_that_far() {
    let (_scratch, store, _) = one_frame();
    assert!(store.ready(ID, 1).is_none());
    store.prefetch(ID, 300 << 10).unwrap();
    assert!(store.ready(ID, 300 << 10).is_some() && store.ready(ID, LENGTH).is_none());
    assert!(store.inflated_bytes() < u64::from(LENGTH));
    store.prefetch(ID, u32::MAX).unwrap();
    assert!(store.ready(ID, LENGTH).is_some());
    assert_eq!(store.inflated_bytes(), u64::from(LENGTH));
    // There is none behind the last one of a segment.
    store.prefetch(FrameId { frame: 1, ..ID }, u32::MAX).unwrap();
}

#[test]
fn many_readers_of_a_frame_inflate_each_byte_once() {
    let (_scratch, store, bytes) = one_frame();
    std::thread::scope(|scope| {
        for reader in 0..8u32 {
            let (store, bytes) = (&store, &bytes);
            scope.spawn(move || {
                for step in 1..=64u32 {
                    let wanted = (step * 16 * 1024).wrapping_add(reader * 999).min(LENGTH);
                    let frame = store.frame(ID, LENGTH, wanted).unwrap();
                    let same =
                        |there: &[u8]| bytes.starts_with(there) && there.len() >= wanted as usize;
                    assert!(store.reach(ID, &frame, wanted, same).unwrap());
                }
            });
        }
    });
    assert_eq!(store.inflated_bytes(), u64::from(LENGTH));
}
