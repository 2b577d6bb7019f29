//! Makes the dictionary of a kind of page: what many of the pages have in common, once.
//!
//! Where a tree has many versions of the same files, a page repeats what another one has, but zstd
//! sees one page at a time. The dictionary is what it sees before each.

use std::ops::Range;

/// Bytes that are looked at as one.
const GRAM: usize = 8;
/// Bytes that are taken as one.
const SEGMENT: usize = 256;
/// Longest dictionary that is made, in bytes.
const LONGEST: usize = 128 << 10;
/// Bytes of pages that are looked at, if there are more.
const SAMPLE: usize = 4 << 20;
/// Slots of the table that counts, for each byte: so that few grams share one by chance.
const SLOTS: usize = 4;
/// Most slots.
const MAX_SLOTS: usize = 1 << 24;
/// A gram that more pages have counts no more than this.
const MOST_PAGES: u8 = 9;
/// A segment is worth its place if so many of its bytes are saved in another page: one in four.
const WORTH: usize = 4;

/// How many pages have which grams. Two grams may share a slot; that costs a little worth.
struct Counts {
    pages: Vec<u8>,
    last: Vec<u32>,
}

impl Counts {
    fn new(pages: &[&[u8]]) -> Self {
        let bytes: usize = pages.iter().map(|page| page.len()).sum();
        let slots = (bytes * SLOTS).next_power_of_two().min(MAX_SLOTS);
        let mut counts = Self { pages: vec![0; slots], last: vec![0; slots] };
        for (page, number) in pages.iter().zip(1u32..) {
            for gram in page.array_windows() {
                let slot = counts.slot(gram);
                if counts.last[slot] != number {
                    counts.last[slot] = number;
                    counts.pages[slot] = counts.pages[slot].saturating_add(1).min(MOST_PAGES);
                }
            }
        }
        counts
    }

    fn slot(&self, gram: &[u8; GRAM]) -> usize {
        let hash = u64::from_le_bytes(*gram).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(hash >> 32).unwrap_or(0) & (self.pages.len() - 1)
    }

    /// The bytes that a segment would save in other pages, if what was taken before does not.
    fn worth(&self, slots: &[usize]) -> usize {
        slots.iter().map(|slot| usize::from(self.pages[*slot].saturating_sub(1))).sum()
    }

    fn take(&mut self, slots: &[usize]) {
        slots.iter().for_each(|slot| self.pages[*slot] = 0);
    }
}

/// The dictionary for these payloads; empty where none is worth it.
pub(super) fn dictionary(payloads: &[&[u8]]) -> Vec<u8> {
    let pages = sample(payloads);
    let mut counts = Counts::new(&pages);
    let mut segments: Vec<(usize, usize, Range<usize>)> = Vec::new();
    let mut slots = Vec::with_capacity(SEGMENT);
    for (at, page) in pages.iter().enumerate() {
        for start in (0..page.len()).step_by(SEGMENT) {
            let end = page.len().min(start + SEGMENT);
            let grams = &page[start..page.len().min(end + GRAM - 1)];
            slots.clear();
            slots.extend(grams.array_windows().map(|gram| counts.slot(gram)));
            slots.sort_unstable();
            slots.dedup();
            let worth = counts.worth(&slots);
            if worth > 0 && worth * WORTH >= end - start {
                counts.take(&slots);
                segments.push((worth, at, start..end));
            }
        }
    }
    if segments.len() > LONGEST / SEGMENT {
        // The best ones, in the order of the pages.
        segments.sort_by_key(|(worth, ..)| std::cmp::Reverse(*worth));
        segments.truncate(LONGEST / SEGMENT);
        segments.sort_by_key(|(_, at, range)| (*at, range.start));
    }
    segments.into_iter().flat_map(|(_, at, range)| &pages[at][range]).copied().collect()
}

/// Pages from all over the tree, of about [`SAMPLE`] bytes.
fn sample<'a>(pages: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let bytes: usize = pages.iter().map(|page| page.len()).sum();
    pages.iter().step_by(bytes.div_ceil(SAMPLE).max(1)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_le_bytes()[7]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn it_has_what_pages_share_and_only_once() {
        let shared = noise(1, 4096);
        let pages: Vec<Vec<u8>> = (2..12)
            .map(|seed| [noise(seed, 3000), shared.clone(), noise(seed + 100, 3000)].concat())
            .collect();
        let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
        let made = dictionary(&pages);
        let gram_in = |gram: &[u8]| made.windows(8).any(|window| window == gram);
        assert!(gram_in(&shared[1000..1008]));
        assert!(!gram_in(&pages[3][100..108]));
        assert!(made.len() < 2 * shared.len(), "{}", made.len());
        assert_eq!(made, dictionary(&pages));
    }

    #[test]
    fn there_is_none_where_nothing_is_shared() {
        let pages = [noise(1, 5000), noise(2, 5000)];
        assert!(dictionary(&[&pages[0], &pages[1]]).is_empty());
        assert!(dictionary(&[&pages[0]]).is_empty());
        assert!(dictionary(&[b"short", b"short", b""]).is_empty());
        assert!(dictionary(&[]).is_empty());
    }

    #[test]
    fn it_is_never_too_long() {
        let shared = noise(1, 2 * LONGEST);
        let made = dictionary(&[&shared, &shared, &shared]);
        assert_eq!(made.len(), LONGEST);
    }
}
