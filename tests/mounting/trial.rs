//! `try`: the first command of a newcomer.

use std::fs;

use crate::support::command::packfs;
use crate::support::mount::need_fuse;
use crate::support::{Scratch, hostile};

#[test]
fn a_trial_of_a_sample_tells_figures_and_cleans_up() {
    need_fuse();
    let temp = Scratch::new();
    let outcome = packfs!("try").env("TMPDIR", temp.path()).run().ok();
    let text = outcome.text();
    assert!(text.lines().count() > 4, "{text}");
    for word in ["files", "build", "iB/s", "mount", "ms", "the same"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    assert!(temp.names().is_empty(), "left behind: {:?}", temp.names());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(temp.path().to_str().unwrap()), "left mounted");
}

#[test]
fn a_trial_of_a_hostile_folder_finds_no_difference() {
    need_fuse();
    let temp = Scratch::new();
    packfs!("try", hostile::folder()).env("TMPDIR", temp.path()).run().ok();
    assert!(temp.names().is_empty(), "left behind: {:?}", temp.names());
}

#[test]
fn a_trial_of_what_is_not_there_fails_and_cleans_up() {
    need_fuse();
    let temp = Scratch::new();
    packfs!("try", temp.join("gone")).env("TMPDIR", temp.path()).run().fails(1, &["gone"]);
    assert!(temp.names().is_empty(), "left behind: {:?}", temp.names());
}
