//! What the fuzzers found, and where they start: replayed on every run of the tests.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets.rs"]
mod targets;

mod seeds;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// The files of a folder, ordered by name; `.gitkeep` is not one of them.
fn files(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = read.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.ends_with(".gitkeep"));
    files.sort();
    files
}

#[test]
fn every_target_survives_its_seeds_and_regressions() {
    for (target, run) in targets::TARGETS {
        let seeds = files(&folder("seeds", target));
        assert!(!seeds.is_empty(), "fuzz/seeds/{target} is empty");
        for path in seeds.into_iter().chain(files(&folder("regressions", target))) {
            println!("{}", path.display()); // shown with the failure
            run(&fs::read(&path).unwrap());
        }
    }
}

/// Every binary is a target, and the other way round.
#[test]
fn every_target_has_its_binary() {
    let mut binaries: Vec<String> =
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/src/bin"))
            .iter()
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
    let mut targets: Vec<String> =
        targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    binaries.sort();
    targets.sort();
    assert_eq!(binaries, targets);
}
