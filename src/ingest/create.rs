//! The verb: a source goes in, an archive comes out.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use super::catalog::{Catalog, place};
use super::cut::Cutter;
use super::error::CreateError;
use super::feed::Trouble;
use super::fill::{Outcome, Savings};
use super::order::{self, Order};
use super::pipeline::{self, Packed, Packing};
use super::plant::plant;
use super::read::{FileJob, Reader};
use super::scan::{scan, twins};
use super::tar::{self, TarJobs};
use crate::format::{
    BlockHash, Codec, Config, Cutting, Id, IndexBuilder, MAX_FRAME, ObjectRef, Root, Totals,
    VERSION, hex,
};
use crate::monitor::{Monitor, Phase, Problem};
use crate::pack::Level;
use crate::storage::Storage;
use crate::store::{CONFIG, index_key, root_key};
use crate::tree;

/// Bytes of files that make a job for a reading thread.
const JOB_BYTES: u64 = 4 << 20;
/// Most files of a job.
const JOB_FILES: usize = 512;
/// Longest frame, unless it is given: a few fit into each shard of a working set.
const LONGEST_FRAME: usize = MAX_FRAME / 4;
/// From this level on, small is worth more than quick to read.
const SMALL_LEVEL: u8 = 8;
/// Bytes of new blocks within which those of versions are put side by side: a larger window makes
/// archives smaller, and reading one of many versions slower.
const WINDOW: usize = 144 << 20;
/// Highest level that tree pages are compressed at: above it they shrink no more.
const TREE_LEVEL: i32 = 19;

/// What is archived.
pub enum Source<'a> {
    /// All that is below a folder.
    Folder(&'a Path),
    /// A tar stream.
    Tar(&'a mut (dyn Read + Send)),
}

/// How an archive is made.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// How files are cut into blocks.
    pub cutting: Cutting,
    /// Which hash names blocks.
    pub hash: BlockHash,
    /// Bytes of each hash that are kept, 8 to 16. Half of BLAKE3 names a block for all time; 8 do
    /// to tell whether it is what it was, where nothing is added any more.
    pub hash_len: u8,
    /// How frames are compressed.
    pub codec: Codec,
    /// How hard.
    pub level: Level,
    /// What a cold read may cost; `None`: as the level suggests.
    pub seek: Option<Seek>,
    /// Bytes of a frame before compression; `None`: as `seek` has it.
    pub frame_size: Option<usize>,
    /// Bytes of a pack before compression.
    pub pack_size: u64,
    /// In which order files are packed; `None`: as the tree suggests. A tar is packed as it comes.
    pub order: Option<Order>,
    /// Threads that read, and threads that compress.
    pub threads: usize,
    /// Whether times of access and of change of the inode are kept.
    pub all_times: bool,
    /// When the root was made, in seconds since 1970; 0: not recorded.
    pub created: i64,
    /// The id of the store, 32 hexadecimal digits; `None` derives it from what is in it.
    pub store_id: Option<String>,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            cutting: Cutting { min: 2048, average: 8192, max: 65_536 },
            hash: BlockHash::Blake3,
            hash_len: 16,
            codec: Codec::Zstd,
            level: Level::default(),
            seek: None,
            frame_size: None,
            pack_size: 16 << 20,
            order: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            all_times: false,
            created: 0,
            store_id: None,
        }
    }
}

/// What a cold read may cost, against size: how much is compressed as one.
///
/// A cold read inflates on average half a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Little: frames of 1 MiB at most.
    Fast,
    /// Nine frames in a pack; three, of versions of one another, which gain more from it.
    Balanced,
    /// Packs are one frame, up to 16 MiB.
    Small,
}

impl Seek {
    /// How many frames a pack has.
    fn frames(self, pack_size: u64, versions: bool) -> u64 {
        match (self, versions) {
            (Self::Fast, _) => pack_size.div_ceil(1 << 20),
            (Self::Balanced, false) => 9,
            (Self::Balanced, true) => 3,
            (Self::Small, _) => 1,
        }
    }
}

impl CreateOptions {
    /// Bytes of a frame; `versions`: of a tree that is mostly versions of the same.
    fn frame_size(&self, versions: bool) -> usize {
        let small = self.level.number() >= SMALL_LEVEL;
        let seek = self.seek.unwrap_or(if small { Seek::Small } else { Seek::Balanced });
        let size = self.pack_size / seek.frames(self.pack_size, versions);
        let size = usize::try_from(size).unwrap_or(LONGEST_FRAME).min(LONGEST_FRAME);
        self.frame_size.unwrap_or(size)
    }
}

/// What was archived.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// What the tree comes to.
    pub totals: Totals,
    /// What was dropped because it was known.
    pub savings: Savings,
    /// Bytes of the tree.
    pub tree: u64,
    /// Bytes of the index.
    pub index: u64,
    /// Files that were left out, or changed while they were read.
    pub problems: u64,
}

/// Archives `source` into an empty `storage`.
///
/// Order of writes: packs, index, tree, settings, root. Publishing the root is the commit.
///
/// # Errors
/// If the source cannot be read at all, the archive cannot be written, or the monitor says stop.
/// What concerns single files is told to the monitor, and the rest is archived.
pub fn create(
    source: Source<'_>,
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<Summary, CreateError> {
    let mut unfit = 0;
    let (mut catalog, packed) = match source {
        Source::Folder(path) => pack_folder(path, storage, options, monitor)?,
        Source::Tar(input) => {
            let (catalog, packed, lost) = pack_tar(input, storage, options, monitor)?;
            unfit = lost;
            (catalog, packed)
        }
    };
    if monitor.cancelled() {
        return Err(CreateError::Cancelled);
    }
    let problems = unfit + settle(&mut catalog, packed.outcomes, monitor);
    monitor.phase(Phase::Tree);
    let mut summary =
        commit(&catalog, packed.index, packed.origin, packed.savings, storage, options)?;
    summary.savings = packed.savings;
    summary.problems = problems;
    Ok(summary)
}

/// How a source is packed that is mostly `versions` of the same, or not.
fn packing(options: &CreateOptions, versions: bool) -> Packing {
    Packing {
        cutter: Cutter { cutting: options.cutting, hash: options.hash },
        hash_len: usize::from(options.hash_len),
        codec: options.codec,
        level: options.level,
        frame_size: options.frame_size(versions),
        window: if versions { WINDOW } else { 0 },
        pack_size: options.pack_size,
        threads: options.threads,
    }
}

fn pack_folder(
    path: &Path,
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<(Catalog, Packed), CreateError> {
    let (root, catalog) = scan(path, options.all_times, options.threads, monitor)?;
    let (files, versions) = order::order(&catalog, options.order);
    monitor.phase(Phase::Pack);
    let bytes = files.iter().map(|at| catalog.files[*at as usize].size).sum();
    monitor.total(files.len() as u64, bytes);
    let twins = twins(&catalog, &files);
    let jobs: Vec<FileJob> = files.into_iter().zip(twins).collect();
    let reader = Reader::new(root.as_fd(), &catalog, monitor);
    let work = |(rank, job): (u32, &[FileJob]), feeder: &mut _| reader.read(rank, job, feeder);
    let packed = pipeline::run(
        Jobs { catalog: &catalog, rank: 0, rest: &jobs },
        work,
        &packing(options, versions),
        storage,
        monitor,
    )?;
    Ok((catalog, packed))
}

fn pack_tar(
    input: &mut (dyn Read + Send),
    storage: &dyn Storage,
    options: &CreateOptions,
    monitor: &dyn Monitor,
) -> Result<(Catalog, Packed, u64), CreateError> {
    monitor.phase(Phase::Pack);
    let jobs = TarJobs::new(input, options.all_times, monitor)
        .map_err(|error| if monitor.cancelled() { CreateError::Cancelled } else { error })?;
    let back = jobs.back();
    let work = |job, feeder: &mut _| tar::read(job, &back, feeder);
    let packed = pipeline::run(&jobs, work, &packing(options, false), storage, monitor);
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

/// Writes index, tree, settings and root.
fn commit(
    catalog: &Catalog,
    index: IndexBuilder,
    origin: Option<Id>,
    savings: Savings,
    storage: &dyn Storage,
    options: &CreateOptions,
) -> Result<Summary, CreateError> {
    let mut segments = Vec::new();
    let mut index_len = 0;
    if index.block_count() > 0 {
        let (bytes, checksum) = index.finish();
        let id = *blake3::hash(&bytes).as_bytes();
        index_len = bytes.len() as u64;
        storage.put(&index_key(&id), &bytes)?;
        segments.push(ObjectRef { id, length: index_len, checksum });
    }
    let (bytes, tree, mut totals) = plant(catalog, origin, TREE_LEVEL);
    totals.unique = savings.unique;
    storage.put(&tree::key(&tree.id), &bytes)?;
    let root =
        Root { number: 1, created: options.created, tree, parents: Vec::new(), segments, totals };
    let root = root.encode();
    let id = *blake3::hash(&root).as_bytes();
    storage.put(CONFIG, &config(options, &id).encode())?;
    storage.put(&root_key(1, &id), &root)?;
    let tree = bytes.len() as u64;
    Ok(Summary { totals, savings, tree, index: index_len, problems: 0 })
}

fn config(options: &CreateOptions, root: &Id) -> Config {
    let derived = || hex(root).split_at(32).0.to_owned();
    Config {
        format: VERSION,
        store: options.store_id.clone().unwrap_or_else(derived),
        incompatible: Vec::new(),
        compatible: Vec::new(),
        hash: options.hash,
        hash_len: options.hash_len,
        cutting: options.cutting,
    }
}
