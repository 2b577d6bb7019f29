//! The charts of a tree, as SVG, drawn with `plotters`.

mod axis;
mod dots;
mod labels;
mod latency;
pub mod palette;
mod rows;
mod scatter;
mod trials;

use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use dots::dots;
pub use latency::latencies;
pub use scatter::scatter;
pub use trials::trials;

use super::sheets::CEILING;
use crate::results::PeerRun;
use palette::{ACCENT, Ink, MUTED, PEER};

/// What drawing can fail with.
pub type ChartError = DrawingAreaErrorKind<io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a picture of some pixels.
fn draw(
    size: (u32, u32),
    body: impl FnOnce(&Area<'_>) -> Result<(), ChartError>,
) -> Result<String, ChartError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    body(&area)?;
    area.present()?;
    drop(area);
    Ok(svg)
}

/// A style for text of so many pixels.
fn text(ink: Ink, pixels: u32, align: HPos) -> TextStyle<'static> {
    // The SVG backend divides the size by this.
    let font = ("system-ui", f64::from(pixels) * 1.24).into_font();
    font.color(&ink.color()).pos(Pos::new(align, VPos::Center))
}

/// The colour of a peer.
fn ink(peer: &PeerRun) -> Ink {
    match peer.name.as_str() {
        "packfs" => ACCENT,
        "source" | CEILING => MUTED,
        _ => PEER,
    }
}

/// A picture's size as a coordinate.
fn pixels(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}
