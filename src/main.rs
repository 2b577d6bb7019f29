//! packfs.
fn main() {}
