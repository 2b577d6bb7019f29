//! The comparison of two trees as an assertion.

use std::path::Path;

use packfs::compare::{CompareOptions, compare};

/// Everything a file has but the times that nobody can set.
pub fn exact() -> CompareOptions {
    CompareOptions::default()
}

/// Fails with the differences if the trees differ; the number of entries compared.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path, options: &CompareOptions) -> u64 {
    let compared = compare(left, right, options).unwrap();
    let lines: Vec<String> = compared.differences.iter().map(ToString::to_string).collect();
    assert!(
        compared.same(),
        "{} and {} differ in {} things:\n{}",
        left.display(),
        right.display(),
        compared.found,
        lines.join("\n")
    );
    compared.entries
}
