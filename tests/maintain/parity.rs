//! What parity protects needs no other copy: it reads, and is made good; and all that is needed is
//! protected, whatever is done to an archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use packfs::format::ParityTable;
use packfs::maintain::check::Depth;
use packfs::parity::sets;
use packfs::storage::{LocalStorage, Storage};

use super::gc;
use super::sample::{Dice, cases, checked, damage, put, samples};
use crate::support::command::{Packfs, packfs};
use crate::support::hostile::noise;
use crate::support::layout::{self, Files};
use crate::support::{Mount, Scratch, assert_same, exact, tree::Folder};

/// The store of the samples, with as much parity as there is of it.
fn protected() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let (_scratch, store) = put(&samples().store.files);
        packfs!("rebuild", store, "--parity", "100", "--max-bytes", "1").run().ok();
        let mut files = layout::load(&store);
        files.retain(|key, _| !key.starts_with("live/"));
        files
    })
}

/// Fails unless all of a store but its snapshots is protected, and nothing else is.
fn is_protected(store: &Path) {
    let storage = LocalStorage::new(store);
    let (sets, broken) = sets(&storage).unwrap();
    assert!(broken.is_empty());
    let members = sets.iter().flat_map(|set| set.members()).map(|member| member.key.clone());
    let members: BTreeSet<String> = members.collect();
    let mut keys: BTreeSet<String> = layout::object_keys(store).into_iter().collect();
    keys.retain(|key| !key.starts_with("parity/") && !key.starts_with("snapshots/"));
    assert_eq!(members, keys, "what is protected, and what there is");
}

fn is_clean(archive: &Path) {
    let report = checked(archive, Depth::Deep);
    assert!(report.damages.is_empty(), "{:?}", report.damages);
}

#[test]
fn parity_makes_good_what_it_protects() {
    let mut dice = Dice(31);
    let plain = |key: &str| !key.starts_with("snapshots/");
    for case in 0..cases(20) {
        let mut files = protected().clone();
        let rest = files.clone().into_iter().filter(|(key, _)| !plain(key));
        files.retain(|key, _| plain(key));
        let what = damage(&mut files, &mut dice);
        files.extend(rest);
        let (_scratch, store) = put(&files);
        // A pack that was written anew is protected as long as it is listed, and nobody reads it.
        let found = checked(&store, Depth::Deep);
        let bare = found.parity.and_then(|cover| cover.bare);
        let missed = !found.damages.is_empty() || bare.is_some_and(|(count, _)| count > 0);
        assert!(missed, "case {case}: {what}: nothing was found");
        let repaired = i32::from(!found.damages.is_empty());
        packfs!("fsck", "--repair", "--deep", store).run().exits(repaired);
        is_clean(&store);
        is_protected(&store);
        let mut now = layout::load(&store);
        now.retain(|key, _| !key.starts_with("live/"));
        // Parity that was damaged itself is not the same again: it was made anew.
        let same = |files: &Files| -> Files {
            files.clone().into_iter().filter(|(key, _)| !key.starts_with("parity/")).collect()
        };
        assert!(same(&now) == same(protected()), "case {case}: {what}: something else is there");
    }
}

#[test]
fn a_newest_root_that_is_lost_is_missed() {
    let mut files = protected().clone();
    let newest = files.keys().rfind(|key| key.starts_with("roots/")).unwrap().clone();
    files.remove(&newest);
    let (_scratch, store) = put(&files);
    let told = packfs!("fsck", "--quick", store).run().exits(4).text();
    assert!(told.contains(&format!("{newest}: lost")) && told.contains("head: all"), "{told}");
    packfs!("fsck", "--repair", store).run().exits(1);
    assert!(store.join(newest).is_file());
    is_clean(&store);
}

#[test]
fn a_store_is_known_by_what_is_left_of_it() {
    let mut files = protected().clone();
    files.retain(|key, _| !key.starts_with("roots/") && key != "packfs.toml");
    let (_scratch, store) = put(&files);
    packfs!("fsck", store).run().exits(4);
    packfs!("fsck", "--repair", store).run().exits(1);
    is_clean(&store);
}

#[test]
fn what_is_lost_reads_on_and_stays_lost() {
    let (scratch, store) = gc::store();
    packfs!("rebuild", store, "--parity", "100").run().ok();
    let pack = layout::object_keys(&store).into_iter().find(|key| key.starts_with("packs/"));
    let pack = store.join(pack.unwrap());
    fs::remove_file(&pack).unwrap();
    let mount = Mount::new(&store);
    assert_same(&scratch.join("two"), mount.path(), &exact());
    drop(mount);
    let out = scratch.join("out");
    packfs!("extract", store, out, "--snapshot", "old").run().ok();
    assert_same(&scratch.join("one"), &out, &exact());
    assert!(!pack.exists());
    // Nor is a copy any less for it.
    for name in ["copy.store", "copy.pfs"] {
        let copy = scratch.join(name);
        packfs!("copy", store, copy).run().ok();
        is_clean(&copy);
    }
    packfs!("fsck", "--repair", store).run().exits(1);
    assert!(pack.is_file());
}

#[test]
fn whatever_is_done_all_that_is_needed_is_protected() {
    let (scratch, store) = gc::store();
    packfs!("add", store, scratch.join("one"), "--parity", "10").run().ok();
    // What a snapshot had and what nobody needs any more is still there.
    packfs!("gc", store).run().ok();
    is_protected(&store);
    packfs!("snapshot", "delete", store, "old").run().ok();
    packfs!("rebuild", store, "--all").run().ok();
    is_protected(&store);
    Folder::open(scratch.path()).folder("three", |at| at.file("new", noise(70_000, 77)));
    packfs!("add", store, scratch.join("three")).run().ok();
    packfs!("gc", store).run().ok();
    is_protected(&store);
    let mount = Mount::writable(&store, &[]);
    fs::write(mount.path().join("written"), noise(90_000, 78)).unwrap();
    packfs!("flush", mount.path()).run().ok();
    fs::write(mount.path().join("too"), noise(90_000, 79)).unwrap();
    packfs!("gc", store).run().ok();
    is_protected(&store);
    drop(mount);
    packfs!("gc", store).run().ok();
    is_protected(&store);
    is_clean(&store);
    let copy = scratch.join("copy");
    packfs!("copy", store, copy).run().ok();
    is_protected(&copy);
    // As much as was asked for.
    let bytes = |store: &Path| -> u64 {
        let keys = layout::object_keys(store).into_iter();
        let parity = keys.filter(|key| key.starts_with("parity/"));
        parity.map(|key| fs::metadata(store.join(key)).unwrap().len()).sum()
    };
    let few = bytes(&store);
    packfs!("rebuild", store, "--parity", "50").run().ok();
    is_protected(&store);
    assert!(bytes(&store) > 3 * few, "{few} bytes of parity became {}", bytes(&store));
    packfs!("rebuild", store, "--parity", "0").run().ok();
    assert_eq!(LocalStorage::new(&store).list("parity/").unwrap(), [""; 0]);
    is_clean(&store);
}

/// A few files.
fn few() -> &'static Scratch {
    static FEW: OnceLock<Scratch> = OnceLock::new();
    FEW.get_or_init(|| {
        let scratch = Scratch::new();
        Folder::open(scratch.path()).folder("few", |at| {
            at.file("noise", noise(300_000, 1));
            at.symlink("symlink", "target");
            (0..50).for_each(|file| at.file(format!("file{file}"), noise(100, file)));
        });
        scratch
    })
}

/// An image of these files with parity of so many percent; its bytes, and where things lie in them.
fn image(percent: &str) -> (Vec<u8>, Vec<layout::Place>) {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    let create = packfs!("create", few().join("few"), image, "--parity", percent);
    create.args(["--pack-size", "64K", "-q"]).run().ok();
    let files = layout::load(&image);
    (files[""].clone(), layout::places(&files))
}

/// Repairs an image of these bytes, and fails unless it has all of these files then.
fn is_made_whole(bytes: &[u8], what: &str) {
    let (_scratch, image) = put(&Files::from([(String::new(), bytes.to_vec())]));
    packfs!("fsck", image).run().exits(4);
    let told = packfs!("fsck", "--repair", image).run().exits(1).text();
    assert!(told.contains("clean"), "{what}: {told}");
    is_clean(&image);
    let out = image.with_file_name("out");
    packfs!("extract", image, out).run().ok();
    assert_same(&few().join("few"), &out, &exact());
}

#[test]
fn an_image_without_contents_is_made_whole() {
    let (whole, places) = image("1");
    let contents = places.iter().find(|place| place.kind == "contents").unwrap();
    let kinds: BTreeSet<&str> = places.iter().map(|place| place.kind).collect();
    for kind in kinds {
        let range = &places.iter().rfind(|place| place.kind == kind).unwrap().range;
        // What begins it, what ends it, or both. Parity of one percent has two shards.
        let (first, last) = (range.start + 1, range.end - 2);
        for damaged in [&[first][..], &[last], &[first, last]] {
            // Of parity, the other table must be left.
            if kind == "parity" && damaged.len() > 1 {
                continue;
            }
            let mut bytes = whole[..contents.range.start].to_vec();
            for at in damaged {
                if let Some(byte) = bytes.get_mut(*at) {
                    *byte ^= 1;
                }
            }
            is_made_whole(&bytes, kind);
        }
    }
}

#[test]
fn an_image_without_contents_and_parity_loses_what_is_damaged_and_no_more() {
    let sample = &samples().image;
    let whole = &sample.files[""];
    let places = layout::places(&sample.files);
    let contents = places.iter().find(|place| place.kind == "contents").unwrap();
    for kind in ["page of extents", "pack head", "root"] {
        let range = &places.iter().rfind(|place| place.kind == kind).unwrap().range;
        let mut bytes = whole.clone();
        bytes[range.start + 1] ^= 1;
        let left = |bytes: &[u8]| {
            let (_scratch, image) = put(&Files::from([(String::new(), bytes.to_vec())]));
            let told = packfs!("fsck", "--repair", image).run().text();
            let list = packfs!("ls", "-R", image).run();
            let out = image.with_file_name("out");
            packfs!("extract", "-q", image, out).run();
            (list.stdout, layout::load(&out), told)
        };
        let (names, files, _) = left(&bytes);
        let (cut_names, cut_files, told) = left(&bytes[..contents.range.start]);
        assert!(!files.is_empty(), "{kind}: {told}");
        assert_eq!(names, cut_names, "{kind}: {told}");
        assert!(files == cut_files, "{kind}: {} and {}: {told}", files.len(), cut_files.len());
    }
}

#[test]
fn what_is_left_of_parity_is_of_use() {
    let (whole, places) = image("20");
    let parity = &places.iter().find(|place| place.kind == "parity").unwrap().range;
    let frame = &places.iter().find(|place| place.kind == "frame").unwrap().range;
    let mut bytes = whole[..parity.end - parity.len() / 2].to_vec();
    bytes[frame.start] ^= 1;
    is_made_whole(&bytes, "cut");
}

#[test]
fn parity_that_is_gone_is_missed() {
    let (_scratch, store) = put(protected());
    let set = layout::object_keys(&store).into_iter().find(|key| key.starts_with("parity/"));
    fs::remove_file(store.join(set.unwrap())).unwrap();
    let told = packfs!("fsck", store).run().ok().text();
    assert!(told.contains("have no parity, and are to have 100%"), "{told}");
    packfs!("fsck", "--repair", store).run().ok();
    is_protected(&store);
    let told = packfs!("fsck", store).run().ok().text();
    assert!(!told.contains("parity"), "{told}");
}

#[test]
fn parity_that_protects_what_never_was_is_found() {
    let (_scratch, store) = put(protected());
    let storage = LocalStorage::new(&store);
    let set = sets(&storage).unwrap().0.remove(0);
    let table = |bytes: &[u8]| -> usize {
        usize::try_from(packfs::format::section_len(bytes).unwrap()).unwrap()
    };
    let bytes = fs::read(store.join(&set.key)).unwrap();
    let mut forged = ParityTable::decode(&bytes[..table(&bytes)]).unwrap();
    forged.sums[0] ^= 1;
    let (table, shards) = (forged.encode(), table(&bytes));
    let end = bytes.len() - shards - packfs::format::TAIL_LEN;
    let tail = packfs::format::tail(end as u64, table.len() as u64);
    let forged = [&table, &bytes[shards..end], &table, &tail[..]].concat();
    let key = packfs::parity::parity_key(blake3::hash(&forged).as_bytes());
    fs::remove_file(store.join(&set.key)).unwrap();
    fs::write(store.join(&key), forged).unwrap();
    packfs!("fsck", store).run().ok();
    packfs!("fsck", "--deep", store).run().exits(4);
    packfs!("fsck", "--deep", "--repair", store).run().exits(1);
    is_clean(&store);
    is_protected(&store);
}

#[test]
fn more_than_it_can_is_said_and_the_rest_is_saved() {
    let (_scratch, store) = gc::store();
    packfs!("rebuild", store, "--parity", "1").run().ok();
    let packs = layout::object_keys(&store).into_iter().filter(|key| key.starts_with("packs/"));
    let packs: Vec<PathBuf> = packs.map(|key| store.join(key)).collect();
    fs::remove_file(&packs[0]).unwrap();
    let told = packfs!("fsck", "--repair", store).run().exits(4);
    assert!(!told.text().contains("made whole"), "{}", told.text());
    // What was given up is said, and nothing else is wrong; the rest has parity again.
    let left = checked(&store, Depth::Deep);
    let lost = |what| matches!(what, packfs::maintain::check::What::Lost);
    assert!(left.damages.iter().all(|damage| lost(damage.what)), "{:?}", left.damages);
    assert!(!sets(&LocalStorage::new(&store)).unwrap().0.is_empty());
}

#[test]
fn what_parity_may_make_good_is_not_given_up() {
    for lost in [true, false] {
        let (scratch, store) = gc::store();
        packfs!("rebuild", store, "--all", "--parity", "100").run().ok();
        let sets = || LocalStorage::new(&store).list("parity/").unwrap();
        let (before, packs) = (sets(), layout::object_keys(&store));
        let pack = store.join(packs.iter().find(|key| key.starts_with("packs/")).unwrap());
        let bytes = fs::read(&pack).unwrap();
        match lost {
            true => fs::remove_file(&pack).unwrap(),
            false => fs::write(&pack, [&bytes[..100], &[7; 9], &bytes[109..]].concat()).unwrap(),
        }
        for percent in ["0", "20"] {
            let rebuild = packfs!("rebuild", store, "--parity", percent, "--dead-ratio", "1");
            rebuild.run().fails(1, &["packfs fsck --repair first"]);
        }
        // What is added is protected, and what was is still.
        packfs!("add", store, scratch.join("one"), "--at", "more").run().ok();
        assert!(before.iter().all(|set| sets().contains(set)), "{before:?}, {:?}", sets());
        packfs!("fsck", "--repair", store).run().exits(1);
        is_clean(&store);
    }
}

/// What is done on a small disk of its own; `$1` is an empty folder.
const FULL: &str = r#"
    mount -t tmpfs -o size=26m none "$1"
    cd "$1"
    mkdir some more mnt
    head -c 7000000 /dev/urandom >some/file
    head -c 100000 /dev/urandom >more/other
    "$PACKFS" create -q some store
    "$PACKFS" add -q --parity 10 store more/.
    "$PACKFS" fsck -q store
    "$PACKFS" mount --rw store mnt
    rm mnt/file
    "$PACKFS" umount mnt
    rm -r some more
    dd if=/dev/zero of=rest bs=4k || true
    # There is no room for more parity, and then there is to be as much as before.
    if "$PACKFS" rebuild -q --parity 100 store; then exit 1; fi
    if "$PACKFS" fsck store | grep "are to have 100%"; then exit 1; fi
    "$PACKFS" gc store
    head -c 5000000 /dev/zero >room
    rm rest room
    "$PACKFS" fsck --deep --repair store || test $? -le 1
    "$PACKFS" fsck --deep store
    test $(cat store/packs/*/* | wc -c) -lt 200000
"#;

#[test]
fn a_full_disk_is_collected_and_has_as_much_parity_as_before() {
    let scratch = Scratch::new();
    Packfs::namespace(FULL).arg(scratch.path()).run().ok();
}

#[test]
fn nothing_is_rebuilt_while_parity_has_what_is_lost() {
    let (_scratch, store) = gc::store();
    packfs!("rebuild", store, "--all", "--parity", "100").run().ok();
    let keys = layout::object_keys(&store);
    let pack = keys.iter().find(|key| key.starts_with("packs/")).unwrap();
    fs::remove_file(store.join(pack)).unwrap();
    let before = layout::object_keys(&store);
    let rebuild = packfs!("rebuild", store, "--all").run();
    rebuild.fails(1, &[pack, "lost", "packfs fsck --repair first"]);
    assert_eq!(layout::object_keys(&store), before);
}

#[test]
fn nothing_follows_an_older_root_while_parity_has_a_newer_one() {
    let (scratch, store) = gc::store();
    packfs!("rebuild", store, "--parity", "100").run().ok();
    let keys = layout::object_keys(&store);
    let newest = keys.iter().rfind(|key| key.starts_with("roots/")).unwrap();
    fs::remove_file(store.join(newest)).unwrap();
    let before = layout::load(&store);
    let refused = |command: Packfs| {
        let line = command.run().fails(1, &[newest, "lost", "packfs fsck --repair"]);
        let mut now = layout::load(&store);
        now.retain(|key, _| !key.starts_with("live/"));
        let mut before = before.clone();
        before.retain(|key, _| !key.starts_with("live/"));
        assert!(now == before, "{line}");
    };
    refused(packfs!("gc", store));
    refused(packfs!("rebuild", store, "--all"));
    refused(packfs!("rebuild", store, "--parity", "10"));
    refused(packfs!("rebuild", store, "--parity", "0"));
    refused(packfs!("rebuild", store, "--hash", "xxh3-128"));
    refused(packfs!("add", store, scratch.join("one")));
    refused(packfs!("copy", store, scratch.join("copy")));
    refused(packfs!("snapshot", "create", store, "new"));
    refused(packfs!("mount", "--rw", store, scratch.path().join("one")).arg("-o").arg("nonempty"));
    packfs!("fsck", "--repair", store).run().exits(1);
    packfs!("add", store, scratch.join("one")).run().ok();
    is_clean(&store);
}

#[test]
fn a_deep_check_finds_damage_of_what_nobody_reads() {
    let (_scratch, store) = put(&samples().store.files);
    packfs!("rebuild", store, "--parity", "10", "--max-bytes", "1").run().ok();
    let packs = layout::object_keys(&store).into_iter().filter(|key| key.starts_with("packs/"));
    let mut unread = 0;
    for pack in packs {
        let whole = fs::read(store.join(&pack)).unwrap();
        let mut bytes = whole.clone();
        bytes[100] ^= 1;
        fs::write(store.join(&pack), bytes).unwrap();
        unread += usize::from(checked(&store, Depth::Frames).damages.is_empty());
        let found = checked(&store, Depth::Deep).damages;
        assert!(found.iter().all(|damage| damage.object.ends_with(&pack)), "{pack}: {found:?}");
        assert!(!found.is_empty(), "{pack}");
        fs::write(store.join(&pack), whole).unwrap();
    }
    // One that was written anew.
    assert_eq!(unread, 1);
}
