//! Where each section lies in an archive, found with the crate's own format code.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use packfs::format::{
    Contents, ENVELOPE_LEN, FrameRecord, PackFooter, TAIL_LEN, TreeFooter, read_tail,
};

/// An archive as the files that it is made of. An image is one file, without a name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Where a section lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it is.
    pub kind: &'static str,
    /// The file it is in.
    pub file: String,
    /// Its bytes in that file.
    pub range: Range<usize>,
}

/// The table of contents of an image.
pub fn contents(image: &[u8]) -> Contents {
    Contents::decode(&image[last_section(image)], image.len() as u64).unwrap()
}

/// Where the last section of a pack, tree or image lies.
fn last_section(object: &[u8]) -> Range<usize> {
    let tail = &object[object.len() - TAIL_LEN..];
    let (offset, length) = read_tail(tail, object.len() as u64).unwrap();
    range(0, offset, length)
}

fn range(base: usize, offset: u64, length: u64) -> Range<usize> {
    let start = base + usize::try_from(offset).unwrap();
    start..start + usize::try_from(length).unwrap()
}

/// The frames of a pack.
pub fn frames(pack: &[u8]) -> Vec<FrameRecord> {
    let footer = last_section(pack);
    PackFooter::decode(&pack[footer.clone()], footer.start as u64).unwrap().frames
}

/// The keys of all objects of a store, in order; what is below `live/` is no object.
pub fn object_keys(store: &Path) -> Vec<String> {
    load(store).into_keys().filter(|key| !key.starts_with("live/")).collect()
}

/// Reads an archive, image or store.
pub fn load(archive: &Path) -> Files {
    if archive.is_file() {
        return Files::from([(String::new(), fs::read(archive).unwrap())]);
    }
    let mut files = Files::new();
    let mut folders = vec![archive.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let key = path.strip_prefix(archive).unwrap().to_str().unwrap().to_owned();
                files.insert(key, fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Writes an archive to a path where there is none.
pub fn save(files: &Files, archive: &Path) {
    if let Some(image) = files.get("") {
        fs::write(archive, image).unwrap();
        return;
    }
    for (key, bytes) in files {
        let path = archive.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// All sections of an archive, and its packs and trees as a whole.
pub fn places(files: &Files) -> Vec<Place> {
    let mut found = Vec::new();
    let Some(image) = files.get("") else {
        for (key, object) in files {
            sections(key, object, &mut |kind, range| {
                found.push(Place { kind, file: key.clone(), range });
            });
        }
        return found;
    };
    let mut add = |kind, range| found.push(Place { kind, file: String::new(), range });
    let table = last_section(image);
    add("image head", 0..ENVELOPE_LEN);
    add("contents", table.clone());
    add("image tail", table.end..image.len());
    for member in contents(image).members {
        let object = range(0, member.offset, member.length);
        let shift = object.start;
        sections(&member.key, &image[object], &mut |kind, range| {
            add(kind, range.start + shift..range.end + shift);
        });
    }
    found
}

/// The sections of one object.
fn sections(key: &str, object: &[u8], add: &mut impl FnMut(&'static str, Range<usize>)) {
    let whole = 0..object.len();
    match key.split('/').next().unwrap() {
        "packfs.toml" => add("settings", whole),
        "parity" => add("parity", whole),
        "roots" => add("root", whole),
        "snapshots" => add("snapshot", whole),
        "index" => add("index segment", whole),
        "packs" => {
            let footer = last_section(object);
            let tail = footer.end..object.len();
            for frame in frames(object) {
                add("frame", range(0, frame.offset, frame.stored.into()));
            }
            add("pack head", 0..ENVELOPE_LEN);
            add("pack footer", footer);
            add("pack tail", tail);
            add("pack", whole);
        }
        "trees" => {
            let footer = last_section(object);
            let tail = footer.end..object.len();
            let tables = TreeFooter::decode(&object[footer.clone()]).unwrap();
            let kinds = [
                ("page of inodes", &tables.inodes),
                ("page of entries", &tables.entry_pages),
                ("page of extents", &tables.extents),
                ("dictionary of pages", &tables.dictionaries),
            ];
            for (kind, table) in kinds {
                for page in table {
                    add(kind, range(0, page.offset, page.length.into()));
                }
            }
            add("tree footer", footer);
            add("tree tail", tail);
            add("tree", whole);
        }
        other => panic!("an object of unknown kind: {other}"),
    }
}
