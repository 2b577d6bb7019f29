//! What a process that shows an archive holds and did: the figures all mounts tell alike.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::store::Store;

/// Figures of a store that is read: its name, its root, memory, and its working set.
#[must_use]
pub fn figures(store: &Store) -> Map<String, Value> {
    let counts = store.working_set_counts();
    let name = store.name();
    let told = json!({
        "archive": Path::new(&name).file_name().unwrap_or_default().to_string_lossy(),
        "root": store.root().0,
        "memory": resident(),
        "inflated": store.inflated_bytes(),
        "working_set": {
            "budget": store.working_set_budget(),
            "bytes": counts.bytes,
            "hits": counts.hits,
            "joined": counts.joined,
            "misses": counts.misses,
            "evicted": counts.evicted,
        },
    });
    let Value::Object(told) = told else { return Map::new() };
    told
}

/// Memory that this process holds, in bytes; 0 where /proc does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
