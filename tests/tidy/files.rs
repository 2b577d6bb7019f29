//! No file that nothing uses, nothing at the top that does not belong there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::source::{CODE, rust_files, top};

/// What may lie in the top folder, beside names with a leading dot.
const TOP: [&str; 16] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "format-spec.md",
    "fuzz",
    "rustfmt.toml",
    "src",
    "target",
    "tests",
];

/// The first file of a crate, or of one program in it.
fn is_crate_root(path: &Path) -> bool {
    const ROOTS: [&str; 5] =
        ["src/lib.rs", "src/main.rs", "tests/main.rs", "benches/peers/main.rs", "fuzz/src/lib.rs"];
    const FOLDERS: [&str; 2] = ["benches", "fuzz/src/bin"];
    let is = |known: &str| path == Path::new(known) || path.parent() == Some(Path::new(known));
    ROOTS.iter().chain(&FOLDERS).any(|known| is(known))
}

#[test]
fn every_rust_file_is_part_of_a_crate() {
    let files = || CODE.iter().flat_map(|folder| rust_files(folder)).map(|file| file.path);
    let mut reached = BTreeSet::new();
    let mut open: Vec<PathBuf> = files().filter(|path| is_crate_root(path)).collect();
    while let Some(path) = open.pop() {
        let text = fs::read_to_string(top().join(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        open.extend(modules(&path, &text));
        reached.insert(path);
    }
    let dead: Vec<PathBuf> = files().filter(|path| !reached.contains(path)).collect();
    assert!(dead.is_empty(), "files that no `mod` line leads to: {dead:?}");
}

/// The files of the modules that a file declares.
fn modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap();
    let owns_folder = stem == "mod" || is_crate_root(path);
    let below = if owns_folder { folder.to_owned() } else { folder.join(stem) };
    let mut found = Vec::new();
    let mut given = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            given = Some(path.trim_end_matches("\"]"));
            continue;
        }
        let item = line.trim_start_matches("pub").trim_start_matches("(crate)").trim_start();
        let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) else {
            continue;
        };
        let flat = below.join(format!("{name}.rs"));
        found.push(match given.take() {
            Some(path) => plain(&folder.join(path)),
            None if top().join(&flat).exists() => flat,
            None => below.join(name).join("mod.rs"),
        });
    }
    found
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    path.iter().fold(PathBuf::new(), |plain, part| match part.to_str() {
        Some("..") => plain.parent().unwrap().to_owned(),
        _ => plain.join(part),
    })
}

#[test]
fn nothing_strays_at_the_top() {
    let names = fs::read_dir(top()).unwrap().map(|entry| entry.unwrap().file_name());
    let stray: Vec<String> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .collect();
    assert!(stray.is_empty(), "does this belong in the repository? {stray:?}");
}
