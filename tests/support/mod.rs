//! What all subjects share: running packfs, mounts, scratch folders, the hostile tree.

pub mod command;
pub mod disk;
pub mod hostile;
pub mod layout;
pub mod mount;
pub mod same;
pub mod scratch;
pub mod tree;

use std::time::Duration;

pub use command::Packfs;
pub use mount::Mount;
pub use same::{assert_same, exact};
pub use scratch::Scratch;

/// How many entries the largest folder of the hostile tree has.
pub fn entries() -> u64 {
    std::env::var("PACKFS_TEST_ENTRIES").map_or(20_000, |count| count.parse().unwrap())
}

/// How long anything may take: far longer than it does, so that it only ever ends a hang.
pub fn patience() -> Duration {
    let load = std::env::var("PACKFS_LOAD").map_or(0, |secs| secs.parse().unwrap());
    Duration::from_secs(180 + entries() / 500 + load)
}

/// Whether these tests run as root, and so can make devices and change owners.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
