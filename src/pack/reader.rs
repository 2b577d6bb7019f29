//! Reads what a pack says of itself. Its frames the index finds without that.

use crate::format::{Id, PackFooter};
use crate::storage::{Storage, StorageError, last_section};

/// The footer of the pack of that id, which is `length` bytes long.
///
/// # Errors
/// If the pack is missing or shorter than that, cannot be read, or does not check out.
pub fn footer(storage: &dyn Storage, id: &Id, length: u64) -> Result<PackFooter, StorageError> {
    let key = super::key(id);
    let (offset, footer) = last_section(storage, &key, length)?;
    PackFooter::decode(&footer, offset)
        .map_err(|source| StorageError::format(&storage.locate(&key), source))
}

#[cfg(test)]
mod tests {
    use super::super::PackWriter;
    use super::*;
    use crate::format::{BlockHash, Codec};
    use crate::storage::MemoryStorage;

    #[test]
    fn a_pack_tells_its_blocks() {
        let storage = MemoryStorage::default();
        let mut writer = PackWriter::new([0; 32], 0, BlockHash::Blake3, 16);
        writer.add_frame(Codec::None, b"abc", &[(1, [1; 32]), (2, [2; 32])]);
        let pack = writer.seal();
        let key = super::super::key(&pack.id);
        storage.put(&key, &pack.bytes).unwrap();
        let length = pack.bytes.len() as u64;
        assert_eq!(footer(&storage, &pack.id, length).unwrap(), pack.footer);
        let error = footer(&storage, &pack.id, length - 1).unwrap_err();
        assert!(error.to_string().contains(&key), "{error}");
        assert!(footer(&storage, &pack.id, 7).is_err());
        assert!(footer(&storage, &[7; 32], length).unwrap_err().is_not_found());
    }
}
