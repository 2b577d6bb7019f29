//! What a check finds.

use std::io;
use std::sync::Arc;

use crate::maintain::Error;
use crate::storage::{ErrorKind, StorageError};
use crate::store::{self, Cause};

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What holds the objects of an image together.
    Image,
    /// The settings.
    Settings,
    /// A root.
    Root,
    /// A snapshot.
    Snapshot,
    /// An index segment.
    Segment,
    /// The index of a root does not have what its tree needs.
    Index,
    /// A tree, which cannot be opened.
    Tree,
    /// A page of a tree.
    Page,
    /// A pack that is lost, or not as long as it should be.
    Pack,
    /// What a pack says of itself.
    PackTable,
    /// A frame.
    Frame,
    /// A block, whose hash is another.
    Block,
    /// Blocks that a repair did not find, and gave up.
    Lost,
    /// An object that is not the one of its id, though all that is read of it holds.
    Object,
    /// What a tree says does not add up.
    Shape,
    /// A parity set.
    Parity,
    /// Changes of a writer that ended without a commit.
    Changes,
}

/// A damage, and what it hurts.
#[derive(Debug)]
pub struct Damage {
    /// What is damaged.
    pub what: What,
    /// The key of the object; empty for the archive itself.
    pub object: String,
    /// The place in it; empty: all of it.
    pub place: String,
    /// Where that begins.
    pub at: u64,
    /// What is wrong.
    pub why: String,
    /// What cannot be read because of it.
    pub hurts: Vec<Hurt>,
}

/// What cannot be read because of a damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    /// What the root is shown as: `head`, names of snapshots.
    pub roots: Arc<[String]>,
    /// The path, without a `/` before it; empty for the top.
    pub path: Vec<u8>,
    /// What of it.
    pub harm: Harm,
}

/// What of a path cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// Nothing of it, nor of what is below it.
    All,
    /// Bytes of a file, from this one up to that one.
    Bytes(u64, u64),
    /// A folder cannot be listed, and names in it not looked up from this one up to that one
    /// (empty: from the first; `None`: up to the last).
    Names(Vec<u8>, Option<Vec<u8>>),
    /// It reads, but what is read is not what was archived.
    Wrong,
}

impl Damage {
    /// A damage of all of an object, or of a place in it.
    pub(super) fn new(what: What, object: &str, place: &str, why: String) -> Self {
        let (object, place, hurts) = (object.to_owned(), place.to_owned(), Vec::new());
        Self { what, object, place, at: 0, why, hurts }
    }

    /// What a storage says of a section of an object.
    pub(super) fn of(what: What, object: &str, error: &StorageError) -> Self {
        let place = match &error.kind {
            ErrorKind::Format(error) => error.section.to_string(),
            _ => String::new(),
        };
        Self::new(what, object, &place, reason(&error.kind))
    }

    /// Adds what it hurts; a range of a file that goes on from the last one makes that longer.
    pub(super) fn hurts(&mut self, hurt: Hurt) {
        if let (Some(last), Harm::Bytes(from, to)) = (self.hurts.last_mut(), &hurt.harm)
            && let Harm::Bytes(_, end) = &mut last.harm
            && end == from
            && (&last.path, &last.roots) == (&hurt.path, &hurt.roots)
        {
            *end = *to;
            return;
        }
        if self.hurts.last() == Some(&hurt) {
            return;
        }
        self.hurts.push(hurt);
    }
}

/// Why an object cannot be used, without which.
pub(super) fn why(error: &store::Error) -> String {
    match &error.cause {
        Cause::Storage(kind) => reason(kind),
        Cause::Format(error) => error.problem.to_string(),
        cause => cause.to_string(),
    }
}

/// The same, of what a storage says.
pub(in crate::maintain) fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "lost".to_owned(),
        ErrorKind::Short(at) => format!("cut short: ends before byte {at}"),
        ErrorKind::Format(error) => error.problem.to_string(),
        ErrorKind::Io(error) => format!("cannot be read: {error}"),
        kind => kind.to_string(),
    }
}

/// Whether what failed is for a check to tell: what may not be read is not damaged.
pub(super) fn may_go_on(error: &store::Error) -> Result<(), Error> {
    match &error.cause {
        Cause::Storage(ErrorKind::Io(source))
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Err(Error::Store(error.clone()))
        }
        _ => Ok(()),
    }
}
