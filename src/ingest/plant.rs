//! Numbers the inodes of a catalog and writes their tree.

use super::catalog::{Catalog, ROOT, Stretch, place};
use crate::format::{Extent, Id, Inode, Kind, ObjectRef, Totals, XattrSet};
use crate::tree::{self, TreeWriter};

/// The names of each folder, in order: places among the names, and where each folder's begin.
struct Folders {
    names: Vec<u32>,
    starts: Vec<u32>,
}

impl Folders {
    fn new(catalog: &Catalog) -> Self {
        let name = |at: &u32| &catalog.names[*at as usize];
        let kept = |at: &u32| !catalog.files[name(at).file as usize].gone;
        let mut names: Vec<u32> = (0..place(catalog.names.len())).filter(kept).collect();
        names.sort_unstable_by(|a, b| {
            (name(a).folder, &name(a).name).cmp(&(name(b).folder, &name(b).name))
        });
        let mut starts = vec![0u32; catalog.files.len() + 1];
        names.iter().for_each(|at| starts[name(at).folder as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self { names, starts }
    }

    fn names(&self, folder: u32) -> &[u32] {
        let at = folder as usize;
        &self.names[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// The files that are kept, in the order of their inode numbers, and what each name gives them.
struct Numbered {
    order: Vec<u32>,
    /// By place among the files: the inode number, 0 where a file is left out.
    numbers: Vec<u64>,
    parents: Vec<u64>,
    links: Vec<u32>,
}

/// Numbers the children of a folder one after another, in the order of their names, and goes on
/// with the first sub-folder: so a folder's inodes lie side by side, and a walk reads pages in
/// order.
fn number(catalog: &Catalog, folders: &Folders) -> Numbered {
    let count = catalog.files.len();
    let mut numbered = Numbered {
        order: vec![ROOT],
        numbers: vec![0; count],
        parents: vec![0; count],
        links: vec![0; count],
    };
    numbered.numbers[0] = tree::ROOT;
    numbered.parents[0] = tree::ROOT;
    numbered.links[0] = 2;
    let mut todo = vec![ROOT];
    while let Some(folder) = todo.pop() {
        let names = folders.names(folder);
        let mut sub_folders = Vec::new();
        for at in names {
            let file = catalog.names[*at as usize].file;
            let slot = file as usize;
            let is_folder = catalog.files[slot].kind() == Some(Kind::Folder);
            if numbered.numbers[slot] == 0 {
                numbered.order.push(file);
                numbered.numbers[slot] = numbered.order.len() as u64;
                numbered.parents[slot] = numbered.numbers[folder as usize];
            }
            if is_folder {
                // Its name in its parent and its own "."; and its ".." counts for its parent.
                numbered.links[slot] = 2;
                numbered.links[folder as usize] += 1;
                sub_folders.push(file);
            } else {
                numbered.links[slot] += 1;
            }
        }
        todo.extend(sub_folders.into_iter().rev());
    }
    numbered
}

/// Writes the tree of a catalog whose blocks are those of `origin`; returns its bytes and name,
/// and what it comes to.
pub fn plant(catalog: &Catalog, origin: Option<Id>, level: i32) -> (Vec<u8>, ObjectRef, Totals) {
    let folders = Folders::new(catalog);
    let numbered = number(catalog, &folders);
    let mut writer = TreeWriter::new(level);
    let mut totals = Totals { entries: 1, ..Totals::default() };
    let none = XattrSet::new();
    for at in &numbered.order {
        let file = &catalog.files[*at as usize];
        let kind = file.kind();
        let bytes: u64 = file.stretches.iter().map(|stretch| stretch.bytes).sum();
        let holes = file.stretches.iter().filter(|stretch| stretch.count == 0);
        let size = match kind {
            Some(Kind::File) => bytes,
            Some(Kind::Symlink) => file.target.len() as u64,
            Some(Kind::Folder) => folders.names(*at).len() as u64,
            _ => 0,
        };
        if kind == Some(Kind::File) {
            totals.files += 1;
            totals.bytes += bytes;
        }
        let inode = Inode {
            mode: file.mode,
            nlink: numbered.links[*at as usize],
            uid: file.uid,
            gid: file.gid,
            size,
            holes: holes.map(|hole| hole.bytes).sum(),
            rdev: file.rdev,
            parent: numbered.parents[*at as usize],
            mtime: file.mtime,
            times: file.times,
            ..Inode::default()
        };
        let set = (file.xattrs as usize).checked_sub(1).map_or(&none, |set| &catalog.sets[set]);
        writer.inode(inode, &file.target, set);
    }
    for at in &numbered.order {
        let number = numbered.numbers[*at as usize];
        for name in folders.names(*at) {
            let name = &catalog.names[*name as usize];
            let kind = catalog.files[name.file as usize].kind();
            let child = numbered.numbers[name.file as usize];
            writer.entry(number, &name.name, child, kind.unwrap_or(Kind::File));
            totals.entries += 1;
        }
        write_extents(&mut writer, number, &catalog.files[*at as usize].stretches);
    }
    let (bytes, object) = writer.finish(origin.into_iter().collect());
    (bytes, object, totals)
}

fn write_extents(writer: &mut TreeWriter, inode: u64, stretches: &[Stretch]) {
    let mut offset = 0;
    for (stretch, left) in stretches.iter().zip((0..stretches.len()).rev()) {
        let Stretch { bytes, first, count } = *stretch;
        let bytes = if left == 0 { Extent::REST } else { bytes };
        let origin = u32::from(count > 0);
        writer.extent(Extent { inode, offset, bytes, origin, first, count });
        offset += stretch.bytes;
    }
}
