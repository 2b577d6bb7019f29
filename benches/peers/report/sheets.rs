//! The figures of a tree as tables of text, which the terminal, the Markdown and the page share.

use super::figures::{Unit, count, mebibytes, one_line, over, percent, ratio};
use crate::results::{Cell, Failure, MEASURES, Measure, PeerRun, Sample, Spread, TreeRun};

/// Whom all others are compared with.
pub const BASE: &str = "squashfs";
/// Who shows how fast a driver can be at all.
pub const CEILING: &str = "ceiling";
/// What the tables mean by their words.
pub const LEGEND: [&str; 4] = [
    "Figures are medians, with the least and the greatest in brackets.",
    "× squashfs: how many times the figure of the kernel's squashfs it is.",
    "Of ceiling: the time of a bare FUSE mount that serves the same tree from memory, as a share \
     of the peer's time; the kernel's own file systems may be above it.",
    "A star: something went wrong later, see the failures.",
];
/// The most measures, and the most columns of processor times, that fit beside each other.
const MEASURES_ABREAST: usize = 2;
const TIMES_ABREAST: usize = 7;

/// A table: its first column is left-aligned, the others are figures.
#[derive(Debug)]
pub struct Sheet {
    /// What it is about.
    pub title: String,
    /// Its headings.
    pub head: Vec<String>,
    /// Its rows, each as long as the headings.
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    fn new(title: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|&text| text.to_owned()).collect();
        Self { title: title.to_owned(), head, rows: Vec::new() }
    }

    /// With a row of each peer that has something to tell.
    fn fill(mut self, tree: &TreeRun, row: impl Fn(&PeerRun) -> Vec<String>) -> Self {
        let named = |peer: &PeerRun| [vec![peer.name.clone()], row(peer)].concat();
        let rows = present(tree).map(named);
        self.rows = rows.filter(|row| row.iter().skip(1).any(|cell| !cell.is_empty())).collect();
        self
    }
}

/// What kept a peer from a figure.
#[derive(Debug)]
pub struct Trouble {
    /// The peer.
    pub peer: String,
    /// The measures' headings, or `build`.
    pub at: String,
    /// `wrong`, `crashed`, ...
    pub kind: &'static str,
    /// Its text.
    pub what: String,
}

/// The peers that took part.
pub fn present(tree: &TreeRun) -> impl Iterator<Item = &PeerRun> {
    tree.peers.iter().filter(|peer| peer.absent.is_none())
}

/// The peers that did not take part, and why.
pub fn absent(tree: &TreeRun) -> Vec<(&str, String)> {
    let why = |peer: &PeerRun| peer.absent.as_deref().map(one_line);
    tree.peers.iter().filter_map(|peer| Some((peer.name.as_str(), why(peer)?))).collect()
}

/// All that went wrong with a tree; what befell a peer in several measures is told once.
pub fn troubles(tree: &TreeRun) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = Vec::new();
    for peer in present(tree) {
        let build = peer.build.as_ref().and_then(|build| build.failure.as_ref());
        let cell = |measure: &Measure| {
            Some((measure.title, peer.cells.get(measure.name)?.failure.as_ref()?))
        };
        let cells = MEASURES.iter().filter_map(cell);
        for (at, what) in build.map(|what| ("build", what)).into_iter().chain(cells) {
            let (kind, what) = what.parts();
            let what = one_line(what);
            let same = |other: &&mut Trouble| {
                (&other.peer, other.kind, &other.what) == (&peer.name, kind, &what)
            };
            match found.iter_mut().find(same) {
                Some(other) => other.at = format!("{}; {at}", other.at),
                None => found.push(Trouble { peer: peer.name.clone(), at: at.into(), kind, what }),
            }
        }
    }
    found
}

/// All tables of a tree.
pub fn sheets(tree: &TreeRun) -> Vec<Sheet> {
    let mut sheets = vec![build(tree)];
    sheets.extend(groups().map(|group| measures(tree, group)));
    let random = MEASURES.iter().filter(|measure| measure.random);
    sheets.extend(random.map(|measure| latencies(tree, *measure)));
    sheets.extend(driver(tree));
    sheets.retain(|sheet| !sheet.rows.is_empty());
    sheets
}

/// What building took, and came to.
fn build(tree: &TreeRun) -> Sheet {
    let head =
        ["peer", "size", "of source", "× squashfs", "wall", "× squashfs", "CPU", "peak memory"];
    let base = tree.peer(BASE).and_then(|peer| peer.build.as_ref());
    let base_wall = base.and_then(|build| Spread::of(build.wall.iter().copied()));
    Sheet::new("Build", &head).fill(tree, |peer| {
        let Some(build) = &peer.build else { return vec![String::new(); head.len() - 1] };
        let wall = Spread::of(build.wall.iter().copied());
        let mark = |text: Option<String>| marked(text, build.failure.as_ref().map(Failure::parts));
        let bytes = build.bytes as f64;
        let made = |text| if build.bytes > 0 { text } else { None };
        vec![
            mark(made(Some(Unit::Mebibytes.text(mebibytes(build.bytes))))),
            made(over(bytes, tree.bytes as f64).map(percent)).unwrap_or_default(),
            made(base.and_then(|base| over(bytes, base.bytes as f64)).map(ratio))
                .unwrap_or_default(),
            wall.map(|wall| Unit::Seconds.spread(wall)).unwrap_or_default(),
            compared(wall, base_wall).unwrap_or_default(),
            middle(build.cpu.iter().copied(), Unit::Seconds),
            made(Some(Unit::Mebibytes.text(mebibytes(build.peak_memory)))).unwrap_or_default(),
        ]
    })
}

/// Measures that belong together, by the word they begin with, as many abreast as fit.
fn groups() -> impl Iterator<Item = &'static [Measure]> {
    let word = |measure: &Measure| measure.name.split('-').next();
    let same = move |a: &Measure, b: &Measure| word(a) == word(b);
    MEASURES.chunk_by(same).flat_map(|chunk| chunk.chunks(MEASURES_ABREAST))
}

/// The figures of some measures, beside the base and the ceiling.
fn measures(tree: &TreeRun, group: &[Measure]) -> Sheet {
    let mut head = vec!["peer"];
    head.extend(group.iter().flat_map(|m| [m.title, "× squashfs", "of ceiling"]));
    let title: Vec<&str> = group.iter().map(|measure| measure.title).collect();
    Sheet::new(&title.join("; "), &head).fill(tree, |peer| {
        let cells = |measure: &Measure| {
            let figure = peer.figure(*measure);
            let of = |name| tree.peer(name).and_then(|peer| peer.figure(*measure));
            let trouble = peer.cells.get(measure.name).and_then(|cell| cell.failure.as_ref());
            let text = figure.map(|figure| unit(*measure).spread(figure));
            let share =
                figure.zip(of(CEILING)).and_then(|(mine, top)| over(top.median, mine.median));
            [
                marked(text, trouble.map(Failure::parts)),
                compared(figure, of(BASE)).unwrap_or_default(),
                share.map(percent).unwrap_or_default(),
            ]
        };
        group.iter().flat_map(cells).collect()
    })
}

/// The latencies of random reads, and how many were made in a second.
fn latencies(tree: &TreeRun, measure: Measure) -> Sheet {
    let head = ["peer", "p50", "p90", "p99", "p99.9", "max", "reads/s"];
    Sheet::new(&format!("{}: latencies", measure.title), &head).fill(tree, |peer| {
        let cell = peer.cells.get(measure.name);
        let at = |q| cell.and_then(|cell| latency(cell, q)).map(|value| Unit::Micros.text(value));
        let mut row: Vec<_> =
            [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| at(q).unwrap_or_default()).into();
        let rate = |sample: &Sample| over(sample.reads? as f64, sample.seconds);
        let rates = cell.into_iter().flat_map(|cell| cell.samples.iter().filter_map(rate));
        // A float that is as large as a count can be is cut off, which nobody will see.
        let rate = Spread::of(rates).map(|rate| format!("{:.0}", rate.median));
        row.push(rate.and_then(|text| text.parse().ok()).map(count).unwrap_or_default());
        row
    })
}

/// What the drivers took: processor time of each measure, and memory.
fn driver(tree: &TreeRun) -> Vec<Sheet> {
    let told = |measure: &&Measure| {
        let samples = |peer: &'_ PeerRun| {
            let cell = peer.cells.get(measure.name);
            cell.is_some_and(|cell| cell.samples.iter().any(|s| s.driver_cpu.is_some()))
        };
        present(tree).any(samples)
    };
    let told: Vec<Measure> = MEASURES.iter().filter(told).copied().collect();
    let mut sheets: Vec<Sheet> =
        told.chunks(TIMES_ABREAST).map(|measures| driver_times(tree, measures)).collect();
    sheets.push(Sheet::new("Driver: memory", &["peer", "peak memory"]).fill(tree, |peer| {
        let samples = peer.cells.values().flat_map(|cell| &cell.samples);
        let peak = samples.filter_map(|sample| sample.driver_peak).max();
        vec![peak.map(|peak| Unit::Mebibytes.text(mebibytes(peak))).unwrap_or_default()]
    }));
    sheets
}

fn driver_times(tree: &TreeRun, measures: &[Measure]) -> Sheet {
    let mut head = vec!["peer"];
    head.extend(measures.iter().map(|measure| measure.title));
    Sheet::new("Driver: CPU time", &head).fill(tree, |peer| {
        let time = |measure: &Measure| {
            let samples = peer.cells.get(measure.name).map(|cell| cell.samples.as_slice());
            let times = samples.unwrap_or_default().iter().filter_map(|sample| sample.driver_cpu);
            middle(times, Unit::Seconds)
        };
        measures.iter().map(time).collect()
    })
}

/// The unit of a measure's figures.
pub fn unit(measure: Measure) -> Unit {
    if measure.random { Unit::Micros } else { Unit::Seconds }
}

/// A quantile of latencies, in microseconds: the median of what the repetitions found.
pub fn latency(cell: &Cell, quantile: f64) -> Option<f64> {
    let found = cell.samples.iter().filter_map(|sample| sample.latency(quantile));
    Spread::of(found).map(|spread| spread.median)
}

fn middle(figures: impl IntoIterator<Item = f64>, unit: Unit) -> String {
    Spread::of(figures).map(|spread| unit.text(spread.median)).unwrap_or_default()
}

fn compared(mine: Option<Spread>, base: Option<Spread>) -> Option<String> {
    over(mine?.median, base?.median).map(ratio)
}

/// A figure, with a star if there is trouble with it; or what trouble there is.
fn marked(figure: Option<String>, trouble: Option<(&str, &str)>) -> String {
    match (figure, trouble) {
        (Some(figure), None) => figure,
        (Some(figure), Some(_)) => format!("{figure} *"),
        (None, trouble) => trouble.map(|(kind, _)| kind.to_owned()).unwrap_or_default(),
    }
}
