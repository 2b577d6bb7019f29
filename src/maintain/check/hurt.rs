//! Which paths damage hurts: walks a root as a reader would.

use std::collections::HashMap;
use std::sync::Arc;

use super::packs::Bad;
use super::{Checker, Damage, Harm, Hurt, What};
use crate::format::{PageKind, Section};
use crate::index::{FrameId, Piece};
use crate::maintain::Error;
use crate::maintain::kept::{Kept, Opened, has_top};
use crate::maintain::walk::{Seen, walk};
use crate::storage::StorageError;
use crate::tree::{self, Tree};

/// Something hurt by the damage of that ordinal, or by one that nobody has told yet.
type Blow = (Result<usize, Damage>, Vec<u8>, Harm);

impl Checker<'_> {
    /// All of the roots of these names is hurt by a damage.
    pub(super) fn all_hurt(&mut self, damage: usize, names: &[String]) {
        if !names.is_empty() {
            let hurt = Hurt { roots: names.into(), path: Vec::new(), harm: Harm::All };
            self.damages[damage].hurts(hurt);
        }
    }

    /// Adds to each damage what it hurts in a root.
    pub(super) fn hurt(&mut self, kept: &Kept) -> Result<(), Error> {
        let opened = Opened::of(&self.storage, &kept.root);
        let mut shut: Vec<usize> = self.shut.into_iter().collect();
        let segments = kept.root.segments.iter().map(|segment| segment.id);
        shut.extend(segments.filter_map(|id| *self.segments.get(&id)?));
        shut.extend(self.trees.get(&kept.root.tree.id).copied().flatten());
        let tree = opened.tree.as_ref().ok();
        if let Some(tree) = tree
            && has_top(tree).is_err()
        {
            let page = tree.inode_page(tree::ROOT).and_then(|at| tree.footer().inodes.get(at));
            shut.extend(page.and_then(|page| *self.pages.get(&tree.place(page))?));
        }
        if !shut.is_empty() {
            shut.sort_unstable();
            shut.dedup();
            shut.into_iter().for_each(|damage| self.all_hurt(damage, &kept.names));
            return Ok(());
        }
        let Some(tree) = tree else { return Ok(()) };
        let blows = self.blows(kept, &opened, tree)?;
        let roots: Arc<[String]> = kept.names.as_slice().into();
        // Damage that only came up now is told once for each root and object.
        let mut new: HashMap<(String, String), usize> = HashMap::new();
        for (damage, path, harm) in blows {
            let damage = match damage {
                Ok(at) => at,
                Err(damage) => {
                    let place = (damage.object.clone(), damage.place.clone());
                    match new.get(&place) {
                        Some(at) => *at,
                        None => *new.entry(place).or_insert(self.add(damage)),
                    }
                }
            };
            self.damages[damage].hurts(Hurt { roots: Arc::clone(&roots), path, harm });
        }
        Ok(())
    }

    fn blows(&self, kept: &Kept, opened: &Opened, tree: &Tree) -> Result<Vec<Blow>, Error> {
        let bad = self.packs.bad(&opened.index);
        let mut blows: Vec<Blow> = Vec::new();
        let lost = |why: &str| Damage::new(What::Shape, &kept.key, "tree", why.to_owned());
        walk(tree, &opened.index, &mut |path, _, seen| {
            let (damage, harm) = match seen {
                Seen::Inode(_) => return self.go_on(),
                Seen::Again => return Ok(()),
                Seen::Piece(at, piece) => {
                    pieces(&bad, at, &piece, |damage, harm| {
                        blows.push((Ok(damage), path.to_vec(), harm));
                    });
                    return Ok(());
                }
                Seen::Nothing(None) => {
                    (Err(lost("names lead to inodes that are not there")), Harm::All)
                }
                Seen::Nothing(Some((page, error))) => {
                    (self.page_damage(tree, PageKind::Inodes, page, &error), Harm::All)
                }
                Seen::Unlisted { from, to, page, error } => {
                    let harm = Harm::Names(from.to_vec(), to.map(<[u8]>::to_vec));
                    (self.page_damage(tree, PageKind::Entries, page, &error), harm)
                }
                Seen::Unread(from, to, page, error) => {
                    let damage = self.page_damage(tree, PageKind::Extents, page, &error);
                    (damage, Harm::Bytes(from, to))
                }
                Seen::Missing(from, to) => {
                    let missing = self.missing.get(&kept.key).copied();
                    let new = || lost("no extents say where bytes of files are");
                    (missing.ok_or_else(new), Harm::Bytes(from, to))
                }
            };
            blows.push((damage, path.to_vec(), harm));
            Ok(())
        })?;
        Ok(blows)
    }

    fn page_damage(
        &self,
        tree: &Tree,
        kind: PageKind,
        at: usize,
        error: &StorageError,
    ) -> Result<usize, Damage> {
        let place = tree.footer().table(kind).get(at).map(|page| tree.place(page));
        let known = place.and_then(|place| *self.pages.get(&place)?);
        known.ok_or_else(|| {
            // It was whole a moment ago.
            let (id, offset) = place.unwrap_or_default();
            let section = match kind {
                PageKind::Inodes => Section::Inodes,
                PageKind::Entries => Section::Entries,
                PageKind::Extents => Section::Extents,
                PageKind::Dictionaries => Section::Dictionary,
            };
            let where_ = format!("{section} at byte {offset}");
            let why = super::damage::reason(&error.kind);
            Damage { at: offset, ..Damage::new(What::Page, &tree::key(&id), &where_, why) }
        })
    }
}

/// What damaged frames and blocks hurt of a piece of a file that begins at `at`.
fn pieces(
    bad: &HashMap<FrameId, Bad<'_>>,
    at: u64,
    piece: &Piece,
    mut hurt: impl FnMut(usize, Harm),
) {
    let Some(bad) = bad.get(&piece.frame) else { return };
    let end = piece.offset.saturating_add(piece.length);
    if let Some(damage) = bad.whole {
        hurt(damage, Harm::Bytes(at, at.saturating_add(piece.length.into())));
        return;
    }
    for (from, to, damage) in bad.blocks {
        let (from, to) = ((*from).max(piece.offset), (*to).min(end));
        if from < to {
            hurt(*damage, Harm::Wrong);
        }
    }
}
