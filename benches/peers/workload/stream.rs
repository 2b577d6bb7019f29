//! The largest file, read from its start to its end.

use std::path::Path;

use super::{Stage, below, sample, worker};
use crate::process::{Stop, output};
use crate::results::Sample;
use crate::tree::{Content, content};

/// Reads the largest file, and compares it with the source.
pub fn run(stage: &Stage) -> Result<Sample, Stop> {
    let path = stage.tree.largest.as_deref().unwrap_or_default();
    let mut command = worker("stream")?;
    let (cost, out) = output(command.arg(below(&stage.root, path)), stage.limit)?;
    let text = String::from_utf8_lossy(&out);
    let mut fields = text.split_whitespace().map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(size)), Some(Ok(hash))) => stage.tree.check(path, Content { size, hash })?,
        _ => return Err(Stop::Broken(format!("a worker said {text:?}"))),
    }
    Ok(sample(cost))
}

/// The worker: reads a file and prints its length and hash.
pub fn work(file: &Path) -> Result<(), Stop> {
    let content = content(file)?;
    println!("{} {}", content.size, content.hash);
    Ok(())
}
