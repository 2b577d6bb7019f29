//! How much of a frame is inflated for whom.

use std::sync::Arc;

use packfs::index::FrameId;
use packfs::storage;
use packfs::store::{OpenOptions, Store};

use super::small;

#[test]
fn a_frame_is_inflated_as_far_as_it_is_wanted_and_whole_the_second_time() {
    let text: String =
        (0..100_000u32).map(|n| format!("{} ", n.wrapping_mul(2_654_435_761))).collect();
    let (_scratch, _, archive) = small(|folder| folder.file("file", &text.as_bytes()[..1 << 20]));
    let store = Store::open(storage::open(&archive).unwrap(), OpenOptions::default()).unwrap();
    let id = FrameId { segment: 0, frame: 0 };
    let length = |wanted| store.frame(id, 1 << 20, wanted).unwrap().len();
    assert_eq!(length(1), 128 << 10);
    assert_eq!(length(128 << 10), 128 << 10, "no more for the same");
    assert_eq!(length((128 << 10) + 1), 1 << 20, "whole for more");
    assert_eq!(length(1), 1 << 20, "and it stays");
    let first = store.frame(id, 1 << 20, 1).unwrap();
    assert!(Arc::ptr_eq(&first, &store.frame(id, 1 << 20, 1 << 20).unwrap()));
}
