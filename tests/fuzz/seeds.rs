//! Writes `fuzz/seeds`: every piece of the example in `format-spec.md`, and pieces with more in
//! them than a small archive has.

use std::fs;

use packfs::format::{
    BlockHash, Blocks, Change, Codec, Contents, DataAt, Dictionary, ENVELOPE_LEN, EntryPage,
    Extent, ExtentPage, FrameRecord, IndexBuilder, Inode, InodePage, JournalBase, JournalHead,
    Kind, Member, ObjectRef, PackFooter, PageRef, ParityTable, Protected, Range, Root, Section,
    Snapshot, Time, Totals, TreeFooter, open, seal_group,
};

use super::folder;
use crate::format::example;

/// The targets that read one section, with that section and its piece of the example.
const SECTIONS: [(&str, Section, &str); 9] = [
    ("root", Section::Root, "root"),
    ("snapshot", Section::Snapshot, "snapshot"),
    ("pack_footer", Section::PackFooter, "pack-footer"),
    ("index", Section::Index, "index"),
    ("inodes", Section::Inodes, "inodes"),
    ("entries", Section::Entries, "entries"),
    ("extents", Section::Extents, "extents"),
    ("tree", Section::Tree, "tree"),
    ("contents", Section::Contents, "contents"),
];

#[test]
#[ignore = "writes fuzz/seeds: to be run when the format or the example changes"]
fn write() {
    let example = example::build();
    for (target, section, piece) in SECTIONS {
        put_section(target, section, "example", example.get(piece));
        put_section(target, section, "full", &full(section));
        put("envelope", &format!("{target}-full"), &full(section));
    }
    let page = inodes().payload();
    put_section("dictionary", Section::Dictionary, "full", &Dictionary(page.clone()).encode(19).0);
    let length = u8::try_from(page.len().div_ceil(8)).unwrap();
    let mut dictionary = page.clone();
    dictionary.resize(usize::from(length) * 8, 0);
    put("dictionary", "page", &[&[length][..], &dictionary, &page].concat());
    put("envelope", "pack-head", example.get("pack-head"));
    let config = example.get("config");
    let sealed = config.windows(8).position(|at| at == b"\n[seal]\n").unwrap();
    put("config", "example", config);
    put("config", "example-body", &config[b"# PFSconf:".len()..sealed]);
    let changes = journal();
    put("journal", "head", &JournalHead { number: 3, below: 2 }.encode());
    put("journal", "base", &JournalBase { number: 7, root: [8; 32] }.encode());
    put("journal", "group", &seal_group(1, &changes));
    put("journal", "changes", &changes);
    let range = Range { home: 0, first: 5, count: 3, local: 9 };
    let ranges = [range, Range { first: 8, local: 2, ..range }, Range { home: 2, ..range }];
    put_section("ranges", Section::Ranges, "three", &Range::encode_all(&ranges));
    put_section("parity", Section::Parity, "two", &parity().encode());
    put("trace", "reads", b"packfs-trace 1 roots/1-00\n2 0 15\n3 4096 131072\n2 15");
    for piece in ["pack-tail", "tree-tail", "image-tail"] {
        put("tail", piece, example.get(piece));
    }
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    for kind in ["seeds", "regressions"] {
        fs::create_dir_all(folder(kind, target)).unwrap();
        let keep = folder(kind, target).join(".gitkeep");
        if kind == "regressions" {
            fs::write(keep, b"").unwrap();
        }
    }
    fs::write(folder("seeds", target).join(name), bytes).unwrap();
}

/// A section as it is, and its payload, from which the target gets deeper.
fn put_section(target: &str, section: Section, name: &str, bytes: &[u8]) {
    assert!(bytes.len() > ENVELOPE_LEN, "{name} of {target} is empty");
    put(target, name, bytes);
    put(target, &format!("{name}-payload"), &open(section, bytes).unwrap());
}

/// A section that has some of everything that its kind can have.
fn full(section: Section) -> Vec<u8> {
    match section {
        Section::Root => root().encode(),
        Section::Snapshot => snapshot().encode(),
        Section::PackFooter => pack_footer().encode(),
        Section::Index => index(),
        Section::Inodes => inodes().encode(19).0,
        Section::Entries => entries().encode(19).0,
        Section::Extents => extents().encode(19).0,
        Section::Tree => tree().encode().0,
        Section::Contents => contents().encode(),
        _ => Vec::new(),
    }
}

fn root() -> Root {
    let part = |n: u8| ObjectRef { id: [n; 32], length: u64::from(n), checksum: 7 };
    Root {
        number: 3,
        created: -5,
        tree: part(1),
        parents: vec![[4; 32], [5; 32]],
        segments: vec![part(2), part(3)],
        totals: Totals { entries: 1, files: 2, bytes: 3, unique: 4 },
    }
}

fn parity() -> ParityTable {
    let key = format!("index/{}", "07".repeat(32));
    let members = vec![
        Protected { key, length: 130 },
        Protected { key: "packfs.toml".to_owned(), length: 64 },
    ];
    ParityTable { percent: 5, shard: 64, recovery: 2, members, sums: (0..6).collect() }
}

/// One change of each kind.
fn journal() -> Vec<u8> {
    let time = Time { sec: -5, nsec: 7 };
    let (mode, times) = (0o120_777, Some((time, time)));
    let inode = Inode { mode, nlink: 1, size: 3, mtime: time, times, ..Inode::default() };
    let node = |inode: Inode| Change::Node {
        number: 9,
        inherited: 4,
        inode: Box::new(inode),
        target: (*b"abc").into(),
        xattrs: vec![(b"user.a".to_vec(), vec![1])],
    };
    let entry = |to| Change::Entry { folder: 1, name: (*b"name").into(), to };
    let blocks = Blocks { origin: 1, first: 2, count: 3, bytes: 10, skip: 4 };
    let changes = [
        node(inode),
        node(Inode { times: Some(Default::default()), ..Inode::default() }),
        entry(Some((9, Kind::Symlink))),
        entry(None),
        Change::Data { number: 9, offset: 5, length: 6, at: DataAt::Spool(7) },
        Change::Data { number: 9, offset: 5, length: 6, at: DataAt::Hole },
        Change::Data { number: 9, offset: 5, length: 6, at: DataAt::Blocks(blocks) },
        Change::Cut { number: 9, size: 3 },
        Change::Below { groups: 4 },
    ];
    let mut bytes = Vec::new();
    changes.iter().for_each(|change| change.encode(&mut bytes));
    bytes
}

fn snapshot() -> Snapshot {
    Snapshot { number: u64::MAX, root: [4; 32], created: -5 }
}

/// Two frames of three blocks, at offsets 48 and 58.
fn frames() -> [FrameRecord; 2] {
    let first = FrameRecord {
        offset: 48,
        stored: 10,
        inflated: 65_537,
        first_block: 0,
        codec: Codec::Zstd,
        checksum: 1,
    };
    let second =
        FrameRecord { offset: 58, inflated: 10, first_block: 2, codec: Codec::Lz4, ..first };
    [first, second]
}

const LENGTHS: [u32; 3] = [65_536, 1, 10];

fn pack_footer() -> PackFooter {
    PackFooter {
        previous: [3; 32],
        first_number: 17,
        frames: frames().to_vec(),
        lengths: LENGTHS.to_vec(),
        hash: BlockHash::Xxh3,
        hashes: vec![5; 3 * 16],
        hash_len: 16,
        homes: vec![[9; 32], [8; 32]],
        moved: vec![
            Range { home: 0, first: 4, count: 2, local: 1 },
            Range { home: 1, first: 4, count: 1, local: 0 },
        ],
    }
}

fn index() -> Vec<u8> {
    let mut builder = IndexBuilder::default();
    builder.add_pack([1; 32], 500, &frames(), &LENGTHS);
    builder.add_pack([2; 32], 600, &frames(), &LENGTHS);
    builder.add_range([9; 32], 0, 3, 0);
    builder.add_range([9; 32], 7, 2, 1);
    builder.add_range([8; 32], 70, 3, 3);
    builder.finish().0
}

fn inodes() -> InodePage {
    let mut page = InodePage::new(7);
    let time = |sec, nsec| Time { sec, nsec };
    let base = Inode {
        nlink: 1,
        uid: 1000,
        parent: 1,
        mtime: time(-5, 999_999_999),
        times: Some((time(1, 2), time(i64::MIN, 4))),
        ..Inode::default()
    };
    let absent = Inode { times: Some(Default::default()), ..Inode::default() };
    page.push(Inode { mode: 0o104_755, size: 1 << 40, holes: 9, xattrs: 1, ..base.clone() }, b"");
    page.push(Inode { mode: 0o120_777, size: 3, ..base.clone() }, b"a/b");
    page.push(absent, b"");
    page.push(Inode { mode: 0o20_666, rdev: 259, ..base.clone() }, b"");
    page.push(Inode { mode: 0o120_777, size: 2, xattrs: 2, ..base }, b"xy");
    let set = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    page.sets = vec![vec![set(b"user.a", b"1"), set(b"user.b", b"")], vec![set(b"user.a", b"2")]];
    page
}

fn entries() -> EntryPage {
    let mut page = EntryPage::default();
    let kinds = [Kind::File, Kind::Folder, Kind::Symlink, Kind::Fifo, Kind::Char];
    for (number, kind) in (2u64..).zip(kinds) {
        page.push(1, format!("name{number}").as_bytes(), number, kind);
        page.push(3, format!("name{number}").as_bytes(), 100 - number, kind);
    }
    page.entries.sort_by_key(|entry| entry.folder);
    page
}

fn extents() -> ExtentPage {
    let extent = |inode, offset, bytes, origin, first, count| Extent {
        inode,
        offset,
        bytes,
        origin,
        first,
        count,
    };
    ExtentPage {
        extents: vec![
            extent(5, 10, 20, 1, 100, 2),
            extent(5, 30, Extent::REST, 0, 0, 0),
            extent(6, 0, Extent::REST, 2, 102, 1),
            extent(9, 0, 700, 1, 3, 7),
        ],
    }
}

fn tree() -> TreeFooter {
    let page = |key, name: &[u8], before, rows, tree| PageRef {
        key,
        name: name.to_vec(),
        before,
        rows,
        tree,
        offset: 10 * key,
        length: 9,
        inflated: 90,
        dictionary: if rows > 0 { tree } else { 0 },
        checksum: u64::MAX - key,
    };
    TreeFooter {
        next_inode: 12,
        entries: 11,
        has_xattrs: true,
        origins: vec![[1; 32], [2; 32]],
        others: vec![ObjectRef { id: [2; 32], length: 3, checksum: 4 }],
        inodes: vec![page(1, b"", 0, 8, 0), page(9, b"", 0, 3, 1)],
        entry_pages: vec![page(1, b"a", 0, 5, 0), page(1, b"b", 5, 4, 1), page(3, b"c", 9, 2, 0)],
        extents: vec![page(2, b"", 0, 50, 0), page(2, b"", 500, 1, 0)],
        dictionaries: vec![page(0, b"", 0, 0, 1)],
    }
}

fn contents() -> Contents {
    let member = |key: &str, offset| Member { key: key.into(), offset, length: 10 };
    Contents { members: vec![member("index/b", 48), member("packfs.toml", 58)] }
}
