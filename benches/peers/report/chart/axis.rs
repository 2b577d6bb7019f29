//! An axis that is logarithmic where the figures ask for it, with few round marks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::report::figures::Unit;

/// An axis of positive figures.
#[derive(Debug, Clone)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
    unit: Unit,
    marks: Vec<f64>,
}

/// The least that is told from zero.
const LEAST: f64 = 1e-12;
/// How much longer than what it shows an axis is, at each end.
const MARGIN: f64 = 0.05;
/// A logarithmic axis goes at least from a figure to so many times that.
const LEAST_SPAN: f64 = 4.0;
/// Figures that differ by a larger factor are shown on a logarithmic axis.
const LINEAR_SPAN: f64 = 6.0;

impl Axis {
    /// A logarithmic axis that shows all `figures`, with marks that are at least `gap` apart, as a
    /// share of its length.
    ///
    /// Figures that are zero lie at its low end. `None` if there are no figures.
    pub fn log(figures: &[f64], unit: Unit, gap: f64) -> Option<Self> {
        let positive = figures.iter().copied().filter(|value| value.is_finite() && *value > LEAST);
        let (mut low, mut high) = match range(positive) {
            Some(range) => range,
            None if figures.is_empty() => return None,
            None => (1.0, 1.0),
        };
        if high / low < LEAST_SPAN {
            let middle = (low * high).sqrt();
            (low, high) = (middle / LEAST_SPAN.sqrt(), middle * LEAST_SPAN.sqrt());
        }
        let margin = (high / low).powf(MARGIN);
        (low, high) = (low / margin, high * margin);
        Some(Self { low, high, log: true, unit, marks: log_marks(low, high, gap) })
    }

    /// A logarithmic axis for figures that are far apart, else one from zero.
    pub fn fitting(figures: &[f64], unit: Unit, gap: f64) -> Option<Self> {
        let (low, high) = range(figures.iter().copied().filter(|value| value.is_finite()))?;
        if high > low * LINEAR_SPAN || high <= LEAST {
            return Self::log(figures, unit, gap);
        }
        let high = high * (1.0 + 2.0 * MARGIN);
        Some(Self { low: 0.0, high, log: false, unit, marks: linear_marks(high, gap) })
    }

    /// Where a figure lies: 0 at the low end, 1 at the high one.
    fn share(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(LEAST) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// Round figures of a logarithmic axis: the densest series of them that leaves the gaps.
fn log_marks(low: f64, high: f64, gap: f64) -> Vec<f64> {
    let series = |steps: &[f64], every: usize| -> Vec<f64> {
        (-15..=15)
            .step_by(every)
            .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
            .filter(|mark| (low..=high).contains(mark))
            .collect()
    };
    let dense = [
        series(&[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0], 1),
        series(&[1.0, 2.0, 3.0, 5.0, 7.0], 1),
        series(&[1.0, 2.0, 5.0], 1),
        series(&[1.0, 3.0], 1),
    ];
    let sparse = (1..10).map(|every| series(&[1.0], every));
    let least = gap * (high / low).ln();
    let fits = |marks: &Vec<f64>| marks.windows(2).all(|two| (two[1] / two[0]).ln() >= least);
    dense.into_iter().chain(sparse).find(fits).unwrap_or_default()
}

/// Round figures from zero on.
fn linear_marks(high: f64, gap: f64) -> Vec<f64> {
    let rough = high * gap;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    (0..50).map(|n| f64::from(n) * step).take_while(|mark| *mark <= high).collect()
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "a share of a picture's size")]
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (self.share(*value) * length).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        if *value == 0.0 { "0".to_owned() } else { self.unit.tick(*value) }
    }
}
