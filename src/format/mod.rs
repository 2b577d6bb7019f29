//! Bytes to structs and back, one file per section of `format-spec.md`; no I/O.
//!
//! Everything here takes `&[u8]`, so that files, maps, tests and fuzzers share one parser. Every
//! length is hostile until checked: arithmetic is checked, allocation is capped by the constants
//! below, and inflated lengths must match exactly.

mod config;
mod dictionary;
mod entries;
mod envelope;
mod error;
mod extents;
mod image;
mod index;
mod inodes;
mod journal;
mod pack;
mod parity;
mod ranges;
mod root;
mod snapshot;
mod times;
mod tree;
mod wire;
mod xattrs;

pub use config::{BlockHash, Config, Cutting};
pub use dictionary::Dictionary;
pub use entries::{Entry, EntryPage, valid_name};
pub use envelope::{
    ENVELOPE_LEN, Sealer, Section, VERSION, check, check_plain, compatible, inflated_len, open,
    open_with, seal, section_len,
};
pub use error::{FormatError, Problem};
pub use extents::{Extent, ExtentPage};
pub use image::{Contents, Member};
pub use index::{FRAME_RECORD_LEN, IndexBuilder, Segment};
pub use inodes::{Inode, InodePage, Kind};
pub use journal::{
    Blocks, Change, DataAt, JournalBase, JournalHead, NUMBERS_END, group_number, open_group,
    put_node, seal_group,
};
pub use pack::{Codec, FrameRecord, PackFooter};
pub use parity::{ParityTable, Protected, SHARD_STEP};
pub use ranges::Range;
pub use root::{ObjectRef, Root, Totals};
pub use snapshot::{Snapshot, valid_snapshot_name};
pub use times::Time;
pub use tree::{PageKind, PageRef, PageTable, TreeFooter};
pub use wire::{TAIL_LEN, read_tail, tail};
pub use xattrs::XattrSet;

/// Length in bytes of an object's name: the BLAKE3 hash of its bytes.
pub const ID_LEN: usize = 32;
/// The name of an immutable object: the BLAKE3 hash of all its bytes.
pub type Id = [u8; ID_LEN];

/// The pack of blocks that are lost: there is none of that id.
pub const NO_PACK: Id = [0; ID_LEN];

/// Longest block, in bytes. Its length minus one fits 16 bits in the index.
pub const MAX_BLOCK: usize = 64 * 1024;
/// Longest inflated frame, in bytes.
pub const MAX_FRAME: usize = 64 << 20;
/// Most blocks in one frame: bounds the sum that finds a block inside its frame.
pub const MAX_FRAME_BLOCKS: u32 = 4096;
/// Longest pack, in bytes.
pub const MAX_PACK: u64 = 1 << 32;
/// Longest inflated tree page, in bytes.
pub const MAX_PAGE: usize = 32 << 20;
/// Most rows in one tree page.
pub const MAX_PAGE_ROWS: usize = 64 * 1024;
/// Longest dictionary that pages of a tree are compressed with, in bytes.
pub const MAX_DICTIONARY: usize = 1 << 20;
/// Longest inflated pack footer or index segment, in bytes.
pub const MAX_TABLE: usize = 1 << 30;
/// Longest inflated tree footer, table of contents, root or snapshot, in bytes: these are small,
/// and take several times their length once they are read.
pub const MAX_SMALL_TABLE: usize = 64 << 20;
/// Most pages of one kind in a tree, and most objects in an image.
pub const MAX_ITEMS: usize = 1 << 20;
/// Most blocks in one run of an extent: bounds how far a read walks inside a run.
pub const MAX_RUN: u32 = 1024;
/// Longest file name, and longest name of a snapshot, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest symlink target, in bytes (Linux `PATH_MAX` less its NUL).
pub const MAX_TARGET: usize = 4095;
/// Longest extended attribute value, in bytes (Linux `XATTR_SIZE_MAX`).
pub const MAX_XATTR: usize = 64 * 1024;
/// Most extended attributes in the sets of one page.
pub const MAX_PAGE_XATTRS: usize = 64 * 1024;
/// Most bytes of names and values in one set of extended attributes.
pub const MAX_XATTR_SET: usize = 8 << 20;
/// Most frames that one frame may name as its prefix.
pub const MAX_REFERENCES: usize = 8;

/// Most data shards, and most recovery shards, of a parity set.
pub const MAX_SHARDS: usize = 1 << 15;
/// Longest shard of a parity set, in bytes.
pub const MAX_SHARD: usize = 1 << 20;

/// Writes an id as 64 hexadecimal digits.
#[must_use]
pub fn hex(id: &Id) -> String {
    blake3::Hash::from_bytes(*id).to_hex().to_string()
}

/// Reads an id from 64 hexadecimal digits; `None` if it is anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Id> {
    blake3::Hash::from_hex(text).ok().map(|hash| *hash.as_bytes())
}
