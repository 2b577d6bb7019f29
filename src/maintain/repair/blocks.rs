//! Finds bytes for blocks that are lost, by their hashes: elsewhere in the same archive, in other
//! archives, in folders. What is not found is given up: it leaves the index of what is known.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64;

use super::Repair;
use super::remade::{Number, Remade};
use super::roots::opened;
use super::sources::{From, pack_id};
use crate::buffers::Buffer;
use crate::format::{FrameRecord, Id, NO_PACK, ObjectRef, PackFooter};
use crate::index::{FrameId, Index};
use crate::ingest::Cutter;
use crate::maintain::Error;
use crate::maintain::check::Report;
use crate::maintain::kept::{Kept, Opened, Roots};
use crate::maintain::publish::put_segment;
use crate::maintain::walk::{Seen, walk};
use crate::monitor::Monitor;
use crate::pack::{self, Inflation};
use crate::storage::Storage;
use crate::store::read_config;

/// Bytes of a file that are cut at once.
const BITE: usize = 4 << 20;
/// Bytes of a hash that blocks are looked up by; all that is kept of it is compared then.
const KEY: usize = 8;

/// A block that is lost.
struct Lost {
    length: u32,
    /// What its hash begins with, if a pack that had it says so.
    name: Option<Vec<u8>>,
    numbers: Vec<Number>,
    /// A frame that is whole and has it, and where in that.
    own: Option<(Id, FrameRecord, u32)>,
    /// Whether it was given up before.
    given_up: bool,
    found: bool,
}

/// All blocks that are lost.
#[derive(Default)]
struct Wanted {
    blocks: Vec<Lost>,
    /// Which they are, by what their hashes begin with.
    keys: HashMap<[u8; KEY], Vec<usize>>,
    left: usize,
}

impl Wanted {
    fn wants(&self, name: &[u8]) -> bool {
        let key = name.first_chunk::<KEY>().and_then(|key| self.keys.get(key));
        key.is_some_and(|all| all.iter().any(|at| !self.blocks[*at].found))
    }

    /// Takes a block, if it is one of those.
    fn take(&mut self, data: &[u8], cutter: Cutter, remade: &mut Remade<'_>) -> Result<(), Error> {
        let name = cutter.name(data);
        let Some(at) = name.first_chunk::<KEY>().and_then(|key| self.keys.get(key)) else {
            return Ok(());
        };
        for at in at.clone() {
            let Some(lost) = self.blocks.get_mut(at).filter(|lost| !lost.found) else { continue };
            let same = |hash: &Vec<u8>| name.starts_with(hash);
            if lost.length as usize == data.len() && lost.name.as_ref().is_some_and(same) {
                lost.found = true;
                self.left -= 1;
                remade.add(data, name, &lost.numbers)?;
            }
        }
        Ok(())
    }
}

impl Repair<'_> {
    /// Puts blocks that cannot be read anew where bytes of their hash are found.
    pub(super) fn blocks(&mut self, report: &Report) -> Result<bool, Error> {
        let Ok(config) = read_config(&*self.storage) else { return Ok(false) };
        let roots = Roots::read(&*self.storage)?;
        let opened = opened(self, &roots);
        let mut wanted = self.wanted(report, &opened)?;
        if wanted.blocks.is_empty() {
            return Ok(false);
        }
        let storage = Arc::clone(&self.storage);
        let mut remade = Remade::new(&*storage, &config)?;
        let cutter = Cutter { cutting: config.cutting, hash: config.hash };
        self.own(cutter, &mut wanted, &mut remade)?;
        self.archive(&*storage, cutter, &mut wanted, &mut remade)?;
        for from in &self.from {
            match from {
                From::Archive(other, _) => {
                    self.archive(&**other, cutter, &mut wanted, &mut remade)?;
                }
                From::Folder(folder) => {
                    self.paths(report, &opened, folder, cutter, &mut wanted, &mut remade)?;
                    self.content(folder, cutter, &mut wanted, &mut remade)?;
                }
            }
        }
        self.settle(&roots, wanted, remade)
    }

    /// Gives all roots the segment of what was found, and of what is given up.
    fn settle(
        &mut self,
        roots: &Roots,
        wanted: Wanted,
        mut remade: Remade<'_>,
    ) -> Result<bool, Error> {
        let found = wanted.blocks.iter().filter(|lost| lost.found).count();
        let moved = wanted.blocks.iter().filter(|lost| lost.found && lost.own.is_some()).count();
        let left: Vec<&Lost> = wanted.blocks.iter().filter(|lost| !lost.found).collect();
        if found == 0 && left.iter().all(|lost| lost.given_up) {
            return Ok(false);
        }
        let again = left.iter().filter(|lost| !lost.given_up);
        let lost: Vec<(u32, Vec<Number>)> =
            again.map(|lost| (lost.length, lost.numbers.clone())).collect();
        remade.give_up(&lost)?;
        let object = put_segment(&*self.storage, remade.finish()?.finish())?;
        if found > moved {
            self.actions.push(format!("{} blocks: found again, and packed anew", found - moved));
        }
        if moved > 0 {
            self.actions.push(format!("{moved} blocks: whole, and moved out of damaged packs"));
        }
        if !left.is_empty() {
            self.actions.push(format!("{} blocks: not found, and given up", left.len()));
        }
        let with = |kept: &Kept| -> (String, Vec<ObjectRef>) {
            let mut segments = kept.root.segments.clone();
            segments.push(object);
            (kept.key.clone(), segments)
        };
        self.rewrite(roots, &roots.kept.iter().map(with).collect())?;
        Ok(true)
    }

    /// The blocks of all packs that are damaged.
    fn wanted(&self, report: &Report, opened: &[(Kept, Opened)]) -> Result<Wanted, Error> {
        let mut found: BTreeMap<Number, Lost> = BTreeMap::new();
        let mut footers: HashMap<Id, Option<Arc<PackFooter>>> = HashMap::new();
        for (_, opened) in opened {
            self.go_on()?;
            let index = &opened.index;
            for (id, whole) in report.unsound(index) {
                let place = index.frame(id).filter(|_| whole);
                each_number(index, id, &mut |number, (from, length), given_up| {
                    let name = self.name(index, &number, length, &mut footers);
                    let numbers = vec![number];
                    let own = place.map(|(record, pack)| (pack, record, from));
                    let lost = Lost { length, name, numbers, own, given_up, found: false };
                    // A root need not have the segments that tell the names of all blocks.
                    if found.get(&number).is_none_or(|known| known.name.is_none()) {
                        found.insert(number, lost);
                    }
                });
            }
        }
        let mut wanted = Wanted::default();
        let mut same: HashMap<(Vec<u8>, u32), usize> = HashMap::new();
        for lost in found.into_values() {
            let at = wanted.blocks.len();
            if let Some(name) = &lost.name {
                // One block may have had several numbers.
                match same.get(&(name.clone(), lost.length)) {
                    Some(first) => {
                        let first: &mut Lost = &mut wanted.blocks[*first];
                        first.numbers.extend(lost.numbers);
                        first.given_up &= lost.given_up;
                        continue;
                    }
                    None => _ = same.insert((name.clone(), lost.length), at),
                }
                if let Some(key) = name.first_chunk::<KEY>() {
                    wanted.keys.entry(*key).or_default().push(at);
                    wanted.left += 1;
                }
            }
            wanted.blocks.push(lost);
        }
        Ok(wanted)
    }

    /// The hash of a block, as a pack tells that it lies or lay in: here, or in another archive.
    fn name(
        &self,
        index: &Index,
        number: &Number,
        length: u32,
        footers: &mut HashMap<Id, Option<Arc<PackFooter>>>,
    ) -> Option<Vec<u8>> {
        let origin = index.origin(&number.0);
        index.places(&origin, number.1).find_map(|(segment, local)| {
            let listed = index.segments().get(segment as usize)?;
            let (frame, _) = listed.locate(local)?;
            let (record, slot) = listed.frame(frame)?;
            let (id, bytes) = listed.packs().get(slot as usize)?;
            let read = || {
                let others = self.from.iter().filter_map(From::archive);
                let footer = |storage: &Arc<dyn Storage>| pack::footer(&**storage, id, *bytes).ok();
                let mut all = [&self.storage].into_iter().chain(others);
                all.find_map(footer).map(Arc::new)
            };
            let footer = footers.entry(*id).or_insert_with(read).as_ref()?;
            let own = own_frame(footer, &record)?;
            let block = (own.first_block as usize)
                .checked_add(local.checked_sub(record.first_block)? as usize)?;
            let known = footer.lengths.get(block) == Some(&length);
            let hash = footer.hashes.chunks_exact(footer.hash_len).nth(block)?;
            known.then(|| hash.to_vec())
        })
    }

    /// Takes blocks out of whole frames of damaged packs, by what the index says of them: nothing
    /// needs such a pack then.
    fn own(
        &self,
        cutter: Cutter,
        wanted: &mut Wanted,
        remade: &mut Remade<'_>,
    ) -> Result<(), Error> {
        let mut last: Option<(Id, u64, Option<Buffer>)> = None;
        for lost in &mut wanted.blocks {
            self.go_on()?;
            let Some((pack, record, from)) = lost.own else { continue };
            if last.as_ref().is_none_or(|(id, at, _)| (*id, *at) != (pack, record.offset)) {
                let bytes = inflated(&*self.storage, &pack::key(&pack), &record);
                last = Some((pack, record.offset, bytes));
            }
            let from = from as usize;
            let bytes = last.as_ref().and_then(|(_, _, bytes)| bytes.as_ref());
            let data = bytes.and_then(|bytes| bytes.get(from..from + lost.length as usize));
            let Some(data) = data else { continue };
            let name = cutter.name(data);
            // Where its hash is known, it must have that.
            if lost.name.as_ref().is_some_and(|hash| !name.starts_with(hash)) {
                continue;
            }
            lost.found = true;
            wanted.left -= usize::from(lost.name.is_some());
            remade.add(data, name, &lost.numbers)?;
        }
        Ok(())
    }

    /// Takes blocks out of an archive, by the hashes in its packs.
    fn archive(
        &self,
        storage: &dyn Storage,
        cutter: Cutter,
        wanted: &mut Wanted,
        remade: &mut Remade<'_>,
    ) -> Result<(), Error> {
        for key in storage.list("packs/")? {
            self.go_on()?;
            if wanted.left == 0 {
                break;
            }
            let Some(id) = pack_id(&key) else { continue };
            let Ok(size) = storage.size(&key) else { continue };
            let Ok(footer) = pack::footer(storage, &id, size) else { continue };
            if footer.hash != cutter.hash {
                continue;
            }
            let hashes: Vec<&[u8]> = footer.hashes.chunks_exact(footer.hash_len).collect();
            for (at, frame) in footer.frames.iter().enumerate() {
                let first = frame.first_block as usize;
                let end =
                    footer.frames.get(at + 1).map_or(hashes.len(), |it| it.first_block as usize);
                let here = hashes.get(first..end).unwrap_or_default();
                if !here.iter().any(|hash| wanted.wants(hash)) {
                    continue;
                }
                let Some(bytes) = inflated(storage, &key, frame) else { continue };
                let mut from = 0usize;
                for (hash, length) in here.iter().zip(&footer.lengths[first..end]) {
                    let to = from.saturating_add(*length as usize);
                    if let Some(data) = bytes.get(from..to).filter(|_| wanted.wants(hash)) {
                        wanted.take(data, cutter, remade)?;
                    }
                    from = to;
                }
            }
        }
        Ok(())
    }

    /// Takes blocks out of files of the same paths, where they were in these.
    fn paths(
        &self,
        report: &Report,
        opened: &[(Kept, Opened)],
        folder: &Path,
        cutter: Cutter,
        wanted: &mut Wanted,
        remade: &mut Remade<'_>,
    ) -> Result<(), Error> {
        let Ok(top) = File::open(folder) else { return Ok(()) };
        for (_, opened) in opened {
            let Ok(tree) = &opened.tree else { continue };
            let bad = report.unsound(&opened.index);
            let mut last: Option<(Vec<u8>, Option<File>)> = None;
            walk(tree, &opened.index, &mut |path, _, seen| {
                self.go_on()?;
                let Seen::Piece(at, piece) = seen else { return Ok(()) };
                if wanted.left == 0 || !bad.contains_key(&piece.frame) {
                    return Ok(());
                }
                if last.as_ref().is_none_or(|(last, _)| last != path) {
                    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    let file = crate::beneath::open(top.as_fd(), path, flags).ok().map(File::from);
                    last = Some((path.to_vec(), file));
                }
                let Some((_, Some(file))) = &last else { return Ok(()) };
                each_block(&opened.index, piece.frame, &mut |offset, length| {
                    let Some(into) = offset.checked_sub(piece.offset) else { return Ok(()) };
                    if into >= piece.length {
                        return Ok(());
                    }
                    let mut data = vec![0; length as usize];
                    match file.read_exact_at(&mut data, at.saturating_add(into.into())) {
                        Ok(()) => wanted.take(&data, cutter, remade),
                        Err(_) => Ok(()),
                    }
                })
            })?;
        }
        Ok(())
    }

    /// Takes blocks out of any files of a folder: cuts them as the archive does.
    fn content(
        &self,
        folder: &Path,
        cutter: Cutter,
        wanted: &mut Wanted,
        remade: &mut Remade<'_>,
    ) -> Result<(), Error> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                self.go_on()?;
                if wanted.left == 0 {
                    return Ok(());
                }
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file()
                    && let Ok(file) = File::open(entry.path())
                {
                    cut(file, cutter, self.monitor, wanted, remade)?;
                }
            }
        }
        Ok(())
    }
}

/// Cuts a file, and takes what is wanted of it; one that cannot be read on has no more.
fn cut(
    mut file: File,
    cutter: Cutter,
    monitor: &dyn Monitor,
    wanted: &mut Wanted,
    remade: &mut Remade<'_>,
) -> Result<(), Error> {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let read = (&mut file).take(BITE as u64).read_to_end(&mut bytes);
        let Ok(read) = read else { return Ok(()) };
        let (mut at, mut blocks) = (0usize, Vec::new());
        let done = cutter.cut(&bytes, read == 0, |length, name| {
            blocks.push((at, at + length as usize, name));
            at += length as usize;
        });
        for (from, to, name) in blocks {
            if wanted.wants(&name) {
                wanted.take(&bytes[from..to], cutter, remade)?;
            }
        }
        bytes.drain(..done);
        if read == 0 {
            return Ok(());
        }
    }
}

/// A frame of a pack, if it is whole.
fn inflated(storage: &dyn Storage, key: &str, frame: &FrameRecord) -> Option<Buffer> {
    let stored = storage.get_range(key, frame.offset, frame.stored as usize).ok()?;
    if xxh3_64(&stored) != frame.checksum {
        return None;
    }
    let length = frame.inflated as usize;
    let room = Vec::with_capacity(length).into();
    Some(Inflation::new(frame.codec, stored, room, length, length).ok()?.into_bytes())
}

/// What a pack says of a frame that an index lists.
fn own_frame<'a>(footer: &'a PackFooter, record: &FrameRecord) -> Option<&'a FrameRecord> {
    let at = footer.frames.partition_point(|own| own.offset < record.offset);
    footer
        .frames
        .get(at)
        .filter(|own| own.offset == record.offset && own.inflated == record.inflated)
}

/// The blocks of a frame: their offsets in it, and lengths.
fn each_block(
    index: &Index,
    id: FrameId,
    each: &mut dyn FnMut(u32, u32) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(segment) = index.segments().get(id.segment as usize) else { return Ok(()) };
    let Some((record, _)) = segment.frame(id.frame as usize) else { return Ok(()) };
    let (mut block, mut from) = (record.first_block as usize, 0u32);
    while from < record.inflated && block < segment.block_count() {
        let length = segment.length(block);
        each(from, length)?;
        from = from.saturating_add(length);
        block += 1;
    }
    Ok(())
}

/// The numbers for which a reader takes the blocks of a frame; where these lie in it, their
/// lengths, and whether they were given up.
fn each_number(index: &Index, id: FrameId, each: &mut dyn FnMut(Number, (u32, u32), bool)) {
    let Some(segment) = index.segments().get(id.segment as usize) else { return };
    let Some((record, slot)) = segment.frame(id.frame as usize) else { return };
    let given_up = segment.packs().get(slot as usize).is_some_and(|(pack, _)| *pack == NO_PACK);
    let next = segment.frame(id.frame as usize + 1).map(|(next, _)| next.first_block);
    let blocks = u32::try_from(segment.block_count()).unwrap_or(u32::MAX);
    let (first, end) = (record.first_block, next.unwrap_or(blocks));
    for range in segment.ranges() {
        let Some(home) = segment.homes().get(range.home as usize) else { continue };
        let (from, to) = (range.local.max(first), (range.local + range.count).min(end));
        let origin = index.origin(home);
        for local in from..to.max(from) {
            let number = range.first + (local - range.local);
            if index.places(&origin, number).next() == Some((id.segment, local)) {
                let offset = segment.locate(local).map_or(0, |(_, offset)| offset);
                each((*home, number), (offset, segment.length(local as usize)), given_up);
            }
        }
    }
}
