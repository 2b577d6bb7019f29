//! The parallel build: scan → order → drop known files → cut → drop known blocks → gather what is
//! alike → fill packs → compress → write. [`create()`] and [`add()`] are the verbs; [`pipeline`]
//! says how their threads hand over.

mod catalog;
mod commit;
mod create;
mod cut;
mod error;
mod feed;
mod fill;
mod inspect;
mod known;
mod options;
mod order;
mod pipeline;
mod plant;
mod read;
mod scan;
mod source;
mod tar;
mod window;

pub use catalog::{Catalog, File, Stretch};
pub use commit::{Following, Prepared, follow};
pub use create::{Added, Summary, add, create, may_follow};
pub use cut::Cutter;
pub use error::CreateError;
pub use feed::{End, Feeder, Gone, Item};
pub use known::Known;
pub use options::{CreateOptions, Seek};
pub use order::{Order, order};
pub use pipeline::{Homes, Packed, run as pack, run_anew as pack_anew};
pub use plant::{Planted, extents};
pub use source::Source;
