//! Keeps archives healthy: what is wrong with them, what nothing needs any more, where blocks lie,
//! and copies. Each verb plans without changing anything, then applies its plan.

pub mod check;
pub mod collect;
pub mod copy;
mod error;
mod kept;
mod links;
mod listing;
mod marks;
mod numbers;
mod parallel;
pub mod protect;
mod publish;
pub mod rebuild;
pub mod repair;
mod scan;
pub mod settings;
pub mod users;
mod walk;

pub use error::Error;
pub use kept::HEAD;
pub use scan::Source;
