//! The latencies of random reads: for each peer a line from the fastest tenth to the slowest one,
//! a dot at the median, a short stroke at p90 and a long one at p99.

use plotters::element::{DynElement, IntoDynElement};
use plotters::prelude::*;

use super::axis::Axis;
use super::rows::{Row, frame, height, middle};
use super::{ChartError, draw, ink};
use crate::report::figures::Unit;
use crate::report::sheets::{latency, present};
use crate::results::{Measure, PeerRun, TreeRun};

/// What is drawn of the latencies.
const SHOWN: [f64; 5] = [0.1, 0.5, 0.9, 0.99, 1.0];
/// A picture that is narrower has no room for all figures.
const WIDE: u32 = 600;

/// Draws the chart; `None` if no peer has latencies.
///
/// # Errors
/// If the picture cannot be drawn.
pub fn latencies(
    tree: &TreeRun,
    measure: Measure,
    width: u32,
) -> Result<Option<String>, ChartError> {
    let headings: &[&str] =
        if width < WIDE { &["p50", "p99"] } else { &["p50", "p90", "p99", "max"] };
    let peers: Vec<&PeerRun> =
        present(tree).filter(|peer| peer.cells.contains_key(measure.name)).collect();
    let points: Vec<_> = peers.iter().map(|peer| points(peer, measure)).collect();
    let all: Vec<f64> = points.iter().flatten().flatten().copied().collect();
    let gap = if width < WIDE { 0.36 } else { 0.08 };
    let Some(axis) = Axis::log(&all, Unit::Micros, gap) else { return Ok(None) };
    let rows: Vec<Row<'_>> = peers
        .iter()
        .zip(&points)
        .map(|(peer, points)| {
            row(peer, measure, points.as_ref(), headings.len() == SHOWN.len() - 1)
        })
        .collect();
    let draw_all = |area: &super::Area<'_>| {
        let mut plot = frame(area, axis, headings, &rows)?;
        for (number, (row, points)) in rows.iter().zip(&points).enumerate() {
            let Some(points) = points else { continue };
            plot.draw_series(marks_of(*points, middle(number), ink(row.peer).color()))?;
        }
        Ok(())
    };
    draw((width, height(rows.len())), draw_all).map(Some)
}

type Mark<'a> = DynElement<'static, SVGBackend<'a>, (f64, f64)>;

fn marks_of<'a>([low, p50, p90, p99, max]: [f64; 5], y: f64, color: RGBColor) -> [Mark<'a>; 4] {
    // Strokes are as high as a share of a row.
    let stroke = |x: f64, half: f64, width: u32| {
        PathElement::new(vec![(x, y - half), (x, y + half)], color.stroke_width(width)).into_dyn()
    };
    [
        PathElement::new(vec![(low, y), (max, y)], color.stroke_width(1)).into_dyn(),
        stroke(p90, 0.16, 2),
        stroke(p99, 0.32, 2),
        Circle::new((p50, y), 4, color.filled()).into_dyn(),
    ]
}

fn points(peer: &PeerRun, measure: Measure) -> Option<[f64; 5]> {
    let cell = peer.cells.get(measure.name)?;
    let found: Vec<f64> = SHOWN.iter().filter_map(|quantile| latency(cell, *quantile)).collect();
    found.try_into().ok()
}

fn row<'a>(peer: &'a PeerRun, measure: Measure, points: Option<&[f64; 5]>, wide: bool) -> Row<'a> {
    let failed = peer.cells.get(measure.name).and_then(|cell| cell.failure.as_ref());
    let trouble = if points.is_none() { failed.map(|what| what.parts().0) } else { None };
    let figures = points.map(|[_, p50, p90, p99, max]| match wide {
        true => vec![*p50, *p90, *p99, *max],
        false => vec![*p50, *p99],
    });
    let figures = figures.into_iter().flatten().map(|value| Unit::Micros.text(value)).collect();
    Row { peer, figures, trouble }
}
