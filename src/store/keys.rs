//! Where objects are put. Layout: `format-spec.md`, "Store".

use crate::format::{Id, hex, unhex};

/// Key of the settings.
pub const CONFIG: &str = "packfs.toml";
/// What the keys of roots start with.
pub const ROOTS: &str = "roots/";
/// What the keys of index segments start with.
pub const INDEX: &str = "index/";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_root_tells_its_number() {
        assert_eq!(parse_root(&root_key(12, &[3; 32])), Some((12, [3; 32])));
        assert_eq!(parse_root("roots/x"), None);
        assert_eq!(parse_root(&root_key(12, &[3; 32]).replace("12", "+12")), None);
    }
}
