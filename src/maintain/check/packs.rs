//! Checks packs by what they say of themselves: that they are there, are as long as the index says,
//! and list the same frames.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::damage::{may_go_on, reason};
use super::{Checker, Damage, What};
use crate::format::{ENVELOPE_LEN, FrameRecord, Id, NO_PACK, PackFooter, Section, Segment, check};
use crate::index::{FrameId, Index};
use crate::maintain::Error;
use crate::pack;
use crate::storage::Bytes;
use crate::store::index_key;

/// What tells a frame from others that an index says lie at the same place.
pub(super) type FrameKey = (u64, u32, u64);

pub(super) fn frame_key(frame: &FrameRecord) -> FrameKey {
    (frame.offset, frame.stored, frame.checksum)
}

/// Part of a frame whose bytes are not those that its pack says.
pub(super) type BadBlock = (u32, u32, usize);

/// What is known of a pack.
#[derive(Debug, Default)]
pub(super) struct Pack {
    /// The damage by which it is lost, or shorter than it should be.
    pub(super) damage: Option<usize>,
    /// How many of its bytes can be read.
    pub(super) size: u64,
    /// Whether it says of itself what the index says.
    agrees: bool,
    /// The frames that indexes list.
    pub(super) frames: BTreeMap<FrameKey, FrameRecord>,
    /// Those of them that were not handed over to be verified yet.
    pub(super) fresh: BTreeMap<FrameKey, FrameRecord>,
    /// Those that are damaged.
    pub(super) bad: HashMap<FrameKey, usize>,
    /// Blocks of others that are.
    pub(super) blocks: HashMap<FrameKey, Vec<BadBlock>>,
}

/// All packs that are needed.
#[derive(Debug, Default)]
pub(super) struct Packs(pub(super) BTreeMap<Id, Pack>);

/// What is wrong with a frame: all of it, or blocks in it.
#[derive(Debug, Default)]
pub(super) struct Bad<'a> {
    pub(super) whole: Option<usize>,
    pub(super) blocks: &'a [BadBlock],
}

impl Packs {
    pub(super) fn count(&self) -> usize {
        self.0.keys().filter(|id| **id != NO_PACK).count()
    }

    /// The frames of an index that lie in packs that are not whole, but for those that are `dead`.
    pub(super) fn unsound(
        &self,
        index: &Index,
        dead: &HashSet<FrameId>,
    ) -> BTreeMap<FrameId, bool> {
        let mut bad = self.bad(index);
        bad.retain(|id, _| !dead.contains(id));
        let mut found: BTreeMap<FrameId, bool> = bad.keys().map(|id| (*id, false)).collect();
        let pack = |id: &FrameId| index.frame(*id).map(|(_, pack)| pack);
        let hurt: HashSet<Id> = bad.keys().filter_map(pack).collect();
        for (segment, listed) in (0..).zip(index.segments()) {
            for (frame, at) in (0..).zip(0..listed.frame_count()) {
                let slot = listed.frame(at).map_or(u32::MAX, |(_, slot)| slot);
                let Some((id, _)) = listed.packs().get(slot as usize) else { continue };
                let whole = self.0.get(id).is_none_or(|pack| pack.agrees) && !hurt.contains(id);
                if !whole && !dead.contains(&FrameId { segment, frame }) {
                    found.entry(FrameId { segment, frame }).or_insert(*id != NO_PACK);
                }
            }
        }
        found
    }

    /// The damaged frames of an index.
    pub(super) fn bad(&self, index: &Index) -> HashMap<FrameId, Bad<'_>> {
        let mut found = HashMap::new();
        for (segment, listed) in (0..).zip(index.segments()) {
            for (frame, at) in (0..).zip(0..listed.frame_count()) {
                let Some((record, slot)) = listed.frame(at) else { continue };
                let pack = listed.packs().get(slot as usize).and_then(|(id, _)| self.0.get(id));
                let Some(pack) = pack else { continue };
                let key = frame_key(&record);
                let whole = pack.bad.get(&key).copied();
                let blocks = pack.blocks.get(&key).map_or(&[][..], Vec::as_slice);
                if whole.is_some() || !blocks.is_empty() {
                    found.insert(FrameId { segment, frame }, Bad { whole, blocks });
                }
            }
        }
        found
    }
}

impl Checker<'_> {
    /// Checks the packs of a segment, and takes note of its frames but those that are `dead`.
    pub(super) fn segment(
        &mut self,
        segment_id: &Id,
        segment: &Segment<Bytes>,
        dead: &dyn Fn(u32) -> bool,
    ) -> Result<(), Error> {
        let mut last: Option<(u32, Option<PackFooter>)> = None;
        for (frame, at) in (0u32..).zip(0..segment.frame_count()) {
            let Some((record, slot)) = segment.frame(at).filter(|_| !dead(frame)) else { continue };
            let Some((id, length)) = segment.packs().get(slot as usize).copied() else { continue };
            if id == NO_PACK {
                self.given_up(segment_id, frame, record);
                continue;
            }
            if last.as_ref().is_none_or(|(last, _)| *last != slot) {
                self.go_on()?;
                last = Some((slot, self.pack(&id, length)?));
            }
            let footer = last.as_ref().and_then(|(_, footer)| footer.as_ref());
            let agrees = footer.is_none_or(|footer| agree(footer, &record, segment));
            let Some(pack) = self.packs.0.get_mut(&id) else { continue };
            let key = frame_key(&record);
            if pack.frames.insert(key, record).is_none() {
                pack.fresh.insert(key, record);
            }
            let beyond = record.offset + u64::from(record.stored) > pack.size;
            if let Some(damage) = pack.damage.filter(|_| beyond) {
                pack.bad.insert(key, damage);
            }
            if pack.agrees && !agrees {
                pack.agrees = false;
                let why = format!("does not list the frame at byte {} as the index", record.offset);
                self.add(Damage::new(What::PackTable, &pack::key(&id), "pack footer", why));
            }
        }
        Ok(())
    }

    /// Takes note of blocks that a repair gave up.
    fn given_up(&mut self, segment: &Id, frame: u32, record: FrameRecord) {
        let key = frame_key(&record);
        if self.packs.0.get(&NO_PACK).is_some_and(|pack| pack.bad.contains_key(&key)) {
            return;
        }
        let place = format!("frame {frame}");
        let why = "its blocks were lost, and not found when the archive was repaired";
        let damage = Damage::new(What::Lost, &index_key(segment), &place, why.to_owned());
        let at = self.add(Damage { at: frame.into(), ..damage });
        let whole = || Pack { agrees: true, ..Pack::default() };
        let pack = self.packs.0.entry(NO_PACK).or_insert_with(whole);
        pack.frames.insert(key, record);
        pack.bad.insert(key, at);
    }

    /// Looks at a pack, if it was not; its footer, if it has one that checks out.
    fn pack(&mut self, id: &Id, length: u64) -> Result<Option<PackFooter>, Error> {
        let key = pack::key(id);
        if let Some(pack) = self.packs.0.get(id) {
            let usable = pack.damage.is_none() && pack.agrees;
            return Ok(usable.then(|| pack::footer(&*self.storage, id, length).ok()).flatten());
        }
        self.needed.insert(key.clone(), Some(*id));
        let size = self.storage.size(&key);
        let damage = match &size {
            Ok(size) if *size == length => None,
            Ok(size) => Some(format!("is {size} bytes long, not {length}")),
            Err(error) => {
                may_go_on(&error.clone().into())?;
                Some(reason(&error.kind))
            }
        };
        let damage = damage.map(|why| self.add(Damage::new(What::Pack, &key, "", why)));
        let size = size.unwrap_or(0);
        let mut pack = Pack { damage, size, agrees: damage.is_none(), ..Pack::default() };
        if damage.is_some() {
            self.packs.0.insert(*id, pack);
            return Ok(None);
        }
        let head = self.storage.get_range(&key, 0, ENVELOPE_LEN);
        let bad_head = match head {
            Ok(head) => {
                check(Section::PackHead, &head).err().map(|error| error.problem.to_string())
            }
            Err(error) => Some(reason(&error.kind)),
        };
        if let Some(why) = bad_head {
            pack.agrees = false;
            self.add(Damage::new(What::PackTable, &key, "pack head", why));
        }
        let footer = match pack::footer(&*self.storage, id, length) {
            Ok(footer) => Some(footer),
            Err(error) => {
                may_go_on(&error.clone().into())?;
                let damage = Damage::of(What::PackTable, &key, &error);
                self.add(Damage { at: length, ..damage });
                pack.agrees = false;
                None
            }
        };
        self.packs.0.insert(*id, pack);
        Ok(footer)
    }
}

/// Whether a pack lists a frame just as the index does.
fn agree(footer: &PackFooter, listed: &FrameRecord, segment: &Segment<Bytes>) -> bool {
    let at = footer.frames.partition_point(|own| own.offset < listed.offset);
    let same =
        |own: &&FrameRecord| FrameRecord { first_block: listed.first_block, ..**own } == *listed;
    let Some(own) = footer.frames.get(at).filter(same) else { return false };
    let (mut own, mut here, mut end) =
        (own.first_block as usize, listed.first_block as usize, 0u32);
    while end < listed.inflated && here < segment.block_count() {
        let length = segment.length(here);
        if footer.lengths.get(own) != Some(&length) {
            return false;
        }
        end = end.saturating_add(length);
        own += 1;
        here += 1;
    }
    true
}
