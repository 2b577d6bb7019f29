//! What parity makes good, and parity itself.

use std::collections::HashSet;

use super::Repair;
use crate::maintain::Error;
use crate::maintain::check::{Depth, Report};
use crate::maintain::protect::{protect, sets};
use crate::parity::{Health, Set};
use crate::store::ROOTS;

impl Repair<'_> {
    /// Brings back what parity protects.
    pub(super) fn parity(&mut self, _: &Report) -> Result<bool, Error> {
        let mut any = false;
        for set in sets(&*self.storage)?.0 {
            self.go_on()?;
            let Health::Healed(objects) = set.heal(&*self.storage)? else { continue };
            for (key, bytes) in objects {
                self.storage.put(&key, &bytes)?;
                self.actions.push(format!("{key}: made whole by parity"));
                any = true;
            }
        }
        Ok(any)
    }

    /// Makes sets anew that are damaged, or protect what is not there any more, and protects what a
    /// repair made: an archive with parity has it afterwards, too.
    pub(super) fn protect(&mut self, report: Report) -> Result<Report, Error> {
        let (sets, broken) = sets(&*self.storage)?;
        if sets.is_empty() && broken.is_empty() {
            return Ok(report);
        }
        let percent = sets.iter().map(Set::percent).max();
        let mut useless: Vec<String> = broken.into_iter().map(|(key, _)| key).collect();
        for set in sets {
            self.go_on()?;
            let beyond = match set.heal(&*self.storage)? {
                Health::Beyond { objects, .. } => objects,
                Health::Whole | Health::Healed(_) => Vec::new(),
            };
            let roots = beyond.iter().filter(|key| key.starts_with(ROOTS));
            self.lost.extend(roots.map(|key| format!("{key}: lost; parity is not enough for it")));
            let data = self.depth != Depth::Quick;
            if !beyond.is_empty() || set.damage(&*self.storage, data).is_some() {
                useless.push(set.key);
            }
        }
        for key in &useless {
            self.storage.delete(key)?;
            self.actions.push(format!("{key}: damaged parity is removed"));
        }
        match protect(&self.storage, percent, &HashSet::new(), self.monitor) {
            Ok(0) if useless.is_empty() => return Ok(report),
            Ok(0) if percent.is_none() => {
                let text = "parity is lost; packfs rebuild --parity adds it anew";
                self.lost.push(text.to_owned());
            }
            Ok(0) => {}
            Ok(_) => self.actions.push("parity is made of what had none".to_owned()),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // What is needed is not whole.
            Err(error) => log::warn!("{error}; there is no parity of it"),
        }
        self.check()
    }
}
