//! The ways to damage a section.

use crate::support::layout::{Files, Place};

/// What happens to a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One bit in its middle.
    Flip,
    /// The file ends in its middle.
    Truncate,
    /// Zeros, all over.
    Zero,
    /// It changes places with another of its kind, of the archive or of another one.
    Swap,
    /// Its file is gone.
    Delete,
}

pub const WAYS: [Way; 5] = [Way::Flip, Way::Truncate, Way::Zero, Way::Swap, Way::Delete];

/// An archive, and where its sections are.
pub struct Sample {
    pub files: Files,
    pub places: Vec<Place>,
}

impl Way {
    /// The archive after this happened to `place`; `None` where it cannot happen or changes
    /// nothing.
    pub fn damage(self, sample: &Sample, place: &Place, twin: &Sample) -> Option<Files> {
        let mut files = sample.files.clone();
        let file = files.get_mut(&place.file)?;
        let middle = place.range.start.midpoint(place.range.end);
        match self {
            Self::Flip => file[middle] ^= 0x10,
            Self::Truncate => file.truncate(middle),
            Self::Zero => file[place.range.clone()].fill(0),
            Self::Swap => swap(&mut files, sample, place, twin)?,
            Self::Delete if place.file.is_empty() => return None,
            Self::Delete => _ = files.remove(&place.file),
        }
        (files != sample.files).then_some(files)
    }
}

fn swap(files: &mut Files, sample: &Sample, place: &Place, twin: &Sample) -> Option<()> {
    let other = |candidate: &&Place| candidate.kind == place.kind && *candidate != place;
    let bytes_of =
        |sample: &Sample, place: &Place| sample.files[&place.file][place.range.clone()].to_vec();
    let mine = bytes_of(sample, place);
    if let Some(sibling) = sample.places.iter().rev().find(other) {
        put(files, place, &bytes_of(sample, sibling));
        put(files, sibling, &mine);
    } else {
        let sibling = twin.places.iter().find(|candidate| candidate.kind == place.kind)?;
        put(files, place, &bytes_of(twin, sibling));
    }
    Some(())
}

/// Puts bytes in a section's place: all of them where it is a whole file, else as many as fit.
fn put(files: &mut Files, place: &Place, bytes: &[u8]) {
    let file = files.get_mut(&place.file).unwrap();
    if place.range == (0..file.len()) {
        *file = bytes.to_vec();
    } else {
        let length = bytes.len().min(place.range.len());
        file[place.range.start..place.range.start + length].copy_from_slice(&bytes[..length]);
    }
}
