//! Damaged archives give errors, never wrong bytes, a panic or a hang.
//!
//! Every kind of section is damaged in every way, and every way of reading is tried on the result.

mod matrix;
mod range;
mod ways;
