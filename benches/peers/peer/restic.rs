//! restic: a repository with one snapshot.

use std::path::Path;
use std::process::Command;

use super::{Peer, command, version_of};
use crate::mounted::How;

/// restic. It always encrypts.
#[derive(Debug)]
pub struct Restic;

impl Peer for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn about(&self) -> &'static str {
        "restic init; restic backup .; restic mount DIR (snapshots/latest)"
    }

    fn version(&self) -> Result<String, String> {
        version_of("restic", "version", "restic")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut backup = restic(archive, &["backup", "--quiet", "."]);
        backup.current_dir(tree);
        vec![restic(archive, &["init", "--quiet", "--repository-version", "2"]), backup]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        let mut mount = restic(archive, &["mount"]);
        mount.arg(dir);
        Some(How::Driver(mount))
    }

    fn below(&self) -> &'static str {
        "snapshots/latest"
    }
}

/// The command, whose cache lies beside the repository.
fn restic(archive: &Path, arguments: &[&str]) -> Command {
    let mut restic = command("restic", arguments);
    restic.arg("--repo").arg(archive);
    restic.arg("--cache-dir").arg(archive.with_extension("state"));
    restic.env("RESTIC_PASSWORD", "none");
    restic
}
