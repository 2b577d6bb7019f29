//! packfs: a mountable archive file system.
//!
//! A level of modules imports only the levels above it in this list; the `tidy` test sees to it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`monitor`] | how long work tells of its progress, and is told to stop |
//! | [`parallel`] | the same work on many things, by several threads |
//! | [`beneath`] | opens paths below a folder, of any length, never through a symlink |
//! | [`buffers`] | byte buffers that are used again |
//! | [`cache`] | a sharded LRU with a byte budget and single flight |
//! | [`compare`] | two folders, everything a file has |
//! | [`format`] | bytes ↔ structs, one file per section of `format-spec.md`; no I/O |
//! | [`tar`] | tar archives, read and written as streams |
//! | [`storage`] | where bytes live: local, image, memory |
//! | [`parity`] | recovery of objects without another copy |
//! | [`pack`] | one pack: writer, codec |
//! | [`index`] | segments together: block number → frame |
//! | [`tree`] | pages of inodes, directories, extents: reader, writer |
//! | [`store`] | an opened archive: roots, snapshots, block reads, working set |
//! | [`ingest`] | scan, order, cut, dedup, fill: the parallel build |
//! | [`fs`] | file operations, without FUSE |
//! | [`diff`] | what changed from one root to another |
//! | [`maintain`] | keeps archives healthy: check, collect, rebuild, repair, copy |
//! | [`live`] | a store that is written to: overlay, journal, spool, packer |
//! | [`restore`] | files out of an archive: to a folder, to a tar |
//! | [`mount`] | FUSE adapter, session, options |
//! | [`cli`] | one file per command; only here is anything printed |
//!
//! The read path, from the top: [`mount`] → [`fs::ArchiveFs::read`] → [`tree::Tree::extents`] →
//! [`index::Index::pieces`] → [`store::Store::frame`] → [`store::WorkingSet`].

pub mod beneath;
pub mod buffers;
pub mod cache;
pub mod cli;
pub mod compare;
pub mod diff;
pub mod format;
pub mod fs;
pub mod index;
pub mod ingest;
pub mod live;
pub mod maintain;
pub mod monitor;
pub mod mount;
pub mod pack;
pub mod parallel;
pub mod parity;
pub mod restore;
pub mod storage;
pub mod store;
pub mod tar;
pub mod tree;
