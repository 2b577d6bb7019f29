//! How long work tells of its progress, and is told to stop.

/// What long work is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Listing what is to be archived.
    Scan,
    /// Reading, cutting, compressing and writing data.
    Pack,
    /// Writing the tree and the root.
    Tree,
    /// Writing files out of an archive.
    Extract,
    /// Comparing two folders.
    Compare,
    /// Looking for damage.
    Check,
    /// Copying objects.
    Copy,
    /// Making good what is damaged.
    Repair,
    /// Making parity.
    Parity,
}

impl Phase {
    /// The phase in a word, for a progress bar.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scanning",
            Self::Pack => "packing",
            Self::Tree => "writing tree",
            Self::Extract => "extracting",
            Self::Compare => "comparing",
            Self::Check => "checking",
            Self::Copy => "copying",
            Self::Repair => "repairing",
            Self::Parity => "adding parity",
        }
    }
}

/// Something that was left out or came out otherwise than asked; work goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path it is about.
    pub path: Vec<u8>,
    /// What happened, in a few words.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", show(&self.path), self.what)
    }
}

/// A path as one line of text: bytes that are not printable text are escaped.
#[must_use]
pub fn show(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() { text.extend(char.escape_default()) } else { text.push(char) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Told of the progress of long work; may be called from any of its threads.
pub trait Monitor: Send + Sync {
    /// The work enters a phase.
    fn phase(&self, phase: Phase);
    /// What the phase will come to, once that is known.
    fn total(&self, files: u64, bytes: u64);
    /// So many more files and bytes are done.
    fn advance(&self, files: u64, bytes: u64);
    /// So many more bytes reached the archive.
    fn written(&self, _bytes: u64) {}
    /// Something was left out; the work goes on.
    fn problem(&self, problem: Problem);
    /// Whether the work shall stop: asked often, so it must be cheap.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A monitor that only keeps problems: for tests, and where nobody looks.
#[derive(Debug, Default)]
pub struct Quiet {
    problems: std::sync::Mutex<Vec<Problem>>,
}

impl Quiet {
    /// The problems so far.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().map(|problems| problems.clone()).unwrap_or_default()
    }
}

impl Monitor for Quiet {
    fn phase(&self, _phase: Phase) {}
    fn total(&self, _files: u64, _bytes: u64) {}
    fn advance(&self, _files: u64, _bytes: u64) {}
    fn problem(&self, problem: Problem) {
        if let Ok(mut problems) = self.problems.lock() {
            problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_on_one_line() {
        assert_eq!(show(b"a b/\xc3\xa9"), "a b/é");
        assert_eq!(show(b"x\n\xff"), "x\\n\\xff");
    }
}
