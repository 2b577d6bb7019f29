//! Inflated frames, whose buffers are used again: frames come and go by the thousand, all of much
//! the same length, and left to the allocator they would leave gaps worth a fifth of the budget.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of buffers that wait to be used again: as many as threads inflate at once, or so.
const MOST: usize = 8 << 20;
/// A frame is inflated to a multiple of this, in bytes, or to its end.
pub const INFLATED: u32 = 128 * 1024;
/// Buffers are as long as a multiple of this, in bytes, so that they fit more frames than one: it
/// is the most that zstd inflates at a time.
pub(super) const STEP: usize = INFLATED as usize;

/// Buffers of frames that are gone.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer for at least `length` bytes.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = length.next_multiple_of(STEP);
        // Not more room than it needs either, or a small frame would hold a large buffer.
        let fits = waiting.iter().position(|buffer| buffer.capacity() == room);
        match fits {
            Some(at) => waiting.swap_remove(at),
            None => {
                drop(waiting);
                Vec::with_capacity(room)
            }
        }
    }

    fn give(&self, mut buffer: Vec<u8>) {
        let room = buffer.capacity();
        if room > MOST || !room.is_multiple_of(STEP) {
            // Nobody would take it.
            return;
        }
        buffer.clear();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(buffer);
        let mut bytes: usize = waiting.iter().map(Vec::capacity).sum();
        while bytes > MOST {
            bytes -= waiting.remove(0).capacity();
        }
    }
}

/// The bytes of an inflated frame, or as many of its first as were wanted.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    buffers: Arc<Buffers>,
}

impl Frame {
    /// A frame of these bytes; its buffer goes to `buffers` with it.
    pub(super) fn new(bytes: Vec<u8>, buffers: &Arc<Buffers>) -> Self {
        Self { bytes, buffers: Arc::clone(buffers) }
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.bytes));
    }
}
