//! `packfs info --live`: what a mount did so far.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde_json::Value;

use super::flush::{mounted, request};
use super::output::print;
use super::{Failure, Outcome, size};
use crate::live::Request;
use crate::monitor::show;
use crate::mount::{LIVE, LIVE_INODES};

/// Most of the file that is read, in bytes: far more than it has.
const MOST: u64 = 64 << 10;
/// A pipe of that name shall not keep anybody waiting.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

pub(super) fn run(dir: &Path, json: bool) -> Outcome {
    let told = Told(read(dir)?);
    print(|output| {
        if json {
            return Ok(writeln!(output, "{}", told.0)?);
        }
        let archive = told.0.pointer("/archive").and_then(Value::as_str).unwrap_or_default();
        writeln!(output, "{}, for {} s", show(archive.as_bytes()), told.number("/seconds"))?;
        match told.0.get("changes") {
            Some(_) => changes(&told, output)?,
            None => reads(&told, output)?,
        }
        writeln!(
            output,
            "  working set  {} of {}: {} hits, {} misses, {} joined, {} evicted",
            told.bytes("/working_set/bytes"),
            told.bytes("/working_set/budget"),
            told.number("/working_set/hits"),
            told.number("/working_set/misses"),
            told.number("/working_set/joined"),
            told.number("/working_set/evicted")
        )?;
        Ok(writeln!(output, "  memory       {}", told.bytes("/memory"))?)
    })
}

/// What a mount tells, by JSON pointers.
struct Told(Value);

impl Told {
    fn number(&self, path: &str) -> u64 {
        self.0.pointer(path).and_then(Value::as_u64).unwrap_or(0)
    }

    fn bytes(&self, path: &str) -> String {
        size::show(self.number(path))
    }

    fn float(&self, path: &str) -> f64 {
        self.0.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
    }

    fn is(&self, path: &str) -> bool {
        self.0.pointer(path) == Some(&Value::Bool(true))
    }
}

/// What a writable mount has that is not part of its store yet.
fn changes(told: &Told, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "  not packed   {} of {} at most, {} inodes, {} of memory",
        told.bytes("/changes/spool"),
        told.bytes("/changes/spool_budget"),
        told.number("/changes/inodes"),
        told.bytes("/changes/memory")
    )?;
    let more = match (told.is("/commits/under_way"), told.is("/commits/failing")) {
        (true, _) => ", another one under way",
        (_, true) => ", and the last one failed: see the log",
        _ => "",
    };
    writeln!(output, "  commits      {}{more}", told.number("/commits/done"))?;
    writeln!(output, "  inflated     {}", told.bytes("/inflated"))
}

/// What a read-only mount did.
fn reads(told: &Told, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "  messages     {} look-ups, {} listings, {} reads",
        told.number("/messages/lookups"),
        told.number("/messages/listings"),
        told.number("/messages/reads")
    )?;
    writeln!(output, "  returned     {}", told.bytes("/returned"))?;
    writeln!(
        output,
        "  handed over  {} in {} files, unasked",
        told.bytes("/handed_over/bytes"),
        told.number("/handed_over/files")
    )?;
    writeln!(
        output,
        "  inflated     {}, {:.2} for each byte that went out",
        told.bytes("/inflated"),
        told.float("/inflated_for_each")
    )?;
    writeln!(
        output,
        "  a read took  {} us (p50), {} us (p90), {} us (p99), {} us (most), at most",
        told.float("/read_microseconds/p50"),
        told.float("/read_microseconds/p90"),
        told.float("/read_microseconds/p99"),
        told.float("/read_microseconds/max")
    )
}

/// What the mount on `dir` tells.
fn read(dir: &Path) -> Result<Value, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{}: {why}", dir.display()));
    // A writable mount tells nothing in itself: all names in it are those of files.
    if let Some(entry) = mounted(dir).filter(|entry| entry.writable)
        && let Some(text) = request(Path::new(&entry.source), &Request::Tell)?
    {
        return serde_json::from_str(&text).map_err(|error| failed(&error));
    }
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
