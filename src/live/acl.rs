//! POSIX ACLs as the kernel has them: a version, then entries of tag, permissions and id. What
//! acl(5) says of the mode and the ACL of a file is kept true here.

/// The attribute with a file's ACL.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the ACL that new files in a folder get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = 2u32.to_le_bytes();
const ENTRY: usize = 8;

const USER_OWNER: u16 = 0x01;
const GROUP_OWNER: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// An ACL: tag, permissions and the id's bytes of each entry.
#[derive(Debug, Clone)]
pub struct Acl(Vec<(u16, u16, [u8; 4])>);

impl Acl {
    /// Reads an ACL; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let entries = bytes.strip_prefix(&VERSION)?;
        let (entries, rest) = entries.as_chunks::<ENTRY>();
        let entry = |[a, b, c, d, id @ ..]: &[u8; ENTRY]| {
            (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]), *id)
        };
        rest.is_empty().then(|| Self(entries.iter().map(entry).collect()))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_vec();
        for (tag, permissions, id) in &self.0 {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend(id);
        }
        out
    }

    /// Whether it says no more than a mode does.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|(tag, ..)| matches!(*tag, USER_OWNER | GROUP_OWNER | OTHER))
    }

    fn permissions(&mut self, tag: u16) -> Option<&mut u16> {
        self.0.iter_mut().find(|entry| entry.0 == tag).map(|entry| &mut entry.1)
    }

    /// The permission bits for the group class: those of the mask, where there is one.
    fn class(&mut self) -> Option<&mut u16> {
        let tag = if self.permissions(MASK).is_some() { MASK } else { GROUP_OWNER };
        self.permissions(tag)
    }

    /// The permission bits of a mode with this ACL.
    #[must_use]
    pub fn mode(&mut self) -> u32 {
        let mut get = |tag| u32::from(self.permissions(tag).map_or(0, |bits| *bits & 7));
        let (user, other) = (get(USER_OWNER), get(OTHER));
        let group = u32::from(self.class().map_or(0, |bits| *bits & 7));
        user << 6 | group << 3 | other
    }

    /// Makes it that of a file whose mode was changed.
    pub fn chmod(&mut self, mode: u32) {
        let bits = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or(0);
        self.permissions(USER_OWNER).into_iter().for_each(|user| *user = bits(6));
        self.class().into_iter().for_each(|class| *class = bits(3));
        self.permissions(OTHER).into_iter().for_each(|other| *other = bits(0));
    }

    /// Makes the default ACL of a folder that of a new file in it, made with that mode; returns the
    /// permission bits that it then has.
    pub fn inherit(&mut self, mode: u32) -> u32 {
        let bits = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or(0);
        self.permissions(USER_OWNER).into_iter().for_each(|user| *user &= bits(6));
        self.class().into_iter().for_each(|class| *class &= bits(3));
        self.permissions(OTHER).into_iter().for_each(|other| *other &= bits(0));
        self.mode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_the_group_class() {
        let id = [255; 4];
        let named = (2, 7, 1000u32.to_le_bytes());
        let entries = [(USER_OWNER, 7, id), named, (GROUP_OWNER, 5, id), (MASK, 7, id)];
        let acl = Acl([&entries[..], &[(OTHER, 4, id)]].concat());
        let mut acl = Acl::decode(&acl.encode()).unwrap();
        assert!(!acl.is_plain());
        assert_eq!(acl.mode(), 0o774);
        acl.chmod(0o640);
        assert_eq!(acl.mode(), 0o640);
        assert_eq!(*acl.permissions(GROUP_OWNER).unwrap(), 5);
        assert_eq!(acl.inherit(0o600), 0o600);
        assert!(Acl::decode(b"\x02\0\0\0\x01").is_none());
    }
}
