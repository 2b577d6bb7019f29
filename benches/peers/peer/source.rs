//! The source tree itself, on the disk that it lies on.

use std::path::Path;
use std::process::Command;

use super::Peer;
use crate::mounted::How;

/// Not archived at all.
#[derive(Debug)]
pub struct InPlace;

impl Peer for InPlace {
    fn name(&self) -> &'static str {
        "source"
    }

    fn about(&self) -> &'static str {
        "the tree itself, where it lies"
    }

    fn version(&self) -> Result<String, String> {
        Ok("the file system of the disk".to_owned())
    }

    fn build(&self, _: &Path, _: &Path) -> Vec<Command> {
        Vec::new()
    }

    fn mount(&self, tree: &Path, _: &Path, _: &Path) -> Option<How> {
        Some(How::InPlace(tree.to_owned()))
    }

    fn opens(&self) -> bool {
        false
    }
}
