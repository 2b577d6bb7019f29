//! What charts of a row per peer share: names on the left, figures on the right, an axis below.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::palette::{ACCENT, BAD, GRID, Ink, SOFT, TEXT};
use super::{Area, ChartError, pixels, text};
use crate::results::PeerRun;

/// Pixels from one row to the next.
const STEP: u32 = 22;
/// Pixels above the first row, for the headings.
const HEAD: u32 = 20;
/// Pixels below the last row, for the axis.
const FOOT: u32 = 26;
/// Pixels of the longest name.
const NAMES: i32 = 84;
/// Pixels of a column of figures.
const FIGURES: i32 = 64;
/// Pixels of text.
const SIZE: u32 = 12;

/// A row.
pub struct Row<'a> {
    /// Whose it is.
    pub peer: &'a PeerRun,
    /// Its figures, one for each heading.
    pub figures: Vec<String>,
    /// Why it has none.
    pub trouble: Option<&'static str>,
}

/// Where the marks of rows are drawn: figures from the left to the right, rows downwards.
pub type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, RangedCoordf64>>;

/// Pixels of a chart of so many rows.
pub fn height(rows: usize) -> u32 {
    HEAD + FOOT + STEP * u32::try_from(rows).unwrap_or(0)
}

/// How far down the middle of a row is.
pub fn middle(row: usize) -> f64 {
    -(row as f64 + 0.5)
}

/// Draws all but the marks.
pub fn frame<'a, 'b>(
    area: &'a Area<'b>,
    axis: Axis,
    headings: &[&str],
    rows: &[Row<'_>],
) -> Result<Plot<'a, 'b>, ChartError> {
    let columns = i32::try_from(headings.len()).unwrap_or(0);
    let count = rows.len() as f64;
    let mut plot = ChartBuilder::on(area)
        .margin_left(NAMES)
        .margin_right(columns * FIGURES)
        .margin_top(HEAD)
        .x_label_area_size(FOOT)
        .build_cartesian_2d(axis, -count..0.0)?;
    plot.configure_mesh()
        .disable_y_mesh()
        .x_labels(9)
        .x_max_light_lines(0)
        .bold_line_style(GRID.color())
        .light_line_style(TRANSPARENT)
        .axis_style(GRID.color())
        .set_all_tick_mark_size(3)
        .x_label_style(text(SOFT, SIZE - 1, HPos::Center))
        .draw()?;
    let (width, _) = area.dim_in_pixel();
    let right = |column: usize| {
        let behind = columns - 1 - i32::try_from(column).unwrap_or(0);
        pixels(width) - behind * FIGURES
    };
    for (column, heading) in headings.iter().enumerate() {
        let style = text(SOFT, SIZE - 1, HPos::Right);
        area.draw_text(heading, &style, (right(column), pixels(HEAD) / 2 - 2))?;
    }
    for (number, row) in rows.iter().enumerate() {
        let start = plot.plotting_area().get_x_range().start;
        let (x, y) = plot.backend_coord(&(start, middle(number)));
        let own = row.peer.name == "packfs";
        let write = |words: &str, ink: Ink, align, x| {
            let style = text(if own && ink == TEXT { ACCENT } else { ink }, SIZE, align);
            let bold = style.font.clone().style(FontStyle::Bold);
            let style = if own { TextStyle { font: bold, ..style } } else { style };
            area.draw_text(words, &style, (x, y))
        };
        write(&row.peer.name, TEXT, HPos::Left, 0)?;
        for (column, figure) in row.figures.iter().enumerate() {
            write(figure, TEXT, HPos::Right, right(column))?;
        }
        if let Some(trouble) = row.trouble {
            write(trouble, BAD, HPos::Left, x + 6)?;
        }
    }
    Ok(plot)
}
