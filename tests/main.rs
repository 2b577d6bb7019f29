//! Tests of packfs from outside, one binary: a module for each part.
#![cfg(test)] // So that helpers, too, may unwrap.

mod format;
mod fuzz;
