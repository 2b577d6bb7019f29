//! Where objects are put. Layout: `format-spec.md`, "Store".

use crate::format::{Id, hex, unhex, valid_snapshot_name};

/// Key of the settings.
pub const CONFIG: &str = "packfs.toml";
/// What the keys of roots start with.
pub const ROOTS: &str = "roots/";
/// What the keys of index segments start with.
pub const INDEX: &str = "index/";

/// What the keys of snapshots start with.
pub const SNAPSHOTS: &str = "snapshots/";

/// The key of the root of that number and id.
#[must_use]
pub fn root_key(number: u64, id: &Id) -> String {
    format!("{ROOTS}{number}-{}", hex(id))
}

/// The key of the index segment of that id.
#[must_use]
pub fn index_key(id: &Id) -> String {
    format!("{INDEX}{}", hex(id))
}

/// The number and id in the key of a root; `None` if it is not one.
#[must_use]
pub fn parse_root(key: &str) -> Option<(u64, Id)> {
    let (number, id) = key.strip_prefix(ROOTS)?.split_once('-')?;
    let (number, id) = (number.parse().ok()?, unhex(id)?);
    // Only as `root_key` writes it: no other spelling of the same number or id.
    (root_key(number, &id) == key).then_some((number, id))
}

/// The key of the snapshot of that name; `None` if none can have it.
#[must_use]
pub fn snapshot_key(name: &str) -> Option<String> {
    valid_snapshot_name(name).then(|| format!("{SNAPSHOTS}{name}"))
}

/// The name in the key of a snapshot; `None` if it is not one.
#[must_use]
pub fn parse_snapshot(key: &str) -> Option<&str> {
    key.strip_prefix(SNAPSHOTS).filter(|name| valid_snapshot_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_root_tells_its_number() {
        assert_eq!(parse_root(&root_key(12, &[3; 32])), Some((12, [3; 32])));
        assert_eq!(parse_root("roots/x"), None);
        assert_eq!(parse_root(&root_key(12, &[3; 32]).replace("12", "+12")), None);
    }

    #[test]
    fn the_key_of_a_snapshot_leads_into_its_folder() {
        assert_eq!(parse_snapshot("snapshots/a b"), Some("a b"));
        assert_eq!(snapshot_key("a b").as_deref(), Some("snapshots/a b"));
        for wrong in ["../roots/x", "a/b", ".tmp-a", ""] {
            assert_eq!(snapshot_key(wrong), None);
            assert_eq!(parse_snapshot(&format!("snapshots/{wrong}")), None);
        }
    }
}
