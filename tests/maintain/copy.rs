//! A copy shows the same, and has nothing else.

use std::fs;

use packfs::maintain::check::Depth;

use super::sample::{Sample, checked, compare, put, samples};
use crate::support::Scratch;
use crate::support::command::packfs;
use crate::support::layout;

fn same(archive: &std::path::Path, sample: &Sample) {
    let report = checked(archive, Depth::Deep);
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    assert_eq!(report.unneeded, Some((0, 0)));
    compare(archive, sample, &report).unwrap();
}

#[test]
fn stores_and_images_are_copied_to_each_other() {
    let (scratch, store) = put(&samples().store.files);
    let (image, back) = (scratch.join("copy.pfs"), scratch.join("back"));
    packfs!("copy", store, image).run().ok();
    same(&image, &samples().store);
    packfs!("copy", image, back).run().ok();
    let mut files = layout::load(&back);
    files.retain(|key, _| !key.starts_with("live/"));
    assert_eq!(files, samples().store.files);
    same(&back, &samples().store);
    packfs!("copy", image, scratch.join("again.pfs")).run().ok();
    assert_eq!(fs::metadata(&image).unwrap().len(), {
        fs::metadata(scratch.join("again.pfs")).unwrap().len()
    });
}

#[test]
fn only_what_is_missing_is_copied_and_only_what_is_needed() {
    let (scratch, store) = put(&samples().store.files);
    let copy = scratch.join("copy");
    let text = packfs!("copy", "--dry-run", "--json", store, copy).run().ok().text();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!copy.exists());
    packfs!("copy", "--quiet", store, copy).run().ok();
    let text = packfs!("copy", "--json", store, copy).run().ok().text();
    let none: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&none["objects"], &none["there"]), (&0.into(), &all["objects"]));
    // What a copy that was interrupted lacks, settings and roots among it.
    for folder in ["roots", "snapshots"] {
        fs::remove_dir_all(copy.join(folder)).unwrap();
    }
    fs::remove_file(copy.join("packfs.toml")).unwrap();
    let pack = samples().store.files.keys().find(|key| key.starts_with("packs/")).unwrap();
    fs::remove_file(copy.join(pack)).unwrap();
    fs::write(copy.join(".tmp-4cYqZk"), "# PFSco").unwrap();
    packfs!("copy", store, copy).run().ok();
    same(&copy, &samples().store);
    packfs!("snapshot", "delete", store, "first").run().ok();
    let (one, few) = (scratch.join("one"), scratch.join("few"));
    packfs!("copy", store, few).run().ok();
    let count = |path| layout::object_keys(path).len();
    assert!(count(&few) < count(&copy));
    packfs!("create", "--quiet", samples().source(1), one).run().ok();
    packfs!("copy", store, one).run().fails(1, &["another store"]);
}

#[test]
fn what_is_damaged_is_not_copied_and_nothing_is_overwritten() {
    let sample = &samples().store;
    let pack = sample.files.keys().find(|key| key.starts_with("packs/")).unwrap();
    let mut files = sample.files.clone();
    files.get_mut(pack).unwrap()[100] ^= 1;
    let (scratch, store) = put(&files);
    for name in ["copy", "copy.pfs"] {
        let id = pack.rsplit('/').next().unwrap();
        packfs!("copy", store, scratch.join(name)).run().fails(1, &[id, "fsck"]);
    }
    assert!(!scratch.join("copy.pfs").exists());
    packfs!("copy", store, store).run().fails(1, &["FROM is TO"]);
    packfs!("copy", store, store.join("inside")).run().fails(1, &["inside"]);
    let other = Scratch::new();
    fs::write(other.join("letter"), "dear").unwrap();
    packfs!("copy", store, other.path()).run().fails(1, &["not a packfs archive"]);
    fs::write(other.join("x.pfs"), "dear").unwrap();
    packfs!("copy", store, other.join("x.pfs")).run().fails(1, &["already"]);
    assert_eq!(fs::read(other.join("x.pfs")).unwrap(), b"dear");
}
