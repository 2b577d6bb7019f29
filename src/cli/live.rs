//! `packfs info --live`: what a mount did so far.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde_json::Value;

use super::output::print;
use super::{Failure, Outcome, size};
use crate::monitor::show;
use crate::mount::{LIVE, LIVE_INODES};

/// Most of the file that is read, in bytes: far more than it has.
const MOST: u64 = 64 << 10;
/// A pipe of that name shall not keep anybody waiting.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

pub(super) fn run(dir: &Path, json: bool) -> Outcome {
    let told = read(dir)?;
    print(|output| {
        if json {
            return Ok(writeln!(output, "{told}")?);
        }
        let number = |path: &str| told.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let bytes = |path: &str| size::show(number(path));
        let float = |path: &str| told.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let archive = told.pointer("/archive").and_then(Value::as_str).unwrap_or_default();
        writeln!(output, "{}, for {} s", show(archive.as_bytes()), number("/seconds"))?;
        writeln!(
            output,
            "  messages     {} look-ups, {} listings, {} reads",
            number("/messages/lookups"),
            number("/messages/listings"),
            number("/messages/reads")
        )?;
        writeln!(output, "  returned     {}", bytes("/returned"))?;
        writeln!(
            output,
            "  handed over  {} in {} files, unasked",
            bytes("/handed_over/bytes"),
            number("/handed_over/files")
        )?;
        writeln!(
            output,
            "  inflated     {}, {:.2} for each byte that went out",
            bytes("/inflated"),
            float("/inflated_for_each")
        )?;
        writeln!(
            output,
            "  working set  {} of {}: {} hits, {} misses, {} joined, {} evicted",
            bytes("/working_set/bytes"),
            bytes("/working_set/budget"),
            number("/working_set/hits"),
            number("/working_set/misses"),
            number("/working_set/joined"),
            number("/working_set/evicted")
        )?;
        writeln!(
            output,
            "  a read took  {} us (p50), {} us (p90), {} us (p99), {} us (most), at most",
            float("/read_microseconds/p50"),
            float("/read_microseconds/p90"),
            float("/read_microseconds/p99"),
            float("/read_microseconds/max")
        )?;
        Ok(writeln!(output, "  memory       {}", bytes("/memory"))?)
    })
}

/// What the mount on `dir` tells.
fn read(dir: &Path) -> Result<Value, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{}: {why}", dir.display()));
    let file = match openat(CWD, dir.join(LIVE), READ, Mode::empty()).map(File::from) {
        Err(Errno::NOENT) => {
            let why = "no archive is mounted there; name the folder that it is mounted on";
            return Err(failed(&why));
        }
        opened => opened.map_err(|error| failed(&error))?,
    };
    // An archive, and any other folder, may have a file of that name.
    let meta = file.metadata().map_err(|error| failed(&error))?;
    if !meta.is_file() || meta.ino() < LIVE_INODES {
        return Err(failed(&format!(
            "its {LIVE} is a file of its own and tells nothing of a mount"
        )));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}
