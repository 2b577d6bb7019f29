//! What packfs must not lose: ratios to its peers, kept in a file beside the code.
//!
//! The file is a list of rules, as
//! `{"tree":"django","measure":"find-cold","against":"squashfs","ratio":0.4,"tolerance":0.25}`:
//! the time of packfs, over that of squashfs, is to be at most 0.4, and a quarter more. A measure
//! is one of [`MEASURES`], of which random ones may name a quantile, as `random-1:p99`, or
//! `build-wall` or `build-bytes`.

mod figure;
mod trials;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use trials::trials;

use self::figure::Figure;
use crate::results::{MEASURES, PeerRun, Run, TreeRun};

/// Whom new rules compare packfs with.
const AGAINST: &str = "squashfs";

/// What packfs is held to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The tree's name.
    pub tree: String,
    /// What is measured.
    pub measure: String,
    /// The peer that packfs is compared with.
    pub against: String,
    /// The figure of packfs over that of the peer.
    pub ratio: f64,
    /// How much larger the ratio may be, as a share of it.
    pub tolerance: f64,
}

/// What came of all rules.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Rules that hold.
    pub held: usize,
    /// Rules that do not.
    pub losses: Vec<Loss>,
    /// Rules about peers that this machine does not have.
    pub skipped: Vec<Rule>,
}

/// A rule that does not hold.
#[derive(Debug)]
pub struct Loss {
    /// The rule.
    pub rule: Rule,
    /// Why.
    pub reason: Reason,
}

/// Why a rule does not hold.
#[derive(Debug, PartialEq)]
pub enum Reason {
    /// The ratio is this.
    Over(f64),
    /// There is no ratio, for this reason.
    Missing(String),
}

/// Why rules cannot be read or written.
#[derive(Debug, Error)]
pub enum GateError {
    /// The file cannot be read.
    #[error("{}: the gate's file cannot be read: {source}; give the path of one, or make one \
             with --write-gate", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no list of rules.
    #[error("{}: no list of rules: {source}; mend it, or make it anew with --write-gate",
            path.display())]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A rule cannot be held against anything.
    #[error("{}: rule {number}: {what}", path.display())]
    Rule {
        /// The file's path.
        path: PathBuf,
        /// The rule's place in the list, from 1.
        number: usize,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// There is nothing to hold packfs to.
    #[error("{}: no rules; a run that has figures of packfs and of {AGAINST} makes some with \
             --write-gate", path.display())]
    Empty {
        /// The file's path.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("{}: the gate's file cannot be written: {source}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}, {} against {}", self.tree, self.measure, self.against)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rule { ratio, tolerance, .. } = self.rule;
        match &self.reason {
            Reason::Over(measured) => write!(
                out,
                "{}: {measured:.3}, more than {:.3} ({ratio} and {:.0} %)",
                self.rule,
                ratio * (1.0 + tolerance),
                tolerance * 100.0
            ),
            Reason::Missing(why) => write!(out, "{}: {why}", self.rule),
        }
    }
}

/// Reads the rules of a file.
///
/// # Errors
/// If there are none, or they make no sense.
pub fn read(path: &Path) -> Result<Vec<Rule>, GateError> {
    let text = fs::read_to_string(path)
        .map_err(|source| GateError::Read { path: path.to_owned(), source })?;
    let rules: Vec<Rule> = serde_json::from_str(&text)
        .map_err(|source| GateError::Syntax { path: path.to_owned(), source })?;
    for (at, rule) in rules.iter().enumerate() {
        if let Some(what) = fault(rule) {
            return Err(GateError::Rule { path: path.to_owned(), number: at + 1, what });
        }
    }
    if rules.is_empty() { Err(GateError::Empty { path: path.to_owned() }) } else { Ok(rules) }
}

fn fault(rule: &Rule) -> Option<String> {
    let Rule { measure, ratio, tolerance, .. } = rule;
    if Figure::parse(measure).is_none() {
        let known: Vec<&str> = MEASURES.iter().map(|measure| measure.name).collect();
        let known = known.join(", ");
        return Some(format!(
            "there is no measure {measure:?}; known are build-wall, build-bytes, {known}, and \
             quantiles of random ones, as random-1:p99"
        ));
    }
    if !(ratio.is_finite() && *ratio > 0.0) {
        return Some(format!("its ratio is {ratio}; it must be more than 0"));
    }
    let fits = tolerance.is_finite() && *tolerance >= 0.0;
    (!fits).then(|| format!("its tolerance is {tolerance}; it must be 0 or more, as 0.25 for 25 %"))
}

/// Holds a run against the rules of a file.
///
/// # Errors
/// If the rules cannot be read.
pub fn check(run: &Run, gate: &Path) -> Result<Verdict, GateError> {
    let mut verdict = Verdict::default();
    for rule in read(gate)? {
        let reason = match measured(run, &rule) {
            Measured::Ratio(ratio) if ratio <= rule.ratio * (1.0 + rule.tolerance) => {
                verdict.held += 1;
                continue;
            }
            Measured::Absent => {
                verdict.skipped.push(rule);
                continue;
            }
            Measured::Ratio(ratio) => Reason::Over(ratio),
            Measured::Missing(why) => Reason::Missing(why),
        };
        verdict.losses.push(Loss { rule, reason });
    }
    Ok(verdict)
}

enum Measured {
    Ratio(f64),
    Missing(String),
    Absent,
}

fn measured(run: &Run, rule: &Rule) -> Measured {
    let Some(tree) = run.trees.iter().find(|tree| tree.name == rule.tree) else {
        return Measured::Missing(format!("the tree {} was not run", rule.tree));
    };
    if tree.peer(&rule.against).is_some_and(|peer| peer.absent.is_some()) {
        return Measured::Absent;
    }
    let ratio = || {
        let figure = Figure::parse(&rule.measure).ok_or("there is no such measure")?;
        let [mine, base] = ["packfs", &rule.against].map(|name| {
            let peer = peer(tree, name)?;
            figure.of(peer).map_err(|why| format!("{name}: {why}"))
        });
        let (mine, base) = (mine?, base?);
        match mine / base {
            ratio if ratio.is_finite() => Ok(ratio),
            _ => Err(format!("{mine} over {base} is no ratio")),
        }
    };
    match ratio() {
        Ok(ratio) => Measured::Ratio(ratio),
        Err(why) => Measured::Missing(why),
    }
}

fn peer<'a>(tree: &'a TreeRun, name: &str) -> Result<&'a PeerRun, String> {
    let peer = tree.peer(name).ok_or_else(|| format!("{name} was not run"))?;
    peer.absent.as_ref().map_or(Ok(peer), |why| Err(format!("{name} is absent: {why}")))
}

/// Writes rules that a run keeps, with tolerances that its noise asks for; tells how many.
///
/// # Errors
/// If the run has no ratios, or the file cannot be written.
pub fn write(run: &Run, path: &Path) -> Result<usize, GateError> {
    let mut lines = Vec::new();
    for tree in &run.trees {
        for figure in Figure::all() {
            let rule = Rule {
                tree: tree.name.clone(),
                measure: figure.name(),
                against: AGAINST.to_owned(),
                ratio: 0.0,
                tolerance: figure.tolerance(),
            };
            let Measured::Ratio(ratio) = measured(run, &rule) else { continue };
            let rule = Rule { ratio: rounded(ratio), ..rule };
            if rule.ratio > 0.0 {
                let line = serde_json::to_string(&rule);
                lines.push(line.map_err(|source| GateError::Syntax { path: path.into(), source })?);
            }
        }
    }
    if lines.is_empty() {
        return Err(GateError::Empty { path: path.to_owned() });
    }
    // A rule a line, so that a change of one shows as such.
    fs::write(path, format!("[\n  {}\n]\n", lines.join(",\n  ")))
        .map_err(|source| GateError::Write { path: path.to_owned(), source })?;
    Ok(lines.len())
}

/// A ratio in three digits.
fn rounded(ratio: f64) -> f64 {
    format!("{ratio:.2e}").parse().unwrap_or(ratio)
}
