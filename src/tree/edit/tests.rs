//! Histories of changes, held against a plain model.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::ROOT;
use super::*;
use crate::format::{Id, Inode, Kind, ObjectRef, Time};
use crate::storage::{MemoryStorage, Storage};

/// Inodes of the first tree: some pages of each kind.
const INODES: u64 = 7000;
/// Folders that they are spread over.
const FOLDERS: u64 = 30;

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Default)]
struct Model {
    rows: BTreeMap<u64, Row>,
    entries: BTreeMap<(u64, Vec<u8>), Found>,
    extents: BTreeMap<u64, Vec<Extent>>,
    next: u64,
}

fn row(random: &mut Random) -> Row {
    let mtime = Time { sec: i64::try_from(random.below(1 << 30)).unwrap(), nsec: 5 };
    let mut inode = Inode { nlink: 1, parent: ROOT, mtime, ..Inode::default() };
    match random.below(20) {
        0 => {
            let target = vec![b'x'; usize::try_from(random.below(9)).unwrap() + 1];
            (inode.mode, inode.size) = (0o120_777, target.len() as u64);
            (inode, target.into(), vec![])
        }
        kind => {
            (inode.mode, inode.size) = (0o100_644, 1 << 20);
            let xattr = (b"user.a".to_vec(), vec![u8::try_from(random.below(5)).unwrap()]);
            (inode, Box::default(), if kind == 1 { vec![xattr] } else { vec![] })
        }
    }
}

/// Up to four extents that cover 1 MiB.
fn extents(random: &mut Random, inode: u64) -> Vec<Extent> {
    let count = random.below(4) + 1;
    let each = (1 << 20) / count;
    let extent = |n| {
        let first = u32::try_from(random.below(1000)).unwrap();
        let bytes = if n + 1 == count { Extent::REST } else { each };
        Extent { inode, offset: n * each, bytes, origin: 1, first, count: 1024 }
    };
    (0..count).map(extent).collect()
}

fn name(random: &mut Random) -> Vec<u8> {
    format!("n{}", random.below(INODES * 4)).into_bytes()
}

impl Model {
    fn first(random: &mut Random) -> (Self, TreeWriter) {
        let mut model = Self { next: ROOT, ..Self::default() };
        let mut writer = TreeWriter::new(3);
        for n in 0..INODES {
            model.append(random, n % FOLDERS + 1);
        }
        model
            .rows
            .values()
            .for_each(|(inode, target, set)| writer.inode(inode.clone(), target, set));
        for ((folder, name), to) in &model.entries {
            writer.entry(*folder, name, to.inode, to.kind);
        }
        model.extents.values().flatten().for_each(|extent| writer.extent(*extent));
        (model, writer)
    }

    /// One inode more, which gets a name in a folder.
    fn append(&mut self, random: &mut Random, folder: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.rows.insert(number, row(random));
        let found = Found { inode: number, kind: Kind::File };
        self.entries.insert((folder, name(random)), found);
        self.extents.insert(number, extents(random, number));
        number
    }

    /// Changes what `edit` changes, here and there.
    fn change(&mut self, random: &mut Random, edit: &mut TreeEdit<'_>) {
        for _ in 0..random.below(12) {
            let number = random.below(self.next - 1) + 1;
            match random.below(5) {
                0 => {
                    let row = row(random);
                    edit.set_inode(number, row.clone());
                    self.rows.insert(number, row);
                }
                1 => {
                    edit.remove_inode(number);
                    self.rows.remove(&number);
                    self.extents.remove(&number);
                }
                2 => {
                    let extents = extents(random, number);
                    edit.set_extents(number, extents.clone());
                    self.extents.insert(number, extents);
                }
                3 => {
                    let (folder, name) = (random.below(FOLDERS) + 1, name(random));
                    let found = Found { inode: number, kind: Kind::File };
                    edit.set_entry(folder, &name, Some(found));
                    self.entries.insert((folder, name), found);
                }
                _ => {
                    let from = (random.below(FOLDERS) + 1, name(random));
                    let gone = self.entries.range(from..).next().map(|(key, _)| key.clone());
                    if let Some((folder, name)) = gone {
                        edit.set_entry(folder, &name, None);
                        self.entries.remove(&(folder, name));
                    }
                }
            }
        }
    }

    fn check(&self, tree: &Tree) {
        assert_eq!(tree.footer().next_inode, self.next);
        assert_eq!(tree.footer().entries, self.entries.len() as u64);
        for number in 1..self.next + 2 {
            assert_eq!(tree.row(number).unwrap(), self.rows.get(&number).cloned(), "{number}");
            let found = extents_of(tree, number);
            let there = self.extents.get(&number).into_iter().flatten();
            let there: Vec<Extent> = there.filter_map(|extent| extent.within(1 << 20)).collect();
            assert_eq!(found, there, "{number}");
        }
        let mut listed = BTreeMap::new();
        for folder in 1..self.next {
            tree.list(folder, 0, |name, found, _| {
                listed.insert((folder, name.to_vec()), found);
                true
            })
            .unwrap();
        }
        assert_eq!(listed, self.entries);
        for ((folder, name), found) in self.entries.iter().step_by(97) {
            assert_eq!(tree.lookup(*folder, name).unwrap(), Some(*found));
        }
    }
}

fn open(storage: &Arc<MemoryStorage>, (bytes, object): &(Vec<u8>, ObjectRef)) -> Tree {
    storage.put(&super::super::key(&object.id), bytes).unwrap();
    Tree::open(Arc::clone(storage) as Arc<dyn Storage>, object).unwrap()
}

fn extents_of(tree: &Tree, inode: u64) -> Vec<Extent> {
    let mut found = Vec::new();
    let mut each = |extent: &Extent| {
        found.push(*extent);
        Ok::<_, StorageError>(true)
    };
    tree.extents(inode, 1 << 20, 0, &mut each).unwrap();
    found
}

fn names_of(tree: &Tree, folder: u64) -> Vec<(Vec<u8>, Found)> {
    let mut found = Vec::new();
    let each = |name: &[u8], entry, _| {
        found.push((name.to_vec(), entry));
        true
    };
    tree.list(folder, 0, each).unwrap();
    found
}

/// What two trees say that they share is the same in both; how much that is.
fn check_shared(old: &Tree, new: &Tree) -> usize {
    let mut shared = 0;
    for number in 1..new.footer().next_inode + 2 {
        if old.shares_inode(new, number) {
            assert_eq!(old.row(number).unwrap(), new.row(number).unwrap(), "{number}");
            shared += 1;
        }
        if old.shares_folder(new, number) {
            assert_eq!(names_of(old, number), names_of(new, number), "{number}");
            shared += 1;
        }
        if old.shares_extents(new, number) {
            assert_eq!(extents_of(old, number), extents_of(new, number), "{number}");
            shared += 1;
        }
    }
    shared
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn a_history_of_changes_reads_as_its_model(seed: u64) {
        let mut random = Random(seed);
        let storage = Arc::new(MemoryStorage::default());
        let origins: Vec<Id> = vec![[7; 32]];
        let (mut model, writer) = Model::first(&mut random);
        let mut tree = open(&storage, &writer.finish(origins.clone(), 2));
        for round in 0..MAX_OTHERS * 2 {
            let mut edit = TreeEdit::new(&tree);
            model.change(&mut random, &mut edit);
            let fresh = model.next;
            for n in 0..random.below(20) {
                // Into a folder that is as new as they are.
                model.append(&mut random, fresh.max(model.next.saturating_sub(n)));
            }
            let mut writer = edit.writer(3).unwrap();
            for (inode, target, set) in model.rows.range(fresh..).map(|(_, row)| row) {
                writer.inode(inode.clone(), target, set);
            }
            for ((folder, name), to) in model.entries.range((fresh, vec![])..) {
                writer.entry(*folder, name, to.inode, to.kind);
            }
            let new = model.extents.range(fresh..).flat_map(|(_, extents)| extents);
            new.for_each(|extent| writer.extent(*extent));
            let next = open(&storage, &writer.finish(origins.clone(), 1 + round % 2));
            if round % 16 == 0 {
                check_shared(&tree, &next);
            }
            tree = next;
            prop_assert!(tree.footer().others.len() <= MAX_OTHERS);
            if round % 16 == 0 {
                model.check(&tree);
            }
        }
        model.check(&tree);
    }
}

#[test]
fn pages_that_no_change_touches_are_shared() {
    let mut random = Random(1);
    let storage = Arc::new(MemoryStorage::default());
    let (model, writer) = Model::first(&mut random);
    let first = writer.finish(vec![[7; 32]], 1);
    let tree = open(&storage, &first);
    let mut edit = TreeEdit::new(&tree);
    assert!(edit.is_empty());
    edit.set_entry(17, b"one more", Some(Found { inode: 5, kind: Kind::File }));
    let second = edit.writer(3).unwrap().finish(vec![[7; 32]], 1);
    let (old, tree) = (tree, open(&storage, &second));
    // Nearly all inodes and extents, and nearly all folders; and a tree shares all with itself.
    let all = usize::try_from(model.next + 1).unwrap() * 3;
    assert!(check_shared(&old, &tree) * 2 > all);
    assert_eq!(check_shared(&tree, &tree), all);
    assert!(!old.shares_folder(&tree, 17) && old.shares_inode(&tree, 17));
    let own = |table: &[PageRef]| table.iter().filter(|page| page.tree == 0).count();
    // A last page that is short is written anew, too.
    assert!(own(&tree.footer().inodes) <= 1, "{:?}", tree.footer().inodes);
    assert!(own(&tree.footer().extents) <= 1);
    assert!((1..=2).contains(&own(&tree.footer().entry_pages)));
    assert!(second.0.len() * 2 < first.0.len(), "{} {}", second.0.len(), first.0.len());
    assert_eq!(tree.footer().entries, model.entries.len() as u64 + 1);
    assert_eq!(tree.lookup(17, b"one more").unwrap().unwrap().inode, 5);
}
