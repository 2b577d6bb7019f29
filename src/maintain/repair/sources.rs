//! Where what is lost may be found: other archives, and folders of files.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Repair;
use crate::format::{BlockHash, Config, Cutting, Id, MAX_PACK, VERSION, hex};
use crate::maintain::check::{Report, What};
use crate::maintain::copy;
use crate::maintain::kept::{Opened, Roots};
use crate::maintain::protect::percent;
use crate::maintain::{Error, Source};
use crate::pack;
use crate::storage::Storage;
use crate::store::{CONFIG, SNAPSHOTS, index_key, parse_root, read_config};
use crate::tree;

/// What an image begins with, in bytes: its first objects are named nowhere before its end.
const BEGINNING: u64 = 64 << 10;
/// So many of these are no accident: there is compressed data among them.
const TELLING: usize = 256;

/// Something that may have what is lost.
#[derive(Debug)]
pub(super) enum From {
    /// An archive, and what it begins with if it is an image.
    Archive(Arc<dyn Storage>, Vec<u8>),
    /// A folder of files.
    Folder(PathBuf),
}

/// What an image begins with; nothing of what is none, or cannot be read.
pub(super) fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        let _ = file.take(BEGINNING).read_to_end(&mut bytes);
    }
    bytes
}

impl From {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let is_store = path.join(CONFIG).is_file() || path.join("packs").is_dir();
        match path.is_dir() && !is_store {
            true => Ok(Self::Folder(path.to_owned())),
            false => Ok(Self::Archive(Source::open(path)?.storage, beginning(path))),
        }
    }

    /// The storage of an archive.
    pub(super) fn archive(&self) -> Option<&Arc<dyn Storage>> {
        match self {
            Self::Archive(storage, _) => Some(storage),
            Self::Folder(_) => None,
        }
    }
}

impl Repair<'_> {
    /// Takes all that another copy of this archive shows, where no root is left to tell what this
    /// one did.
    pub(super) fn history(&mut self, _: &Report) -> Result<bool, Error> {
        if !Roots::read(&*self.storage)?.kept.is_empty() {
            return Ok(false);
        }
        for from in &self.from {
            let From::Archive(other, beginning) = from else { continue };
            let Some(mut plan) = self.copy_of_this(other, beginning)? else { continue };
            let is_here = |key: &str, id: Id| {
                let bytes = self.storage.get(key, MAX_PACK);
                bytes.is_ok_and(|bytes| *blake3::hash(bytes.as_ref()).as_bytes() == id)
            };
            plan.objects.retain(|(key, _, id)| id.is_none_or(|id| !is_here(key, id)));
            copy::copy(&plan, &**other, &*self.storage, self.monitor)?;
            let (count, from) = (plan.objects.len(), other.name());
            self.actions.push(format!("{count} objects, roots with them: taken from {from}"));
            return Ok(true);
        }
        Ok(false)
    }

    /// What there is to copy from another archive, if that shows what this one did: it has some of
    /// the same objects, or begins with the same bytes, and has all trees that are left here.
    fn copy_of_this(
        &self,
        other: &Arc<dyn Storage>,
        beginning: &[u8],
    ) -> Result<Option<copy::Plan>, Error> {
        // Not by the name in the settings: an earlier repair may have made that up.
        let Ok(plan) = copy::plan(other, None) else { return Ok(None) };
        let theirs: HashSet<&str> = plan.objects.iter().map(|(key, ..)| key.as_str()).collect();
        let trees = self.storage.list("trees/")?;
        let mut objects = self.storage.list("packs/")?;
        objects.extend_from_slice(&trees);
        let common = beginning.len().min(self.beginning.len());
        let begins_so = common >= TELLING && beginning[..common] == self.beginning[..common];
        let same = (begins_so || objects.iter().any(|key| theirs.contains(key.as_str())))
            && trees.iter().all(|key| theirs.contains(key.as_str()));
        Ok(same.then_some(plan))
    }

    /// Takes whole objects of the same ids from other archives.
    pub(super) fn objects(&mut self, report: &Report) -> Result<bool, Error> {
        let (mut taken, lengths) = (false, OnceCell::new());
        let mut keys: Vec<&str> =
            report.damages.iter().map(|damage| damage.object.as_str()).collect();
        keys.dedup();
        for key in keys {
            self.go_on()?;
            let whole = self.from.iter().find_map(|from| self.whole(from, key));
            let whole = whole.map(|bytes| (bytes, "taken from another archive"));
            let trimmed = || {
                let lengths = lengths.get_or_init(|| self.lengths().unwrap_or_default());
                let bytes = self.trimmed(key, *lengths.get(key)?)?;
                Some((bytes, "what came after its end is gone"))
            };
            let Some((bytes, how)) = whole.or_else(trimmed) else { continue };
            self.storage.put(key, &bytes)?;
            self.actions.push(format!("{key}: {how}"));
            taken = true;
        }
        Ok(taken)
    }

    /// An object of that length that is whole but for what comes after its end.
    fn trimmed(&self, key: &str, length: u64) -> Option<Vec<u8>> {
        let id = key.rsplit(['/', '-']).next()?;
        if self.storage.size(key).ok()? <= length {
            return None;
        }
        let bytes = self.storage.get_range(key, 0, usize::try_from(length).ok()?).ok()?;
        (blake3::hash(&bytes).to_hex().as_str() == id).then_some(bytes)
    }

    /// How long the objects are that roots and index tell of.
    fn lengths(&self) -> Result<HashMap<String, u64>, Error> {
        let mut lengths = HashMap::new();
        for kept in Roots::read(&*self.storage)?.kept {
            let opened = Opened::of(&self.storage, &kept.root);
            let others = opened.tree.iter().flat_map(|tree| &tree.footer().others);
            let trees = std::iter::once(&kept.root.tree).chain(others);
            lengths.extend(trees.map(|it| (tree::key(&it.id), it.length)));
            lengths.extend(kept.root.segments.iter().map(|it| (index_key(&it.id), it.length)));
            let packs = opened.index.segments().iter().flat_map(|segment| segment.packs());
            lengths.extend(packs.map(|(id, length)| (pack::key(id), *length)));
        }
        Ok(lengths)
    }

    /// An object as another archive has it, if it is whole.
    fn whole(&self, from: &From, key: &str) -> Option<Vec<u8>> {
        let From::Archive(storage, _) = from else { return None };
        let id = key.rsplit(['/', '-']).next()?;
        let bytes = storage.get(key, MAX_PACK).ok()?;
        let bytes = bytes.as_ref();
        let is_id = blake3::hash(bytes).to_hex().as_str() == id;
        // The key of a snapshot does not tell what it must be: only the same store knows.
        let same =
            || Some(read_config(&**storage).ok()?.store == read_config(&*self.storage).ok()?.store);
        let is_snapshot = key.starts_with(SNAPSHOTS)
            && crate::format::Snapshot::decode(bytes).is_ok()
            && same() == Some(true);
        (is_id || is_snapshot).then(|| bytes.to_vec())
    }

    /// Writes settings anew: those of another archive of this store, or what packs tell of them.
    pub(super) fn settings(&mut self, report: &Report) -> Result<bool, Error> {
        if !report.damages.iter().any(|damage| damage.what == What::Settings) {
            return Ok(false);
        }
        let roots = Roots::read(&*self.storage)?;
        let keys = roots.kept.iter().map(|kept| kept.key.clone()).collect::<Vec<_>>();
        let same = |from: &From| match from {
            From::Archive(storage, _) if keys.iter().any(|key| storage.size(key).is_ok()) => {
                read_config(&**storage).ok()
            }
            _ => None,
        };
        let (config, whence) = match self.from.iter().find_map(same) {
            Some(config) => (config, "taken from another archive"),
            None => (self.guess(&keys)?, "written anew, with default lengths of blocks"),
        };
        self.storage.put(CONFIG, &config.encode())?;
        self.actions.push(format!("{CONFIG}: {whence}"));
        Ok(true)
    }

    /// Settings as packs have them, and as they are by default.
    fn guess(&self, roots: &[String]) -> Result<Config, Error> {
        let (mut hash, mut hash_len) = (BlockHash::Blake3, 16);
        let packs = self.storage.list("packs/")?;
        for key in &packs {
            let Some(id) = pack_id(key) else { continue };
            let Ok(size) = self.storage.size(key) else { continue };
            if let Ok(footer) = pack::footer(&*self.storage, &id, size) {
                (hash, hash_len) = (footer.hash, u8::try_from(footer.hash_len).unwrap_or(16));
                break;
            }
        }
        // As an image has it. Without a root, the same packs are the same store.
        let id = roots.first().and_then(|key| parse_root(key)).map(|(_, id)| id);
        let packs = || *blake3::hash(&packs.concat().into_bytes()).as_bytes();
        let store = hex(&id.unwrap_or_else(packs))[..32].to_owned();
        let cutting = Cutting { min: 2048, average: 8192, max: 65_536 };
        let (incompatible, compatible) = Default::default();
        let percent = percent(&*self.storage)?.and_then(|percent| u8::try_from(percent).ok());
        let (format, parity) = (VERSION, percent.filter(|percent| *percent > 0));
        Ok(Config { format, store, incompatible, compatible, hash, hash_len, parity, cutting })
    }
}

/// The id in the key of a pack.
pub(super) fn pack_id(key: &str) -> Option<crate::format::Id> {
    let id = crate::format::unhex(key.rsplit('/').next()?)?;
    (pack::key(&id) == key).then_some(id)
}
