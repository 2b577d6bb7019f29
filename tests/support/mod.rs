//! What all subjects share: running packfs, mounts, scratch folders, the hostile tree.

pub mod command;
pub mod hostile;
pub mod layout;
pub mod mount;
pub mod same;
pub mod scratch;
pub mod tree;

pub use command::Packfs;
pub use mount::Mount;
pub use same::{assert_same, exact};
pub use scratch::Scratch;

/// Whether these tests run as root, and so can make devices and change owners.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
