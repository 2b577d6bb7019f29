//! A decoded piece of the example, written as the spec writes it: `name = value`, one a line.

use packfs::format::{
    Config, Contents, EntryPage, ExtentPage, FormatError, Inode, InodePage, ObjectRef, PackFooter,
    PageTable, Range, Root, Section, Segment, Snapshot, Time, TreeFooter, check, hex, read_tail,
};

type Lines = Vec<String>;

/// The fields of the piece of that name; `object_len` is that of the object a tail ends.
pub fn fields(piece: &str, bytes: &[u8], object_len: u64) -> Result<Lines, FormatError> {
    Ok(match piece {
        "config" => config(&Config::decode(bytes)?),
        "pack-head" => vec![format!("checksum = {:#018x}", check(Section::PackHead, bytes)?)],
        "image-head" => vec![format!("checksum = {:#018x}", check(Section::ImageHead, bytes)?)],
        "pack-footer" => pack_footer(&PackFooter::decode(bytes, u64::MAX)?),
        "index" => index(&Segment::open(bytes)?),
        "inodes" => inodes(&InodePage::decode(bytes, b"")?),
        "entries" => entries(&EntryPage::decode(bytes, b"")?),
        "extents" => extents(&ExtentPage::decode(bytes, b"")?),
        "tree" => tree(&TreeFooter::decode(bytes)?),
        "root" => root(&Root::decode(bytes)?),
        "snapshot" => snapshot(&Snapshot::decode(bytes)?),
        "contents" => contents(&Contents::decode(bytes, object_len)?),
        "pack-tail" | "tree-tail" | "image-tail" => {
            let (offset, length) = read_tail(bytes, object_len)?;
            vec![format!("offset = {offset}"), format!("length = {length}")]
        }
        _ => vec![format!("blake3 = {}", blake3::hash(bytes).to_hex())],
    })
}

fn config(config: &Config) -> Lines {
    let cutting = config.cutting;
    vec![
        format!("format = {}", config.format),
        format!("store = {}", config.store),
        format!("incompatible = {:?}", config.incompatible),
        format!("compatible = {:?}", config.compatible),
        format!("hash = {:?}", config.hash),
        format!("hash_len = {}", config.hash_len),
        format!("parity = {:?}", config.parity),
        format!("cutting = {} {} {}", cutting.min, cutting.average, cutting.max),
    ]
}

fn ranges(name: &str, ranges: &[Range]) -> Lines {
    let line = |range: &Range| {
        let Range { home, first, count, local } = range;
        format!("{name} = home {home}, first {first}, count {count}, local {local}")
    };
    ranges.iter().map(line).collect()
}

fn pack_footer(footer: &PackFooter) -> Lines {
    let mut lines = vec![
        format!("previous = {}", hex(&footer.previous)),
        format!("first number = {}", footer.first_number),
        format!("hash = {:?}, {} bytes", footer.hash, footer.hash_len),
    ];
    lines.extend(footer.frames.iter().map(|frame| {
        format!(
            "frame = offset {}, stored {}, inflated {}, first block {}, codec {}, \
             checksum {:#018x}",
            frame.offset,
            frame.stored,
            frame.inflated,
            frame.first_block,
            frame.codec.name(),
            frame.checksum
        )
    }));
    lines.push(format!("lengths = {:?}", footer.lengths));
    lines.push(format!("hashes = {}", digits(&footer.hashes)));
    lines.push(format!("homes = {}", footer.homes.len()));
    lines.extend(ranges("moved", &footer.moved));
    lines
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn index(segment: &Segment<&[u8]>) -> Lines {
    let mut lines: Lines =
        segment.homes().iter().map(|home| format!("home = {}", hex(home))).collect();
    let packs = segment.packs().iter();
    lines.extend(packs.map(|(id, length)| format!("pack = {}, {length} bytes", hex(id))));
    for (home, slot) in segment.homes().iter().zip(0u32..) {
        let found = segment.local(slot, 0);
        lines.push(format!("block 0 of {} = local, run: {found:?}", &hex(home)[..8]));
    }
    for at in 0..segment.frame_count() {
        lines.extend(segment.frame(at).map(|(frame, pack)| {
            format!(
                "frame = offset {}, checksum {:#018x}, stored {}, inflated {}, first block {}, \
                 pack {pack}, codec {}",
                frame.offset,
                frame.checksum,
                frame.stored,
                frame.inflated,
                frame.first_block,
                frame.codec.name()
            )
        }));
    }
    lines.extend((0..segment.block_count()).map(|at| format!("length = {}", segment.length(at))));
    lines
}

fn time(time: Time) -> String {
    format!("{}.{:09}", time.sec, time.nsec)
}

fn inode(number: u64, inode: &Inode) -> String {
    let Inode { nlink, uid, gid, size, holes, rdev, parent, xattrs, .. } = inode;
    format!(
        "inode {number} = mode {:06o}, nlink {nlink}, uid {uid}, gid {gid}, size {size}, holes \
         {holes}, rdev {rdev}, parent {parent}, mtime {}, xattrs {xattrs}",
        inode.mode,
        time(inode.mtime)
    )
}

fn inodes(page: &InodePage) -> Lines {
    let mut lines = vec![format!("first = {}", page.first)];
    for (number, each) in (page.first..).zip(&page.inodes) {
        lines.push(inode(number, each));
        if each.kind() == Some(packfs::format::Kind::Symlink) {
            let target = page.target(each).unwrap_or_default();
            lines.push(format!("target of {number} = {}", String::from_utf8_lossy(target)));
        }
    }
    for (set, at) in page.sets.iter().zip(1..) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pairs = set.iter().map(|(name, value)| format!("{}={}", text(name), text(value)));
        lines.push(format!("set {at} = {}", pairs.collect::<Vec<_>>().join(", ")));
    }
    lines
}

fn entries(page: &EntryPage) -> Lines {
    let line = |entry: &packfs::format::Entry| {
        let packfs::format::Entry { folder, inode, kind, .. } = entry;
        let name = String::from_utf8_lossy(page.name(entry));
        format!("entry = folder {folder}, name {name}, inode {inode}, kind {kind:?}")
    };
    page.entries.iter().map(line).collect()
}

fn extents(page: &ExtentPage) -> Lines {
    let line = |extent: &packfs::format::Extent| {
        let packfs::format::Extent { inode, offset, bytes, origin, first, count } = extent;
        format!(
            "extent = inode {inode}, offset {offset}, bytes {bytes}, origin {origin}, first \
             {first}, count {count}"
        )
    };
    page.extents.iter().map(line).collect()
}

fn table(name: &str, table: &PageTable) -> Lines {
    let line = |page: &packfs::format::PageRef| {
        let page_name = String::from_utf8_lossy(&page.name);
        format!(
            "{name} = key {}, name {page_name:?}, before {}, rows {}, tree {}, offset {}, \
             length {}, inflated {}, dictionary {}, checksum {:#018x}",
            page.key,
            page.before,
            page.rows,
            page.tree,
            page.offset,
            page.length,
            page.inflated,
            page.dictionary,
            page.checksum
        )
    };
    table.iter().map(line).collect()
}

fn tree(footer: &TreeFooter) -> Lines {
    let mut lines = vec![
        format!("next inode = {}", footer.next_inode),
        format!("entries = {}", footer.entries),
        format!("has xattrs = {}", footer.has_xattrs),
    ];
    lines.extend(footer.origins.iter().map(|origin| format!("origin = {}", hex(origin))));
    lines.extend(footer.others.iter().map(|other| object("other", other)));
    lines.extend(table("inodes", &footer.inodes));
    lines.extend(table("entry page", &footer.entry_pages));
    lines.extend(table("extents", &footer.extents));
    lines.extend(table("dictionary", &footer.dictionaries));
    lines
}

fn object(name: &str, object: &ObjectRef) -> String {
    let ObjectRef { id, length, checksum } = object;
    format!("{name} = {}, {length} bytes, checksum {checksum:#018x}", hex(id))
}

fn root(root: &Root) -> Lines {
    let totals = root.totals;
    let mut lines = vec![
        format!("number = {}", root.number),
        format!("created = {}", root.created),
        format!("entries = {}", totals.entries),
        format!("files = {}", totals.files),
        format!("bytes = {}", totals.bytes),
        format!("unique = {}", totals.unique),
        object("tree", &root.tree),
    ];
    lines.extend(root.parents.iter().map(|parent| format!("parent = {}", hex(parent))));
    lines.extend(root.segments.iter().map(|segment| object("segment", segment)));
    lines
}

fn snapshot(snapshot: &Snapshot) -> Lines {
    vec![
        format!("number = {}", snapshot.number),
        format!("root = {}", hex(&snapshot.root)),
        format!("created = {}", snapshot.created),
    ]
}

fn contents(contents: &Contents) -> Lines {
    let line = |member: &packfs::format::Member| {
        format!("member = {}, offset {}, length {}", member.key, member.offset, member.length)
    };
    contents.members.iter().map(line).collect()
}
