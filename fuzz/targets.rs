//! What each fuzz target does with its input. Run by the fuzzer, and by `cargo test`, which
//! replays `seeds/` and `regressions/`. A target panics if what it was promised does not hold.
//!
//! A checksum would stop a fuzzer at once. So a section's target takes its input twice: as the
//! section itself, and as a payload around which it puts an envelope that holds.

use std::fmt::Debug;

use packfs::format::{
    BlockHash, Codec, Config, Contents, Cutting, Dictionary, ENVELOPE_LEN, EntryPage, Extent,
    ExtentPage, FormatError, InodePage, JournalBase, JournalHead, PackFooter, ParityTable, Range,
    Root, Sealer, Section, Segment, Snapshot, TAIL_LEN, TreeFooter, VERSION, check, group_number,
    open, open_group, open_with, read_tail, seal, seal_group, section_len, tail,
    valid_snapshot_name,
};
use packfs::maintain::rebuild::Trace;
use packfs::pack::Inflation;
use packfs::tar::{TarEntry, TarError, TarReader, TarWriter};
use xxhash_rust::xxh3::xxh3_64;

/// A target: its name, as that of its binary and of its folders, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("envelope", envelope),
    ("root", root),
    ("snapshot", snapshot),
    ("journal", journal),
    ("pack_footer", pack_footer),
    ("index", index),
    ("ranges", ranges),
    ("parity", parity),
    ("trace", trace),
    ("inodes", inodes),
    ("entries", entries),
    ("extents", extents),
    ("dictionary", dictionary),
    ("tree", tree),
    ("contents", contents),
    ("tail", object_tail),
    ("frame", frame),
    ("tar", tar),
];

const ENVELOPED: [Section; 13] = [
    Section::PackHead,
    Section::PackFooter,
    Section::Index,
    Section::Inodes,
    Section::Entries,
    Section::Extents,
    Section::Dictionary,
    Section::Tree,
    Section::Root,
    Section::Snapshot,
    Section::ImageHead,
    Section::Contents,
    Section::Parity,
];

/// Decodes `data` as a section and as a payload; what decodes must survive its own encoder.
fn both_ways<T: PartialEq + Debug>(
    section: Section,
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    encode: impl Fn(&T) -> Vec<u8>,
    then: impl Fn(&T),
) {
    for bytes in [data.to_vec(), seal(section, data, None).0] {
        if let Ok(value) = decode(&bytes) {
            then(&value);
            let again = decode(&encode(&value));
            assert_eq!(again.as_ref(), Ok(&value), "what was decoded does not survive encoding");
        }
    }
}

/// A journal: its head, and groups, as they are and as changes in a group that checks out.
pub fn journal(data: &[u8]) {
    if let Ok(head) = JournalHead::decode(data) {
        assert_eq!(JournalHead::decode(&head.encode()), Ok(head));
    }
    if let Ok(base) = JournalBase::decode(data) {
        assert_eq!(JournalBase::decode(&base.encode()), Ok(base));
    }
    let _ = section_len(data);
    let _ = group_number(data);
    let _ = open_group(1, data);
    let sealed = seal_group(1, data);
    let Ok(changes) = open_group(1, &sealed) else { return };
    let length = Some(sealed.len() as u64);
    assert_eq!((section_len(&sealed), group_number(&sealed)), (length, Some(1)));
    let mut again = Vec::new();
    changes.iter().for_each(|change| change.encode(&mut again));
    let again = open_group(1, &seal_group(1, &again));
    assert_eq!(again.as_ref(), Ok(&changes), "changes do not survive encoding");
}

/// `packfs.toml`: as it is, with a seal that holds, and settings with the input as a string.
pub fn config(data: &[u8]) {
    let sum = |body: &[u8]| format!("\n[seal]\nchecksum = \"{:016x}\"\n", xxh3_64(body));
    let body = [b"# PFSconf:", data].concat();
    let sealed = [&body, sum(&body).as_bytes()].concat();
    for bytes in [data, &sealed, &named(data).encode()] {
        if let Ok(config) = Config::decode(bytes) {
            assert_eq!(Config::decode(&config.encode()).as_ref(), Ok(&config));
        }
    }
}

/// Settings with a feature of any name.
fn named(name: &[u8]) -> Config {
    Config {
        format: VERSION,
        store: "0".repeat(32),
        incompatible: vec![],
        compatible: vec![String::from_utf8_lossy(name).into_owned()],
        hash: BlockHash::Xxh3,
        hash_len: 8,
        parity: None,
        cutting: Cutting { min: 64, average: 64, max: 65_536 },
    }
}

/// Every envelope: as it is, with a checksum that holds over any header, and sealed.
pub fn envelope(data: &[u8]) {
    for section in ENVELOPED {
        let mut held = data.to_vec();
        if held.len() >= ENVELOPE_LEN {
            let stored = (held.len() - ENVELOPE_LEN) as u64;
            held[..8].copy_from_slice(&section.magic());
            held[24..32].copy_from_slice(&stored.to_le_bytes());
            let covered = [&held[..40], &held[ENVELOPE_LEN..]].concat();
            held[40..ENVELOPE_LEN].copy_from_slice(&xxh3_64(&covered).to_le_bytes());
        }
        for bytes in [data, &held] {
            let (checked, opened) = (check(section, bytes), open(section, bytes));
            assert!(opened.is_err() || checked.is_ok(), "opened what does not check out");
            if let Ok(payload) = opened {
                for level in [None, Some(1)] {
                    let (sealed, sum) = seal(section, &payload, level);
                    assert_eq!(check(section, &sealed), Ok(sum));
                    assert_eq!(open(section, &sealed).as_deref(), Ok(payload.as_ref()));
                }
            }
        }
    }
}

/// A root.
pub fn root(data: &[u8]) {
    both_ways(Section::Root, data, Root::decode, Root::encode, |_| ());
}

/// A snapshot; and the input as its name, which must not lead out of its folder.
pub fn snapshot(data: &[u8]) {
    both_ways(Section::Snapshot, data, Snapshot::decode, Snapshot::encode, |_| ());
    if let Ok(name) = std::str::from_utf8(data)
        && valid_snapshot_name(name)
    {
        let path = std::path::Path::new(name);
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(name));
    }
}

/// Ranges of block numbers, of a few origins and many blocks.
pub fn ranges(data: &[u8]) {
    let decode = |bytes: &[u8]| Range::decode_all(bytes, 3, 1 << 20);
    both_ways(Section::Ranges, data, decode, |ranges| Range::encode_all(ranges), |_| ());
}

/// The table of a parity set.
pub fn parity(data: &[u8]) {
    both_ways(Section::Parity, data, ParityTable::decode, ParityTable::encode, |table| {
        let members = table.members.iter().map(|member| member.shards(table.shard));
        assert_eq!(members.sum::<usize>(), table.data());
    });
}

/// An access trace, whole and with the input as its reads.
pub fn trace(data: &[u8]) {
    let _ = Trace::parse(data);
    let _ = Trace::parse(&[b"packfs-trace 1 key\n", data].concat());
}

/// The footer of a pack.
pub fn pack_footer(data: &[u8]) {
    both_ways(
        Section::PackFooter,
        data,
        |bytes| PackFooter::decode(bytes, u64::MAX),
        PackFooter::encode,
        |footer| {
            assert_eq!(footer.hashes.len(), footer.lengths.len() * footer.hash_len);
            let blocks: u64 = footer.lengths.iter().map(|length| u64::from(*length)).sum();
            let frames: u64 = footer.frames.iter().map(|frame| u64::from(frame.inflated)).sum();
            assert_eq!(blocks, frames);
        },
    );
}

/// An index segment, and the questions that readers put to it.
pub fn index(data: &[u8]) {
    for bytes in [data.to_vec(), seal(Section::Index, data, None).0] {
        if let Ok(segment) = Segment::open(bytes) {
            look_up(&segment, data);
        }
    }
}

fn look_up(segment: &Segment<Vec<u8>>, data: &[u8]) {
    let blocks = u32::try_from(segment.block_count()).unwrap_or(u32::MAX);
    let words =
        data.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let numbers = words.take(256).chain([0, 1, u32::MAX, u32::MAX - 1]);
    for number in numbers.chain([blocks, blocks.wrapping_sub(1)]) {
        find_block(segment, number);
        find_block(segment, number.checked_rem(blocks).unwrap_or(0));
        for home in 0..=segment.homes().len().min(16) {
            let home = u32::try_from(home).unwrap_or(u32::MAX);
            if let Some((local, count)) = segment.local(home, number) {
                assert!(count > 0 && local.checked_add(count).is_some_and(|end| end <= blocks));
                find_block(segment, local);
            }
        }
        assert_eq!(segment.local(u32::MAX, number), None);
    }
    assert_eq!(segment.frame(segment.frame_count()), None);
}

fn find_block(segment: &Segment<Vec<u8>>, block: u32) {
    let located = segment.locate(block);
    assert_eq!(located.is_some(), (block as usize) < segment.block_count());
    if let Some((frame, offset)) = located {
        let found = segment.frame(frame);
        assert!(found.is_some(), "a frame that was located is not there");
        if let Some((record, pack)) = found {
            assert!(
                u64::from(offset) + u64::from(segment.length(block as usize))
                    <= u64::from(record.inflated)
            );
            let pack = segment.packs().get(pack as usize);
            assert!(
                pack.is_some_and(|(_, length)| record.offset + u64::from(record.stored) <= *length)
            );
        }
    }
}

/// A page of inodes.
pub fn inodes(data: &[u8]) {
    both_ways(
        Section::Inodes,
        data,
        |bytes| InodePage::decode(bytes, b""),
        |page| page.encode(1).0,
        |page| {
            for (number, inode) in (page.first..).zip(&page.inodes) {
                assert_eq!(page.get(number).is_some(), inode.mode != 0);
                assert_eq!(inode.mode != 0, inode.kind().is_some());
                if inode.kind() == Some(packfs::format::Kind::Symlink) {
                    assert_eq!(
                        page.target(inode).map(<[u8]>::len),
                        usize::try_from(inode.size).ok()
                    );
                }
                assert!(inode.mode == 0 || inode.xattrs as usize <= page.sets.len());
                assert!(
                    page.xattrs(inode).len() <= page.sets.iter().map(Vec::len).max().unwrap_or(0)
                );
            }
        },
    );
}

/// A page of entries.
pub fn entries(data: &[u8]) {
    both_ways(
        Section::Entries,
        data,
        |bytes| EntryPage::decode(bytes, b""),
        |page| page.encode(1).0,
        |page| {
            for entry in &page.entries {
                assert!(packfs::format::valid_name(page.name(entry)));
                assert_eq!(page.find(entry.folder, page.name(entry)), Some(entry));
            }
        },
    );
}

/// A page of extents.
pub fn extents(data: &[u8]) {
    both_ways(
        Section::Extents,
        data,
        |bytes| ExtentPage::decode(bytes, b""),
        |page| page.encode(1).0,
        |page| {
            for pair in page.extents.windows(2) {
                let (last, next) = (pair[0], pair[1]);
                let follows = last.inode < next.inode && next.offset == 0;
                let goes_on = last.inode == next.inode && next.offset == last.end();
                assert!(follows || goes_on);
                assert_eq!(goes_on, last.bytes != Extent::REST);
                let whole = last.within(last.offset.saturating_add(3));
                assert!(whole.is_none_or(|whole| whole.bytes > 0));
            }
        },
    );
}

/// A dictionary; then one made of the first bytes, as many as the first byte says, and a page that
/// has it: the rest, as its payload and as what its payload was compressed to.
pub fn dictionary(data: &[u8]) {
    both_ways(Section::Dictionary, data, Dictionary::decode, |it| it.encode(1).0, |_| ());
    let Some((length, rest)) = data.split_first() else { return };
    let (dictionary, page) = rest.split_at(rest.len().min(usize::from(*length) * 8));
    let section = Section::Inodes;
    let (sealed, sum) = Sealer::new(1, dictionary).seal(section, page);
    assert_eq!(check(section, &sealed), Ok(sum));
    assert_eq!(open_with(section, &sealed, dictionary).as_deref(), Ok(page));
    let stated = page.first_chunk().map_or(0, |length| u16::from_le_bytes(*length));
    let mut held = seal(section, page, None).0;
    held[10..12].copy_from_slice(&3u16.to_le_bytes());
    held[32..40].copy_from_slice(&u64::from(stated).to_le_bytes());
    let covered = [&held[..40], &held[ENVELOPE_LEN..]].concat();
    held[40..ENVELOPE_LEN].copy_from_slice(&xxh3_64(&covered).to_le_bytes());
    if let Ok(payload) = open_with(section, &held, dictionary) {
        assert_eq!(payload.len(), usize::from(stated));
        assert!(!dictionary.is_empty(), "opened without the dictionary that it needs");
    }
    let _ = InodePage::decode(&held, dictionary);
}

/// The footer of a tree.
pub fn tree(data: &[u8]) {
    both_ways(Section::Tree, data, TreeFooter::decode, |footer| footer.encode().0, |_| ());
}

/// The contents of an image: of the length in the first eight bytes, and of a boundless one.
pub fn contents(data: &[u8]) {
    let stated = data.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    for image_len in [stated, u64::MAX] {
        let decode = |bytes: &[u8]| Contents::decode(bytes, image_len);
        both_ways(Section::Contents, data, decode, Contents::encode, |contents| {
            for member in &contents.members {
                assert_eq!(contents.find(&member.key), Some(member));
                assert!(member.offset + member.length <= image_len - TAIL_LEN as u64);
            }
        });
    }
}

/// A tail: as it is, and made of the input's offset, length and length of the object.
pub fn object_tail(data: &[u8]) {
    let fields = data.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let mut fields = fields.chain([0; 3]);
    let mut next = || fields.next().unwrap_or(0);
    let (offset, length, object_len) = (next(), next(), next());
    let end = offset.wrapping_add(length).wrapping_add(TAIL_LEN as u64);
    for bytes in [data, &tail(offset, length)[..]] {
        for object_len in [object_len, end] {
            if let Ok((offset, length)) = read_tail(bytes, object_len) {
                assert_eq!(offset + length + TAIL_LEN as u64, object_len);
            }
        }
    }
}

/// A frame: the first bytes say the codec and the length that it must come to. What is inflated of
/// it, as far as that is wanted, is what all of it begins with.
pub fn frame(data: &[u8]) {
    let Some(([codec, low, high], stored)) = data.split_first_chunk() else { return };
    let codec = [Codec::None, Codec::Zstd, Codec::Lz4][usize::from(codec % 3)];
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let first = |wanted| {
        let room = Vec::with_capacity(length).into();
        let frame = Inflation::new(codec, stored.to_vec(), room, length, wanted)?;
        Ok::<_, packfs::format::Problem>(frame.into_bytes())
    };
    if let Ok(bytes) = first(length) {
        assert_eq!(bytes.len(), length);
        for wanted in [1, length / 2] {
            // A window longer than any frame is refused only where it would take memory.
            let Ok(prefix) = first(wanted) else { continue };
            assert!(prefix.len() >= wanted.min(length) && bytes.starts_with(&prefix));
        }
    }
}

/// A tar: read to its end; what it has must survive being written and read again.
pub fn tar(data: &[u8]) {
    let Ok(members) = members(data) else { return };
    let mut writer = TarWriter::new(Vec::new());
    for (entry, data) in &members {
        let written =
            writer.begin(entry).and_then(|()| writer.write_data(data)).and_then(|()| writer.end());
        if written.is_err() {
            return;
        }
    }
    let Ok(written) = writer.finish() else { return };
    let again = self::members(&written).unwrap_or_default();
    let paths = |members: &[Member]| -> Vec<_> {
        members.iter().map(|(entry, data)| (entry.path.clone(), data.clone())).collect()
    };
    assert_eq!(paths(&again), paths(&members));
}

type Member = (TarEntry, Vec<u8>);

/// The members of a tar, with their data; none where it is too large to write again.
fn members(data: &[u8]) -> Result<Vec<Member>, TarError> {
    const MOST: usize = 1 << 20;
    let mut reader = TarReader::new(data)?;
    let mut members = Vec::new();
    let mut total = 0;
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(members),
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => continue,
        };
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match reader.read_data(&mut buffer)? {
                0 => break,
                read => bytes.extend(&buffer[..read]),
            }
            total += buffer.len();
            if total > MOST {
                return Ok(Vec::new());
            }
        }
        members.push((entry, bytes));
    }
}
