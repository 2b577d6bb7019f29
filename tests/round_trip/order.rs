//! Versions of a file are packed side by side, whichever folder of their path varies.

use std::fs;

use crate::support::command::packfs;
use crate::support::{Scratch, assert_same, exact, tree::Folder};

/// Text that does not shrink by itself to less than a third, in versions: each has one line of
/// its own in every sixteen.
fn text(file: u32, version: u32) -> String {
    let mut seed = 0x9e37_79b9 ^ file;
    let mut line = |own: u32| {
        let mut word = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("{:08x}", seed ^ own.wrapping_mul(0x2c1b_3c6d))
        };
        format!("{} {} {}\n", word(), word(), word())
    };
    (0..200).map(|n| line(if n % 16 == file % 16 { version } else { 0 })).collect()
}

#[test]
fn an_archive_of_versions_is_much_smaller_with_versions_side_by_side() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    Folder::open(scratch.path()).folder("source", |top| {
        for version in 0..8 {
            top.folder(format!("thing-1.{version}"), |at| {
                at.folder("thing", |at| {
                    let files = (0..300).map(|n| (format!("{n:03}.txt"), text(n, version)));
                    files.for_each(|(name, text)| at.file(name, text));
                });
            });
        }
    });
    let length = |order: &[&str]| {
        let mut create = packfs!("create", "--force", source, image);
        create = order.iter().fold(create, |create, word| create.arg(word));
        create.run().ok();
        fs::metadata(&image).unwrap().len()
    };
    let by_path = length(&["--order", "path"]);
    let similar = length(&["--order", "similarity"]);
    let versions = length(&["--order", "versions"]);
    let by_default = length(&[]);
    assert!(versions * 2 < by_path && similar * 2 < by_path, "{versions} {similar} {by_path}");
    assert_eq!(by_default, versions, "the default for versions");
    let restored = scratch.join("restored");
    packfs!("extract", image, restored).run().ok();
    assert_same(&source, &restored, &exact());
}
