//! Where the changed bytes of a file are: a map of ranges.

use std::collections::BTreeMap;

use crate::format::{Blocks, DataAt};

/// A range of a file that was written, copied, or made a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// How long it is, in bytes; not 0.
    pub length: u64,
    /// Where its bytes are.
    pub at: DataAt,
}

impl Piece {
    /// What is left of it without its first bytes.
    fn skip(self, bytes: u64) -> Self {
        Self { length: self.length - bytes, at: self.at.skip(bytes) }
    }

    /// Whether `next`, which follows it in a file, does so where its bytes are, too.
    fn goes_on(&self, next: &Self) -> bool {
        match (self.at, next.at) {
            (DataAt::Hole, DataAt::Hole) => true,
            (DataAt::Blocks(Blocks { bytes, skip, .. }), _) if skip + self.length == bytes => false,
            (DataAt::Hole, _) | (_, DataAt::Hole) => false,
            (at, next) => at.skip(self.length) == next,
        }
    }
}

/// The changed ranges of a file, by where they begin; no two overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces(BTreeMap<u64, Piece>);

impl Pieces {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Makes `offset..offset + piece.length` that piece, whatever was there.
    pub fn set(&mut self, offset: u64, mut piece: Piece) {
        if piece.length == 0 {
            return;
        }
        let end = offset.saturating_add(piece.length);
        self.clear(offset, end);
        let mut offset = offset;
        if let Some((start, before)) = self.0.range(..offset).next_back().map(|(s, p)| (*s, *p))
            && start + before.length == offset
            && before.goes_on(&piece)
        {
            self.0.remove(&start);
            piece = Piece { length: before.length + piece.length, at: before.at };
            offset = start;
        }
        if let Some(after) = self.0.get(&end).copied()
            && piece.goes_on(&after)
        {
            self.0.remove(&end);
            piece.length += after.length;
        }
        self.0.insert(offset, piece);
    }

    /// Forgets what was changed in `from..to`.
    pub fn clear(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        if let Some((start, piece)) = self.0.range(..from).next_back().map(|(s, p)| (*s, *p))
            && start + piece.length > from
        {
            self.0.insert(start, Piece { length: from - start, ..piece });
            if start + piece.length > to {
                self.0.insert(to, piece.skip(to - start));
                return;
            }
        }
        let inside: Vec<(u64, Piece)> = self.0.range(from..to).map(|(s, p)| (*s, *p)).collect();
        for (start, piece) in inside {
            self.0.remove(&start);
            if start + piece.length > to {
                self.0.insert(to, piece.skip(to - start));
            }
        }
    }

    /// Calls `each` with the stretches of `from..to` in order: where each begins and ends, and the
    /// part of a piece that it is, if it is one.
    pub fn walk(&self, from: u64, to: u64, mut each: impl FnMut(u64, u64, Option<Piece>)) {
        if from >= to {
            return;
        }
        let before = self.0.range(..=from).next_back().map(|(start, _)| *start);
        let mut at = from;
        for (start, piece) in self.0.range(before.unwrap_or(from)..to) {
            let (start, end) = (*start, *start + piece.length);
            if end <= at {
                continue;
            }
            if start > at {
                each(at, start, None);
                at = start;
            }
            let upto = end.min(to);
            let part = piece.skip(at - start);
            each(at, upto, Some(Piece { length: upto - at, ..part }));
            at = upto;
        }
        if at < to {
            each(at, to, None);
        }
    }

    fn sum(&self, of: impl Fn(&DataAt) -> bool) -> u64 {
        self.0.values().filter(|piece| of(&piece.at)).map(|piece| piece.length).sum()
    }

    /// Bytes of all pieces that are not zeros.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum(|at| *at != DataAt::Hole)
    }

    /// Bytes of all pieces that are in the spool.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        self.sum(|at| matches!(at, DataAt::Spool(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_a_plain_list_is(
            changes in prop::collection::vec((0u64..60, 1u64..30, 0u8..3), 0..40),
            from in 0u64..60, length in 0u64..60,
        ) {
            // By byte: 0 unchanged, 1 zeros, else where in the spool, plus 2.
            let mut plain = [0u64; 100];
            let mut pieces = Pieces::default();
            let mut spool = 0;
            for (offset, length, what) in changes {
                match what {
                    0 => pieces.clear(offset, offset + length),
                    1 => pieces.set(offset, Piece { length, at: DataAt::Hole }),
                    _ => {
                        pieces.set(offset, Piece { length, at: DataAt::Spool(spool) });
                        spool += length;
                    }
                }
                for byte in 0..length {
                    let value = match what { 0 => 0, 1 => 1, _ => spool - length + byte + 2 };
                    plain[usize::try_from(offset + byte).unwrap()] = value;
                }
            }
            let mut at = from;
            let to = from + length;
            pieces.walk(from, to, |start, end, piece| {
                assert!(start == at && end > start && end <= to);
                for byte in start..end {
                    let expected = match piece {
                        None => 0,
                        Some(Piece { at: DataAt::Hole, .. }) => 1,
                        Some(Piece { at: DataAt::Spool(at), .. }) => at + byte - start + 2,
                        Some(Piece { at: DataAt::Blocks(run), .. }) => run.skip + byte - start + 2,
                    };
                    let there = plain.get(usize::try_from(byte).unwrap()).copied().unwrap_or(0);
                    assert_eq!(there, expected);
                }
                at = end;
            });
            prop_assert_eq!(at, to);
            let ends = pieces.0.iter().map(|(start, piece)| (*start, start + piece.length));
            let ends: Vec<_> = ends.collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }
}
