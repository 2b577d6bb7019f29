//! `packfs try`: builds an archive, mounts it, compares every byte and attribute, and tells how
//! it went. The first thing a newcomer runs.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::fs::{Dir, FileType, OFlags};

use super::archive::begin;
use super::failure::complain;
use super::output::print;
use super::progress::{Progress, catch_interrupts};
use super::{Failure, Outcome, sample, size};
use crate::beneath;
use crate::compare::{CompareOptions, Compared, compare};
use crate::fs::{Owner, join};
use crate::ingest::{CreateOptions, Source, Summary, create};
use crate::monitor::{Monitor, Phase};
use crate::mount::{Files, Options, mount};
use crate::storage::Draft;
use crate::store::At;

/// Differences that are printed.
const SHOWN: usize = 10;

/// Try packfs: build, mount, compare and time a sample, or a folder
#[derive(Debug, Args)]
pub(super) struct TryArgs {
    /// Folder to try it on; a small sample is made where there is none
    dir: Option<PathBuf>,
}

/// What a trial saw.
struct Trial {
    summary: Summary,
    archive: u64,
    build: Duration,
    mount: Duration,
    read: Duration,
    compared: Compared,
}

pub(super) fn run(args: &TryArgs) -> Outcome {
    catch_interrupts();
    let fail = |error: std::io::Error| Failure::Failed(format!("temporary folder: {error}"));
    let temp = tempfile::Builder::new().prefix("packfs-try-").tempdir().map_err(fail)?;
    let source = match &args.dir {
        Some(dir) if !dir.is_dir() => {
            let text = format!("{}: is not a folder; name one, or none at all", dir.display());
            return Err(Failure::Failed(text));
        }
        Some(dir) => dir.clone(),
        None => {
            let folder = temp.path().join("sample");
            std::fs::create_dir(&folder).and_then(|()| sample::make(&folder)).map_err(fail)?;
            folder
        }
    };
    let progress = Progress::new(false);
    let trial = attempt(&source, temp.path(), &progress);
    let problems = progress.finish();
    let trial = trial?;
    temp.close().map_err(fail)?;
    print(|output| report(&source, &trial, output))?;
    for difference in trial.compared.differences.iter().take(SHOWN) {
        complain(&difference.to_string());
    }
    if !trial.compared.same() {
        let found = trial.compared.found;
        return Err(Failure::Failed(format!("{found} differences between mount and source")));
    }
    if problems > 0 {
        let text = format!("{problems} files could not be archived as they are (named above)");
        return Err(Failure::Failed(text));
    }
    Ok(ExitCode::SUCCESS)
}

fn attempt(source: &Path, temp: &Path, progress: &Progress) -> Result<Trial, Failure> {
    let image = temp.join("try.pfs");
    let start = Instant::now();
    let draft = Draft::new(&image, false)?;
    let options = CreateOptions::default();
    let summary = create(Source::Folder(source), &*draft.storage(), &options, progress)?;
    let archive = draft.publish()?;
    let build = start.elapsed();

    let dir = temp.join("mount");
    std::fs::create_dir(&dir)?;
    let start = Instant::now();
    let fs = begin(&image, At::Head, None, Owner::default())?;
    let mounted = mount(Files::Frozen(Arc::new(fs)), &image, &dir, &Options::default())
        .map_err(|error| Failure::Failed(error.to_string()))?;
    std::fs::read_dir(&dir)?.next();
    let mount = start.elapsed();

    progress.phase(Phase::Compare);
    let start = Instant::now();
    read_all(&dir, progress)?;
    let read = start.elapsed();
    let options = CompareOptions { limit: SHOWN, ..CompareOptions::default() };
    let compared =
        compare(source, &dir, &options).map_err(|error| Failure::Failed(error.to_string()))?;
    mounted.unmount().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Trial { summary, archive, build, mount, read, compared })
}

/// Reads all regular files below a folder, as fast as it goes.
fn read_all(folder: &Path, progress: &Progress) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::Failed(format!("reading the mount: {error}"));
    let root = std::fs::File::open(folder).map_err(fail)?;
    let mut buffer = vec![0; 1 << 20];
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        // What may not be read here is found, and told, by the comparison.
        let Ok(folder) = beneath::open_unseen(root.as_fd(), &path, OFlags::DIRECTORY) else {
            continue;
        };
        for entry in Dir::read_from(&folder).map_err(|error| fail(error.into()))? {
            let entry = entry.map_err(|error| fail(error.into()))?;
            let name = entry.file_name().to_bytes();
            match entry.file_type() {
                FileType::Directory if name != b"." && name != b".." => {
                    todo.push(join(&path, name));
                }
                FileType::RegularFile => {
                    let file = beneath::open_unseen(folder.as_fd(), name, OFlags::empty());
                    let Ok(mut file) = file.map(std::fs::File::from) else { continue };
                    while file.read(&mut buffer).unwrap_or(0) > 0 {}
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn report(source: &Path, trial: &Trial, output: &mut impl Write) -> Result<(), Failure> {
    let Trial { summary, archive, build, mount, read, compared } = trial;
    let bytes = summary.totals.bytes;
    let rate = |took: &Duration| {
        let rate = u128::from(bytes) * 1000 / took.as_millis().max(1);
        size::show(u64::try_from(rate).unwrap_or(u64::MAX))
    };
    let lines = [
        ("tree", source.display().to_string()),
        ("files", size::count(summary.totals.files)),
        ("size before", size::show(bytes)),
        ("size after", size::show(*archive)),
        ("ratio", size::percent(*archive, bytes)),
        ("build", format!("{}/s", rate(build))),
        ("mount", format!("{} ms", mount.as_millis())),
        ("read", format!("{}/s", rate(read))),
        (
            "compared",
            format!(
                "{} entries, {}: {}",
                size::count(compared.entries),
                size::show(compared.bytes),
                if compared.same() { "the same" } else { "NOT the same" }
            ),
        ),
    ];
    for (name, value) in lines {
        writeln!(output, "{name:<12} {}", crate::monitor::show(value.as_bytes()))?;
    }
    Ok(())
}
