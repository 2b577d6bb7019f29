//! The parallel build: scan → order → drop known files → cut → drop known blocks → fill packs →
//! compress → write. [`create()`] is the verb; [`pipeline`] says how its threads hand over.

mod catalog;
mod create;
mod cut;
mod error;
mod feed;
mod fill;
mod known;
mod inspect;
mod order;
mod pipeline;
mod plant;
mod read;
mod scan;
mod tar;

pub use catalog::Catalog;
pub use create::{CreateOptions, Source, Summary, create};
pub use cut::Cutter;
pub use error::CreateError;
pub use known::Known;
pub use order::Order;
pub use scan::scan;
