//! Checks parity sets, and that what they protect is there: by that, a lost root is told from one
//! that never was.

use super::damage::{may_go_on, reason};
use super::{Checker, Damage, What};
use crate::maintain::Error;
use crate::maintain::kept::HEAD;
use crate::parity::{Set, sets};
use crate::store::parse_root;

impl Checker<'_> {
    /// Checks parity sets, and with `data` all their bytes; `head` is the number of the newest
    /// root.
    pub(super) fn parity(&mut self, head: Option<u64>, data: bool) -> Result<(), Error> {
        let (sets, broken) = sets(&*self.storage)?;
        for (key, error) in broken {
            may_go_on(&error.clone().into())?;
            self.add(Damage::new(What::Parity, &key, "", reason(&error.kind)));
        }
        for set in sets {
            self.go_on()?;
            self.needed.insert(set.key.clone(), set.id());
            if let Some(why) = set.damage(&*self.storage, data) {
                self.add(Damage::new(What::Parity, &set.key, "", why));
            }
            self.members(&set, head);
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
