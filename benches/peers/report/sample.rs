//! Made-up runs: one as it may well come out, and one of all extremes.

use std::collections::BTreeMap;

use crate::results::{
    Build, Cell, Failure, MEASURES, Machine, Measure, PeerRun, QUANTILES, Run, Sample, TreeRun,
};

/// Name; build time in seconds, size in MiB; time of reading beside squashfs, latency in µs.
type Made = (&'static str, Option<(f64, u64)>, f64, f64);

const PEERS: [Made; 12] = [
    ("packfs", Some((14.2, 61)), 1.2, 38.0),
    ("squashfs", Some((36.5, 168)), 1.0, 14.0),
    ("squashfuse", Some((36.5, 168)), 2.9, 61.0),
    ("erofs", Some((21.0, 262)), 0.8, 9.0),
    ("erofsfuse", Some((21.0, 262)), 4.4, 120.0),
    ("dwarfs", Some((118.0, 44)), 3.1, 95.0),
    ("dwarfs-3", Some((31.0, 58)), 2.4, 83.0),
    ("borg", Some((52.0, 96)), 38.0, 900.0),
    ("restic", Some((47.0, 91)), 22.0, 1400.0),
    ("tar-zstd", Some((9.1, 151)), 0.0, 0.0),
    ("source", None, 0.9, 6.0),
    ("ceiling", None, 0.6, 21.0),
];

/// Seconds that squashfs takes for each of the measures.
const SECONDS: [f64; 14] =
    [0.021, 1.4, 0.31, 9.8, 3.1, 6.2, 2.2, 2.0, 1.1, 1.5, 0.44, 0.12, 0.73, 0.28];

/// A run on two trees, with absent peers and with failures of all kinds.
pub fn run() -> Run {
    let mut large = tree("linux", 7);
    for peer in &mut large.peers {
        let mut fail = |measure: &str, failure: Failure, keep: usize| {
            let cell = peer.cells.entry(measure.to_owned()).or_default();
            cell.samples.truncate(keep);
            cell.failure = Some(failure);
        };
        match peer.name.as_str() {
            "erofsfuse" => fail(
                "tar4-warm",
                Failure::Crashed("erofsfuse ended with status 139: <no words> & a core".into()),
                0,
            ),
            "borg" => {
                let what = "not done within 120 s".to_owned();
                fail("tar-cold", Failure::OverTime(what), 1);
                for measure in ["tar-warm", "tar4-cold", "tar4-warm", "random-4"] {
                    let what = "borg had used up its share of the run's time".to_owned();
                    fail(measure, Failure::NotRun(what), 0);
                }
            }
            "dwarfs-3" => {
                let what = "sha256 of a/b|c.py differs from the source's, in 4096 bytes at 0";
                fail("tar4-cold", Failure::Wrong(what.to_owned()), 2);
            }
            _ => (),
        }
    }
    let mut trees = vec![tree("django", 1), large];
    for tree in &mut trees {
        let gone = tree.peers.iter_mut().filter(|peer| peer.name == "restic");
        for peer in gone {
            let why = "restic is not in PATH: apt install restic";
            *peer = PeerRun { absent: Some(why.into()), ..plain(&peer.name) };
        }
    }
    Run {
        started: "2026-11-22 18:50 UTC".into(),
        command: "cargo bench --bench peers -- --tree django --tree linux --out out".into(),
        quick: false,
        interrupted: false,
        seconds: 4265.0,
        machine: Machine {
            processor: "AMD EPYC 7B13".into(),
            cores: 2,
            memory: 8_220_000_000,
            kernel: "Linux 6.18.1".into(),
            disk: "ext4".into(),
        },
        trees,
    }
}

/// A run of one sample each, from nothing to hours, with names that want to be escaped.
pub fn extreme() -> Run {
    let mut run = run();
    run.trees.truncate(1);
    run.trees[0].name = "<b>&\"'|\u{1b}[31m".into();
    for (number, peer) in run.trees[0].peers.iter_mut().enumerate() {
        let value = [0.0, 1e-6, 1e4][number % 3];
        peer.name = if number == 3 { "<i>|`x`".repeat(9) } else { peer.name.clone() };
        let sample = Sample {
            seconds: value,
            latencies: Some(vec![value * 1e6; QUANTILES.len()]),
            reads: Some(u64::MAX),
            driver_cpu: Some(value),
            driver_peak: Some(0),
        };
        let cell = Cell { samples: vec![sample], failure: None };
        peer.cells.values_mut().for_each(|old| *old = cell.clone());
        if let Some(build) = &mut peer.build {
            (build.wall, build.cpu) = (vec![value], Vec::new());
            build.bytes = [1, u64::MAX, 0][number % 3];
        }
    }
    run
}

/// A run that no peer took part in.
pub fn nobody() -> Run {
    let mut run = run();
    for peer in run.trees.iter_mut().flat_map(|tree| &mut tree.peers) {
        *peer = PeerRun { absent: Some("not here".into()), ..plain(&peer.name) };
    }
    run
}

fn tree(name: &str, times: u64) -> TreeRun {
    let peers = PEERS.iter().map(|peer| peer_run(peer, times)).collect();
    let files = 34_120 * times;
    TreeRun {
        name: name.into(),
        program: Some("git grep".into()),
        entries: files + files / 9,
        files,
        bytes: files * 12_800,
        peers,
    }
}

fn plain(name: &str) -> PeerRun {
    PeerRun {
        name: name.into(),
        about: format!("{name}, as it is used by those who use it"),
        version: None,
        absent: None,
        build: None,
        cells: BTreeMap::new(),
    }
}

/// Three figures about one.
fn around(value: f64) -> [f64; 3] {
    [value * 1.04, value * 0.97, value * 1.13]
}

fn peer_run((name, built, slower, latency): &Made, times: u64) -> PeerRun {
    let scale = times as f64;
    let build = built.map(|(wall, mebibytes)| Build {
        wall: around(wall * scale).into(),
        cpu: around(wall * scale * 1.9).into(),
        peak_memory: 310 << 20,
        bytes: (mebibytes << 20) * times,
        failure: None,
    });
    let cell = |(measure, seconds): (&Measure, f64)| {
        let samples = around(seconds * slower * scale)
            .map(|seconds| sample(*measure, seconds, *latency))
            .into();
        (measure.name.to_owned(), Cell { samples, failure: None })
    };
    let measured = *slower > 0.0;
    let cells = MEASURES.iter().zip(SECONDS).filter(|_| measured).map(cell).collect();
    PeerRun { version: Some(format!("{name} 1.4.2")), build, cells, ..plain(name) }
}

fn sample(measure: Measure, seconds: f64, latency: f64) -> Sample {
    let tail = |quantile: f64| latency * (0.4 + quantile + (quantile + 0.02).powi(40) * 30.0);
    let driver = latency > 15.0;
    Sample {
        seconds,
        latencies: measure.random.then(|| QUANTILES.map(tail).into()),
        reads: measure.random.then_some(20_000),
        driver_cpu: driver.then_some(seconds * 0.7),
        driver_peak: driver.then_some(94 << 20),
    }
}
