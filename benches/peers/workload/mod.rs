//! What is done to each mounted archive, and checked against the source.
//!
//! All of it happens in other processes, so that a mount that hangs cannot hang the run.

mod find;
mod program;
pub mod random;
pub mod readers;
pub mod stream;
mod tar;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::process::{Cost, Stop, output};
use crate::results::Sample;
use crate::tree::Tree;

pub use program::Program;

/// A mounted archive, and what is known of it.
#[derive(Debug)]
pub struct Stage {
    /// The source.
    pub tree: Arc<Tree>,
    /// The program to run on it, if there is one for this tree.
    pub program: Option<Program>,
    /// The tree's top folder in the mount.
    pub root: PathBuf,
    /// A folder for what workers are told.
    pub scratch: PathBuf,
    /// How long a workload may take.
    pub limit: Duration,
}

/// A workload: run once cold and, if it has a name for that, once more warm.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Its measure on a fresh mount with cold caches.
    pub cold: &'static str,
    /// Its measure when it is run again.
    pub warm: Option<&'static str>,
    /// Does it; fails if what came back is not what the source has.
    pub run: fn(&Stage) -> Result<Sample, Stop>,
}

/// The measure of the first `ls`, whose time begins with the mounting.
pub const FIRST_LS: Workload = Workload { cold: "first-ls", warm: None, run: list };

/// All others, in the order in which they are run.
pub const WORKLOADS: [Workload; 8] = [
    Workload { cold: "find-cold", warm: Some("find-warm"), run: find::run },
    Workload { cold: "tar-cold", warm: Some("tar-warm"), run: tar::run },
    Workload { cold: "tar4-cold", warm: Some("tar4-warm"), run: readers::run },
    Workload { cold: "random-1", warm: None, run: random::one_thread },
    Workload { cold: "random-4", warm: None, run: random::four_threads },
    Workload { cold: "random-large", warm: None, run: random::in_large_files },
    Workload { cold: "stream-cold", warm: Some("stream-warm"), run: stream::run },
    Workload { cold: "run-cold", warm: Some("run-warm"), run: program::run },
];

/// Whether a workload can be done with a tree.
pub fn applies(workload: &Workload, stage: &Tree, program: Option<&Program>) -> bool {
    match workload.cold {
        "run-cold" => program.is_some(),
        "random-large" | "stream-cold" | "random-1" | "random-4" => stage.bytes > 0,
        _ => true,
    }
}

/// This program, as a worker that does `work`.
pub fn worker(work: &str) -> Result<Command, Stop> {
    let program = std::env::current_exe().map_err(|error| Stop::broken("this program", error))?;
    let mut command = Command::new(program);
    command.args(["worker", work]);
    Ok(command)
}

/// `ls`: the names in the top folder.
fn list(stage: &Stage) -> Result<Sample, Stop> {
    let mut command = Command::new("ls");
    let (cost, out) = output(command.args(["-A", "-U", "--zero"]).arg(&stage.root), stage.limit)?;
    let mut names: Vec<_> = out.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    match names.iter().eq(stage.tree.names.iter()) {
        true => Ok(sample(cost)),
        false => Err(Stop::wrong(format!("the top folder lists {} other names", names.len()))),
    }
}

fn sample(cost: Cost) -> Sample {
    Sample { seconds: cost.seconds, ..Sample::default() }
}

/// Joins a path from the top to the top.
fn below(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    root.join(std::ffi::OsStr::from_bytes(path))
}
