//! Checks parity sets, and that what they protect is there: by that, a lost root is told from one
//! that never was.

use std::collections::HashSet;

use super::damage::{may_go_on, reason};
use super::{Checker, Damage, Depth, What};
use crate::maintain::Error;
use crate::maintain::kept::HEAD;
use crate::maintain::protect::percent;
use crate::parity::{Health, PARITY, Set, sets};
use crate::store::{SNAPSHOTS, parse_root};

/// How far parity goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// How many recovery shards of a hundred data shards there are to be.
    pub percent: u32,
    /// Objects that no set protects, though they are needed, and their bytes; `None`: a set cannot
    /// be opened.
    pub bare: Option<(u64, u64)>,
}

impl Checker<'_> {
    /// Checks parity sets, as far as `depth` goes; `head` is the number of the newest root.
    pub(super) fn parity(
        &mut self,
        head: Option<u64>,
        depth: Depth,
    ) -> Result<Option<Cover>, Error> {
        let (sets, broken) = sets(&*self.storage)?;
        let is_broken = !broken.is_empty();
        for (key, error) in broken {
            may_go_on(&error.clone().into())?;
            self.add(Damage::new(What::Parity, &key, "", reason(&error.kind)));
        }
        for set in &sets {
            self.go_on()?;
            self.needed.insert(set.key.clone(), set.id());
            if let Some(why) = set.damage(&*self.storage, depth != Depth::Quick) {
                self.add(Damage::new(What::Parity, &set.key, "", why));
            }
            self.members(set, head);
        }
        let percent = percent(&*self.storage)?;
        let bare = (!is_broken).then(|| self.bare(&sets));
        Ok(percent.map(|percent| Cover { percent, bare }))
    }

    /// Counts what is needed, and protected by none of the sets.
    fn bare(&self, sets: &[Set]) -> (u64, u64) {
        let members = sets.iter().flat_map(Set::members);
        let protected: HashSet<&str> = members.map(|member| member.key.as_str()).collect();
        let (mut count, mut bytes) = (0, 0);
        for key in self.needed.keys().map(String::as_str) {
            let fixed = !key.starts_with(SNAPSHOTS) && !key.starts_with(PARITY);
            if fixed && !protected.contains(key) {
                count += 1;
                // What is lost was told as that.
                bytes += self.storage.size(key).unwrap_or(0);
            }
        }
        (count, bytes)
    }

    /// Checks that whole sets have the checksums of what they protect, where that is whole, too;
    /// and by these what they protect and no root shown needs.
    pub(super) fn sums(&mut self) -> Result<(), Error> {
        let known: HashSet<String> =
            self.damages.iter().map(|damage| damage.object.clone()).collect();
        for set in sets(&*self.storage)?.0 {
            self.go_on()?;
            let mut members = set.members().iter().map(|member| &member.key);
            if known.contains(&set.key) || members.any(|key| known.contains(key)) {
                continue;
            }
            match set.heal(&*self.storage)? {
                Health::Whole => {}
                // Nobody reads them: they were not looked at.
                Health::Healed(objects) => {
                    for (key, _) in objects {
                        let why = "damaged, and parity has it".to_owned();
                        self.add(Damage::new(What::Object, &key, "", why));
                    }
                }
                Health::Beyond { .. } => {
                    let why = "its checksums are not those of what it protects".to_owned();
                    self.add(Damage::new(What::Parity, &set.key, "", why));
                }
            }
        }
        Ok(())
    }

    /// Tells what a set protects and is not there, if it was not told yet.
    fn members(&mut self, set: &Set, head: Option<u64>) {
        for member in set.members() {
            let why = match self.storage.size(&member.key) {
                Ok(size) if size == member.length => continue,
                Ok(size) => format!("is {size} bytes long, not {}", member.length),
                Err(error) => reason(&error.kind),
            };
            if self.damages.iter().any(|damage| damage.object == member.key) {
                continue;
            }
            let root = parse_root(&member.key).map(|(number, _)| number);
            let what = if root.is_some() { What::Root } else { What::Object };
            let at = self.add(Damage::new(what, &member.key, "", why));
            if root.is_some_and(|number| head.is_none_or(|head| number > head)) {
                self.all_hurt(at, &[HEAD.to_owned()]);
            }
        }
    }
}
