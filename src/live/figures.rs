//! What a live store tells of itself: what is not packed yet, and what it did so far.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::LiveFs;
use super::packer::spooled;
use crate::fs::figures;

impl LiveFs {
    /// Its figures, as JSON.
    #[must_use]
    pub fn figures(&self) -> Value {
        let base = self.base();
        let mut told = figures(base.store());
        let (spool, inodes, held) = {
            let state = self.state.read();
            let sealed = state.below.layers.iter().map(|layer| layer.nodes.len());
            (spooled(&state), state.active.nodes.len() + sealed.sum::<usize>(), state.held())
        };
        let (commits, failed) = self.signals.commits();
        told.insert("seconds".to_owned(), json!(self.started.elapsed().as_secs()));
        told.insert(
            "changes".to_owned(),
            json!({
                "inodes": inodes,
                "memory": held,
                "memory_budget": self.options.memory,
                "spool": spool,
                "spool_budget": self.options.spool,
            }),
        );
        told.insert(
            "commits".to_owned(),
            json!({
                "done": commits,
                "under_way": self.signals.packing.load(Ordering::Relaxed),
                "failing": failed,
            }),
        );
        Value::Object(told)
    }
}
