//! The same input and options give the same image, byte for byte.

use std::fs;
use std::path::Path;

use crate::support::command::packfs;
use crate::support::tree::Folder;
use crate::support::{Packfs, Scratch, assert_same, exact, hostile, layout};

fn image_of(packfs: Packfs, image: &Path) -> Vec<u8> {
    packfs.run().ok();
    let bytes = fs::read(image).unwrap();
    fs::remove_file(image).unwrap();
    bytes
}

#[track_caller]
fn assert_identical(left: &[u8], right: &[u8]) {
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let lengths = (left.len(), right.len());
    assert!(left == right, "images of {lengths:?} bytes differ from byte {same} on");
}

#[test]
fn any_number_of_threads_gives_the_same_image() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    let expected = fs::read(hostile::image()).unwrap();
    for threads in ["1", "2", "4"] {
        let create = packfs!("create", "--threads", threads, hostile::folder(), image);
        assert_identical(&image_of(create, &image), &expected);
    }
}

/// Versions of a large file, whose blocks are packed in another order than they come in.
#[test]
fn alike_blocks_come_together_in_the_same_way_with_any_number_of_threads() {
    let scratch = Scratch::new();
    let top = Folder::open(scratch.path());
    let mut state = 1u32;
    let mut text: Vec<u8> = Vec::new();
    while text.len() < 4 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend(format!("{:x} ", state >> 12).bytes());
    }
    top.folder("source", |at| {
        for version in 1..=5usize {
            // Something changes in every block.
            (0..text.len()).skip(version * 100).step_by(3000).for_each(|at| text[at] = b'#');
            at.folder(format!("1.{version}"), |at| at.file("large.txt", &text));
        }
    });
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    let by = |options: &[&str]| image_of(packfs!("create", source, image).args(options), &image);
    let expected = by(&["--threads", "1"]);
    for threads in ["2", "4"] {
        assert_identical(&by(&["--threads", threads]), &expected);
    }
    let by_path = by(&["--order", "path", "--frame-size", "1M"]);
    assert!(expected.len() * 3 < by_path.len(), "{} of {}", expected.len(), by_path.len());
    fs::write(&image, &expected).unwrap();
    let out = scratch.join("out");
    packfs!("extract", image, out).run().ok();
    assert_same(&source, &out, &exact());
}

#[test]
fn a_copy_in_another_place_gives_the_same_image() {
    let scratch = Scratch::new();
    let copy = scratch.join("copy-by-another-name");
    fs::create_dir(&copy).unwrap();
    hostile::make(&copy);
    assert_same(hostile::folder(), &copy, &exact());
    let image = scratch.join("image.pfs");
    let bytes = image_of(packfs!("create", copy, image), &image);
    assert_identical(&bytes, &fs::read(hostile::image()).unwrap());
}

#[test]
fn the_order_in_which_files_were_made_does_not_matter() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    let top = Folder::open(scratch.path());
    let names: Vec<String> = (0..300).map(|n| format!("file-{n}")).collect();
    top.folder("forth", |at| names.iter().for_each(|name| at.file(name, name)));
    top.folder("back", |at| names.iter().rev().for_each(|name| at.file(name, name)));
    ["forth", "back"].iter().for_each(|name| top.settle_as(name, "the same"));
    let [forth, back] = ["forth", "back"]
        .map(|name| image_of(packfs!("create", scratch.join(name), image), &image));
    assert_identical(&forth, &back);
}

#[test]
fn access_and_change_times_do_not_matter_unless_kept() {
    let scratch = Scratch::new();
    let image = scratch.join("image.pfs");
    let top = Folder::open(scratch.path());
    top.folder("source", |at| at.file("file", "content"));
    let source = scratch.join("source");
    let plain = || image_of(packfs!("create", source, image), &image);
    let with_times = || image_of(packfs!("create", "--all-times", source, image), &image);
    let before = (plain(), with_times());
    // This changes its ctime as well.
    top.accessed("source/file", 1_234_567_890, 1);
    let after = (plain(), with_times());
    assert_identical(&before.0, &after.0);
    assert_ne!(before.1, after.1, "--all-times did not see another access time");
}

/// But for the settings and the root: a store has an id of its own, and says when it was made.
#[test]
fn a_store_and_an_image_hold_the_same_objects() {
    let bytes = fs::read(hostile::image()).unwrap();
    let data = |key: &String| !key.starts_with("packfs.toml") && !key.starts_with("roots/");
    let mut keys = Vec::new();
    for member in layout::contents(&bytes).members.into_iter().filter(|member| data(&member.key)) {
        let start = usize::try_from(member.offset).unwrap();
        let object = &bytes[start..start + usize::try_from(member.length).unwrap()];
        assert_identical(object, &fs::read(hostile::store().join(&member.key)).unwrap());
        keys.push(member.key);
    }
    assert!(keys.len() > 3, "{keys:?}");
    let in_store: Vec<_> = layout::object_keys(hostile::store()).into_iter().filter(data).collect();
    assert_eq!(in_store, keys);
}
