//! `find -printf`: a walk that asks for the attributes of everything.

use std::process::Command;

use super::{Stage, sample};
use crate::process::{Stop, output};
use crate::results::Sample;

/// Walks, and compares the numbers and the bytes found with the source.
pub fn run(stage: &Stage) -> Result<Sample, Stop> {
    let mut command = Command::new("find");
    // The dot follows a symlink that the top folder may be.
    command.arg(stage.root.join(".")).args(["-printf", "%y %s\\n"]);
    let (cost, out) = output(&mut command, stage.limit)?;
    let text = String::from_utf8_lossy(&out);
    let (mut entries, mut files, mut bytes) = (0, 0, 0);
    for line in text.lines() {
        entries += 1;
        // Sizes of folders are each file system's own.
        if let Some(size) = line.strip_prefix("f ") {
            files += 1;
            bytes += size.parse::<u64>().map_err(|_| Stop::wrong(format!("find: {line}")))?;
        }
    }
    stage.tree.check_totals(files, bytes)?;
    if entries != stage.tree.entries {
        let known = stage.tree.entries;
        return Err(Stop::wrong(format!("{entries} entries, in the source {known}")));
    }
    Ok(sample(cost))
}
