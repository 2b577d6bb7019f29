//! What parity makes good, and parity itself.

use super::Repair;
use crate::maintain::Error;
use crate::maintain::check::{Depth, Report};
use crate::maintain::protect::{percent, protect};
use crate::parity::{Health, sets};
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
        let percent = percent(&*self.storage)?;
        if percent.is_none() && broken.is_empty() {
            return Ok(report);
        }
        let damaged = "damaged parity is removed".to_owned();
        let broken = broken.into_iter().map(|(key, _)| (key, damaged.clone()));
        let mut useless: Vec<(String, String)> = broken.collect();
        for set in sets {
            self.go_on()?;
            if let Health::Beyond { objects, shards, recovery } = set.heal(&*self.storage)? {
                let lost = |key: &String| format!("{key}: lost; parity is not enough for it");
                let roots = objects.iter().filter(|key| key.starts_with(ROOTS));
                self.lost.extend(roots.map(lost));
                let text = format!("removed: it has {recovery} shards left, and {shards} are lost");
                useless.push((set.key, text));
            } else if set.damage(&*self.storage, self.depth != Depth::Quick).is_some() {
                useless.push((set.key, damaged.clone()));
            }
        }
        for (key, why) in &useless {
            self.storage.delete(key)?;
            self.actions.push(format!("{key}: {why}"));
        }
        match protect(&self.storage, percent, self.monitor) {
            Ok(0) if useless.is_empty() => return Ok(report),
            Ok(0) if percent.is_none() => {
                let text = "parity is lost; packfs rebuild --parity adds it anew";
                self.lost.push(text.to_owned());
            }
            Ok(0) => {}
            Ok(_) => self.actions.push("parity is made of what had none".to_owned()),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // Then there is nothing else to be repaired, and all is there.
            Err(error) if report.damages.is_empty() && useless.is_empty() => return Err(error),
            // What is needed is not whole.
            Err(error) => log::warn!("{error}; there is no parity of it"),
        }
        self.check()
    }
}
