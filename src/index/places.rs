//! Where blocks were before newer segments gave them another place.

use std::collections::HashSet;

use super::{FrameId, Index, Origin};

impl Index {
    /// All places of a block, the newest first: the segment, and the ordinal there.
    pub fn places<'a>(
        &'a self,
        origin: &'a Origin,
        number: u32,
    ) -> impl Iterator<Item = (u32, u32)> + 'a {
        origin.0.iter().filter_map(move |(segment, slot)| {
            let (local, _) = self.segments.get(*segment as usize)?.local(*slot, number)?;
            Some((*segment, local))
        })
    }

    /// The frames none of whose blocks a reader takes: they have other places, or no number.
    #[must_use]
    pub fn dead(&self) -> HashSet<FrameId> {
        let mut dead = HashSet::new();
        for (at, segment) in (0u32..).zip(&self.segments) {
            let alone = |home| self.origins.get(home).is_none_or(|origin| origin.0.len() == 1);
            let alone = segment.homes().iter().all(alone);
            let mut live = vec![false; segment.block_count()];
            for range in segment.ranges() {
                let Some(home) = segment.homes().get(range.home as usize) else { continue };
                let origin = self.origin(home);
                for (number, local) in (range.first..).zip(range.local..).take(range.count as usize)
                {
                    let here = alone || self.places(&origin, number).next() == Some((at, local));
                    if let Some(live) = live.get_mut(local as usize).filter(|_| here) {
                        *live = true;
                    }
                }
            }
            for frame in 0..segment.frame_count() {
                let Some((record, _)) = segment.frame(frame) else { continue };
                let first = record.first_block as usize;
                let end = segment.frame(frame + 1).map(|(next, _)| next.first_block as usize);
                let blocks = live.get(first..end.unwrap_or(live.len())).unwrap_or_default();
                if !blocks.contains(&true)
                    && let Ok(frame) = u32::try_from(frame)
                {
                    dead.insert(FrameId { segment: at, frame });
                }
            }
        }
        dead
    }
}
