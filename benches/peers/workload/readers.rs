//! Four readers at once: each takes the next folder, and reads its files whole.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Stage, sample, worker};
use crate::process::{Stop, output};
use crate::results::Sample;
use crate::tree::{Content, content};

/// How many readers there are.
const READERS: usize = 4;

/// Reads all of the mount, and compares what each file held with the source.
pub fn run(stage: &Stage) -> Result<Sample, Stop> {
    let mut command = worker("readers")?;
    let (cost, out) = output(command.arg(&stage.root), stage.limit)?;
    let (mut files, mut bytes, mut rest) = (0, 0, out.as_slice());
    while let Some((content, path, after)) = take_record(rest) {
        stage.tree.check(path, content)?;
        files += 1;
        bytes += content.size;
        rest = after;
    }
    stage.tree.check_totals(files, bytes)?;
    Ok(sample(cost))
}

/// A record of the worker's output: size, hash, path, NUL.
fn take_record(bytes: &[u8]) -> Option<(Content, &[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk::<8>()?;
    let (hash, rest) = rest.split_first_chunk::<8>()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let content = Content { size: u64::from_le_bytes(*size), hash: u64::from_le_bytes(*hash) };
    Some((content, &rest[..end], &rest[end + 1..]))
}

/// Folders still to be read, and how many readers may yet add to them.
#[derive(Debug)]
struct Queue {
    state: Mutex<(Vec<PathBuf>, usize)>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (Vec<PathBuf>, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; `None` once all have been read.
    fn next(&self) -> Option<PathBuf> {
        let mut state = self.lock();
        state.1 -= 1;
        loop {
            if let Some(folder) = state.0.pop() {
                state.1 += 1;
                return Some(folder);
            }
            if state.1 == 0 {
                self.changed.notify_all();
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, folder: PathBuf) {
        self.lock().0.push(folder);
        self.changed.notify_one();
    }
}

/// The worker: reads all files below `root` and writes a record of each.
pub fn work(root: &Path) -> Result<(), Stop> {
    let queue =
        Queue { state: Mutex::new((vec![root.to_owned()], READERS)), changed: Condvar::new() };
    let out = Mutex::new(BufWriter::new(io::stdout()));
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|_| scope.spawn(|| read_folders(root, &queue, &out))).collect();
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(result) => result,
            Err(_) => Err(Stop::Broken("a reader died".to_owned())),
        })
    })?;
    let mut out = out.into_inner().unwrap_or_else(PoisonError::into_inner);
    out.flush().map_err(|error| Stop::broken("output", error))
}

fn read_folders(root: &Path, queue: &Queue, out: &Mutex<impl Write>) -> Result<(), Stop> {
    while let Some(folder) = queue.next() {
        // One that fails ends the whole work.
        if let Err(stop) = read_folder(root, &folder, queue, out) {
            eprintln!("{}", crate::message(&stop));
            std::process::exit(1);
        }
    }
    Ok(())
}

fn read_folder(
    root: &Path,
    folder: &Path,
    queue: &Queue,
    out: &Mutex<impl Write>,
) -> Result<(), Stop> {
    let crashed = |error| Stop::crashed(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(crashed)? {
        let entry = entry.map_err(crashed)?;
        let kind = entry.file_type().map_err(crashed)?;
        if kind.is_dir() {
            queue.add(entry.path());
        } else if kind.is_file() {
            let content = content(&entry.path())?;
            let path = entry.path();
            let path = path.strip_prefix(root).map_err(|e| Stop::broken(path.display(), e))?;
            let mut record = content.size.to_le_bytes().to_vec();
            record.extend(content.hash.to_le_bytes());
            record.extend(path.as_os_str().as_bytes());
            record.push(0);
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(&record).map_err(|error| Stop::broken("output", error))?;
        }
    }
    Ok(())
}
