//! Numbers the inodes of a catalog and writes their tree: one of its own, or the one of a store
//! that it is added to.
//!
//! Where both have a folder of the same name, what is in it comes together. Where both have another
//! file of the same name, the one of the catalog takes its place, and its number if that leaves
//! nothing behind: so what is the same in both changes nothing.

use std::collections::{BTreeMap, HashMap};

use super::CreateError;
use super::catalog::{Catalog, File, ROOT, Stretch, place};
use crate::format::{Extent, Id, Inode, Kind, ObjectRef, Time, Totals, XattrSet};
use crate::monitor::show;
use crate::tree::{self, Found, Row, Tree, TreeEdit, TreeWriter};

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

/// What a tree is written over.
pub struct Ground<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// What it comes to.
    pub totals: Totals,
    /// When folders change that stay what they are.
    pub now: Time,
}

/// A tree that was written.
#[derive(Debug)]
pub struct Planted {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// What names it.
    pub object: ObjectRef,
    /// What it comes to.
    pub totals: Totals,
}

/// How trees are written.
#[derive(Debug, Clone, Copy)]
pub struct Planting {
    /// zstd's level.
    pub level: i32,
    /// Threads that compress.
    pub threads: usize,
}

/// Writes the tree of a catalog, whose blocks are those of `origins`; `None` if it has nothing that
/// the ground does not have just so.
///
/// # Errors
/// If the ground cannot be read, or has a folder where the catalog has something else.
pub fn plant(
    catalog: &Catalog,
    ground: Option<&Ground<'_>>,
    origins: Vec<Id>,
    how: Planting,
) -> Result<Option<Planted>, CreateError> {
    let folders = Folders::new(catalog);
    let mut numbered = Numbered::new(catalog, ground);
    numbered.link(catalog, &folders)?;
    numbered.number(catalog, &folders)?;
    let (mut writer, mut totals) = match ground {
        None => (TreeWriter::new(how.level), Totals { entries: 1, ..Totals::default() }),
        Some(ground) => {
            let mut totals = ground.totals;
            let edit = numbered.edit(catalog, ground, &mut totals)?;
            if edit.is_empty() {
                return Ok(None);
            }
            (edit.writer(how.level)?, totals)
        }
    };
    for at in &numbered.order {
        let file = &catalog.files[*at as usize];
        let entries = folders.names(*at).len() as u64;
        let (inode, target, set) = numbered.row(catalog, *at, entries);
        totals.count(&inode);
        writer.inode(inode, &target, &set);
        let number = numbered.numbers[*at as usize];
        extents(number, &file.stretches).for_each(|extent| writer.extent(extent));
        for name in folders.names(*at) {
            let name = &catalog.names[*name as usize];
            let kind = catalog.files[name.file as usize].kind().unwrap_or(Kind::File);
            writer.entry(number, &name.name, numbered.numbers[name.file as usize], kind);
            totals.entries = totals.entries.saturating_add(1);
        }
    }
    let (bytes, object) = writer.finish(origins, how.threads);
    Ok(Some(Planted { bytes, object, totals }))
}

/// Which inode each file of a catalog is.
struct Numbered<'a> {
    ground: Option<&'a Ground<'a>>,
    /// The number of the first new inode.
    first: u64,
    /// The files that are new inodes, in the order of their numbers.
    order: Vec<u32>,
    /// The files that are inodes of the ground.
    merged: Vec<u32>,
    /// By place among the files: the inode number, 0 where a file is left out.
    numbers: Vec<u64>,
    /// The number of the folder of its first name.
    parents: Vec<u64>,
    /// How many names it has; of a folder 2 and its new sub-folders.
    links: Vec<u32>,
    /// Entries of the ground's folders that change, or are new.
    entries: Vec<(u64, u32)>,
    /// By folder of the ground: how many entries are new.
    grown: HashMap<u64, u64>,
    /// By inode of the ground: how many of its names now name another.
    displaced: BTreeMap<u64, u32>,
    /// How many names a file of the catalog has in common with an inode of the ground, if it has
    /// several.
    linked: HashMap<(u32, u64), u32>,
}

impl<'a> Numbered<'a> {
    fn new(catalog: &Catalog, ground: Option<&'a Ground<'a>>) -> Self {
        let count = catalog.files.len();
        Self {
            ground,
            first: ground.map_or(tree::ROOT, |ground| ground.tree.footer().next_inode),
            order: Vec::new(),
            merged: Vec::new(),
            numbers: vec![0; count],
            parents: vec![0; count],
            links: vec![0; count],
            entries: Vec::new(),
            grown: HashMap::new(),
            displaced: BTreeMap::new(),
            linked: HashMap::new(),
        }
    }

    /// Finds the names that files of several names have in common with the ground.
    fn link(&mut self, catalog: &Catalog, folders: &Folders) -> Result<(), CreateError> {
        let Some(ground) = self.ground else { return Ok(()) };
        let mut names = vec![0u32; catalog.files.len()];
        catalog.names.iter().for_each(|name| names[name.file as usize] += 1);
        if names.iter().all(|names| *names < 2) {
            return Ok(());
        }
        let mut todo = vec![(ROOT, tree::ROOT)];
        while let Some((folder, number)) = todo.pop() {
            for at in folders.names(folder) {
                let name = &catalog.names[*at as usize];
                let Some(there) = ground.tree.lookup(number, &name.name)? else { continue };
                if catalog.files[name.file as usize].kind() == Some(Kind::Folder) {
                    todo.push((name.file, there.inode));
                } else if names[name.file as usize] > 1 {
                    *self.linked.entry((name.file, there.inode)).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Numbers the children of a folder one after another, in the order of their names, and goes on
    /// with the first sub-folder: so a folder's inodes lie side by side, and a walk reads pages in
    /// order.
    fn number(&mut self, catalog: &Catalog, folders: &Folders) -> Result<(), CreateError> {
        match self.ground {
            None => self.order.push(ROOT),
            Some(_) => self.merged.push(ROOT),
        }
        self.numbers[0] = tree::ROOT;
        self.parents[0] = tree::ROOT;
        self.links[0] = 2;
        let mut todo = vec![ROOT];
        while let Some(folder) = todo.pop() {
            let mut sub_folders = Vec::new();
            for at in folders.names(folder) {
                let name = &catalog.names[*at as usize];
                let file = name.file;
                let is_folder = catalog.files[file as usize].kind() == Some(Kind::Folder);
                let new = self.name(catalog, folder, *at)?;
                if is_folder {
                    // Its name in its parent and its own "."; and its ".." counts for its parent.
                    self.links[file as usize] = 2;
                    self.links[folder as usize] += u32::from(new);
                    sub_folders.push(file);
                } else {
                    self.links[file as usize] += 1;
                }
            }
            todo.extend(sub_folders.into_iter().rev());
        }
        Ok(())
    }

    /// Numbers what a name names, and returns whether it is a name that the folder did not have.
    fn name(&mut self, catalog: &Catalog, folder: u32, at: u32) -> Result<bool, CreateError> {
        let name = &catalog.names[at as usize];
        let (slot, around) = (name.file as usize, self.numbers[folder as usize]);
        let kind = catalog.files[slot].kind();
        let ground = self.ground.filter(|_| around < self.first);
        let tree = ground.map(|ground| ground.tree);
        let there = tree.map_or(Ok(None), |tree| tree.lookup(around, &name.name))?;
        let is_folder = |kind| kind == Some(Kind::Folder);
        if let (Some(tree), Some(there)) = (tree, there) {
            if is_folder(kind) != is_folder(Some(there.kind)) {
                return Err(CreateError::Clash(catalog.path(name.file)));
            }
            // An entry says what its inode is; where they differ, the inode is right.
            let really = tree.inode(there.inode, |_, it| it.kind())?.flatten();
            if really.is_none() || is_folder(really) != is_folder(kind) {
                return Err(self.inconsistent(catalog, name.file));
            }
            // If all its names come to name the same file, nothing of it is left behind.
            let names = self.linked.get(&(name.file, there.inode)).copied().unwrap_or(1);
            let whole = || tree.inode(there.inode, |_, it| it.nlink == names);
            if self.numbers[slot] == 0 && (is_folder(kind) || whole()? == Some(true)) {
                self.numbers[slot] = there.inode;
                self.parents[slot] = around;
                self.merged.push(name.file);
            }
        }
        if self.numbers[slot] == 0 {
            let number = self.first.checked_add(self.order.len() as u64);
            let number = number.filter(|number| *number < i64::MAX.cast_unsigned());
            self.numbers[slot] = number.ok_or_else(|| self.inconsistent(catalog, name.file))?;
            self.parents[slot] = around;
            self.order.push(name.file);
        }
        let found = kind.map(|kind| Found { inode: self.numbers[slot], kind });
        if ground.is_some() && found != there {
            self.entries.push((around, at));
        }
        match there {
            Some(there) if there.inode == self.numbers[slot] => {}
            Some(there) => *self.displaced.entry(there.inode).or_default() += 1,
            None if ground.is_some() => *self.grown.entry(around).or_default() += 1,
            None => {}
        }
        Ok(there.is_none())
    }

    fn inconsistent(&self, catalog: &Catalog, file: u32) -> CreateError {
        CreateError::Inconsistent(show(&catalog.path(file)))
    }

    /// All that the inode of a file has, if it is a folder of so many `entries`.
    fn row(&self, catalog: &Catalog, at: u32, entries: u64) -> Row {
        let (file, slot) = (&catalog.files[at as usize], at as usize);
        let holes = file.stretches.iter().filter(|stretch| stretch.count == 0);
        let size = match file.kind() {
            Some(Kind::File) => file.bytes(),
            Some(Kind::Symlink) => file.target.len() as u64,
            Some(Kind::Folder) => entries,
            _ => 0,
        };
        let inode = Inode {
            mode: file.mode,
            nlink: self.links[slot],
            uid: file.uid,
            gid: file.gid,
            size,
            holes: holes.map(|hole| hole.bytes).sum(),
            rdev: file.rdev,
            parent: self.parents[slot],
            mtime: file.mtime,
            times: file.times,
            ..Inode::default()
        };
        (inode, file.target.clone(), set_of(catalog, file))
    }

    /// What changes in the ground, and in what it comes to.
    fn edit(
        &self,
        catalog: &Catalog,
        ground: &Ground<'a>,
        totals: &mut Totals,
    ) -> Result<TreeEdit<'a>, CreateError> {
        let mut edit = TreeEdit::new(ground.tree);
        for at in &self.merged {
            self.merge(catalog, *at, ground, &mut edit, totals)?;
        }
        for (inode, names) in &self.displaced {
            let Some(mut row) = ground.tree.row(*inode)? else { continue };
            row.0.nlink = row.0.nlink.saturating_sub(*names);
            if row.0.nlink == 0 {
                totals.uncount(&row.0);
                edit.remove_inode(*inode);
            } else {
                edit.set_inode(*inode, row);
            }
        }
        for (folder, at) in &self.entries {
            let name = &catalog.names[*at as usize];
            let kind = catalog.files[name.file as usize].kind();
            let inode = self.numbers[name.file as usize];
            edit.set_entry(*folder, &name.name, kind.map(|kind| Found { inode, kind }));
        }
        totals.entries = totals.entries.saturating_add(self.grown.values().sum());
        Ok(edit)
    }

    /// What changes in an inode that the ground has.
    fn merge(
        &self,
        catalog: &Catalog,
        at: u32,
        ground: &Ground<'a>,
        edit: &mut TreeEdit<'a>,
        totals: &mut Totals,
    ) -> Result<(), CreateError> {
        let (file, number) = (&catalog.files[at as usize], self.numbers[at as usize]);
        let grown = self.grown.get(&number).copied().unwrap_or(0);
        let Some(there) = ground.tree.row(number)? else { return Ok(()) };
        let entries = there.0.size.saturating_add(grown).min(i64::MAX.cast_unsigned());
        let mut here = self.row(catalog, at, entries);
        if file.kind() == Some(Kind::Folder) {
            here.0.parent = there.0.parent;
            here.0.nlink = there.0.nlink.saturating_add(self.links[at as usize] - 2);
            if file.implied {
                let mut kept = there.clone();
                (kept.0.size, kept.0.nlink) = (here.0.size, here.0.nlink);
                if grown > 0 {
                    kept.0.mtime = ground.now;
                    kept.0.times = kept.0.times.map(|(atime, _)| (atime, ground.now));
                }
                here = kept;
            }
        }
        totals.uncount(&there.0);
        totals.count(&here.0);
        if !alike(&here, &there) {
            edit.set_inode(number, here);
        }
        let mut old = Vec::new();
        if there.0.kind() == Some(Kind::File) {
            ground.tree.extents(number, there.0.size, 0, |extent| {
                old.push(*extent);
                Ok::<_, CreateError>(true)
            })?;
        }
        let size = file.bytes();
        let new: Vec<Extent> = extents(number, &file.stretches).collect();
        if !old.into_iter().eq(new.iter().filter_map(|extent| extent.within(size))) {
            edit.set_extents(number, new);
        }
        Ok(())
    }
}

/// Whether an inode is the one that is there: times that are not kept this time are no reason to
/// forget them, and those that were never kept are what is told instead.
fn alike(here: &Row, there: &Row) -> bool {
    let with = |inode: &Inode, times: Option<(Time, Time)>| {
        let times = times.unwrap_or((inode.mtime, inode.mtime));
        Inode { times: Some(times), ..inode.clone() }
    };
    let kept = here.0.times.or(there.0.times);
    let (a, b) = (with(&here.0, kept), with(&there.0, there.0.times));
    (a, &here.1, &here.2) == (b, &there.1, &there.2)
}

fn set_of(catalog: &Catalog, file: &File) -> XattrSet {
    let set = (file.xattrs as usize).checked_sub(1).and_then(|set| catalog.sets.get(set));
    set.cloned().unwrap_or_default()
}

/// The extents of a file made of these stretches.
pub fn extents(inode: u64, stretches: &[Stretch]) -> impl Iterator<Item = Extent> {
    let mut offset = 0;
    stretches.iter().zip((0..stretches.len()).rev()).map(move |(stretch, left)| {
        let Stretch { bytes, origin, first, count } = *stretch;
        let extent = Extent {
            inode,
            offset,
            bytes: if left == 0 { Extent::REST } else { bytes },
            origin,
            first,
            count,
        };
        offset += bytes;
        extent
    })
}
