//! The code: Reed–Solomon over GF(2¹⁶), of high rate, by additive FFTs (Lin, Han, Chung: Novel
//! Polynomial Basis and Its Application to Reed–Solomon Erasure Codes, 2014). What a recovery
//! shard is, in one formula: `format-spec.md`, "Parity".
//!
//! Bytes at the same place of all shards are a code of their own, so shards are worked on a column
//! at a time, and memory is bounded whatever they come to.

use std::ops::Range;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{
    HighRateDecoder, HighRateEncoder, RateDecoder as _, RateEncoder as _,
};

use super::shards::Shards;
use crate::format::{Problem, SHARD_STEP, Section};
use crate::storage::StorageError;

/// Bytes of data shards that are worked on at a time.
const COLUMN: usize = 32 << 20;

/// The columns of so many shards of that length.
fn columns(count: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let width = (COLUMN / count.max(1)).next_multiple_of(SHARD_STEP);
    (0..length).step_by(width).map(move |from| from..(from + width).min(length))
}

/// What the library says, which it says of counts and lengths alone: these were checked.
fn refused(error: reed_solomon_simd::Error) -> StorageError {
    log::error!("{error}");
    StorageError::format("parity", Problem::Limit("number of shards").of(Section::Parity))
}

/// The recovery shards of data shards, one after another.
///
/// # Errors
/// If a data shard cannot be read.
pub(super) fn encode(shards: &Shards<'_>, recovery: usize) -> Result<Vec<u8>, StorageError> {
    let (count, length) = (shards.count(), shards.length);
    let mut all = vec![0; recovery * length];
    let mut work = None;
    for column in columns(count, length) {
        let engine = DefaultEngine::new();
        let encoder = HighRateEncoder::new(count, recovery, column.len(), engine, work.take());
        let mut encoder = encoder.map_err(refused)?;
        for shard in 0..count {
            encoder.add_original_shard(shards.read(shard, column.clone())?).map_err(refused)?;
        }
        let encoded = encoder.encode().map_err(refused)?;
        for (shard, bytes) in all.chunks_exact_mut(length).zip(encoded.recovery_iter()) {
            shard[column.clone()].copy_from_slice(bytes);
        }
        drop(encoded);
        work = Some(encoder.into_parts().1);
    }
    Ok(all)
}

/// The data shards `bad`, one after another, made of all others and as many recovery shards, which
/// `recovery` reads.
///
/// # Errors
/// If a shard cannot be read.
pub(super) fn decode(
    shards: &Shards<'_>,
    bad: &[usize],
    count: usize,
    good: &[usize],
    recovery: impl Fn(usize, Range<usize>) -> Result<Vec<u8>, StorageError>,
) -> Result<Vec<u8>, StorageError> {
    let (data, length) = (shards.count(), shards.length);
    let mut all = vec![0; bad.len() * length];
    let mut work = None;
    for column in columns(data, length) {
        let engine = DefaultEngine::new();
        let decoder = HighRateDecoder::new(data, count, column.len(), engine, work.take());
        let mut decoder = decoder.map_err(refused)?;
        for shard in (0..data).filter(|shard| bad.binary_search(shard).is_err()) {
            let bytes = shards.read(shard, column.clone())?;
            decoder.add_original_shard(shard, bytes).map_err(refused)?;
        }
        for shard in good.iter().take(bad.len()) {
            let bytes = recovery(*shard, column.clone())?;
            decoder.add_recovery_shard(*shard, bytes).map_err(refused)?;
        }
        let decoded = decoder.decode().map_err(refused)?;
        for (shard, at) in all.chunks_exact_mut(length).zip(bad) {
            if let Some(bytes) = decoded.restored_original(*at) {
                shard[column.clone()].copy_from_slice(bytes);
            }
        }
        drop(decoded);
        work = Some(decoder.into_parts().1);
    }
    Ok(all)
}
