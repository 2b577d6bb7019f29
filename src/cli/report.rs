//! What `create` and `add` print when they are done.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::packing::PackingArgs;
use super::{Failure, Outcome, size};
use crate::ingest::Summary;

/// What there is to tell beside what was archived.
pub(super) struct Report<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// The number of the root that was made; `None` if there was nothing to make one for.
    pub root: Option<u64>,
    /// Bytes of the archive, or that were added to it.
    pub length: u64,
    /// How many files had trouble.
    pub problems: usize,
    /// How long it took.
    pub took: Duration,
}

impl Report<'_> {
    /// Prints it; what comes of the command.
    pub fn print(&self, args: &PackingArgs, summary: &Summary) -> Outcome {
        let text = match (args.json, args.quiet) {
            (true, _) => self.json(summary),
            (false, true) => String::new(),
            (false, false) => self.text(summary),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        self.outcome(args)
    }

    /// What comes of the command.
    pub fn outcome(&self, args: &PackingArgs) -> Outcome {
        if self.problems == 0 || args.ignore_errors {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::Failed(format!(
            "{}: done, but {} files were left out or changed while they were read (named above); \
             --ignore-errors takes that as success",
            self.archive.display(),
            self.problems
        )))
    }

    /// Whether the archive is new.
    fn is_new(&self) -> bool {
        self.root == Some(1)
    }

    /// Bytes of the source: of a new archive, holes included.
    fn source(&self, summary: &Summary) -> u64 {
        match self.is_new() {
            true => summary.totals.bytes,
            false => summary.savings.bytes.saturating_add(summary.savings.unique),
        }
    }

    fn json(&self, summary: &Summary) -> String {
        let (totals, savings) = (summary.totals, summary.savings);
        let json = serde_json::json!({
            "archive": self.archive.to_string_lossy(),
            "root": self.root,
            "bytes": self.length,
            "entries": totals.entries,
            "files": totals.files,
            "source_bytes": self.source(summary),
            "unique_bytes": savings.unique,
            "duplicate_files": savings.files,
            "duplicate_bytes": savings.bytes,
            "tree_bytes": summary.tree,
            "index_bytes": summary.index,
            "problems": self.problems,
            "seconds": self.took.as_secs_f64(),
        });
        format!("{json}\n")
    }

    fn text(&self, summary: &Summary) -> String {
        let (totals, savings, source) = (summary.totals, summary.savings, self.source(summary));
        let rate = u128::from(source) * 1000 / self.took.as_millis().max(1);
        let root = self.root.filter(|_| !self.is_new());
        let root = root.map_or_else(String::new, |root| format!("  root        {root:>12}\n"));
        format!(
            "{archive}\n{root}  \
             entries     {entries:>12}   files {files}\n  \
             source      {bytes:>12}\n  \
             known       {known:>12}   in {same} files known all through, and in others\n  \
             new         {new:>12}\n  \
             {written:<11} {length:>12}   {share} of the source; tree {tree}, index {index}\n  \
             took        {secs:>10.1} s   {rate}/s\n",
            archive = self.archive.display(),
            entries = size::count(totals.entries),
            files = size::count(totals.files),
            bytes = size::show(source),
            known = size::show(savings.bytes),
            same = size::count(savings.files),
            new = size::show(savings.unique),
            written = if self.is_new() { "archive" } else { "written" },
            length = size::show(self.length),
            share = size::percent(self.length, source),
            tree = size::show(summary.tree),
            index = size::show(summary.index),
            secs = self.took.as_secs_f64(),
            rate = size::show(u64::try_from(rate).unwrap_or(u64::MAX)),
        )
    }
}
