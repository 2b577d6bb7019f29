//! An index anew: of the blocks that are kept, each under all numbers that lead to it.

use super::Error;
use super::marks::{Unit, units};
use super::numbers::{Numbers, Stretch};
use crate::format::{Id, IndexBuilder, Segment};
use crate::index::Index;

/// Segments to be: their bytes and checksums.
pub type Built = Vec<(Vec<u8>, u64)>;

/// A unit's place among the segments that are built, and where its blocks begin in that one.
type Base = (usize, u32);

/// Lists the units that `keep` wants anew, in their order, in as few segments as may be; and packs
/// without blocks, each with its length.
///
/// # Errors
/// If what comes of it does not check out: what was listed has changed meanwhile.
pub fn list(
    index: &Index,
    numbers: &Numbers,
    keep: impl Fn(&Unit) -> bool,
    links: &[(Id, u64)],
) -> Result<Built, Error> {
    let mut builders = vec![IndexBuilder::default()];
    let mut listed: Vec<Vec<(Unit, Base)>> = Vec::new();
    for (at, segment) in (0..).zip(index.segments()) {
        let mut kept = Vec::new();
        for unit in units(at, segment).into_iter().filter(&keep) {
            if builders.last().is_none_or(IndexBuilder::is_too_long) {
                builders.push(IndexBuilder::default());
            }
            let slot = builders.len() - 1;
            let base = builders[slot].block_count();
            add(&mut builders[slot], segment, &unit);
            kept.push((unit, (slot, base)));
        }
        listed.push(kept);
    }
    number(&mut builders, numbers, &listed);
    for (link, length) in links {
        builders[0].add_pack(*link, *length, &[], &[]);
    }
    let built: Built = builders.into_iter().map(IndexBuilder::finish).collect();
    for (bytes, _) in &built {
        if Segment::open(bytes.as_slice()).is_err() {
            let text = "the index has changed while it was read; run packfs fsck";
            return Err(Error::Refused(text.to_owned()));
        }
    }
    Ok(built)
}

fn add<B: AsRef<[u8]>>(builder: &mut IndexBuilder, segment: &Segment<B>, unit: &Unit) {
    let frames = unit.frames.clone().filter_map(|frame| {
        let (mut record, _) = segment.frame(frame)?;
        record.first_block = record.first_block.checked_sub(unit.blocks.start)?;
        Some(record)
    });
    let frames: Vec<_> = frames.collect();
    let lengths: Vec<u32> =
        unit.blocks.clone().map(|block| segment.length(block as usize)).collect();
    let (id, length) = unit.pack;
    builder.add_pack(id, length, &frames, &lengths);
}

/// Says which numbers the blocks have.
fn number(builders: &mut [IndexBuilder], numbers: &Numbers, listed: &[Vec<(Unit, Base)>]) {
    let mut runs = Runs { builders, last: None };
    for stretch in &numbers.stretches {
        let Stretch { home, first, count, segment, local } = *stretch;
        let end = local.saturating_add(count);
        let units = &listed[segment as usize];
        let from = units.partition_point(|(unit, _)| unit.blocks.end <= local);
        for (unit, (slot, base)) in &units[from..] {
            let (from, to) = (unit.blocks.start.max(local), unit.blocks.end.min(end));
            if from >= to {
                break;
            }
            let run = Run {
                slot: *slot,
                home: numbers.homes[home as usize],
                first: first + (from - local),
                count: to - from,
                local: base + (from - unit.blocks.start),
            };
            runs.add(run);
        }
    }
    runs.flush();
}

/// Numbers and blocks that both follow one another.
struct Run {
    slot: usize,
    home: Id,
    first: u32,
    count: u32,
    local: u32,
}

/// Joins runs that go on from one another.
struct Runs<'a> {
    builders: &'a mut [IndexBuilder],
    last: Option<Run>,
}

impl Runs<'_> {
    fn add(&mut self, run: Run) {
        if let Some(last) = &mut self.last {
            let (number, block) = (last.first + last.count, last.local + last.count);
            let same = (last.slot, last.home) == (run.slot, run.home);
            if same && (number, block) == (run.first, run.local) {
                last.count += run.count;
                return;
            }
        }
        self.flush();
        self.last = Some(run);
    }

    fn flush(&mut self) {
        if let Some(Run { slot, home, first, count, local }) = self.last.take() {
            self.builders[slot].add_range(home, first, count, local);
        }
    }
}
