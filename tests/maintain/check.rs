//! Every damage is found, and what is said to be hurt is just what cannot be read.

use packfs::maintain::check::Depth;
use rustix::process::Signal;

use super::sample::{Dice, Sample, cases, checked, compare, damage, put, samples};
use crate::support::command::packfs;
use crate::support::layout;

/// Whether anybody could know of damages: that the newest root or a snapshot is gone, nothing
/// tells, nor what only these needed.
fn can_be_found(sample: &Sample, what: &str) -> bool {
    let newest = sample.files.keys().rfind(|key| key.starts_with("roots/"));
    let mut gone = what.split(", ").filter_map(|one| one.strip_prefix("delete "));
    !gone.any(|key| Some(key) == newest.map(String::as_str) || key.starts_with("snapshots"))
}

fn try_all(sample: &Sample, seed: u64, count: usize, depth: Depth) {
    let mut dice = Dice(seed);
    for case in 0..count {
        let mut files = sample.files.clone();
        let mut what = damage(&mut files, &mut dice);
        for _ in 0..dice.below(3) * dice.below(2) {
            what = format!("{what}, {}", damage(&mut files, &mut dice));
        }
        let (_scratch, archive) = put(&files);
        if files.get("").is_some_and(|image| image.len() < 8) {
            continue;
        }
        let report = checked(&archive, depth);
        let found = !report.damages.is_empty();
        assert!(found || !can_be_found(sample, &what), "seed {seed}, case {case}: {what}: clean");
        let places: Vec<_> = report.damages.iter().map(|it| (&it.object, &it.place)).collect();
        let mut once = places.clone();
        once.dedup();
        assert_eq!(places, once, "{what}");
        if let Err(error) = compare(&archive, sample, &report) {
            let told: Vec<_> = report
                .damages
                .iter()
                .map(|it| format!("{} {}: {}", it.object, it.place, it.why))
                .collect();
            panic!("seed {seed}, case {case}: {what}: {told:?}: {error}");
        }
    }
}

#[test]
fn what_is_whole_is_clean() {
    for sample in [&samples().store, &samples().image] {
        let (_scratch, archive) = put(&sample.files);
        for depth in [Depth::Quick, Depth::Frames, Depth::Deep] {
            let report = checked(&archive, depth);
            assert!(report.damages.is_empty(), "{:?}", report.damages);
            assert_eq!(report.unneeded, Some((0, 0)));
            compare(&archive, sample, &report).unwrap();
        }
    }
}

#[test]
fn damage_of_a_store_is_found_and_hurts_what_is_told() {
    try_all(&samples().store, 1, cases(24), Depth::Frames);
    try_all(&samples().store, 2, cases(6), Depth::Deep);
}

#[test]
fn damage_of_an_image_is_found_and_hurts_what_is_told() {
    try_all(&samples().image, 3, cases(16), Depth::Frames);
    try_all(&samples().image, 4, cases(4), Depth::Deep);
}

/// The pages of trees, footers and segments are small beside the data: these get their share.
#[test]
fn each_kind_of_section_is_found_when_damaged() {
    let sample = &samples().store;
    let places = layout::places(&sample.files);
    let mut dice = Dice(5);
    let kinds: std::collections::BTreeSet<_> = places.iter().map(|place| place.kind).collect();
    for kind in kinds.into_iter().filter(|kind| *kind != "pack" && *kind != "tree") {
        // Pages that a tree shares lie in another object.
        let own = |place: &&layout::Place| place.range.end <= sample.files[&place.file].len();
        let of_kind: Vec<_> =
            places.iter().filter(|place| place.kind == kind).filter(own).collect();
        for _ in 0..cases(2).min(of_kind.len()) {
            let place = of_kind[dice.below(of_kind.len())];
            let mut files = sample.files.clone();
            let at = place.range.start + dice.below(place.range.len());
            files.get_mut(&place.file).unwrap()[at] ^= 4;
            let (_scratch, archive) = put(&files);
            let report = checked(&archive, Depth::Frames);
            assert!(!report.damages.is_empty(), "{kind} at {at} of {}", place.file);
            compare(&archive, sample, &report).unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
    }
}

#[test]
fn an_image_that_was_cut_tells_what_is_left() {
    let sample = &samples().image;
    let mut dice = Dice(6);
    for _ in 0..cases(8) {
        let mut files = sample.files.clone();
        let image = files.get_mut("").unwrap();
        let length = 48 + dice.below(image.len() - 48);
        image.truncate(length);
        let (_scratch, archive) = put(&files);
        let report = checked(&archive, Depth::Frames);
        assert!(report.damages.iter().any(|damage| damage.object.is_empty()), "{length}");
        compare(&archive, sample, &report).unwrap();
    }
}

#[test]
fn the_command_says_it_in_lines_and_by_its_exit_code() {
    let sample = &samples().image;
    let (scratch, archive) = put(&sample.files);
    let clean = packfs!("fsck", archive).run().ok();
    assert!(clean.text().contains("clean"), "{}", clean.text());
    assert_eq!(packfs!("fsck", "--quiet", "--quick", archive).run().ok().text(), "");

    let mut files = sample.files.clone();
    let frames = layout::places(&files);
    let frame = frames.iter().find(|place| place.kind == "frame").unwrap();
    files.get_mut("").unwrap()[frame.range.start] ^= 1;
    std::fs::remove_file(&archive).unwrap();
    layout::save(&files, &archive);
    let bad = packfs!("fsck", archive).run();
    assert_eq!(bad.status.code(), Some(4), "{bad}");
    let text = bad.text();
    assert!(text.contains("frame at byte 48: damaged (checksum does not match)"), "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with("  head: "), "{text}");
    assert!(packfs!("fsck", "--quick", archive).run().ok().text().contains("clean"));

    let json = packfs!("fsck", "--json", archive).run();
    let lines: Vec<serde_json::Value> =
        json.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["what"].as_str(), lines[0]["at"].as_u64()), (Some("frame"), Some(48)));
    let hurt = &lines[0]["hurts"][0];
    assert_eq!(hurt["roots"][0], "head");
    assert!(hurt["bytes"][1].as_u64() > hurt["bytes"][0].as_u64(), "{hurt}");
    assert_eq!((&lines[1]["damages"], &lines[1]["unneeded"]), (&1.into(), &0.into()));

    packfs!("fsck", scratch.join("nowhere")).run().fails(8, &["nowhere", "not found"]);
    packfs!("fsck", scratch.path()).run().fails(8, &["not a packfs archive"]);
    packfs!("fsck", "s3://bucket/x").run().fails(8, &["s3"]);
    packfs!("fsck", "--wrong", archive).run().fails(16, &["--wrong"]);
    packfs!("fsck", "--quick", "--deep", archive).run().fails(16, &["--deep"]);
    packfs!("fsck").run().fails(16, &["ARCHIVE"]);
}

#[test]
fn what_no_root_needs_is_counted_and_is_no_damage() {
    let (_scratch, archive) = put(&samples().store.files);
    packfs!("snapshot", "delete", archive, "first").run().ok();
    let report = checked(&archive, Depth::Deep);
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    assert!(report.unneeded.unwrap().0 > 0, "{:?}", report.unneeded);
    let text = packfs!("fsck", archive).run().ok().text();
    assert!(text.contains("that no root shown needs"), "{text}");
}

#[test]
fn an_interrupt_ends_it() {
    let (_scratch, archive) = put(&samples().store.files);
    let running = packfs!("fsck", "--deep", archive).start();
    running.signal(Signal::INT);
    let code = running.wait().status.code();
    // It may have been over, or not have begun.
    assert!(matches!(code, Some(0 | 32) | None), "{code:?}");
}

#[test]
fn who_uses_a_block_or_a_pack_is_told() {
    let (_scratch, archive) = put(&samples().store.files);
    let info = packfs!("info", "--json", archive, "noise3").run().ok().text();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let pack = info["extents"][0]["pack"].as_str().unwrap();
    let text = packfs!("info", archive, "--pack", &pack[..12]).run().ok().text();
    assert!(text.lines().any(|line| line.starts_with("head: noise3: bytes 0 to ")), "{text}");
    assert!(!text.contains("first"), "{text}");
    let block = std::fs::read(samples().source(1).join("many0/file7")).unwrap();
    let hash = blake3::hash(&block).to_hex();
    let text = packfs!("info", archive, "--block", &hash[..16]).run().ok().text();
    let mut roots: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
    roots.sort_unstable();
    assert_eq!(roots, ["first", "head", "second"], "{text}");
    assert!(text.lines().all(|line| line.ends_with(": many0/file7: bytes 0 to 40")), "{text}");
    packfs!("info", archive, "--pack", "0123456789").run().fails(1, &["not there"]);
    packfs!("info", archive, "--block", "xyz").run().fails(2, &["hexadecimal"]);
}
