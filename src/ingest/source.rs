//! What is archived, and how its data is packed.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::CreateError;
use super::catalog::{Catalog, File, place};
use super::feed::Trouble;
use super::fill::Outcome;
use super::known::Known;
use super::options::CreateOptions;
use super::order;
use super::pipeline::{self, Packed};
use super::read::{FileJob, Reader};
use super::scan::{Scan, Scanned, twins};
use super::tar::{self, TarJobs};
use crate::monitor::{Monitor, Phase, Problem};
use crate::storage::Storage;

/// Bytes of files that make a job for a reading thread.
const JOB_BYTES: u64 = 4 << 20;
/// Most files of a job.
const JOB_FILES: usize = 512;

/// What is archived.
pub enum Source<'a> {
    /// All that is below a folder.
    Folder(&'a Path),
    /// Files and folders, each under its own name.
    Each(&'a [PathBuf]),
    /// A tar stream.
    Tar(&'a mut (dyn Read + Send)),
}

/// A source whose data is packed.
pub struct Taken {
    /// Its names and files, and where their data lies.
    pub catalog: Catalog,
    /// What came of its data.
    pub packed: Packed,
    /// How many files were left out, or changed while they were read.
    pub problems: u64,
}

/// Packs the data of a source into `storage`, but blocks that are `known`.
///
/// Folders that are not in the source, but are needed, are like `around`.
///
/// # Errors
/// If the source cannot be read at all, the archive cannot be written, or the monitor says stop.
/// What concerns single files is told to the monitor.
pub fn take(
    source: Source<'_>,
    around: &File,
    known: Known,
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<Taken, CreateError> {
    let scan = Scan { all_times: options.all_times, threads: options.threads, monitor };
    let (mut catalog, mut packed, unfit) = match source {
        Source::Folder(path) => read(scan.folder(path)?, known, storage, options, monitor)?,
        Source::Each(paths) => {
            read(scan.each(paths, around.clone())?, known, storage, options, monitor)?
        }
        Source::Tar(input) => read_tar(input, around, known, storage, options, monitor)?,
    };
    if monitor.cancelled() {
        return Err(CreateError::Cancelled);
    }
    let outcomes = std::mem::take(&mut packed.outcomes);
    let problems = unfit + settle(&mut catalog, outcomes, monitor);
    Ok(Taken { catalog, packed, problems })
}

fn read(
    scanned: Scanned,
    known: Known,
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<(Catalog, Packed, u64), CreateError> {
    let catalog = &scanned.catalog;
    let (files, versions) = order::order(catalog, options.order);
    monitor.phase(Phase::Pack);
    let bytes = files.iter().map(|at| catalog.files[*at as usize].size).sum();
    monitor.total(files.len() as u64, bytes);
    let twins = twins(catalog, &files);
    let jobs: Vec<FileJob> = files.into_iter().zip(twins).collect();
    let reader = Reader::new(&scanned, monitor);
    let work = |(rank, job): (u32, &[FileJob]), feeder: &mut _| reader.read(rank, job, feeder);
    let jobs = Jobs { catalog, rank: 0, rest: &jobs };
    let packed = pipeline::run(jobs, work, known, &options.packing(versions), storage, monitor)?;
    Ok((scanned.catalog, packed, 0))
}

fn read_tar(
    input: &mut (dyn Read + Send),
    around: &File,
    known: Known,
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<(Catalog, Packed, u64), CreateError> {
    monitor.phase(Phase::Pack);
    let jobs = TarJobs::new(input, around, options.all_times, monitor)
        .map_err(|error| if monitor.cancelled() { CreateError::Cancelled } else { error })?;
    let back = jobs.back();
    let work = |job, feeder: &mut _| tar::read(job, &back, feeder);
    let packed = pipeline::run(&jobs, work, known, &options.packing(false), storage, monitor);
    let finished = jobs.finish();
    // A tar that is damaged ends the build early; then that is why.
    if monitor.cancelled() {
        return Err(CreateError::Cancelled);
    }
    if let Err(damaged @ CreateError::Tar(_)) = finished {
        return Err(damaged);
    }
    let packed = packed?;
    let (catalog, lost) = finished?;
    Ok((catalog, packed, lost))
}

/// Files in order, a few at a time, and the rank of the first of them.
struct Jobs<'a> {
    catalog: &'a Catalog,
    rank: u32,
    rest: &'a [FileJob],
}

impl<'a> Iterator for Jobs<'a> {
    type Item = (u32, &'a [FileJob]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = 0;
        let fits = |(file, _): &&FileJob| {
            let fits = bytes < JOB_BYTES;
            bytes += self.catalog.files[*file as usize].size;
            fits
        };
        let count = self.rest.iter().take(JOB_FILES).take_while(fits).count();
        let (job, rest) = self.rest.split_at(count);
        self.rest = rest;
        let rank = self.rank;
        self.rank += place(count);
        (count > 0).then_some((rank, job))
    }
}

/// Enters into the catalog how each file came out; returns how many had trouble.
fn settle(catalog: &mut Catalog, outcomes: Vec<Outcome>, monitor: &dyn Monitor) -> u64 {
    let mut problems = 0;
    for outcome in outcomes {
        let at = outcome.end.file;
        catalog.files[at as usize].stretches = outcome.stretches;
        let what = match outcome.end.trouble {
            None => continue,
            Some(Trouble::Changed(what)) => what,
            Some(Trouble::Lost(what)) => {
                catalog.files[at as usize].gone = true;
                what
            }
        };
        problems += 1;
        monitor.problem(Problem { path: catalog.path(at), what });
    }
    problems
}
