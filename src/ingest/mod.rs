//! The parallel build: scan → order → drop known files → cut → drop known blocks → gather what is
//! alike → fill packs → compress → write. [`create()`] is the verb; [`pipeline`] says how its
//! threads hand over.

mod catalog;
mod create;
mod cut;
mod error;
mod feed;
mod fill;
mod inspect;
mod known;
mod order;
mod pipeline;
mod plant;
mod read;
mod scan;
mod tar;
mod window;

pub use catalog::Catalog;
pub use create::{CreateOptions, Seek, Source, Summary, create};
pub use cut::Cutter;
pub use error::CreateError;
pub use known::Known;
pub use order::Order;
pub use scan::scan;
