//! Walks: whoever reads file after file, as tar does, comes to frame after frame, since what lies
//! together in the tree was packed together.

use crate::index::FrameId;

/// Walks that are remembered.
const MOST: usize = 8;
/// Who comes to a frame at most so many ahead goes on: between them may be one that has blocks of
/// large files only.
const STRIDE: u32 = 2;
/// Files of a folder are not packed in quite the order in which they are listed: so many frames
/// back is no other walk.
const BACK: u32 = 4;
/// Who came to a frame ahead so often is on a walk; once may be by chance.
const STEPS: u32 = 2;
/// So many frames are inflated ahead of a walk.
const AHEAD: u32 = 2;

/// The walks that go on, the last one that did last.
#[derive(Debug, Default)]
pub(super) struct Walks(Vec<Walk>);

/// How far one has come.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// The foremost frame that was read.
    front: FrameId,
    /// How often it went on.
    steps: u32,
    /// Frames before this one were asked for.
    asked: u32,
}

impl Walks {
    /// A frame was read. Calls `ask` with those to be inflated for that, one after the other, as
    /// long as it takes them.
    ///
    /// Who went on from frame to frame comes to the next ones, too; and reads the one that it has
    /// come to to its end.
    pub(super) fn read(&mut self, frame: FrameId, mut ask: impl FnMut(FrameId) -> bool) {
        let is_near = |walk: &Walk| {
            let front = walk.front;
            front.segment == frame.segment
                && (front.frame.saturating_sub(BACK)..=front.frame.saturating_add(STRIDE))
                    .contains(&frame.frame)
        };
        let mut walk = match self.0.iter().rposition(is_near) {
            Some(at) => self.0.remove(at),
            None => Walk { front: frame, steps: 0, asked: 0 },
        };
        if frame.frame > walk.front.frame {
            walk.front = frame;
            walk.steps = walk.steps.saturating_add(1);
        }
        if walk.front == frame && walk.steps >= STEPS {
            walk.asked = walk.asked.max(frame.frame);
            for next in walk.asked..=frame.frame.saturating_add(AHEAD) {
                if !ask(FrameId { frame: next, ..frame }) {
                    break;
                }
                walk.asked = next.saturating_add(1);
            }
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(walk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(walks: &mut Walks, segment: u32, frame: u32) -> Vec<u32> {
        let mut asked = Vec::new();
        walks.read(FrameId { segment, frame }, |id| {
            assert_eq!(id.segment, segment);
            asked.push(id.frame);
            true
        });
        asked
    }

    #[test]
    fn a_walk_is_followed_and_each_frame_asked_for_once() {
        let mut walks = Walks::default();
        for frame in [6, 6, 7] {
            assert_eq!(asked(&mut walks, 0, frame), [0; 0]);
        }
        assert_eq!(asked(&mut walks, 0, 8), [8, 9, 10]);
        assert_eq!(asked(&mut walks, 0, 7), [0; 0]);
        assert_eq!(asked(&mut walks, 0, 8), [0; 0]);
        assert_eq!(asked(&mut walks, 0, 10), [11, 12]);
        // Another walk beside it, in another segment.
        assert_eq!(asked(&mut walks, 1, 10), [0; 0]);
        assert_eq!(asked(&mut walks, 0, 11), [13]);
        assert_eq!(asked(&mut walks, 1, 11), [0; 0]);
        assert_eq!(asked(&mut walks, 1, 12), [12, 13, 14]);
    }

    #[test]
    fn reads_here_and_there_ask_for_nothing() {
        let mut walks = Walks::default();
        for frame in (0..1000).map(|at| at * 389 % 1000) {
            assert_eq!(asked(&mut walks, 0, frame), [0; 0]);
            assert!(walks.0.len() <= MOST);
        }
    }

    #[test]
    fn what_nobody_takes_is_asked_for_again() {
        let mut walks = Walks::default();
        let id = |frame| FrameId { segment: 0, frame };
        walks.read(id(1), |_| true);
        walks.read(id(2), |_| true);
        walks.read(id(3), |_| false);
        assert_eq!(asked(&mut walks, 0, 4), [4, 5, 6]);
        for frame in [u32::MAX - 2, u32::MAX - 1] {
            assert_eq!(asked(&mut walks, 0, frame), [0; 0]);
        }
        assert_eq!(asked(&mut walks, 0, u32::MAX), [u32::MAX]);
    }
}
