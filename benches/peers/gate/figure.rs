//! What rules are about: a figure of a peer.

use crate::report::sheets::latency;
use crate::results::{Cell, Failure, MEASURES, Measure, PeerRun, QUANTILES, Spread};

/// A figure of a peer, of which less is better.
#[derive(Debug, Clone, Copy)]
pub enum Figure {
    /// Wall time of the build.
    BuildWall,
    /// Length of the archive.
    BuildBytes,
    /// A measure's own figure.
    Measure(Measure),
    /// A quantile of the latencies of a random one.
    Quantile(Measure, f64),
}

/// The slowest reads, which rules are made for beside the median.
const SLOW: f64 = 0.99;

impl Figure {
    /// The figure of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let measure = |name: &str| MEASURES.iter().find(|measure| measure.name == name).copied();
        match name {
            "build-wall" => Some(Self::BuildWall),
            "build-bytes" => Some(Self::BuildBytes),
            name => match name.split_once(':') {
                None => measure(name).map(Self::Measure),
                Some((name, quantile)) => {
                    let random = measure(name).filter(|measure| measure.random)?;
                    let known = QUANTILES.into_iter().find(|known| label(*known) == quantile);
                    known.map(|quantile| Self::Quantile(random, quantile))
                }
            },
        }
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::BuildWall => "build-wall".to_owned(),
            Self::BuildBytes => "build-bytes".to_owned(),
            Self::Measure(measure) => measure.name.to_owned(),
            Self::Quantile(measure, quantile) => format!("{}:{}", measure.name, label(quantile)),
        }
    }

    /// Those that rules are made for.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::BuildBytes, Self::BuildWall];
        for measure in MEASURES {
            all.push(Self::Measure(*measure));
            all.extend(measure.random.then_some(Self::Quantile(*measure, SLOW)));
        }
        all
    }

    /// How much its ratio may differ from one run to the next, as a share.
    pub fn tolerance(self) -> f64 {
        match self {
            // Not at all, but for what another version of a compressor changes.
            Self::BuildBytes => 0.02,
            Self::BuildWall => 0.25,
            Self::Measure(measure) if measure.random => 0.3,
            Self::Measure(_) => 0.25,
            Self::Quantile(..) => 0.5,
        }
    }

    /// The figure of a peer, or why it has none.
    pub fn of(self, peer: &PeerRun) -> Result<f64, String> {
        let figure = match self {
            Self::BuildWall | Self::BuildBytes => {
                let build = peer.build.as_ref().ok_or("it builds nothing")?;
                sound(build.failure.as_ref(), !build.wall.is_empty())?;
                match self {
                    Self::BuildWall => middle(build.wall.iter().copied()),
                    _ => (build.bytes > 0).then_some(build.bytes as f64),
                }
            }
            Self::Measure(measure) => cell(peer, measure)?.figure(measure).map(|it| it.median),
            Self::Quantile(measure, quantile) => latency(cell(peer, measure)?, quantile),
        };
        figure.ok_or_else(|| "there is no figure".to_owned())
    }
}

/// A quantile's name: `p99`, `p99.9`, `max`.
fn label(quantile: f64) -> String {
    match quantile {
        q if q <= 0.0 => "min".to_owned(),
        q if q >= 1.0 => "max".to_owned(),
        // Two digits behind the point are all there is, and more than that is noise.
        q => format!("p{}", (q * 10_000.0).round() / 100.0),
    }
}

fn cell(peer: &PeerRun, measure: Measure) -> Result<&Cell, String> {
    let cell = peer.cells.get(measure.name).ok_or("it was not run")?;
    sound(cell.failure.as_ref(), !cell.samples.is_empty())?;
    Ok(cell)
}

/// Figures of what went wrong later are not to be relied on; those of what was cut short are.
fn sound(failure: Option<&Failure>, any: bool) -> Result<(), String> {
    match failure {
        None => Ok(()),
        Some(Failure::NotRun(_)) if any => Ok(()),
        Some(failure) => {
            let (kind, what) = failure.parts();
            Err(format!("{kind}: {what}"))
        }
    }
}

fn middle(figures: impl Iterator<Item = f64>) -> Option<f64> {
    Spread::of(figures).map(|spread| spread.median)
}
