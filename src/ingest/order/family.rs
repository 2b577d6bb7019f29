//! Finds families of folders: versions of one another, whatever tells them apart.
//!
//! Siblings are a family if they share most of the names below them, and files of the same name
//! are mostly about as long. A family is walked as if it were one folder, so its versions of a
//! file come one after another, and so do its sub-folders of the same name, which are a family
//! in turn. Only names and sizes are looked at.

use super::name;
use crate::format::Kind;
use crate::ingest::catalog::{Catalog, File, place};

/// How many names of two folders are compared, at most, to tell whether they are alike.
const COMPARED: usize = 4096;
/// How many names of a folder go into its sketch, at most, and as many of a sub-folder's.
const SKETCHED: usize = 64;
/// Siblings without a name in common are compared if one of so many samples agrees.
const SAMPLES: usize = 4;

/// The names in each folder, in the order of their shapes.
pub struct Families<'a> {
    catalog: &'a Catalog,
    /// By place among the names.
    shapes: Vec<u32>,
    /// Places among the names, folder by folder.
    names: Vec<u32>,
    /// By place among the files: where a folder's names begin.
    starts: Vec<u32>,
}

/// A sub-folder of one of the folders that are walked as one.
struct Child<'a> {
    name: &'a [u8],
    /// Which of these folders has it.
    member: usize,
    folder: u32,
}

/// What two folders have in common.
#[derive(Default)]
struct Common {
    /// Names looked at.
    seen: usize,
    /// Files that both have.
    shared: usize,
    /// Those of them that are about as long.
    close: usize,
    /// What one has and not the other.
    alone: [usize; 2],
}

impl Common {
    /// Most names are shared, and most of these files are versions of each other by their length:
    /// folders of photographs, each beginning with the same name, are no family.
    fn are_versions(&self) -> bool {
        let [left, right] = self.alone;
        self.shared > 0 && self.shared >= left.max(right) && self.close * 2 >= self.shared
    }
}

impl<'a> Families<'a> {
    /// Looks at the names of a catalog.
    pub fn new(catalog: &'a Catalog) -> Self {
        let shapes: Vec<u32> = catalog.names.iter().map(|name| name::shape(&name.name)).collect();
        let mut names: Vec<u32> = (0..place(catalog.names.len())).collect();
        names.sort_unstable_by(|a, b| {
            let key = |at: u32| {
                let name = &catalog.names[at as usize];
                (name.folder, shapes[at as usize], &name.name)
            };
            key(*a).cmp(&key(*b))
        });
        let mut starts = vec![0u32; catalog.files.len() + 1];
        names.iter().for_each(|at| starts[catalog.names[*at as usize].folder as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self { catalog, shapes, names, starts }
    }

    /// The names in a folder: places among the names.
    pub fn names(&self, folder: u32) -> &[u32] {
        let at = folder as usize;
        &self.names[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// The sub-folders of folders that are walked as one: families, each in the order of its
    /// versions, in the order of the walk. Most are of one folder.
    pub fn below(&self, folders: &[u32]) -> Vec<Vec<u32>> {
        let mut children = Vec::new();
        for (member, folder) in folders.iter().enumerate() {
            for at in self.names(*folder) {
                let name = &self.catalog.names[*at as usize];
                if self.file(*at).kind() == Some(Kind::Folder) {
                    children.push(Child { name: &name.name, member, folder: name.file });
                }
            }
        }
        children.sort_unstable_by(|a, b| {
            name::compare(a.name, b.name).then_with(|| a.member.cmp(&b.member))
        });
        let mut groups = Groups::new(children.len());
        self.join_by_name(&children, &mut groups);
        self.join_by_content(&children, &mut groups);
        groups.in_walk_order(&children)
    }

    /// Joins neighbours that have the same name, or names that differ in a version only.
    fn join_by_name(&self, children: &[Child<'_>], groups: &mut Groups) {
        for at in 1..children.len() {
            let (a, b) = (&children[at - 1], &children[at]);
            let same_shape = || name::shape(a.name) == name::shape(b.name);
            if a.name == b.name || (same_shape() && self.are_versions(a.folder, b.folder)) {
                groups.join(at - 1, at);
            }
        }
    }

    /// Joins what has no name in common but the same things in it.
    fn join_by_content(&self, children: &[Child<'_>], groups: &mut Groups) {
        let firsts: Vec<usize> =
            (0..children.len()).filter(|at| groups.first(*at) == *at).collect();
        let sketch = |at: &usize| Some((self.sketch(children[*at].folder)?, *at));
        let sketches: Vec<_> = firsts.iter().filter_map(sketch).collect();
        for sample in 0..SAMPLES {
            let mut samples: Vec<_> = sketches.iter().map(|(all, at)| (all[sample], *at)).collect();
            samples.sort_unstable();
            for pair in samples.windows(2) {
                let ((a, left), (b, right)) = (pair[0], pair[1]);
                if a == b
                    && groups.first(left) != groups.first(right)
                    && self.are_versions(children[left].folder, children[right].folder)
                {
                    groups.join(left, right);
                }
            }
        }
    }

    /// Samples of what is in a folder and in its sub-folders; folders that share most names are
    /// likely to have one in common. `None` for an empty folder.
    fn sketch(&self, folder: u32) -> Option<[u32; SAMPLES]> {
        let mut least = [u32::MAX; SAMPLES];
        let mut add = |shape: u32| {
            let mut mixed = shape;
            for least in &mut least {
                mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d).rotate_left(13) ^ shape;
                *least = mixed.min(*least);
            }
        };
        // In the order of shapes, the first of each folder are the same for like folders.
        for at in self.names(folder).iter().take(SKETCHED) {
            let shape = self.shapes[*at as usize];
            add(shape);
            if self.file(*at).kind() == Some(Kind::Folder) {
                let below = self.names(self.catalog.names[*at as usize].file);
                let below = below.iter().take(SKETCHED);
                below.for_each(|at| add(shape.rotate_left(1) ^ self.shapes[*at as usize]));
            }
        }
        (!self.names(folder).is_empty()).then_some(least)
    }

    /// Whether two folders are versions of one another.
    fn are_versions(&self, left: u32, right: u32) -> bool {
        let mut common = Common::default();
        let mut pairs = vec![(left, right)];
        while let Some((left, right)) = pairs.pop() {
            self.compare(left, right, &mut common, &mut pairs);
        }
        common.are_versions()
    }

    /// Counts what two folders share, and notes the sub-folders of the same shape.
    fn compare(&self, left: u32, right: u32, common: &mut Common, pairs: &mut Vec<(u32, u32)>) {
        let (mut left, mut right) = (self.names(left), self.names(right));
        let shape = |at: Option<&u32>| at.map_or(u64::MAX, |at| self.shapes[*at as usize].into());
        while common.seen < COMPARED && (!left.is_empty() || !right.is_empty()) {
            common.seen += 1;
            let order = shape(left.first()).cmp(&shape(right.first()));
            let take = |from: &mut &[u32], takes: bool| {
                let (first, rest) = from.split_first().filter(|_| takes)?;
                *from = rest;
                Some(*first)
            };
            let a = take(&mut left, order.is_le());
            let b = take(&mut right, order.is_ge());
            match (a, b) {
                (Some(a), Some(b)) => self.pair(a, b, common, pairs),
                _ => {
                    common.alone[0] += a.map_or(0, |at| self.weight(at));
                    common.alone[1] += b.map_or(0, |at| self.weight(at));
                }
            }
        }
    }

    /// Counts two names of the same shape.
    fn pair(&self, a: u32, b: u32, common: &mut Common, pairs: &mut Vec<(u32, u32)>) {
        let (left, right) = (self.file(a), self.file(b));
        match (left.kind(), right.kind()) {
            (Some(Kind::Folder), Some(Kind::Folder)) => {
                let file = |at: u32| self.catalog.names[at as usize].file;
                pairs.push((file(a), file(b)));
            }
            (Some(Kind::File), Some(Kind::File)) if left.size.max(right.size) > 0 => {
                let longer = left.size.max(right.size);
                common.shared += 1;
                common.close += usize::from(longer - left.size.min(right.size) <= longer / 8);
            }
            _ => {}
        }
    }

    /// Empty files and links say nothing about likeness.
    fn weight(&self, name: u32) -> usize {
        let file = self.file(name);
        usize::from(match file.kind() {
            Some(Kind::File) => file.size > 0,
            kind => kind == Some(Kind::Folder),
        })
    }

    fn file(&self, name: u32) -> &'a File {
        &self.catalog.files[self.catalog.names[name as usize].file as usize]
    }
}

/// Which of a list belong together: each refers to an earlier one of its group, the first to
/// itself.
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn first(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// The groups by the least name in each: as a walk in the order of paths comes to them.
    fn in_walk_order(mut self, children: &[Child<'_>]) -> Vec<Vec<u32>> {
        let mut groups: Vec<(&[u8], Vec<u32>)> = Vec::new();
        let mut slots = vec![0; children.len()];
        for (at, child) in children.iter().enumerate() {
            let first = self.first(at);
            if first == at {
                slots[at] = groups.len();
                groups.push((child.name, Vec::new()));
            }
            let (least, folders) = &mut groups[slots[first]];
            *least = child.name.min(least);
            folders.push(child.folder);
        }
        groups.sort_by(|a, b| a.0.cmp(b.0));
        groups.into_iter().map(|(_, folders)| folders).collect()
    }
}
