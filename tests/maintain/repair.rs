//! What is damaged is made good from whatever has the bytes, and never made worse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use packfs::compare::compare as compare_folders;
use packfs::maintain::check::{Depth, Report};
use packfs::maintain::repair::{Options, Repaired, repair};
use packfs::monitor::Quiet;
use packfs::storage::{LocalStorage, Storage};

use super::sample::{Dice, Sample, cases, checked, damage, put, samples};
use crate::support::command::packfs;
use crate::support::layout::{self, Files};
use crate::support::{Scratch, assert_same, exact};

/// An image of the store, with all its snapshots.
fn twin() -> &'static Path {
    static TWIN: OnceLock<(Scratch, PathBuf)> = OnceLock::new();
    let (_, twin) = TWIN.get_or_init(|| {
        let (scratch, store) = put(&samples().store.files);
        let twin = scratch.join("twin.pfs");
        packfs!("copy", "--quiet", store, twin).run().ok();
        (scratch, twin)
    });
    twin
}

fn mend(archive: &Path, from: &[PathBuf]) -> Repaired {
    let store = archive.is_dir().then(|| Arc::new(LocalStorage::new(archive)) as Arc<dyn Storage>);
    let options = Options { from, depth: Depth::Frames, dry_run: false, store, now: 1 };
    repair(archive, &options, &Quiet::default()).unwrap()
}

fn told(report: &Report) -> Vec<String> {
    let tell = |it: &packfs::maintain::check::Damage| {
        format!("{} {}: {} ({} hurt)", it.object, it.place, it.why, it.hurts.len())
    };
    report.damages.iter().map(tell).collect()
}

/// Fails unless an archive is clean, and shows what it is to.
fn is_whole(archive: &Path, shown: &[(Option<&str>, usize)]) {
    let report = checked(archive, Depth::Deep);
    assert!(report.damages.is_empty(), "{:?}", told(&report));
    let out = Scratch::new();
    for (snapshot, source) in shown {
        let to = out.join(&source.to_string());
        let mut extract = packfs!("extract", "--quiet", archive, to);
        if let Some(name) = snapshot {
            extract = extract.arg("--snapshot").arg(name);
        }
        extract.run().ok();
        let source = samples().source(*source);
        // What was added before stays: the source has less than what is shown.
        let compared = compare_folders(&source, &to, &exact()).unwrap();
        let wrong = compared.differences.iter().find(|difference| {
            let text = difference.to_string();
            !text.contains("only") && !text.contains("mtime") && !text.contains("size")
        });
        assert!(wrong.is_none(), "{}: {}", archive.display(), wrong.unwrap());
    }
}

const STORE: [(Option<&str>, usize); 3] = [(None, 3), (Some("first"), 1), (Some("second"), 2)];

/// Flips a byte in some frames.
fn hurt_frames(sample: &Sample, dice: &mut Dice, count: usize) -> Files {
    let mut files = sample.files.clone();
    let places = layout::places(&files);
    let frames: Vec<_> = places.iter().filter(|place| place.kind == "frame").collect();
    for _ in 0..count {
        let frame = frames[dice.below(frames.len())];
        let at = frame.range.start + dice.below(frame.range.len());
        files.get_mut(&frame.file).unwrap()[at] ^= 1;
    }
    files
}

#[test]
fn another_copy_heals_all_damage() {
    let mut dice = Dice(20);
    for case in 0..cases(10) {
        let mut files = samples().store.files.clone();
        let mut what = damage(&mut files, &mut dice);
        for _ in 0..dice.below(3) {
            what = format!("{what}, {}", damage(&mut files, &mut dice));
        }
        let (_scratch, archive) = put(&files);
        let done = mend(&archive, &[twin().to_owned()]);
        let left = told(&done.report);
        assert!(left.is_empty(), "case {case}: {what}: {left:?}, {:?}", done.actions);
        let report = checked(&archive, Depth::Deep);
        assert!(report.damages.is_empty(), "case {case}: {what}: {:?}", told(&report));
        // Nothing is left to do.
        assert!(mend(&archive, &[]).actions.is_empty());
    }
}

#[test]
fn what_was_repaired_can_be_copied_and_collected_and_stays_clean() {
    let mut dice = Dice(26);
    let sources: Vec<PathBuf> = (1..=3).map(|number| samples().source(number)).collect();
    for _ in 0..cases(3) {
        let (scratch, archive) = put(&hurt_frames(&samples().store, &mut dice, 2));
        mend(&archive, &sources);
        let copy = scratch.join("copy");
        packfs!("copy", archive, copy).run().ok();
        packfs!("snapshot", "delete", archive, "first").run().ok();
        packfs!("gc", archive).run().ok();
        // No pack with damage is left, whatever else is in it.
        for archive in [&archive, &copy] {
            let report = checked(archive, Depth::Deep);
            assert!(report.damages.is_empty(), "{:?}", told(&report));
        }
        is_whole(&copy, &STORE);
    }
}

#[test]
fn what_was_given_up_comes_back_from_a_copy_that_is_brought_later() {
    let packs = samples().store.files.keys().filter(|key| key.starts_with("packs/"));
    for pack in packs.step_by(3) {
        let mut files = samples().store.files.clone();
        files.remove(pack);
        let (_scratch, archive) = put(&files);
        let lost = mend(&archive, &[]).report.damages.len();
        let done = mend(&archive, &[twin().to_owned()]);
        assert!(done.report.damages.is_empty(), "{lost}: {:?}", told(&done.report));
        is_whole(&archive, &STORE);
    }
}

#[test]
fn blocks_are_found_in_the_files_and_in_other_archives() {
    let mut dice = Dice(21);
    let sources: Vec<PathBuf> = (1..=3).map(|number| samples().source(number)).collect();
    let scratch = Scratch::new();
    let mut others: Vec<PathBuf> = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let other = scratch.join(&format!("other{number}.pfs"));
        packfs!("create", "--quiet", source, other).run().ok();
        others.push(other);
    }
    for from in [&sources, &others] {
        for _ in 0..cases(2) {
            let files = hurt_frames(&samples().store, &mut dice, 3);
            let (_scratch, archive) = put(&files);
            let done = mend(&archive, from);
            assert!(done.report.damages.is_empty(), "{:?}", told(&done.report));
            is_whole(&archive, &STORE);
        }
    }
    let files = hurt_frames(&samples().image, &mut dice, 2);
    let (_scratch, archive) = put(&files);
    let done = mend(&archive, &sources);
    assert!(done.report.damages.is_empty(), "{:?}", told(&done.report));
    assert_eq!(fs::read(done.moved.unwrap()).unwrap(), files[""]);
    is_whole(&archive, &[(None, 3)]);
}

#[test]
fn lost_segments_are_rebuilt_from_packs() {
    let files = &samples().store.files;
    let segments: Vec<&String> = files.keys().filter(|key| key.starts_with("index/")).collect();
    for all in [false, true] {
        let mut files = files.clone();
        segments.iter().take(if all { segments.len() } else { 1 }).for_each(|key| {
            files.remove(*key);
        });
        let (_scratch, archive) = put(&files);
        let done = mend(&archive, &[]);
        assert!(done.report.damages.is_empty(), "{:?}, {:?}", told(&done.report), done.actions);
        is_whole(&archive, &STORE);
    }
}

#[test]
fn a_lost_root_is_written_for_its_tree() {
    for sample in [&samples().image, &samples().store] {
        let (_keep, whole) = put(&sample.files);
        let mut files = sample.files.clone();
        match files.get_mut("") {
            Some(image) => {
                let contents = layout::contents(image);
                let root = contents.members.iter().find(|it| it.key.starts_with("roots/")).unwrap();
                image[usize::try_from(root.offset).unwrap() + 60] ^= 1;
            }
            None => {
                let key = files.keys().rfind(|key| key.starts_with("roots/")).unwrap().clone();
                files.get_mut(&key).unwrap()[60] ^= 1;
            }
        }
        let (_scratch, archive) = put(&files);
        let done = mend(&archive, &[]);
        assert!(done.report.damages.is_empty(), "{:?}, {:?}", told(&done.report), done.actions);
        is_whole(&archive, &[(None, 3)]);
        drop(whole);
    }
}

#[test]
fn what_is_not_found_is_given_up_and_heals_when_it_is_stored_again() {
    let mut dice = Dice(22);
    for _ in 0..cases(2) {
        let files = hurt_frames(&samples().store, &mut dice, 2);
        let (_scratch, archive) = put(&files);
        let before = checked(&archive, Depth::Frames);
        let done = mend(&archive, &[]);
        assert_eq!(done.report.paths(), before.paths(), "{:?}", told(&done.report));
        assert!(mend(&archive, &[]).actions.is_empty(), "nothing more can be done");
        for number in 1..=3 {
            let at = format!("again{number}");
            let source = samples().source(number).join(".");
            packfs!("add", "--quiet", archive, source, "--at", at).run().ok();
        }
        // The newest root has all of it; a snapshot needs a repair to know.
        let after = checked(&archive, Depth::Frames);
        let hurts = after.damages.iter().flat_map(|damage| &damage.hurts);
        let head = hurts.filter(|hurt| hurt.roots.iter().any(|root| root == "head")).count();
        assert_eq!(head, 0, "{:?}, {:?}", told(&after), after.paths());
        let done = mend(&archive, &[]);
        assert!(done.report.damages.is_empty(), "{:?}", told(&done.report));
        is_whole(&archive, &[(None, 3), (Some("first"), 1), (Some("second"), 2)]);
    }
}

#[test]
fn an_image_that_was_cut_anywhere_is_whole_again_from_a_copy() {
    let sample = &samples().image;
    let (_other, copy) = put(&sample.files);
    let mut dice = Dice(27);
    // Where no object is left, only its beginning tells what it is a copy of.
    let objects = layout::contents(&sample.files[""]).members;
    let least = objects.iter().map(|object| object.offset + object.length).min().unwrap();
    let least = usize::try_from(least).unwrap();
    for _ in 0..cases(4) {
        let mut files = sample.files.clone();
        let image = files.get_mut("").unwrap();
        let length = least + dice.below(image.len() - least);
        image.truncate(length);
        let (_scratch, archive) = put(&files);
        // Whether or not it was tried without a copy before.
        if length.is_multiple_of(2) {
            mend(&archive, &[]);
        }
        let done = mend(&archive, std::slice::from_ref(&copy));
        assert!(done.report.damages.is_empty(), "{length}: {:?}", told(&done.report));
        is_whole(&archive, &[(None, 3)]);
    }
}

#[test]
fn an_image_that_was_cut_in_its_first_object_is_known_by_its_beginning() {
    let (scratch, _) = crate::maintain::gc::store();
    let (one, other) = (scratch.join("one.pfs"), scratch.join("other.pfs"));
    packfs!("create", scratch.join("one"), one).run().ok();
    packfs!("create", scratch.join("two"), other).run().ok();
    let cut = scratch.join("cut.pfs");
    fs::write(&cut, &fs::read(&one).unwrap()[..1000]).unwrap();
    packfs!("fsck", "--repair", "--dry-run", cut, "--from", other).run().exits(4);
    packfs!("fsck", "--repair", cut, "--from", other, "--from", one).run().exits(1);
    packfs!("fsck", "--deep", cut).run().ok();
    let out = scratch.join("out");
    packfs!("extract", cut, out).run().ok();
    assert_same(&scratch.join("one"), &out, &exact());
}

#[test]
fn what_comes_after_the_end_of_an_object_is_found_and_goes() {
    let (scratch, store) = crate::maintain::gc::store();
    let keys = layout::object_keys(&store);
    let long = keys.iter().filter(|key| !key.starts_with("snapshots/") && *key != "packfs.toml");
    for key in long {
        let whole = fs::read(store.join(key)).unwrap();
        fs::write(store.join(key), [&whole[..], b"more"].concat()).unwrap();
        let told = packfs!("fsck", "--quick", store).run().exits(4).text();
        assert!(told.contains(key) && told.contains("long"), "{key}: {told}");
        if key.starts_with("roots/") {
            fs::write(store.join(key), whole).unwrap();
            continue;
        }
        packfs!("fsck", "--repair", store).run().exits(1);
        assert!(fs::read(store.join(key)).unwrap() == whole, "{key}");
    }
    packfs!("fsck", "--deep", store).run().ok();
    drop(scratch);
}

#[test]
fn a_copy_that_is_damaged_itself_is_named_and_not_taken() {
    let mut files = samples().image.files.clone();
    let places = layout::places(&files);
    let frame = places.iter().rfind(|place| place.kind == "frame").unwrap();
    let image = files.get_mut("").unwrap();
    image[frame.range.start] ^= 1;
    let (_other, copy) = put(&files);
    let half = files[""].len() / 2;
    files.get_mut("").unwrap().truncate(half);
    let (_scratch, archive) = put(&files);
    packfs!("fsck", archive, "--repair", "--from", copy).run().fails(8, &["is damaged", "fsck"]);
    assert_eq!(fs::read(&archive).unwrap(), files[""]);
}

#[test]
fn what_is_whole_of_an_image_that_was_cut_is_salvaged() {
    let sample = &samples().image;
    let mut dice = Dice(23);
    for _ in 0..cases(4) {
        let mut files = sample.files.clone();
        let image = files.get_mut("").unwrap();
        let length = image.len() - dice.below(3000).max(1);
        image.truncate(length);
        let (_scratch, archive) = put(&files);
        let done = mend(&archive, &[]);
        assert_eq!(fs::read(done.moved.unwrap()).unwrap(), files[""]);
        if done.report.damages.is_empty() {
            is_whole(&archive, &[(None, 3)]);
        }
    }
}

#[test]
fn a_dry_run_changes_nothing_and_the_command_says_what_was_done() {
    let mut dice = Dice(24);
    let files = hurt_frames(&samples().store, &mut dice, 1);
    let (_scratch, archive) = put(&files);
    let source = samples().source(1);
    let dry = packfs!("fsck", "--repair", "--dry-run", "--from", twin(), archive).run();
    assert_eq!(dry.status.code(), Some(4), "{dry}");
    assert!(dry.text().contains("taken from another archive"), "{}", dry.text());
    assert_eq!(layout::load(&archive), files);
    let bad = packfs!("fsck", "--repair", archive).run();
    assert_eq!(bad.status.code(), Some(4), "{bad}");
    let good = packfs!("fsck", "--repair", "--from", twin(), archive).run();
    assert_eq!(good.status.code(), Some(1), "{good}");
    assert!(good.text().contains("clean"), "{}", good.text());
    packfs!("fsck", "--repair", archive).run().ok();
    packfs!("fsck", "--from", source, archive).run().fails(16, &["--repair"]);
    let live = archive.join("live");
    let names: Vec<_> = fs::read_dir(live).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["lock"]);
}
