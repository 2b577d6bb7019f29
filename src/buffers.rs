//! Buffers that are used again. Large ones come and go by the thousand, all of much the same
//! length: left to the allocator they would leave gaps worth a fifth of what they hold, and each
//! page of a new one is made by the kernel, which takes about as long as to inflate what goes in.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// Buffers are as long as a multiple of this, in bytes, so that they fit more contents than one.
const STEP: usize = 128 * 1024;
/// Most bytes of buffers that wait to be used again: as many as threads fill at once, or so.
const MOST: usize = 8 << 20;
/// A buffer has at most one part in so many more room than it needs.
const SPARE: usize = 16;

/// Buffers that nobody uses now.
#[derive(Debug, Default, Clone)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes in a buffer, which waits to be used again once it is dropped.
pub struct Buffer {
    bytes: Vec<u8>,
    /// Where it waits, unless nobody would take it.
    home: Option<Buffers>,
}

impl Buffers {
    /// An empty buffer for at least `length` bytes.
    #[must_use]
    pub fn take(&self, length: usize) -> Buffer {
        if length < STEP {
            return Buffer::from(Vec::with_capacity(length));
        }
        let room = length.next_multiple_of(STEP);
        // Not much more room than it needs, or a small content would hold a large buffer.
        let fits = room..=room + room / SPARE;
        let mut waiting = self.0.lock();
        let fitting =
            waiting.iter().enumerate().filter(|(_, bytes)| fits.contains(&bytes.capacity()));
        let closest = fitting.min_by_key(|(_, bytes)| bytes.capacity()).map(|(at, _)| at);
        let bytes = closest.map(|at| waiting.swap_remove(at));
        drop(waiting);
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(room));
        Buffer { bytes, home: Some(self.clone()) }
    }

    fn give(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() > MOST {
            return;
        }
        bytes.clear();
        let mut waiting = self.0.lock();
        waiting.push(bytes);
        let mut sum: usize = waiting.iter().map(Vec::capacity).sum();
        let mut dropped = Vec::new();
        while sum > MOST {
            let oldest = waiting.remove(0);
            sum -= oldest.capacity();
            dropped.push(oldest);
        }
        // To be freed without the lock.
        drop(waiting);
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, home: None }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer of {} bytes", self.bytes.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_where_it_fits_and_comes_back_empty() {
        let buffers = Buffers::default();
        let mut first = buffers.take(16 * STEP);
        first.extend_from_slice(b"old");
        let place = first.as_ptr();
        drop(first);
        // One part in 16 less still fits; half would waste the rest.
        assert_ne!(buffers.take(8 * STEP).as_ptr(), place);
        let again = buffers.take(16 * STEP - 1);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_ne!(buffers.take(16 * STEP).as_ptr(), place, "it is in use");
    }

    #[test]
    fn what_waits_is_bounded() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..100).map(|_| buffers.take(STEP)).collect();
        drop(taken);
        drop(buffers.take(MOST + 1));
        drop(buffers.take(1));
        let waiting: usize = buffers.0.lock().iter().map(Vec::capacity).sum();
        assert_eq!(waiting, MOST);
    }
}
