//! The content of a file on both sides: bytes and holes.

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::entry::Stat;
use super::walk::{Pair, SIDES, Walk};
use super::{Side, What};

/// How much of each end of a hole is read all the same, to see that it reads as zeros.
const HOLE_SAMPLE: u64 = 4096;
/// What a file may take beyond its data: file systems keep their own tables and attributes.
const SPACE_SLACK: u64 = 128 * 1024;

impl Walk<'_> {
    /// Compares two files' bytes: all where one side has data, the ends of what both call a hole.
    pub(super) fn compare_content(&mut self, files: &Pair<OwnedFd>, stats: &Pair<Stat>) {
        let size = stats[0].size().min(stats[1].size());
        let left = self.readable(Side::Left, "finding holes", data(&files[0], stats[0].size()));
        let right = self.readable(Side::Right, "finding holes", data(&files[1], stats[1].size()));
        let (Some(left), Some(right)) = (left, right) else { return };
        let files = files.each_ref().map(OwnedFd::try_clone);
        let [Ok(left_file), Ok(right_file)] = files.map(|file| file.map(File::from)) else {
            self.differs(What::Unreadable(Side::Left, "opening", Errno::MFILE));
            return;
        };
        let files = [left_file, right_file];
        let mut done = 0;
        for range in union(&left, &right) {
            let hole = done..range.start.min(size);
            if !self.same_bytes(&files, ends(&hole)) {
                return;
            }
            if !self.same_bytes(&files, [range.start..range.end.min(size), 0..0]) {
                return;
            }
            done = range.end.min(size);
        }
        if self.same_bytes(&files, ends(&(done..size))) && self.options.holes {
            self.compare_holes(&left, &right, stats);
        }
    }

    fn compare_holes(&mut self, left: &[Range<u64>], right: &[Range<u64>], stats: &Pair<Stat>) {
        if left != right {
            let edges = |map: &[Range<u64>]| -> Vec<u64> {
                map.iter().flat_map(|range| [range.start, range.end]).collect()
            };
            let (left, right) = (edges(left), edges(right));
            let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            let first = [left.get(same), right.get(same)].into_iter().flatten().min();
            self.differs(What::Hole(first.copied().unwrap_or(0)));
        }
        let data: u64 = right.iter().map(|range| range.end - range.start).sum();
        let has_holes = data < stats[1].size();
        if has_holes && stats[1].blocks().saturating_mul(512) > data.saturating_add(SPACE_SLACK) {
            self.differs(What::Space(stats[1].blocks(), data));
        }
    }

    /// Compares ranges of two files; on a difference, records it and returns false.
    fn same_bytes(&mut self, files: &Pair<File>, ranges: Pair<Range<u64>>) -> bool {
        let mut buffers = std::mem::take(&mut self.buffers);
        let difference = ranges.into_iter().find_map(|range| first(files, range, &mut buffers));
        self.buffers = buffers;
        let same = difference.is_none();
        difference.into_iter().for_each(|what| self.differs(what));
        same
    }
}

/// The first difference of two files in a range.
fn first(files: &Pair<File>, range: Range<u64>, buffers: &mut Pair<Vec<u8>>) -> Option<What> {
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffers[0].len());
        for side in [0, 1] {
            if let Err(error) = files[side].read_exact_at(&mut buffers[side][..want], at) {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::NODATA);
                return Some(What::Unreadable(SIDES[side], "reading", errno));
            }
        }
        let [left, right] = [&buffers[0][..want], &buffers[1][..want]];
        if left != right {
            let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
            return Some(What::Content(at + same as u64));
        }
        at += want as u64;
    }
    None
}

/// Both ends of a range, or all of a short one.
fn ends(range: &Range<u64>) -> Pair<Range<u64>> {
    let length = range.end.saturating_sub(range.start);
    if length <= 2 * HOLE_SAMPLE {
        return [range.clone(), 0..0];
    }
    [range.start..range.start + HOLE_SAMPLE, range.end - HOLE_SAMPLE..range.end]
}

/// The ranges of a file that are not holes, in order, none touching the next.
fn data(file: &OwnedFd, size: u64) -> Result<Vec<Range<u64>>, Errno> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            result => result?,
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Err(Errno::INVAL) => size,
            result => result?,
        };
        if end <= start {
            return Err(Errno::IO);
        }
        match ranges.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = end,
            None => ranges.push(start..end),
        }
        at = end;
    }
    Ok(ranges)
}

/// All that is in one list of ranges or the other.
fn union(left: &[Range<u64>], right: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut all = [left, right].concat();
    all.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in all {
        match merged.last_mut().filter(|last| last.end >= range.start) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}
