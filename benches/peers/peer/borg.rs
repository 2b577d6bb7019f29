//! BorgBackup: a repository with one archive.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::{Peer, command, version_of};
use crate::mounted::How;

/// borg, without encryption.
#[derive(Debug)]
pub struct Borg;

impl Peer for Borg {
    fn name(&self) -> &'static str {
        "borg"
    }

    fn about(&self) -> &'static str {
        "borg init -e none X; borg create X::tree .; borg mount -f X::tree DIR"
    }

    fn version(&self) -> Result<String, String> {
        version_of("borg", "--version", "borgbackup, with python3-pyfuse3,")
    }

    fn build(&self, tree: &Path, archive: &Path) -> Vec<Command> {
        let mut init = borg(archive, &["init", "--encryption", "none"]);
        init.arg(archive);
        let mut create = borg(archive, &["create"]);
        create.arg(in_repository(archive)).arg(".").current_dir(tree);
        vec![init, create]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        let mut mount = borg(archive, &["mount", "--foreground"]);
        mount.arg(in_repository(archive)).arg(dir);
        Some(How::Driver(mount))
    }
}

/// The command, whose caches and settings lie beside the repository.
fn borg(archive: &Path, arguments: &[&str]) -> Command {
    let mut borg = command("borg", arguments);
    borg.env("BORG_BASE_DIR", archive.with_extension("state"));
    borg.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
    borg
}

fn in_repository(archive: &Path) -> OsString {
    let mut name = archive.as_os_str().to_owned();
    name.push("::tree");
    name
}
