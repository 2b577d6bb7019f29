//! What came of a run, for people: on the terminal, as Markdown, and as a page with charts.
//!
//! [`figures`] says how figures are written, [`sheets`] which tables there are; [`table`],
//! [`markdown`] and [`page`] show these, the page with the charts of [`chart`].

mod chart;
mod figures;
mod markdown;
mod page;
pub mod sample;
pub mod sheets;
mod table;
mod trials;

pub use markdown::write as markdown;
pub use page::html;
pub use table::print as table;
pub use trials::trials;
