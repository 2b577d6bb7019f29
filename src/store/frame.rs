//! Inflated frames, whose buffers are used again: frames come and go by the thousand, all of much
//! the same length, and left to the allocator they would leave gaps worth a fifth of the budget.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// Most buffers that wait to be used again: about as many as threads inflate at once.
const MOST: usize = 8;
/// Buffers are as long as a multiple of this, in bytes, so that they fit more frames than one.
const STEP: usize = 128 * 1024;

/// Buffers of frames that are gone.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer for at least `length` bytes.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = waiting.iter().position(|buffer| buffer.capacity() >= length);
        match fits {
            Some(at) => waiting.swap_remove(at),
            None => {
                drop(waiting);
                Vec::with_capacity(length.next_multiple_of(STEP))
            }
        }
    }

    fn give(&self, mut buffer: Vec<u8>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST {
            buffer.clear();
            waiting.push(buffer);
        }
    }
}

/// The bytes of an inflated frame.
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
