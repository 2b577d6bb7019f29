//! Maps of sparse files. Four forms are read: three in PAX records or before the data, and the
//! older one of GNU in the header. One is written: PAX 1.0, before the data.

use super::header::{BLOCK, number};

/// Most extents in a map.
const MAX_EXTENTS: usize = 1 << 20;

/// Offset and length of runs of data, or of holes.
pub(super) type Runs = Vec<(u64, u64)>;

/// The gaps between `runs` in a file of `size` bytes: holes for data, data for holes.
pub(super) fn gaps(runs: &[(u64, u64)], size: u64) -> Result<Runs, &'static str> {
    let mut gaps = Runs::new();
    let mut at = 0;
    for (offset, length) in runs {
        let end = offset.checked_add(*length).filter(|end| *offset >= at && *end <= size);
        let end = end.ok_or("a map of holes out of order, or past the file's end")?;
        // A run without length ends no gap; GNU tar marks the end of a file with one.
        if *length > 0 {
            if *offset > at {
                gaps.push((at, offset - at));
            }
            at = end;
        }
    }
    if at < size {
        gaps.push((at, size - at));
    }
    Ok(gaps)
}

/// Adds up the lengths of runs that [`gaps`] found to be sound.
pub(super) fn total(runs: &[(u64, u64)]) -> u64 {
    runs.iter().map(|(_, length)| length).sum()
}

/// Adds an extent to a map.
pub(super) fn push(map: &mut Runs, offset: u64, length: u64) -> Result<(), &'static str> {
    if map.len() >= MAX_EXTENTS {
        return Err("a sparse file of more than 1,048,576 extents");
    }
    map.push((offset, length));
    Ok(())
}

/// Adds the extents of GNU's older form: pairs of number fields, as many as are set.
pub(super) fn push_pairs(map: &mut Runs, fields: &[u8]) -> Result<(), &'static str> {
    for pair in fields.chunks_exact(24) {
        let (offset, length) = pair.split_at(12);
        if length[0] == 0 {
            break;
        }
        let field = |bytes| u64::try_from(number(bytes)?).map_err(|_| "a negative extent");
        push(map, field(offset)?, field(length)?)?;
    }
    Ok(())
}

/// The map of PAX 1.0 while it is read: decimal lines, of which the first says how many pairs of
/// lines follow, then padding to a block.
#[derive(Default)]
pub(super) struct MapReader {
    pub(super) map: Runs,
    count: Option<u64>,
    offset: Option<u64>,
    value: Option<u64>,
}

impl MapReader {
    /// Takes the next block. Whether the map is complete.
    pub(super) fn feed(&mut self, block: &[u8]) -> Result<bool, &'static str> {
        for byte in block {
            if self.is_complete() {
                return Ok(true);
            }
            match byte {
                b'0'..=b'9' => self.value = Some(append_digit(self.value.unwrap_or(0), *byte)?),
                b'\n' => self.end_line()?,
                _ => return Err("a map of holes that is none"),
            }
        }
        Ok(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.count == Some(self.map.len() as u64)
    }

    fn end_line(&mut self) -> Result<(), &'static str> {
        let value = self.value.take().ok_or("an empty line in a map of holes")?;
        match (self.count, self.offset.take()) {
            (None, _) => self.count = Some(value),
            (Some(_), None) => self.offset = Some(value),
            (Some(_), Some(offset)) => push(&mut self.map, offset, value)?,
        }
        Ok(())
    }
}

fn append_digit(value: u64, digit: u8) -> Result<u64, &'static str> {
    let more = value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
    more.ok_or("a number over 64 bits in a map of holes")
}

/// The map of PAX 1.0 for a file of `size` bytes with data in `extents`.
pub(super) fn write_map(extents: &[(u64, u64)], size: u64) -> Vec<u8> {
    // Readers that stop after the last extent find the file's end in an empty one.
    let ends_in_hole = extents.last().is_none_or(|(offset, length)| offset + length < size);
    let end = ends_in_hole.then_some((size, 0));
    let mut out = format!("{}\n", extents.len() + usize::from(ends_in_hole));
    for (offset, length) in extents.iter().copied().chain(end) {
        out += &format!("{offset}\n{length}\n");
    }
    let mut out = out.into_bytes();
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_of_gaps_are_the_runs() {
        for runs in [vec![], vec![(0, 10)], vec![(0, 3), (5, 2)], vec![(2, 3), (9, 1)]] {
            assert_eq!(gaps(&gaps(&runs, 10).unwrap(), 10).unwrap(), runs);
        }
        assert_eq!(gaps(&[(3, 0), (10, 0)], 10).unwrap(), vec![(0, 10)]);
        for wrong in [vec![(5, 6)], vec![(3, 2), (4, 1)], vec![(u64::MAX, 1)]] {
            assert!(gaps(&wrong, 10).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_map_is_read_as_it_was_written() {
        for count in [0, 1, 100] {
            let extents: Runs = (0..count).map(|at| (at * 4096, 1024)).collect();
            let bytes = write_map(&extents, 1 << 20);
            let mut reader = MapReader::default();
            let done: Vec<bool> =
                bytes.chunks(BLOCK).map(|block| reader.feed(block).unwrap()).collect();
            assert_eq!(done.iter().position(|done| *done), Some(done.len() - 1));
            assert_eq!(reader.map.split_last().unwrap().1, extents);
        }
    }
}
