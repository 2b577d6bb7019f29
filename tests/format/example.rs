//! The archive of the worked example in `format-spec.md`: one file, one link, every structure.

use packfs::format::{
    BlockHash, Codec, Config, Contents, Cutting, ENVELOPE_LEN, EntryPage, Extent, ExtentPage,
    FrameRecord, Id, IndexBuilder, Inode, InodePage, Kind, Member, ObjectRef, PackFooter, PageRef,
    Root, Section, Snapshot, TAIL_LEN, Time, Totals, TreeFooter, VERSION, hex, open, seal, tail,
};
use xxhash_rust::xxh3::xxh3_64;

/// What the one file holds.
pub const DATA: &[u8] = b"Hello, packfs!\n";

/// Every piece of the example, by the name that the spec gives it.
pub struct Example {
    pub pieces: Vec<(&'static str, Vec<u8>)>,
    pub image_len: u64,
}

impl Example {
    /// The piece of that name.
    pub fn get(&self, name: &str) -> &[u8] {
        let piece = self.pieces.iter().find(|(known, _)| *known == name);
        piece.map_or(&[], |(_, bytes)| bytes.as_slice())
    }
}

fn id(object: &[u8]) -> Id {
    *blake3::hash(object).as_bytes()
}

/// The same section with its payload as it is, so that people can read it and its bytes do not
/// hang on the version of a compressor.
pub fn plain(section: Section, bytes: &[u8]) -> (Vec<u8>, u64) {
    let payload = open(section, bytes).unwrap_or_default();
    seal(section, &payload, None)
}

/// Builds the whole archive with the encoders.
pub fn build() -> Example {
    let mut pieces = vec![("config", config().encode())];
    let (pack, footer) = pack();
    let pack_id = id(&pack);
    let (index, index_sum) = index(pack_id, pack.len() as u64, &footer);
    let pages = pages();
    let (tree_footer, tree_sum) = tree_footer(pack_id, &pages);
    let mut tree = pages.concat();
    let tree_tail = tail(tree.len() as u64, tree_footer.len() as u64);
    tree.extend(&tree_footer);
    tree.extend(tree_tail);
    let part = |object: &[u8], checksum| ObjectRef {
        id: id(object),
        length: object.len() as u64,
        checksum,
    };
    let root = root(part(&tree, tree_sum), part(&index, index_sum));
    let objects = [
        ("packfs.toml".to_owned(), config().encode()),
        (format!("packs/{}/{}", &hex(&pack_id)[..2], hex(&pack_id)), pack.clone()),
        (format!("index/{}", hex(&id(&index))), index.clone()),
        (format!("trees/{}", hex(&id(&tree))), tree),
        (format!("roots/1-{}", hex(&id(&root))), root.clone()),
    ];
    let (contents, image_tail, image_len) = image(&objects);
    let [inodes, entries, extents] = pages;
    let footer_at = ENVELOPE_LEN + DATA.len();
    pieces.extend([
        ("pack-head", pack[..ENVELOPE_LEN].to_vec()),
        ("frame", DATA.to_vec()),
        ("pack-footer", pack[footer_at..pack.len() - TAIL_LEN].to_vec()),
        ("pack-tail", pack[pack.len() - TAIL_LEN..].to_vec()),
        ("index", index),
        ("inodes", inodes),
        ("entries", entries),
        ("extents", extents),
        ("tree", tree_footer),
        ("tree-tail", tree_tail.to_vec()),
        ("snapshot", snapshot(id(&root))),
        ("root", root),
        ("image-head", seal(Section::ImageHead, b"", None).0),
        ("contents", contents),
        ("image-tail", image_tail),
    ]);
    Example { pieces, image_len }
}

fn config() -> Config {
    Config {
        format: VERSION,
        store: "00112233445566778899aabbccddeeff".into(),
        incompatible: vec![],
        compatible: vec![],
        hash: BlockHash::Blake3,
        hash_len: 16,
        parity: None,
        cutting: Cutting { min: 2048, average: 8192, max: 65_536 },
    }
}

fn pack() -> (Vec<u8>, PackFooter) {
    let mut pack = seal(Section::PackHead, b"", None).0;
    let footer = PackFooter {
        previous: [0; 32],
        first_number: 0,
        frames: vec![FrameRecord {
            offset: pack.len() as u64,
            stored: 15,
            inflated: 15,
            first_block: 0,
            codec: Codec::None,
            checksum: xxh3_64(DATA),
        }],
        lengths: vec![15],
        hash: BlockHash::Blake3,
        hashes: id(DATA)[..16].to_vec(),
        hash_len: 16,
        homes: vec![],
        moved: vec![],
    };
    pack.extend(DATA);
    let (offset, section) = (pack.len() as u64, footer.encode());
    pack.extend(&section);
    pack.extend(tail(offset, section.len() as u64));
    (pack, footer)
}

fn index(pack: Id, length: u64, footer: &PackFooter) -> (Vec<u8>, u64) {
    let mut builder = IndexBuilder::default();
    builder.add_pack(pack, length, &footer.frames, &footer.lengths);
    builder.add_range(pack, 0, 1, 0);
    builder.finish()
}

/// Pages of inodes, entries and extents.
fn pages() -> [Vec<u8>; 3] {
    let mtime = Time { sec: 1_700_000_000, nsec: 5 };
    let base = Inode { nlink: 1, uid: 1000, gid: 1000, parent: 1, mtime, ..Inode::default() };
    let mut inodes = InodePage::new(1);
    inodes.push(Inode { mode: 0o40_755, nlink: 2, size: 2, ..base.clone() }, b"");
    inodes.push(Inode { mode: 0o100_644, size: 15, xattrs: 1, ..base.clone() }, b"");
    inodes.push(Inode { mode: 0o120_777, size: 5, ..base }, b"hello");
    inodes.sets.push(vec![(b"user.a".to_vec(), b"1".to_vec())]);
    let mut entries = EntryPage::default();
    entries.push(1, b"hello", 2, Kind::File);
    entries.push(1, b"help", 3, Kind::Symlink);
    let run = Extent { inode: 2, offset: 0, bytes: Extent::REST, origin: 1, first: 0, count: 1 };
    let extents = ExtentPage { extents: vec![run] };
    [
        plain(Section::Inodes, &inodes.encode(3).0).0,
        plain(Section::Entries, &entries.encode(3).0).0,
        plain(Section::Extents, &extents.encode(3).0).0,
    ]
}

fn tree_footer(origin: Id, pages: &[Vec<u8>; 3]) -> (Vec<u8>, u64) {
    let mut offset = 0;
    let mut page = |at: usize, section, key, name: &[u8], rows| {
        let bytes = &pages[at];
        let page = PageRef {
            key,
            name: name.to_vec(),
            before: 0,
            rows,
            tree: 0,
            offset,
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            inflated: u32::try_from(bytes.len() - ENVELOPE_LEN).unwrap_or(u32::MAX),
            dictionary: 0,
            checksum: packfs::format::check(section, bytes).unwrap_or_default(),
        };
        offset += bytes.len() as u64;
        page
    };
    let footer = TreeFooter {
        next_inode: 4,
        entries: 2,
        has_xattrs: true,
        origins: vec![origin],
        others: vec![],
        inodes: vec![page(0, Section::Inodes, 1, b"", 3)],
        entry_pages: vec![page(1, Section::Entries, 1, b"hello", 2)],
        extents: vec![page(2, Section::Extents, 2, b"", 1)],
        dictionaries: vec![],
    };
    plain(Section::Tree, &footer.encode().0)
}

fn root(tree: ObjectRef, segment: ObjectRef) -> Vec<u8> {
    Root {
        number: 1,
        created: 1_700_000_060,
        tree,
        parents: vec![],
        segments: vec![segment],
        totals: Totals { entries: 3, files: 1, bytes: 15, unique: 15 },
    }
    .encode()
}

/// A snapshot of the root; the image does not have it.
fn snapshot(root: Id) -> Vec<u8> {
    Snapshot { number: 1, root, created: 1_700_000_120 }.encode()
}

/// The contents and the tail of the image of these objects, and its length.
fn image(objects: &[(String, Vec<u8>)]) -> (Vec<u8>, Vec<u8>, u64) {
    let mut offset = seal(Section::ImageHead, b"", None).0.len() as u64;
    let mut members = Vec::new();
    for (key, bytes) in objects {
        members.push(Member { key: key.clone(), offset, length: bytes.len() as u64 });
        offset += bytes.len() as u64;
    }
    members.sort_by(|a, b| a.key.cmp(&b.key));
    let (contents, _) = plain(Section::Contents, &Contents { members }.encode());
    let tail = tail(offset, contents.len() as u64).to_vec();
    let image_len = offset + contents.len() as u64 + tail.len() as u64;
    (contents, tail, image_len)
}
