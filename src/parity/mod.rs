//! Recovery of objects without another copy: parity sets.
//!
//! A set takes some objects as one row of *data shards* of the same length, and keeps *recovery
//! shards* of them: as many shards as it has of these may be damaged or lost, whichever they are.
//! Layout and code: `format-spec.md`, "Parity". Which objects are protected is for others to say;
//! here is how a set is made, opened, and used.

mod code;
mod healer;
mod set;
mod shards;
#[cfg(test)]
mod tests;

pub use healer::Healer;
pub use set::{Health, PARITY, Set, Sets, open, parity_key, protect, sets};
