//! Writes down in which order a mount's files are read. Layout: `format-spec.md`, "Access trace".

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A trace being written. It is whole once it is dropped.
#[derive(Debug)]
pub(super) struct Trace(Mutex<BufWriter<File>>);

impl Trace {
    /// Begins a trace of an archive opened at `root` in a new file, or over an old one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn create(path: &Path, root: &str) -> std::io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        writeln!(out, "packfs-trace 1 {root}")?;
        out.flush()?;
        Ok(Self(Mutex::new(out)))
    }

    /// Bytes of a file were read. What cannot be written is missing: the read goes before.
    pub(super) fn read(&self, inode: u64, offset: u64, length: usize) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(out, "{inode} {offset} {length}");
    }
}
