//! What a run found: the data behind the table, `results.json`, the report and the gate.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The quantiles of latencies that are kept, from the fastest to the slowest read.
pub const QUANTILES: [f64; 11] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];

/// A whole run: all trees, all peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// When it began, as `2026-11-22 18:50 UTC`.
    pub started: String,
    /// The command line that made it.
    pub command: String,
    /// Whether it was a short one, whose figures are only a hint.
    pub quick: bool,
    /// Whether it was cut short by a signal.
    pub interrupted: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it ran on.
    pub machine: Machine,
    /// The trees, in the order of the command line.
    pub trees: Vec<TreeRun>,
}

/// The machine of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Cores that the run could use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// `Linux 6.18.1`.
    pub kernel: String,
    /// The file system that archives lay on, as `ext4`.
    pub disk: String,
}

/// One tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeRun {
    /// The last part of its path; of a quick run, that it is a part only.
    pub name: String,
    /// What the real program is and does, if there is one for this tree.
    pub program: Option<String>,
    /// Entries of all kinds, the top folder included.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes in regular files.
    pub bytes: u64,
    /// All known peers, the absent ones too, in the order of their table; packfs is the first.
    pub peers: Vec<PeerRun>,
}

/// One peer on one tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerRun {
    /// Its short name: `packfs`, `squashfs`, `borg`, ...
    pub name: String,
    /// What it is and how it was used, in a line.
    pub about: String,
    /// What its program says of its version; `None` if it is absent.
    pub version: Option<String>,
    /// Why it did not take part, and which package would bring it.
    pub absent: Option<String>,
    /// The build, unless it has none (the source tree, the ceiling).
    pub build: Option<Build>,
    /// What the workloads saw, by [`Measure`] names; a workload that does not apply has no entry.
    pub cells: BTreeMap<String, Cell>,
}

/// The making of an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Build {
    /// Wall times, in seconds, one of each repetition.
    pub wall: Vec<f64>,
    /// Times of all cores together, in seconds, likewise.
    pub cpu: Vec<f64>,
    /// The most memory that was resident, in bytes.
    pub peak_memory: u64,
    /// Length of the archive, in bytes.
    pub bytes: u64,
    /// What went wrong, in a line.
    pub failure: Option<Failure>,
}

/// One workload of one peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cell {
    /// What was measured, in the order of the repetitions.
    pub samples: Vec<Sample>,
    /// Why there is no more of it.
    pub failure: Option<Failure>,
}

/// One repetition of a workload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Wall time of the whole workload, in seconds.
    pub seconds: f64,
    /// Of random reads: how long one took, in microseconds, at each of [`QUANTILES`].
    pub latencies: Option<Vec<f64>>,
    /// Of random reads: how many were made.
    pub reads: Option<u64>,
    /// Processor time of the driver (the FUSE daemon) meanwhile, in seconds.
    pub driver_cpu: Option<f64>,
    /// The most memory that the driver had resident so far, in bytes.
    pub driver_peak: Option<u64>,
}

/// What kept a peer from a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "what", rename_all = "kebab-case")]
pub enum Failure {
    /// It returned something else than the source has.
    Wrong(String),
    /// It ended, or failed with an error.
    Crashed(String),
    /// It was not done within the time limit of a workload.
    OverTime(String),
    /// It was not tried: the peer had used up its share of the run's time, or failed before.
    NotRun(String),
}

impl Failure {
    /// What sort of failure it is, in a word or two, and what there is to say about it.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Wrong(what) => ("wrong", what),
            Self::Crashed(what) => ("crashed", what),
            Self::OverTime(what) => ("over time", what),
            Self::NotRun(what) => ("not run", what),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = self.parts();
        write!(f, "{kind}: {what}")
    }
}

/// A column of the results: a workload, cold or warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Its key in [`PeerRun::cells`]: `find-cold`.
    pub name: &'static str,
    /// Its heading: `find, cold`.
    pub title: &'static str,
    /// Whether it is about latencies; the figure to show is then their median.
    pub random: bool,
}

/// All measures, in the order to show them.
pub const MEASURES: &[Measure] = &[
    measure("first-ls", "mount to first ls"),
    measure("find-cold", "find, cold"),
    measure("find-warm", "find, warm"),
    measure("tar-cold", "tar, cold"),
    measure("tar-warm", "tar, warm"),
    measure("tar4-cold", "4 readers, cold"),
    measure("tar4-warm", "4 readers, warm"),
    random("random-1", "random 4 KiB, 1 thread"),
    random("random-4", "random 4 KiB, 4 threads"),
    random("random-large", "random 4 KiB, largest files"),
    measure("stream-cold", "largest file, cold"),
    measure("stream-warm", "largest file, warm"),
    measure("run-cold", "a real program, cold"),
    measure("run-warm", "a real program, warm"),
];

const fn measure(name: &'static str, title: &'static str) -> Measure {
    Measure { name, title, random: false }
}

const fn random(name: &'static str, title: &'static str) -> Measure {
    Measure { name, title, random: true }
}

/// The middle of some figures, and the least and the greatest of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of one figure at least.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[half]
        } else {
            f64::midpoint(sorted[half - 1], sorted[half])
        };
        Some(Self { median, min, max })
    }
}

impl Sample {
    /// A quantile of the latencies, in microseconds; `quantile` is one of [`QUANTILES`].
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Option<f64> {
        let at = QUANTILES.iter().position(|known| (known - quantile).abs() < 1e-9)?;
        self.latencies.as_ref()?.get(at).copied()
    }
}

impl Cell {
    /// The figure of a measure: seconds, or for random reads the median latency in microseconds.
    #[must_use]
    pub fn figure(&self, measure: Measure) -> Option<Spread> {
        let of = |sample: &Sample| match measure.random {
            true => sample.latency(0.5),
            false => Some(sample.seconds),
        };
        Spread::of(self.samples.iter().filter_map(of))
    }
}

impl TreeRun {
    /// A peer by its name.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&PeerRun> {
        self.peers.iter().find(|peer| peer.name == name)
    }
}

impl PeerRun {
    /// The figure of a measure, if there is one.
    #[must_use]
    pub fn figure(&self, measure: Measure) -> Option<Spread> {
        self.cells.get(measure.name)?.figure(measure)
    }
}
