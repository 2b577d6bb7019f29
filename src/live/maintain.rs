//! What keeps the store of a mount healthy while it is written to: the tree that it shows stays
//! the same, and its blocks may lie elsewhere.

use std::sync::Arc;

use super::LiveFs;
use super::commit::{CommitError, Committer};
use super::open::{base_of, expect};
use crate::fs::{ArchiveFs, Owner};
use crate::maintain::collect::{Collected, collect};
use crate::maintain::protect::protect;
use crate::maintain::rebuild::{self, Made};
use crate::monitor::Quiet;
use crate::storage::{Announced, Storage};
use crate::store::At;

impl LiveFs {
    /// Protects what was committed, in a store that has parity.
    pub(super) fn protect(&self) {
        let _committer = self.committer.lock();
        if let Err(error) = protect(&self.storage, None, &Quiet::default()) {
            log::warn!("{error}; what was written has no parity yet");
        }
    }

    /// Removes what nothing needs any more. No commit begins meanwhile.
    ///
    /// # Errors
    /// If what was written before cannot be committed, or what is needed cannot be read.
    pub fn collect(&self) -> Result<Collected, CommitError> {
        let mut committer = self.committer.lock();
        // Who waits for room waits for this, too.
        self.signals.packing(true);
        let collected = self.collect_all(&mut committer);
        self.signals.packing(false);
        collected
    }

    fn collect_all(&self, committer: &mut Committer) -> Result<Collected, CommitError> {
        self.commit_all(committer)?;
        let mut failed = None;
        let swap = &mut || {
            self.rebase(committer).map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                crate::maintain::Error::Refused(text)
            })
        };
        let collected = collect(&self.announced(), super::now().sec, &Quiet::default(), swap);
        match failed {
            Some(error) => Err(error),
            None => Ok(collected?),
        }
    }

    /// Takes on an index of blocks that were packed anew.
    ///
    /// # Errors
    /// As [`LiveFs::collect`].
    pub fn adopt(&self, made: &Made) -> Result<(), CommitError> {
        let mut committer = self.committer.lock();
        self.commit_all(&mut committer)?;
        rebuild::adopt(&*self.announced(), made, super::now().sec)?;
        self.rebase(&mut committer)
    }

    /// The storage, where all is committed: it tells the journal of each root before that is there.
    fn announced(&self) -> Arc<dyn Storage> {
        let log = Arc::clone(&self.state.read().active.log);
        let before = move |key: &str| expect(&log, key);
        Arc::new(Announced::new(Arc::clone(&self.storage), Box::new(before)))
    }

    /// Puts the newest root below, which has the tree of the one that was there. The journal of the
    /// active layer, which expects it, rests on it from then on.
    fn rebase(&self, committer: &mut Committer) -> Result<(), CommitError> {
        // It may know blocks that are about to go.
        committer.known = None;
        let store = Arc::new(self.base().store().also(&At::Head)?);
        let log = Arc::clone(&self.state.read().active.log);
        log.rest_on(&base_of(&store))?;
        let base = Arc::new(ArchiveFs::new(store, Owner::default()));
        self.state.write().below.base = base;
        Ok(())
    }
}
