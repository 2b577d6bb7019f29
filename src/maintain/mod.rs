//! Keeps archives healthy: what is wrong with them, what nothing needs any more, where blocks lie,
//! and copies. Each verb plans without changing anything, then applies its plan.

pub mod collect;
mod error;
mod kept;
mod links;
mod listing;
mod marks;
mod numbers;
pub mod rebuild;

pub use error::Error;
