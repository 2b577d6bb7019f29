//! The tests of packfs from outside, one binary: a folder for each subject.
//!
//! | folder | what it shows |
//! |---|---|
//! | `tidy` | the source keeps to its own rules |
//! | `format` | `format-spec.md` and the code say the same |
//! | `fuzz` | what fuzzing started from and found stays handled |
//! | `round_trip` | what comes out of an archive is what went in, by every way out |
//! | `live` | a store that is written to is a folder, and loses nothing in a crash |
//! | `mounting` | options, permissions, unmounting, `try` |
//! | `determinism` | the same input gives the same image |
//! | `bad_input` | what cannot be done ends in one clear line and leaves nothing behind |
//! | `damage` | damaged archives give errors, never wrong bytes |
//! | `maintain` | what is checked, collected, rebuilt, repaired and copied is right |
//!
//! They need `/dev/fuse`, GNU tar and util-linux. As root they cover more: owners, devices,
//! capabilities. Those that are ignored need root, loop devices and ext4 besides, or print and
//! write what others check. More of each can be had:
//!
//! | variable | how many |
//! |---|---|
//! | `PACKFS_TEST_ENTRIES` | entries the largest folder has (20,000) |
//! | `PACKFS_TEST_DAMAGES` | random damages each test of `maintain` tries |
//! | `PACKFS_KILLS` | times a process is killed, or loses its power |
//! | `PACKFS_LOAD` | seconds of load |
//! | `PROPTEST_CASES` | cases of models |
#![cfg(test)] // So that helpers, too, may unwrap.

mod bad_input;
mod damage;
mod determinism;
mod format;
mod fuzz;
mod live;
mod maintain;
mod mounting;
mod round_trip;
mod support;
mod tidy;
