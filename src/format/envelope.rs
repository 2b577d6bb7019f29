//! The envelope: magic, version, features, lengths and checksum around every section.
//! Layout: `format-spec.md`, "Envelope". It is the same in every version of the format.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::wire::Cursor;
use super::{FormatError, MAX_DICTIONARY, MAX_PAGE, MAX_SMALL_TABLE, MAX_TABLE, Problem};

/// Length of the envelope that precedes a payload, in bytes.
pub const ENVELOPE_LEN: usize = 48;
/// The format version that this code writes, and the newest it reads.
pub const VERSION: u16 = 1;
/// Envelope flag: the payload is one zstd frame.
const FLAG_ZSTD: u16 = 1;
/// Envelope flag: that frame has a dictionary of the tree as its prefix.
const FLAG_DICTIONARY: u16 = 2;
/// What marks a dictionary that is more than bytes to zstd. Ours are bytes and no more.
const ZSTD_DICTIONARY: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();
/// Where the compatible features lie.
const COMPATIBLE_AT: usize = 16;
/// Where the stored length lies.
const STORED_AT: usize = 24;
/// Where the inflated length lies.
const INFLATED_AT: usize = 32;
/// Where the checksum lies; it covers all before it, then the payload.
const CHECKSUM_AT: usize = 40;

/// The kinds of section, each with its own magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The settings of a store, `packfs.toml` (text; it has no envelope).
    Config,
    /// The start of a pack.
    PackHead,
    /// The table of a pack's frames and blocks.
    PackFooter,
    /// Which numbers the blocks of a pack or an index segment have.
    Ranges,
    /// An index segment.
    Index,
    /// A tree page of inodes.
    Inodes,
    /// A tree page of directory entries.
    Entries,
    /// A tree page of file extents.
    Extents,
    /// A dictionary that pages of a tree are compressed with.
    Dictionary,
    /// The page tables of a tree.
    Tree,
    /// A root.
    Root,
    /// A snapshot.
    Snapshot,
    /// The start of a journal.
    Journal,
    /// What a journal rests on.
    Base,
    /// Changes that a journal has in one.
    Group,
    /// The table of a parity set.
    Parity,
    /// The start of an image.
    ImageHead,
    /// The table of contents of an image.
    Contents,
    /// The last bytes of a pack, tree, parity set or image, which say where its table lies.
    Tail,
}

impl Section {
    /// The eight bytes a section of this kind starts with.
    #[must_use]
    pub const fn magic(self) -> [u8; 8] {
        match self {
            Self::Config => *b"PFSconf\n",
            Self::PackHead => *b"PFSpack\n",
            Self::PackFooter => *b"PFSfoot\n",
            Self::Ranges => *b"PFSrang\n",
            Self::Index => *b"PFSindx\n",
            Self::Inodes => *b"PFSinod\n",
            Self::Entries => *b"PFSentr\n",
            Self::Extents => *b"PFSextn\n",
            Self::Dictionary => *b"PFSdict\n",
            Self::Tree => *b"PFStree\n",
            Self::Root => *b"PFSroot\n",
            Self::Snapshot => *b"PFSsnap\n",
            Self::Journal => *b"PFSjrnl\n",
            Self::Base => *b"PFSbase\n",
            Self::Group => *b"PFSgrup\n",
            Self::Parity => *b"PFSprty\n",
            Self::ImageHead => *b"PFSimag\n",
            Self::Contents => *b"PFScont\n",
            Self::Tail => *b"PFStail\n",
        }
    }

    /// Longest inflated payload of such a section, in bytes.
    const fn limit(self) -> usize {
        match self {
            Self::Inodes | Self::Entries | Self::Extents => MAX_PAGE,
            Self::Dictionary => MAX_DICTIONARY,
            Self::Tree | Self::Contents | Self::Root | Self::Snapshot | Self::Parity => {
                MAX_SMALL_TABLE
            }
            _ => MAX_TABLE,
        }
    }

    /// Whether its payload may be compressed with a dictionary.
    const fn is_page(self) -> bool {
        matches!(self, Self::Inodes | Self::Entries | Self::Extents)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "settings",
            Self::PackHead => "pack head",
            Self::PackFooter => "pack footer",
            Self::Ranges => "ranges of block numbers",
            Self::Index => "index segment",
            Self::Inodes => "page of inodes",
            Self::Entries => "page of directory entries",
            Self::Extents => "page of extents",
            Self::Dictionary => "dictionary of pages",
            Self::Tree => "tree footer",
            Self::Root => "root",
            Self::Snapshot => "snapshot",
            Self::Journal => "journal head",
            Self::Base => "base of a journal",
            Self::Group => "group of a journal",
            Self::Parity => "table of parity",
            Self::ImageHead => "image head",
            Self::Contents => "table of contents",
            Self::Tail => "tail",
        })
    }
}

/// The fields of an envelope whose checksum held.
struct Envelope {
    zstd: bool,
    dictionary: bool,
    inflated: usize,
}

fn checksum(head: &[u8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(payload);
    hash.digest()
}

/// Wraps `payload` in an envelope. With `level`, it is compressed if that makes it smaller.
///
/// Returns the section's bytes and its checksum, by which others refer to it.
#[must_use]
pub fn seal(section: Section, payload: &[u8], level: Option<i32>) -> (Vec<u8>, u64) {
    let packed = level.and_then(|level| zstd::bulk::compress(payload, level).ok());
    wrap(section, payload, packed, 0)
}

/// Wraps pages that are compressed with the same dictionary.
pub struct Sealer {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    flags: u16,
}

impl Sealer {
    /// A sealer at a zstd level. With an empty dictionary, pages need none.
    #[must_use]
    pub fn new(level: i32, dictionary: &[u8]) -> Self {
        let known = dictionary.starts_with(&ZSTD_DICTIONARY);
        let dictionary = if known { &[] } else { dictionary };
        let flags = if dictionary.is_empty() { 0 } else { FLAG_DICTIONARY };
        Self { zstd: zstd::bulk::Compressor::with_dictionary(level, dictionary).ok(), flags }
    }

    /// As [`seal`].
    #[must_use]
    pub fn seal(&mut self, section: Section, payload: &[u8]) -> (Vec<u8>, u64) {
        let packed = self.zstd.as_mut().and_then(|zstd| zstd.compress(payload).ok());
        wrap(section, payload, packed, self.flags)
    }
}

/// Puts an envelope around whichever is shorter: the payload, or what it was compressed to.
fn wrap(section: Section, payload: &[u8], packed: Option<Vec<u8>>, flags: u16) -> (Vec<u8>, u64) {
    let packed = packed.filter(|packed| packed.len() < payload.len());
    let (flags, stored) = match &packed {
        Some(packed) => (FLAG_ZSTD | flags, packed.as_slice()),
        None => (0, payload),
    };
    let mut out = Vec::with_capacity(ENVELOPE_LEN + stored.len());
    out.extend(section.magic());
    out.extend(VERSION.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(0u32.to_le_bytes()); // incompatible features
    out.extend(0u32.to_le_bytes()); // compatible features
    out.extend(0u32.to_le_bytes()); // reserved
    out.extend((stored.len() as u64).to_le_bytes());
    out.extend((payload.len() as u64).to_le_bytes());
    let sum = checksum(&out, stored);
    out.extend(sum.to_le_bytes());
    out.extend(stored);
    (out, sum)
}

fn parse(section: Section, bytes: &[u8]) -> Result<(Envelope, &[u8], u64), Problem> {
    let mut head = Cursor::new(bytes);
    if head.array::<8>()? != section.magic() {
        return Err(Problem::Magic);
    }
    let (version, flags) = (head.u16()?, head.u16()?);
    let incompatible = head.u32()?;
    let (_compatible, _reserved) = (head.u32()?, head.u32()?);
    let (stored, inflated) = (head.u64()?, head.u64()?);
    let sum = head.u64()?;
    let payload = head.rest();
    match (payload.len() as u64).cmp(&stored) {
        Ordering::Less => return Err(Problem::Truncated),
        Ordering::Greater => return Err(Problem::Overlong),
        Ordering::Equal => {}
    }
    // The checksum first: a flipped bit in the version is damage, not a newer packfs.
    if checksum(&bytes[..CHECKSUM_AT], payload) != sum {
        return Err(Problem::Checksum);
    }
    if version == 0 {
        return Err(Problem::Malformed("format version 0"));
    }
    if version != VERSION {
        return Err(Problem::Version(version));
    }
    if incompatible != 0 {
        return Err(Problem::Features(incompatible));
    }
    let (zstd, dictionary) = (flags & FLAG_ZSTD != 0, flags & FLAG_DICTIONARY != 0);
    let unknown = flags & !(FLAG_ZSTD | FLAG_DICTIONARY) != 0;
    if unknown || dictionary && !(zstd && section.is_page()) {
        return Err(Problem::Malformed("unknown envelope flags"));
    }
    let inflated = usize::try_from(inflated).map_err(|_| Problem::Limit("payload length"))?;
    if inflated > section.limit() {
        return Err(Problem::Limit("payload length"));
    }
    if !zstd && inflated != payload.len() {
        return Err(Problem::Malformed("two lengths for a payload stored as it is"));
    }
    Ok((Envelope { zstd, dictionary, inflated }, payload, sum))
}

/// Checks a section that must fill `bytes`, without inflating it; returns its checksum.
///
/// # Errors
/// Whatever is wrong with the envelope or its checksum.
pub fn check(section: Section, bytes: &[u8]) -> Result<u64, FormatError> {
    parse(section, bytes).map(|(_, _, sum)| sum).map_err(|problem| problem.of(section))
}

/// How long the section is that `bytes` begin with, which need not have all of it, as far as its
/// envelope says.
#[must_use]
pub fn section_len(bytes: &[u8]) -> Option<u64> {
    let stored = bytes.get(STORED_AT..)?.first_chunk::<8>()?;
    u64::from_le_bytes(*stored).checked_add(ENVELOPE_LEN as u64)
}

/// Length of a section's payload, inflated, as its envelope states it.
#[must_use]
pub fn inflated_len(bytes: &[u8]) -> Option<u64> {
    bytes.get(INFLATED_AT..).and_then(<[u8]>::first_chunk).map(|field| u64::from_le_bytes(*field))
}

/// Bits of compatible features that its envelope states; 0 if it has none.
#[must_use]
pub fn compatible(bytes: &[u8]) -> u32 {
    let field = bytes.get(COMPATIBLE_AT..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

/// As [`check`], for a section that is read in place and so must not be compressed.
///
/// # Errors
/// As [`check`], and if it is compressed.
pub fn check_plain(section: Section, bytes: &[u8]) -> Result<u64, FormatError> {
    let (envelope, _, sum) = parse(section, bytes).map_err(|problem| problem.of(section))?;
    match envelope.zstd {
        true => Err(Problem::Malformed("compressed, though it is read in place").of(section)),
        false => Ok(sum),
    }
}

/// Opens a section that must fill `bytes`: checks it, and returns its payload, inflated.
///
/// # Errors
/// Whatever is wrong with the envelope, its checksum or its inflated length.
pub fn open(section: Section, bytes: &[u8]) -> Result<Cow<'_, [u8]>, FormatError> {
    open_with(section, bytes, &[])
}

/// As [`open`], for a section that may need a dictionary; it is empty where there is none.
///
/// # Errors
/// As [`open`], and if the section needs a dictionary and there is none.
pub fn open_with<'a>(
    section: Section,
    bytes: &'a [u8],
    dictionary: &[u8],
) -> Result<Cow<'a, [u8]>, FormatError> {
    let open = || {
        let (envelope, payload, _) = parse(section, bytes)?;
        if !envelope.zstd {
            return Ok(Cow::Borrowed(payload));
        }
        let prefix = match (envelope.dictionary, dictionary) {
            (true, []) => return Err(Problem::Malformed("compressed with a dictionary it lacks")),
            (true, dictionary) => dictionary,
            (false, _) => &[],
        };
        inflate(payload, envelope.inflated, prefix).map(Cow::Owned)
    };
    open().map_err(|problem: Problem| problem.of(section))
}

/// Inflates one zstd frame that must come to exactly `length` bytes.
fn inflate(stored: &[u8], length: usize, prefix: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut zstd = zstd::zstd_safe::DCtx::try_create().ok_or(Problem::Inflate)?;
    if !prefix.is_empty() {
        // Bytes and no more, whatever they look like: zstd has nothing of ours to parse.
        zstd.ref_prefix(prefix).map_err(|_| Problem::Inflate)?;
    }
    let mut bytes = Vec::with_capacity(length);
    zstd.decompress(&mut bytes, stored).map_err(|_| Problem::Inflate)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Problem::Inflate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_that_was_touched() {
        let payload = vec![7u8; 5000];
        for level in [None, Some(3)] {
            let (bytes, _) = seal(Section::Root, &payload, level);
            assert_eq!(open(Section::Root, &bytes).unwrap().as_ref(), payload);
            assert!(open(Section::Tree, &bytes).is_err());
            for cut in 0..bytes.len().min(200) {
                assert!(open(Section::Root, &bytes[..cut]).is_err());
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(open(Section::Root, &bad).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_version_says_so() {
        let (mut bytes, _) = seal(Section::Root, b"payload", None);
        bytes[8] = 9;
        let sum = checksum(&bytes[..CHECKSUM_AT], b"payload");
        bytes[CHECKSUM_AT..ENVELOPE_LEN].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(open(Section::Root, &bytes).unwrap_err().problem, Problem::Version(9));
    }

    #[test]
    fn what_a_dictionary_made_small_needs_it_again() {
        let dictionary: Vec<u8> = (0..2000u32).flat_map(|n| (n * 40_503).to_le_bytes()).collect();
        let payload = [&dictionary[100..5000], b"and more"].concat();
        let (bytes, sum) = Sealer::new(3, &dictionary).seal(Section::Inodes, &payload);
        assert!(bytes.len() < 200);
        assert_eq!(check(Section::Inodes, &bytes), Ok(sum));
        let opened = open_with(Section::Inodes, &bytes, &dictionary).unwrap();
        assert_eq!(opened.as_ref(), payload);
        assert!(open(Section::Inodes, &bytes).is_err());
        let (plain, _) = seal(Section::Inodes, &payload, Some(3));
        assert_eq!(open_with(Section::Inodes, &plain, &dictionary).unwrap().as_ref(), payload);
        // What zstd would take for more than bytes is no dictionary.
        let marked = [&ZSTD_DICTIONARY[..], &dictionary].concat();
        let (bytes, _) = Sealer::new(3, &marked).seal(Section::Inodes, &payload);
        assert_eq!(open(Section::Inodes, &bytes).unwrap().as_ref(), payload);
        // Only pages can have one.
        let (bytes, _) = Sealer::new(3, &dictionary).seal(Section::Root, &payload);
        assert!(open_with(Section::Root, &bytes, &dictionary).is_err());
    }
}
