//! The index of a root: it is read while the tree is used already.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{Cause, Error, format_error, index_key};
use crate::format::{
    ENVELOPE_LEN, MAX_TABLE, ObjectRef, Problem, Root, Section, Segment, check, compatible,
};
use crate::index::{Index, Origin};
use crate::storage::{Bytes, Storage};
use crate::tree::Tree;

type Segments = Result<Vec<(Segment<Bytes>, u32)>, Error>;

/// The segments of a root, read by a thread of their own. They have two bytes for each block, which
/// the disk takes a while to give, and who lists a folder needs none of them.
#[derive(Debug)]
pub(super) struct Opening {
    reading: Mutex<Option<JoinHandle<Segments>>>,
    opened: OnceLock<Opened>,
}

/// The segments of a root together.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) index: Index,
    /// Where the blocks of each of the tree's origins are listed.
    pub(super) origins: Vec<Origin>,
    /// Bits of compatible features in segments.
    pub(super) compatible: u32,
    /// Why there is no index: then this one is empty.
    pub(super) error: Option<Error>,
}

impl Opening {
    /// Begins to read the segments of a root.
    pub(super) fn start(storage: &Arc<dyn Storage>, root: &Root) -> Self {
        let (storage, objects) = (Arc::clone(storage), root.segments.clone());
        let thread = Builder::new().name("index".to_owned());
        // Where no thread can be started, who needs them reads them.
        let reading = thread.spawn(move || read(&*storage, &objects)).ok();
        Self { reading: Mutex::new(reading), opened: OnceLock::new() }
    }

    /// The segments of that root; waits until they are read.
    pub(super) fn opened(&self, storage: &dyn Storage, root: &Root, tree: &Tree) -> &Opened {
        self.opened.get_or_init(|| {
            let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take();
            let lost = |_| Err(Error::new(&storage.name(), Cause::Lost));
            let read = match reading {
                Some(thread) => thread.join().unwrap_or_else(lost),
                None => read(storage, &root.segments),
            };
            Opened::new(read, tree)
        })
    }
}

impl Opened {
    fn new(read: Segments, tree: &Tree) -> Self {
        let (read, error) = match read {
            Ok(read) => (read, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let (segments, bits): (Vec<_>, Vec<u32>) = read.into_iter().unzip();
        let index = Index::new(segments);
        let origins = tree.footer().origins.iter().map(|origin| index.origin(origin)).collect();
        let compatible = bits.into_iter().fold(0, |all, bits| all | bits);
        Self { index, origins, compatible, error }
    }
}

fn read(storage: &dyn Storage, objects: &[ObjectRef]) -> Segments {
    objects.iter().map(|object| open_segment(storage, object).map_err(Error::of_named)).collect()
}

/// An index segment that a root names, and bits of compatible features in it.
///
/// # Errors
/// If it does not check out, or is another one.
pub fn open_segment(
    storage: &dyn Storage,
    object: &ObjectRef,
) -> Result<(Segment<Bytes>, u32), Error> {
    let key = index_key(&object.id);
    let limit = (MAX_TABLE + ENVELOPE_LEN) as u64;
    let bytes = storage.get(&key, limit)?;
    let fail = |error| format_error(storage, &key, error);
    if check(Section::Index, bytes.as_ref()).map_err(fail)? != object.checksum {
        return Err(fail(Problem::Checksum.of(Section::Index)));
    }
    let bits = compatible(bytes.as_ref());
    Ok((Segment::open(bytes).map_err(fail)?, bits))
}
