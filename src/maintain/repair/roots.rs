//! Writes roots anew: of the newest whole tree, and of trees whose index is another now.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Repair;
use crate::format::{Id, ObjectRef, PageKind, Root, Section, Segment, Totals};
use crate::format::{check, hex, unhex};
use crate::index::Index;
use crate::maintain::Error;
use crate::maintain::check::{Report, What};
use crate::maintain::kept::{HEAD, Kept, Opened, Roots};
use crate::maintain::publish::{put_root, reroot};
use crate::maintain::walk::{Seen, walk};
use crate::storage::last_section;
use crate::store::{INDEX, list_roots, parse_root};
use crate::tree::Tree;

impl Repair<'_> {
    /// Gives roots other segments, each by its key: snapshots get roots of the same number, and a
    /// new head follows them all.
    pub(super) fn rewrite(
        &mut self,
        roots: &Roots,
        segments: &HashMap<String, Vec<ObjectRef>>,
    ) -> Result<(), Error> {
        let number =
            reroot(&*self.storage, roots, |kept| segments.get(&kept.key).cloned(), self.now)?;
        self.actions.push(format!("root {number}: the newest now, with what was mended"));
        Ok(())
    }

    /// Writes a root for the newest whole tree, where the newest root is lost.
    pub(super) fn lost_root(&mut self, report: &Report) -> Result<bool, Error> {
        let lost = report.damages.iter().any(|damage| damage.what == What::Root);
        if !lost {
            return Ok(false);
        }
        let roots = Roots::read(&*self.storage)?;
        let newer = roots.broken.iter().any(|broken| broken.newer) || roots.kept.is_empty();
        let mut done = false;
        if newer && let Some((tree, object)) = self.newest_tree(&roots)? {
            self.root_of(&roots, &tree, object)?;
            done = true;
        } else if newer && let Some(head) = roots.kept.first() {
            let number = head.root.number;
            self.lost.push(format!("what was added after root {number} is lost"));
        }
        if !done && roots.kept.is_empty() {
            return Ok(false);
        }
        // They name nothing that could be used, and would be doubted for ever.
        for broken in roots.broken.iter().filter(|broken| parse_root(&broken.key).is_some()) {
            if broken.names.iter().all(|name| name == HEAD)
                && self.storage.size(&broken.key).is_ok()
            {
                self.storage.delete(&broken.key)?;
                self.actions.push(format!("{}: removed", broken.key));
                done = true;
            }
        }
        Ok(done)
    }

    fn root_of(&mut self, roots: &Roots, tree: &Tree, object: ObjectRef) -> Result<(), Error> {
        let head = roots.kept.first();
        let segments = self.segments_for(roots)?;
        let broken = list_roots(&*self.storage)?.into_iter().map(|(number, ..)| number);
        let after = head.map_or(0, |head| head.root.number).saturating_add(1);
        let number = broken.max().unwrap_or(0).max(after);
        let parents = head.and_then(|head| parse_root(&head.key)).map(|(_, id)| id);
        let parents = parents.into_iter().collect();
        let index = Index::new(Vec::new());
        let (mut totals, mut seen) = (Totals::default(), HashSet::new());
        walk(tree, &index, &mut |_, inode, what| {
            if let Seen::Inode(row) = what {
                totals.entries += 1;
                if seen.insert(inode) {
                    totals.count(row);
                }
            }
            self.go_on()
        })?;
        let root = Root { number, created: self.now, tree: object, parents, segments, totals };
        put_root(&*self.storage, &root)?;
        self.actions.push(format!("root {number}: written for the tree {}", hex(&object.id)));
        Ok(())
    }

    /// The segments of the newest root, and all others that are whole, those last that only give
    /// blocks of other chains a new place.
    fn segments_for(&self, roots: &Roots) -> Result<Vec<ObjectRef>, Error> {
        let head = roots.kept.first();
        let mut segments = head.map_or_else(Vec::new, |head| head.root.segments.clone());
        let known: HashSet<Id> = segments.iter().map(|segment| segment.id).collect();
        let kept = roots.kept.iter().skip(1).flat_map(|kept| &kept.root.segments);
        let of_others: HashSet<Id> = kept.map(|segment| segment.id).collect();
        let mut found: Vec<(bool, ObjectRef)> = Vec::new();
        for key in self.storage.list(INDEX)? {
            let Some(id) = key.strip_prefix(INDEX).and_then(unhex) else { continue };
            if known.contains(&id) || (head.is_some() && of_others.contains(&id)) {
                continue;
            }
            let Ok(bytes) = self.storage.get(&key, u64::MAX) else { continue };
            let bytes = bytes.as_ref();
            let (Ok(segment), Ok(checksum)) = (Segment::open(bytes), check(Section::Index, bytes))
            else {
                continue;
            };
            if *blake3::hash(bytes).as_bytes() != id {
                continue;
            }
            let packs: HashSet<Id> = segment.packs().iter().map(|(id, _)| *id).collect();
            let moves = segment.homes().iter().any(|home| !packs.contains(home));
            found.push((moves, ObjectRef { id, length: bytes.len() as u64, checksum }));
        }
        found.sort_by_key(|(moves, segment)| (*moves, segment.id));
        segments.extend(found.into_iter().map(|(_, segment)| segment));
        Ok(segments)
    }

    /// The newest tree that is whole and no root names.
    fn newest_tree(&self, roots: &Roots) -> Result<Option<(Tree, ObjectRef)>, Error> {
        let named: BTreeSet<Id> = roots.kept.iter().map(|kept| kept.root.tree.id).collect();
        let mut found: Vec<(Tree, ObjectRef)> = Vec::new();
        for key in self.storage.list("trees/")? {
            self.go_on()?;
            let Some(id) = key.strip_prefix("trees/").and_then(unhex) else { continue };
            let Some(object) = self.tree_object(&key, id) else { continue };
            let opened = Tree::open(Arc::clone(&self.storage), &object);
            if let Some(tree) = opened.ok().filter(is_whole) {
                found.push((tree, object));
            }
        }
        // Who takes pages of another tree came after it.
        let shared: HashSet<Id> = found
            .iter()
            .filter(|(_, object)| !named.contains(&object.id))
            .flat_map(|(tree, _)| tree.footer().others.iter().map(|other| other.id))
            .collect();
        let kept = roots.kept.first().map(|head| head.root.tree.id);
        let newest = found
            .into_iter()
            .filter(|(_, object)| !named.contains(&object.id) && !shared.contains(&object.id))
            .max_by_key(|(tree, object)| {
                let follows = tree.footer().others.iter().any(|other| Some(other.id) == kept);
                (follows, tree.footer().next_inode, object.id)
            });
        Ok(newest)
    }

    fn tree_object(&self, key: &str, id: Id) -> Option<ObjectRef> {
        let length = self.storage.size(key).ok()?;
        let (_, footer) = last_section(&*self.storage, key, length).ok()?;
        let checksum = check(Section::Tree, &footer).ok()?;
        Some(ObjectRef { id, length, checksum })
    }
}

/// Whether every page of a tree can be read.
fn is_whole(tree: &Tree) -> bool {
    let kinds = [PageKind::Dictionaries, PageKind::Inodes, PageKind::Entries, PageKind::Extents];
    let whole = |kind: PageKind| {
        (0..tree.footer().table(kind).len()).all(|at| tree.check_page(kind, at).is_ok())
    };
    crate::maintain::kept::has_top(tree).unwrap_or(false) && kinds.into_iter().all(whole)
}

/// The roots that are kept, with what each needs.
pub(super) fn opened(repair: &Repair<'_>, roots: &Roots) -> Vec<(Kept, Opened)> {
    let open = |kept: &Kept| (kept.clone(), Opened::of(&repair.storage, &kept.root));
    roots.kept.iter().map(open).collect()
}
