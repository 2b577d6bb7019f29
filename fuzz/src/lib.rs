//! Fuzz targets of packfs; the work of each is in `targets.rs`, which `cargo test` replays too.

#[path = "../targets.rs"]
pub mod targets;

/// Makes a binary of `src/bin` the fuzz target of that name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::targets::$name(data));
    };
}
