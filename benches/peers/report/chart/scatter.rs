//! What archives take to build, and how large they come out.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::labels::{Rect, place};
use super::palette::{ACCENT, GRID, Ink, SOFT, TEXT};
use super::{ChartError, draw, ink, pixels, text};
use crate::report::figures::{Unit, mebibytes};
use crate::report::sheets::present;
use crate::results::{PeerRun, Spread, TreeRun};

/// Pixels of a label's text.
const SIZE: u32 = 13;
/// Pixels of a character in it, on the wide side of what fonts have.
const CHARACTER: i32 = 7;
/// Pixels of a line of it.
const LINE: i32 = 16;

/// An archive, and the peers that use it.
struct Point {
    names: String,
    ink: Ink,
    wall: Spread,
    size: f64,
}

/// Draws the chart; `None` if nothing was built.
///
/// # Errors
/// If the picture cannot be drawn.
pub fn scatter(tree: &TreeRun, size: (u32, u32)) -> Result<Option<String>, ChartError> {
    let points = points(tree);
    let walls = points.iter().flat_map(|point| [point.wall.min, point.wall.median, point.wall.max]);
    let sizes: Vec<f64> = points.iter().map(|point| point.size).collect();
    let gap = if size.0 < 600 { 0.2 } else { 0.06 };
    let Some((x, y)) = Axis::fitting(&walls.collect::<Vec<_>>(), Unit::Seconds, gap)
        .zip(Axis::fitting(&sizes, Unit::Mebibytes, 0.12))
    else {
        return Ok(None);
    };
    let draw_all = |area: &super::Area<'_>| {
        let mut plot = ChartBuilder::on(area)
            .margin_top(28)
            .margin_right(16)
            .x_label_area_size(44)
            .y_label_area_size(68)
            .build_cartesian_2d(x, y)?;
        let label = |align| text(SOFT, SIZE - 1, align);
        plot.configure_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID.color())
            .light_line_style(TRANSPARENT)
            .axis_style(GRID.color())
            .set_all_tick_mark_size(4)
            .x_label_style(label(HPos::Center))
            .y_label_style(label(HPos::Right))
            .draw()?;
        let (width, height) = (pixels(size.0), pixels(size.1));
        area.draw_text("size of the archive", &label(HPos::Left), (0, 10))?;
        area.draw_text("time to build", &label(HPos::Right), (width - 16, height - 8))?;
        for Point { wall, size, ink, .. } in &points {
            let (color, line) = (ink.color(), vec![(wall.min, *size), (wall.max, *size)]);
            plot.draw_series([PathElement::new(line, color.stroke_width(2))])?;
            plot.draw_series([Circle::new((wall.median, *size), 5, color.filled())])?;
        }
        let at = |point: &Point| {
            let at = |wall| plot.backend_coord(&(wall, point.size));
            let Spread { median, min, max } = point.wall;
            (at(median), Rect::along(at(min), at(max), 3))
        };
        let bounds = Rect { left: 72, top: 20, right: width, bottom: height - 46 };
        draw_labels(area, &points, &points.iter().map(at).collect::<Vec<_>>(), &bounds)
    };
    draw(size, draw_all).map(Some)
}

fn draw_labels(
    area: &super::Area<'_>,
    points: &[Point],
    at: &[((i32, i32), Rect)],
    bounds: &Rect,
) -> Result<(), ChartError> {
    let width = |point: &Point| i32::try_from(point.names.chars().count()).unwrap_or(0) * CHARACTER;
    let sizes: Vec<_> = points.iter().map(|point| (width(point), LINE)).collect();
    let (at, lines): (Vec<_>, Vec<_>) = at.iter().copied().unzip();
    let placed = place(&at, &sizes, lines, bounds);
    for ((point, label), (x, y)) in points.iter().zip(placed).zip(at) {
        let (near_x, near_y) = (x.clamp(label.left, label.right), y.clamp(label.top, label.bottom));
        // A label that lies further off is tied to its point.
        if (near_x - x).abs().max((near_y - y).abs()) > 14 {
            let line = vec![(x, y), (near_x, near_y)];
            area.draw(&PathElement::new(line, GRID.color().stroke_width(1)))?;
        }
        let own = point.ink == ACCENT;
        let style = text(if own { ACCENT } else { TEXT }, SIZE, HPos::Left);
        let bold = style.font.clone().style(FontStyle::Bold);
        let style = if own { TextStyle { font: bold, ..style } } else { style };
        area.draw_text(&point.names, &style, (label.left, (label.top + label.bottom) / 2))?;
    }
    Ok(())
}

/// The archives that were built; peers that share one are named together.
fn points(tree: &TreeRun) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for peer in present(tree) {
        let Some((wall, size)) = built(peer) else { continue };
        match points.iter_mut().find(|point| point.wall == wall && point.size == size) {
            Some(point) => point.names = format!("{}, {}", point.names, peer.name),
            None => points.push(Point { names: peer.name.clone(), ink: ink(peer), wall, size }),
        }
    }
    points
}

fn built(peer: &PeerRun) -> Option<(Spread, f64)> {
    let build = peer.build.as_ref().filter(|build| build.bytes > 0)?;
    Some((Spread::of(build.wall.iter().copied())?, mebibytes(build.bytes)))
}
