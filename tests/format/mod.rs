//! `format-spec.md` against the code: its worked example, its limits, its magics.

pub mod example;
mod fields;
mod parity;
mod spec;

use packfs::format::{
    self, Contents, EntryPage, ExtentPage, InodePage, PackFooter, Root, Section, Snapshot,
    TreeFooter,
};

/// The length of the object that ends in the tail of that name, or that has those contents.
fn object_len(example: &example::Example, piece: &str) -> u64 {
    let sum = |pieces: &[&str]| pieces.iter().map(|piece| example.get(piece).len() as u64).sum();
    match piece {
        "pack-tail" => sum(&["pack-head", "frame", "pack-footer", "pack-tail"]),
        "tree-tail" => sum(&["inodes", "entries", "extents", "tree", "tree-tail"]),
        _ => example.image_len,
    }
}

/// The spec's bytes decode to what it says they do, and are what the encoders make.
#[test]
fn the_worked_example_is_true() {
    let example = example::build();
    for (piece, made) in &example.pieces {
        let written = match *piece {
            "config" => (spec::block("toml config").join("\n") + "\n").into_bytes(),
            _ => spec::bytes(&format!("hex {piece}")),
        };
        assert_eq!(written, *made, "bytes of {piece}");
        let fields = fields::fields(piece, &written, object_len(&example, piece)).unwrap();
        assert_eq!(spec::block(&format!("fields {piece}")), fields, "fields of {piece}");
    }
}

/// What was decoded encodes to the bytes in the spec, and the packs and trees have the ids.
#[test]
fn the_worked_example_encodes_to_itself() {
    let bytes = |piece: &str| spec::bytes(&format!("hex {piece}"));
    let plain = |section, bytes: &[u8]| example::plain(section, bytes).0;
    let footer = PackFooter::decode(&bytes("pack-footer"), u64::MAX).unwrap();
    assert_eq!(footer.encode(), bytes("pack-footer"));
    let root = Root::decode(&bytes("root")).unwrap();
    assert_eq!(root.encode(), bytes("root"));
    let snapshot = Snapshot::decode(&bytes("snapshot")).unwrap();
    assert_eq!(snapshot.encode(), bytes("snapshot"));
    let page = InodePage::decode(&bytes("inodes"), b"").unwrap();
    assert_eq!(plain(Section::Inodes, &page.encode(3).0), bytes("inodes"));
    let page = EntryPage::decode(&bytes("entries"), b"").unwrap();
    assert_eq!(plain(Section::Entries, &page.encode(3).0), bytes("entries"));
    let page = ExtentPage::decode(&bytes("extents"), b"").unwrap();
    assert_eq!(plain(Section::Extents, &page.encode(3).0), bytes("extents"));
    let tree = TreeFooter::decode(&bytes("tree")).unwrap();
    assert_eq!(plain(Section::Tree, &tree.encode().0), bytes("tree"));
    let contents = Contents::decode(&bytes("contents"), u64::MAX).unwrap();
    assert_eq!(plain(Section::Contents, &contents.encode()), bytes("contents"));
    let whole =
        |pieces: &[&str]| blake3::hash(&pieces.iter().flat_map(|p| bytes(p)).collect::<Vec<_>>());
    let tree_id = whole(&["inodes", "entries", "extents", "tree", "tree-tail"]);
    assert_eq!(root.tree.id, *tree_id.as_bytes());
    let pack_id = whole(&["pack-head", "frame", "pack-footer", "pack-tail"]);
    assert_eq!(tree.origins, [*pack_id.as_bytes()]);
    assert_eq!(root.segments[0].id, *whole(&["index"]).as_bytes());
    assert_eq!((snapshot.number, snapshot.root), (root.number, *whole(&["root"]).as_bytes()));
}

#[test]
fn the_limits_are_those_of_the_code() {
    let code = [
        ("MAX_BLOCK", format::MAX_BLOCK as u64),
        ("MAX_FRAME", format::MAX_FRAME as u64),
        ("MAX_FRAME_BLOCKS", u64::from(format::MAX_FRAME_BLOCKS)),
        ("MAX_PACK", format::MAX_PACK),
        ("MAX_PAGE", format::MAX_PAGE as u64),
        ("MAX_PAGE_ROWS", format::MAX_PAGE_ROWS as u64),
        ("MAX_DICTIONARY", format::MAX_DICTIONARY as u64),
        ("MAX_TABLE", format::MAX_TABLE as u64),
        ("MAX_SMALL_TABLE", format::MAX_SMALL_TABLE as u64),
        ("MAX_ITEMS", format::MAX_ITEMS as u64),
        ("MAX_PAGE_XATTRS", format::MAX_PAGE_XATTRS as u64),
        ("MAX_RUN", u64::from(format::MAX_RUN)),
        ("MAX_NAME", format::MAX_NAME as u64),
        ("MAX_TARGET", format::MAX_TARGET as u64),
        ("MAX_XATTR", format::MAX_XATTR as u64),
        ("MAX_XATTR_SET", format::MAX_XATTR_SET as u64),
        ("MAX_REFERENCES", format::MAX_REFERENCES as u64),
        ("MAX_SHARDS", format::MAX_SHARDS as u64),
        ("MAX_SHARD", format::MAX_SHARD as u64),
    ];
    let rows = spec::table("## Limits");
    let said: Vec<_> = rows.iter().map(|row| (row[0], row[1].parse().unwrap())).collect();
    assert_eq!(said, code);
    // None is left out: the code's constants are listed where they are declared.
    let declared = include_str!("../../src/format/mod.rs").lines();
    assert_eq!(declared.filter(|line| line.starts_with("pub const MAX_")).count(), code.len());
}

#[test]
fn the_magics_are_those_of_the_code() {
    let code = [
        Section::Config,
        Section::PackHead,
        Section::PackFooter,
        Section::Ranges,
        Section::Index,
        Section::Inodes,
        Section::Entries,
        Section::Extents,
        Section::Dictionary,
        Section::Tree,
        Section::Root,
        Section::Snapshot,
        Section::Journal,
        Section::Base,
        Section::Group,
        Section::Parity,
        Section::ImageHead,
        Section::Contents,
        Section::Tail,
    ]
    .map(|section| {
        (section.to_string(), section.magic().map(|byte| format!("{byte:02x}")).join(" "))
    });
    let rows = spec::table("### Magics");
    let said: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[2].to_owned())).collect();
    assert_eq!(said, code);
    for row in rows {
        let magic = row[2].split(' ').map(|pair| u8::from_str_radix(pair, 16).unwrap());
        let text: String = magic.map(char::from).collect();
        assert_eq!(text.replace('\n', "\\n"), row[1]);
    }
}

#[test]
fn the_version_is_that_of_the_code() {
    let line = format!("This is version {} of the format.", format::VERSION);
    assert!(spec::SPEC.lines().any(|said| said == line), "no line: {line}");
}

/// Prints the blocks of the worked example, for pasting into the spec when the format changes.
#[test]
#[ignore = "prints; it checks nothing"]
fn print_the_worked_example() {
    let example = example::build();
    for (piece, bytes) in &example.pieces {
        println!("```hex {piece}");
        for row in bytes.chunks(16) {
            println!(
                "{}",
                row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
            );
        }
        println!("```\n```fields {piece}");
        let fields = fields::fields(piece, bytes, object_len(&example, piece)).unwrap();
        println!("{}\n```", fields.join("\n"));
    }
}
