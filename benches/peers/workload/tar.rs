//! GNU tar of the whole mount, whose stream is read and compared with the source.

use std::io::{BufReader, Read};
use std::process::{ChildStdout, Command};
use std::sync::Arc;

use packfs::tar::TarReader;
use rustix::pipe::fcntl_setpipe_size;
use xxhash_rust::xxh3::Xxh3;

use super::{Stage, sample};
use crate::process::{self, Stop};
use crate::results::Sample;
use crate::tree::{Content, Tree};

/// Bytes in the pipe, and of a record that tar writes at a time: reading shall not be waited for.
const PIPE: usize = 1 << 20;

/// Archives the mount, and checks each file of the archive.
pub fn run(stage: &Stage) -> Result<Sample, Stop> {
    let mut command = Command::new("tar");
    command.args(["--blocking-factor=2048", "--hard-dereference", "-C"]);
    command.arg(&stage.root).args(["-cf", "-", "."]);
    let tree = Arc::clone(&stage.tree);
    let (cost, checked) = process::run(&mut command, stage.limit, move |out| check(&tree, out))?;
    checked.map(|()| sample(cost))
}

fn check(tree: &Tree, out: ChildStdout) -> Result<(), Stop> {
    // A smaller pipe does, too.
    let _ = fcntl_setpipe_size(&out, PIPE);
    let mut out = BufReader::with_capacity(PIPE, out);
    let checked = check_stream(tree, &mut out);
    // Whatever was wrong: tar must not die of a closed pipe.
    let drained = std::io::copy(&mut out, &mut std::io::sink());
    checked.and(drained.map(drop).map_err(|error| Stop::broken("tar", error)))
}

fn check_stream(tree: &Tree, out: &mut impl Read) -> Result<(), Stop> {
    let wrong = |error| Stop::wrong(format!("tar of it: {error}"));
    let mut reader = TarReader::new(out).map_err(wrong)?;
    let (mut room, mut files, mut bytes) = (vec![0; PIPE], 0, 0);
    while let Some(entry) = reader.next_entry().map_err(wrong)? {
        if !entry.is_file() {
            continue;
        }
        let (mut hasher, mut size) = (Xxh3::new(), 0);
        loop {
            match reader.read_data(&mut room).map_err(wrong)? {
                0 => break,
                read => {
                    hasher.update(&room[..read]);
                    size += read as u64;
                }
            }
        }
        tree.check(&entry.path, Content { size, hash: hasher.digest() })?;
        files += 1;
        bytes += size;
    }
    tree.check_totals(files, bytes)
}
