//! A measure: for each peer, a dot at the median and a line from the least to the greatest.

use plotters::prelude::*;

use super::axis::Axis;
use super::rows::{Row, frame, height, middle};
use super::{ChartError, draw, ink};
use crate::report::sheets::{present, unit};
use crate::results::{Measure, PeerRun, TreeRun};

/// How far apart marks are, so that there is room for their texts, as a share of the axis.
const GAP: f64 = 0.26;

/// Draws the chart; `None` if no peer has a figure.
///
/// # Errors
/// If the picture cannot be drawn.
pub fn dots(tree: &TreeRun, measure: Measure, width: u32) -> Result<Option<String>, ChartError> {
    let rows: Vec<Row<'_>> = present(tree).filter_map(|peer| row(peer, measure)).collect();
    let spreads: Vec<_> = rows.iter().map(|row| row.peer.figure(measure)).collect();
    let figures = spreads.iter().flatten();
    let figures: Vec<f64> =
        figures.flat_map(|spread| [spread.min, spread.median, spread.max]).collect();
    let Some(axis) = Axis::log(&figures, unit(measure), GAP) else { return Ok(None) };
    let draw_all = |area: &super::Area<'_>| {
        let mut plot = frame(area, axis, &["median"], &rows)?;
        for (number, (row, spread)) in rows.iter().zip(&spreads).enumerate() {
            let Some(spread) = spread else { continue };
            let (color, y) = (ink(row.peer).color(), middle(number));
            let line = vec![(spread.min, y), (spread.max, y)];
            plot.draw_series([PathElement::new(line, color.stroke_width(2))])?;
            plot.draw_series([Circle::new((spread.median, y), 4, color.filled())])?;
        }
        Ok(())
    };
    draw((width, height(rows.len())), draw_all).map(Some)
}

fn row(peer: &PeerRun, measure: Measure) -> Option<Row<'_>> {
    let cell = peer.cells.get(measure.name)?;
    let kind = cell.failure.as_ref().map(|what| what.parts().0);
    let figure = peer.figure(measure).map(|figure| unit(measure).text(figure.median));
    let star = if kind.is_some() { " *" } else { "" };
    let trouble = if figure.is_none() { kind } else { None };
    let figures = vec![figure.map(|figure| figure + star).unwrap_or_default()];
    Some(Row { peer, figures, trouble })
}
