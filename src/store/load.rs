//! A frame, from where it is stored into the working set.

use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use super::working_set::weight;
use super::{Cause, Error, Frame, Store};
use crate::format::{Codec, FrameRecord, Id, NO_PACK, Problem};
use crate::index::{FrameId, Missing};
use crate::pack::{self, Inflation};

/// What it takes to go on with a frame, besides what is stored of it, in bytes: zstd's decoder.
const GOING_ON: u64 = 256 << 10;

impl Store {
    pub(super) fn damaged(&self, id: FrameId, problem: Problem) -> Error {
        match self.index().frame(id) {
            None => Error::new(&self.name(), Missing),
            Some((record, pack)) => {
                let place = self.storage.locate(&pack::key(&pack));
                let object = format!("{place}: frame at byte {}", record.offset);
                Error::new(&object, Cause::Frame(problem))
            }
        }
    }

    /// The stored bytes of a frame, which match their checksum: as they lie in its pack, or as
    /// parity says that they should.
    fn stored(&self, id: FrameId, record: &FrameRecord, pack: &Id) -> Result<Vec<u8>, Error> {
        let key = pack::key(pack);
        let length = record.stored as usize;
        let matches = |stored: &Vec<u8>| xxh3_64(stored) == record.checksum;
        let read = self.storage.get_range(&key, record.offset, length).map_err(Error::from);
        let failed = match read {
            Ok(stored) if matches(&stored) => return Ok(stored),
            Ok(_) => self.damaged(id, Problem::Checksum),
            Err(error) => error.of_named(),
        };
        let from = usize::try_from(record.offset).unwrap_or(usize::MAX);
        let range = from..from.saturating_add(length);
        let healed = self.healer.range(&*self.storage, &key, range);
        healed.filter(matches).ok_or(failed)
    }

    /// A frame for the working set, of which the first `wanted` bytes are inflated.
    pub(super) fn load(&self, id: FrameId, wanted: u32) -> Result<Frame, Error> {
        let (record, pack) =
            self.index().frame(id).ok_or_else(|| Error::new(&self.name(), Missing))?;
        if pack == NO_PACK {
            return Err(Error::new(&self.name(), Cause::GivenUp));
        }
        let stored = self.stored(id, &record, &pack)?;
        let (length, wanted) = (record.inflated as usize, wanted as usize);
        let room = match record.codec {
            // Its bytes are those that are stored.
            Codec::None => Vec::new().into(),
            _ => self.working_set.buffers.take(length),
        };
        let inflation = Inflation::new(record.codec, stored, room, length, wanted);
        let inflation = inflation.map_err(|problem| self.damaged(id, problem))?;
        if !inflation.is_whole() {
            let more = u64::from(record.stored) + GOING_ON;
            let weight = weight(record.inflated.into()) + more;
            self.working_set.frames.reweigh(&self.number(id), weight);
        }
        self.working_set.inflated.fetch_add(inflation.bytes().len() as u64, Ordering::Relaxed);
        Ok(Frame::new(inflation, length))
    }
}
