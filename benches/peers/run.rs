//! The order of a run: trees, then repetitions, then workloads, then peers.
//!
//! Peers take turns with each workload, forwards and backwards by turns, so that what the machine
//! does besides hits all of them alike.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cold::{check_cold, drop_caches, warm_tools};
use crate::mounted::Mounted;
use crate::peer::{Peer, archive_bytes};
use crate::process::{Stop, interrupted, output};
use crate::results::{Build, Cell, Failure, PeerRun, Run, Sample, TreeRun};
use crate::tree::{Tree, copy_part};
use crate::workload::{FIRST_LS, Program, Stage, WORKLOADS, Workload, applies};

/// How long and how often things are done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The whole run, begun by now.
    pub end: Instant,
    /// Most repetitions of a workload or a build.
    pub repetitions: usize,
    /// How long one repetition may take; longer ones are broken off.
    pub limit: Duration,
    /// How long one build may take.
    pub build_limit: Duration,
    /// After how long a peer's repetitions of one workload are enough.
    pub patience: Duration,
    /// How long all workloads of one peer on one tree may take.
    pub share: Duration,
    /// How many random reads of a sort are made at most.
    pub picks: usize,
    /// Whether to keep quiet about what goes on.
    pub quiet: bool,
    /// Of a quick run: how many bytes of each tree are used.
    pub part: Option<u64>,
}

/// A run under way.
pub struct Bench {
    plan: Plan,
    peers: Vec<Box<dyn Peer>>,
    scratch: TempDir,
}

/// One tree of a run under way.
struct Field<'a> {
    bench: &'a Bench,
    tree: Arc<Tree>,
    program: Option<Program>,
    end: Instant,
    folder: PathBuf,
    /// What each peer has spent on workloads.
    spent: Vec<Duration>,
}

impl Bench {
    /// A run of these peers, with its files in a new folder in `work`.
    pub fn new(plan: Plan, peers: Vec<Box<dyn Peer>>, work: &Path) -> Result<Self, Stop> {
        let scratch = tempfile::Builder::new().prefix("packfs-peers-").tempdir_in(work);
        let scratch = scratch.map_err(|error| Stop::broken(work.display(), error))?;
        drop_caches()?;
        Ok(Self { plan, peers, scratch })
    }

    /// Measures all peers on all trees, into `run`. What was measured before it stops is kept.
    pub fn run(&self, trees: &[PathBuf], run: &mut Run) -> Result<(), Stop> {
        for (at, top) in trees.iter().enumerate() {
            let left = self.plan.end.saturating_duration_since(Instant::now());
            let end = Instant::now() + left / u32::try_from(trees.len() - at).unwrap_or(1);
            let folder = self.scratch.path().join(at.to_string());
            let made = std::fs::create_dir_all(folder.join("mount"));
            made.map_err(|error| Stop::broken(folder.display(), error))?;
            let tree = self.source(top, &folder)?;
            let program = Program::choose(&tree.top)?;
            run.trees.push(TreeRun {
                name: tree.name.clone(),
                program: program.as_ref().map(|program| program.about.clone()),
                entries: tree.entries,
                files: tree.files.len() as u64,
                bytes: tree.bytes,
                peers: self.peers.iter().map(|peer| introduce(peer.as_ref())).collect(),
            });
            let spent = vec![Duration::ZERO; self.peers.len()];
            let tree = Arc::new(tree);
            let mut field = Field { bench: self, tree, program, end, folder, spent };
            if let Some(result) = run.trees.last_mut() {
                field.run(&mut result.peers)?;
            }
            let gone = std::fs::remove_dir_all(&field.folder);
            gone.map_err(|error| Stop::broken(field.folder.display(), error))?;
        }
        Ok(())
    }

    /// Reads a tree, of a quick run a copy of its first part.
    fn source(&self, top: &Path, folder: &Path) -> Result<Tree, Stop> {
        if !self.plan.quiet {
            say(format_args!("reading {}", top.display()));
        }
        let Some(mut part) = self.plan.part else {
            return Tree::read(top, self.plan.picks);
        };
        let whole = top.canonicalize().map_err(|error| Stop::broken(top.display(), error))?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
        // Never to be compared with a run of the whole tree.
        let name = format!("{name} (part)");
        let copy = folder.join("source");
        copy_part(&whole, &copy, &mut part)?;
        Ok(Tree { name, ..Tree::read(&copy, self.plan.picks)? })
    }
}

/// What is known of a peer before it is run.
fn introduce(peer: &dyn Peer) -> PeerRun {
    let version = peer.version();
    PeerRun {
        name: peer.name().to_owned(),
        about: peer.about().to_owned(),
        absent: version.as_ref().err().cloned(),
        version: version.ok(),
        build: None,
        cells: Default::default(),
    }
}

impl Field<'_> {
    /// What the time does not suffice for is repetitions: first, everything is done once.
    fn run(&mut self, results: &mut [PeerRun]) -> Result<(), Stop> {
        for repetition in 0..self.bench.plan.repetitions {
            if repetition > 0 {
                if Instant::now() > self.end {
                    break;
                }
                // All builds find the source in memory, as they did the first time.
                self.tree.recall()?;
            }
            self.each_in_turn(repetition, |field, at| field.build(at, results))?;
            for workload in [FIRST_LS].iter().chain(&WORKLOADS) {
                if applies(workload, &self.tree, self.program.as_ref()) {
                    self.each_in_turn(repetition, |field, at| {
                        field.one(workload, at, repetition, results)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Calls `one` for each peer.
    fn each_in_turn(
        &mut self,
        repetition: usize,
        mut one: impl FnMut(&mut Self, usize) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let peers = self.bench.peers.len();
        for at in 0..peers {
            if interrupted() {
                return Err(Stop::Interrupted);
            }
            one(self, if repetition.is_multiple_of(2) { at } else { peers - 1 - at })?;
        }
        Ok(())
    }

    /// Builds an archive, unless there has been enough of it.
    fn build(&mut self, at: usize, results: &mut [PeerRun]) -> Result<(), Stop> {
        let peer = self.bench.peers[at].as_ref();
        let build = results[at].build.as_ref();
        let spent: f64 = build.map_or(0.0, |build| build.wall.iter().sum());
        let failed = build.is_some_and(|build| build.failure.is_some());
        let enough = spent > self.bench.plan.patience.as_secs_f64() * 2.0;
        let late = build.is_some() && Instant::now() > self.end;
        if results[at].absent.is_some() || failed || enough || late {
            return Ok(());
        }
        self.make(peer, &mut results[at].build)
    }

    fn make(&self, peer: &dyn Peer, into: &mut Option<Build>) -> Result<(), Stop> {
        let archive = self.archive(peer);
        let commands = peer.build(&self.tree.top, &archive);
        if commands.is_empty() {
            return Ok(());
        }
        remove_archive(&archive)?;
        // What others have yet to write is not to be waited for.
        rustix::fs::sync();
        let build = into.get_or_insert_with(|| Build {
            wall: Vec::new(),
            cpu: Vec::new(),
            peak_memory: 0,
            bytes: 0,
            failure: None,
        });
        let (mut wall, mut cpu) = (0.0, 0.0);
        for mut command in commands {
            match output(&mut command, self.bench.plan.build_limit) {
                Ok((cost, _)) => {
                    wall += cost.seconds;
                    cpu += cost.cpu;
                    build.peak_memory = build.peak_memory.max(cost.peak);
                }
                Err(Stop::Failed(failure)) => {
                    self.say(peer, &format!("build: {failure}"));
                    build.failure = Some(failure);
                    // On a full disk it would be in the others' way.
                    return remove_archive(&archive);
                }
                Err(stop) => return Err(stop),
            }
        }
        build.wall.push(wall);
        build.cpu.push(cpu);
        build.bytes = archive_bytes(&archive)?;
        self.say(peer, &format!("build {wall:.2} s, {} bytes", build.bytes));
        Ok(())
    }

    /// Does one repetition of a workload, unless there has been enough of it.
    fn one(
        &mut self,
        workload: &Workload,
        at: usize,
        repetition: usize,
        results: &mut [PeerRun],
    ) -> Result<(), Stop> {
        let peer = self.bench.peers[at].as_ref();
        if results[at].absent.is_some() || (workload.cold == FIRST_LS.cold && !peer.opens()) {
            return Ok(());
        }
        let archive = self.archive(peer);
        let Some(how) = peer.mount(&self.tree.top, &archive, &self.folder.join("mount")) else {
            return Ok(());
        };
        let cells = &results[at].cells;
        let seen = cells.get(workload.cold);
        let failed = seen.is_some_and(|cell| cell.failure.is_some());
        let spent: f64 = [Some(workload.cold), workload.warm]
            .into_iter()
            .flatten()
            .filter_map(|measure| cells.get(measure))
            .flat_map(|cell| cell.samples.iter().map(|sample| sample.seconds))
            .sum();
        if failed || (repetition > 0 && spent > self.bench.plan.patience.as_secs_f64()) {
            return Ok(());
        }
        let out_of_time = Instant::now() > self.end || self.spent[at] > self.bench.plan.share;
        if out_of_time && repetition > 0 {
            return Ok(());
        }
        let start = Instant::now();
        let done = if no_archive(peer, results) {
            vec![Err(not_run("there is no archive"))]
        } else if out_of_time {
            vec![Err(not_run("its share of the time was used up"))]
        } else {
            self.measure(workload, peer, &archive, how)?
        };
        self.spent[at] += start.elapsed();
        for (measure, done) in [Some(workload.cold), workload.warm].into_iter().flatten().zip(done)
        {
            let cell = results[at].cells.entry(measure.to_owned()).or_default();
            record(cell, done, |text| self.say(peer, &format!("{measure} {text}")));
        }
        Ok(())
    }

    /// Mounts, runs the workload cold and warm, and unmounts. One result for each.
    fn measure(
        &self,
        workload: &Workload,
        peer: &dyn Peer,
        archive: &Path,
        how: crate::mounted::How,
    ) -> Result<Vec<Result<Sample, Failure>>, Stop> {
        drop_caches()?;
        check_cold(archive)?;
        self.check_source_cold()?;
        warm_tools()?;
        let dir = self.folder.join("mount");
        let limit = self.bench.plan.limit;
        let start = Instant::now();
        let mut mounted = match split(Mounted::new(how, &dir, peer.below(), limit))? {
            Ok(mounted) => mounted,
            Err(failure) => return Ok(vec![Err(failure)]),
        };
        let stage = Stage {
            tree: Arc::clone(&self.tree),
            program: self.program.clone(),
            root: mounted.root().to_owned(),
            scratch: self.folder.clone(),
            limit,
        };
        let mut done = Vec::new();
        for measure in [Some(workload.cold), workload.warm].into_iter().flatten() {
            let result = watched(workload, &stage, &mut mounted)?;
            let failed = result.is_err();
            done.push(result.map(|mut sample| {
                if measure == FIRST_LS.cold {
                    sample.seconds = start.elapsed().as_secs_f64();
                }
                sample
            }));
            if failed {
                break;
            }
        }
        if done.iter().all(Result::is_ok)
            && let Err(failure) = split(mounted.unmount())?
        {
            done.pop();
            done.push(Err(failure));
        }
        Ok(done)
    }

    /// Makes sure of the source, by its largest file.
    fn check_source_cold(&self) -> Result<(), Stop> {
        let largest = self.tree.largest.as_deref().map(OsStr::from_bytes);
        largest.map_or(Ok(()), |largest| check_cold(&self.tree.top.join(largest)))
    }

    fn archive(&self, peer: &dyn Peer) -> PathBuf {
        self.folder.join(peer.archive_of()).with_extension("pfs")
    }

    /// Tells who watches what goes on.
    fn say(&self, peer: &dyn Peer, text: &str) {
        if !self.bench.plan.quiet {
            say(format_args!("{:<10} {:<11} {text}", self.tree.name, peer.name()));
        }
    }
}

/// Runs a workload and takes the driver's processor time and memory; a driver that ended meanwhile
/// is the reason of whatever failed.
fn watched(
    workload: &Workload,
    stage: &Stage,
    mounted: &mut Mounted,
) -> Result<Result<Sample, Failure>, Stop> {
    let before = mounted.usage();
    let sample = split((workload.run)(stage))?;
    if let Err(failure) = split(mounted.check_driver())? {
        return Ok(Err(failure));
    }
    let after = mounted.usage();
    Ok(sample.map(|sample| Sample {
        driver_cpu: before.zip(after).map(|(before, after)| after.0 - before.0),
        driver_peak: after.map(|after| after.1),
        ..sample
    }))
}

/// Writes a line to a terminal that may be gone by now.
pub fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Adds a repetition to its cell.
fn record(cell: &mut Cell, done: Result<Sample, Failure>, say: impl Fn(&str)) {
    match done {
        Ok(sample) => {
            match sample.latency(0.5) {
                Some(median) => say(&format!("{median:.0} us")),
                None => say(&format!("{:.3} s", sample.seconds)),
            }
            cell.samples.push(sample);
        }
        Err(failure) => {
            say(&format!("{failure}"));
            cell.failure = Some(failure);
        }
    }
}

/// Tells what is the peer's fault from what ends the run.
fn split<T>(result: Result<T, Stop>) -> Result<Result<T, Failure>, Stop> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Failed(failure)) => Ok(Err(failure)),
        Err(stop) => Err(stop),
    }
}

/// Whether the archive that a peer shows could not be made.
fn no_archive(peer: &dyn Peer, results: &[PeerRun]) -> bool {
    let maker = results.iter().find(|result| result.name == peer.archive_of());
    let build = maker.and_then(|maker| maker.build.as_ref());
    build.is_some_and(|build| build.failure.is_some())
}

fn not_run(why: &str) -> Failure {
    Failure::NotRun(why.to_owned())
}

/// Removes an archive, and what its peer keeps beside it.
fn remove_archive(archive: &Path) -> Result<(), Stop> {
    remove(archive)?;
    remove(&archive.with_extension("state"))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<(), Stop> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(|error| Stop::broken(path.display(), error))
}
