//! Random reads of 4 KiB, each timed by itself.
//!
//! Files are opened before the clock starts: finding them is what `find` is measured with.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xxhash_rust::xxh3::xxh3_64;

use super::{Stage, below, worker};
use crate::process::{Stop, output};
use crate::results::{QUANTILES, Sample};
use crate::tree::{Pick, READ, read_at};

/// For how long reads are made: what is left of them then is not.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of a result of the worker: nanoseconds and hash.
const RESULT: usize = 16;

/// All over the tree, one after the other.
pub fn one_thread(stage: &Stage) -> Result<Sample, Stop> {
    run(stage, &stage.tree.anywhere, 1)
}

/// All over the tree, four at a time.
pub fn four_threads(stage: &Stage) -> Result<Sample, Stop> {
    run(stage, &stage.tree.anywhere, 4)
}

/// Inside the largest files only.
pub fn in_large_files(stage: &Stage) -> Result<Sample, Stop> {
    run(stage, &stage.tree.in_large, 1)
}

fn run(stage: &Stage, picks: &[Pick], threads: usize) -> Result<Sample, Stop> {
    let list = stage.scratch.join("picks");
    let mut text = Vec::new();
    for pick in picks {
        text.extend(pick.offset.to_le_bytes());
        text.extend(&pick.path);
        text.push(0);
    }
    fs::write(&list, text).map_err(|error| Stop::broken(list.display(), error))?;
    let mut command = worker("random")?;
    command.arg(&stage.root).arg(&list).arg(threads.to_string());
    let (_, out) = output(&mut command, stage.limit)?;
    let broken = || Stop::Broken("a worker's results are cut short".to_owned());
    let (seconds, results) = out.split_first_chunk::<8>().ok_or_else(broken)?;
    if results.len() != picks.len() * RESULT {
        return Err(broken());
    }
    let mut times = Vec::with_capacity(picks.len());
    for (pick, result) in picks.iter().zip(results.chunks_exact(RESULT)) {
        let (nanos, hash) = (number(&result[..8]), number(&result[8..]));
        // No time: it was not made any more.
        if nanos > 0 {
            times.push(nanos as f64 / 1000.0);
            check(pick, hash)?;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(Sample {
        seconds: f64::from_le_bytes(*seconds),
        latencies: quantiles(&times),
        reads: Some(times.len() as u64),
        ..Sample::default()
    })
}

fn check(pick: &Pick, hash: u64) -> Result<(), Stop> {
    if hash == pick.hash {
        return Ok(());
    }
    let path = String::from_utf8_lossy(&pick.path);
    Err(Stop::wrong(format!("{path}: other bytes at {} than in the source", pick.offset)))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// The values at [`QUANTILES`] of sorted times; `None` of none.
fn quantiles(sorted: &[f64]) -> Option<Vec<f64>> {
    let last = sorted.len().checked_sub(1)?;
    let at = |quantile: &f64| {
        #[expect(clippy::cast_possible_truncation, reason = "an index of the slice")]
        let index = (quantile * last as f64).ceil() as usize;
        sorted[index.min(last)]
    };
    Some(QUANTILES.iter().map(at).collect())
}

/// The worker: makes the reads of `list` in files below `root`, on `threads` threads.
///
/// Writes the seconds that all took, then of each its nanoseconds (0 if time was up) and the hash
/// of what it returned.
pub fn work(root: &Path, list: &Path, threads: usize) -> Result<(), Stop> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).map_err(|error| Stop::broken("open files", error))?;
    let bytes = fs::read(list).map_err(|error| Stop::broken(list.display(), error))?;
    let (mut picks, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((offset, after)) = rest.split_first_chunk::<8>() {
        let end = after.iter().position(|byte| *byte == 0).unwrap_or(after.len());
        let path = below(root, &after[..end]);
        let file = File::open(&path);
        let file = file.map_err(|e| Stop::crashed(format!("{}: {e}", path.display())))?;
        picks.push((file, u64::from_le_bytes(*offset)));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    let mut results = vec![[0; RESULT]; picks.len()];
    let start = Instant::now();
    let share = picks.len().div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let parts = picks.chunks(share).zip(results.chunks_mut(share));
        let readers: Vec<_> = parts
            .map(|(picks, results)| scope.spawn(move || read_all(picks, results, start)))
            .collect();
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(read) => read.map_err(|error| Stop::crashed(error.to_string())),
            Err(_) => Err(Stop::Broken("a reader died".to_owned())),
        })
    })?;
    let mut out = io::stdout().lock();
    let seconds = start.elapsed().as_secs_f64();
    let written = out.write_all(&seconds.to_le_bytes());
    written
        .and_then(|()| out.write_all(results.as_flattened()))
        .and_then(|()| out.flush())
        .map_err(|error| Stop::broken("output", error))
}

fn read_all(picks: &[(File, u64)], results: &mut [[u8; RESULT]], start: Instant) -> io::Result<()> {
    let mut room = [0; READ];
    for ((file, offset), result) in picks.iter().zip(results) {
        if start.elapsed() > PATIENCE {
            break;
        }
        let before = Instant::now();
        let read = read_at(file, &mut room, *offset)?;
        let nanos = u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        result[..8].copy_from_slice(&nanos.to_le_bytes());
        result[8..].copy_from_slice(&xxh3_64(&room[..read]).to_le_bytes());
    }
    Ok(())
}
