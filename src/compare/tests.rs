use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;

use super::*;

/// A folder with one of each thing that any user can make.
fn sample() -> TempDir {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/file"), b"content").unwrap();
    fs::hard_link(at("folder/file"), at("linked")).unwrap();
    fs::write(at("twin"), b"content").unwrap();
    symlink("folder/file", at("symlink")).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&[1; 4096], 1 << 19).unwrap();
    for name in ["folder/file", "twin", "sparse", "symlink"] {
        settle(&at(name));
    }
    settle(&at("folder"));
    settle(top.path());
    top
}

fn settle(path: &Path) {
    set_mtime(path, 7);
}

fn set_mtime(path: &Path, tv_nsec: i64) {
    let time = Timespec { tv_sec: 1_000_000, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn lines(left: &Path, right: &Path) -> Vec<String> {
    let compared = compare(left, right, &CompareOptions::default()).unwrap();
    assert_eq!(compared.found, compared.differences.len() as u64);
    compared.differences.iter().map(ToString::to_string).collect()
}

/// What differs once `change` was made to the right side, as lines.
fn after(change: impl FnOnce(&Path)) -> Vec<String> {
    let (left, right) = (sample(), sample());
    change(right.path());
    settle(right.path());
    lines(left.path(), right.path())
}

#[test]
fn a_tree_equals_itself_and_is_counted() {
    let top = sample();
    let compared = compare(top.path(), top.path(), &CompareOptions::default()).unwrap();
    assert!(compared.same(), "{:?}", compared.differences);
    assert_eq!((compared.entries, compared.files), (7, 3));
    assert_eq!(compared.bytes, 7 + 7 + (1 << 20));
}

#[test]
fn two_trees_made_alike_are_equal() {
    assert_eq!(after(|_| ()), Vec::<String>::new());
}

#[test]
fn names_on_one_side_only_are_told_by_side() {
    let lines = after(|right| {
        fs::remove_file(right.join("twin")).unwrap();
        fs::write(right.join("a\nb"), b"").unwrap();
    });
    assert_eq!(lines, [r"a\nb: only on the right", "twin: only on the left"]);
}

#[test]
fn another_byte_mode_or_mtime_is_told_with_its_place() {
    let lines = after(|right| {
        fs::write(right.join("twin"), b"conTent").unwrap();
        settle(&right.join("twin"));
    });
    assert_eq!(lines, ["twin: content from byte 3 on"]);
    let lines = after(|right| {
        fs::set_permissions(right.join("folder"), fs::Permissions::from_mode(0o1755)).unwrap();
    });
    assert_eq!(lines, ["folder: mode: 0755 on the left, 1755 on the right"]);
    let lines = after(|right| {
        set_mtime(&right.join("folder/file"), 8);
    });
    let what = "mtime: 1000000000000007 on the left, 1000000000000008 on the right";
    assert_eq!(lines, [format!("linked: {what}"), format!("folder/file: {what}")]);
}

#[test]
fn links_that_are_grouped_otherwise_are_told() {
    let lines = after(|right| {
        fs::remove_file(right.join("linked")).unwrap();
        fs::hard_link(right.join("twin"), right.join("linked")).unwrap();
    });
    assert!(lines.contains(&"twin: hard link to linked on one side only".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"folder/file: hard link to linked on one side only".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_hole_that_was_filled_is_told() {
    let lines = after(|right| {
        let file = fs::File::options().write(true).open(right.join("sparse")).unwrap();
        file.write_all_at(&[0; 4096], 0).unwrap();
        settle(&right.join("sparse"));
    });
    assert_eq!(lines, ["sparse: a hole on one side only from byte 0 on"]);
}

#[test]
fn symlinks_are_compared_and_not_followed() {
    let lines = after(|right| {
        fs::remove_file(right.join("symlink")).unwrap();
        symlink("folder/filE", right.join("symlink")).unwrap();
        settle(&right.join("symlink"));
    });
    assert_eq!(lines, ["symlink: target: folder/file on the left, folder/filE on the right"]);
}

#[test]
fn an_attribute_is_compared_by_name_and_value() {
    let set = |path: &Path, value: &[u8]| {
        rustix::fs::setxattr(path, "user.x", value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    let (left, right) = (sample(), sample());
    set(&left.path().join("twin"), b"1");
    for value in [b"".as_slice(), b"2"] {
        assert_eq!(lines(left.path(), right.path()), ["twin: extended attribute user.x"]);
        set(&right.path().join("twin"), value);
        assert_eq!(lines(left.path(), right.path()), ["twin: extended attribute user.x"]);
    }
    set(&right.path().join("twin"), b"1");
    assert_eq!(lines(left.path(), right.path()), Vec::<String>::new());
}

#[test]
fn differences_past_the_limit_are_counted_only() {
    let (left, right) = (sample(), tempfile::tempdir().unwrap());
    let options = CompareOptions { limit: 2, ..CompareOptions::default() };
    let compared = compare(left.path(), right.path(), &options).unwrap();
    assert_eq!((compared.differences.len(), compared.found), (2, 6));
}

#[test]
fn a_top_folder_that_is_missing_is_an_error() {
    let top = sample();
    let gone = top.path().join("gone");
    let error = compare(top.path(), &gone, &CompareOptions::default()).unwrap_err();
    assert!(matches!(error, CompareError::Open(path, Errno::NOENT) if path == gone));
}
