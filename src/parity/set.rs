//! A parity set: made, opened, and asked for what is lost.

use std::collections::HashMap;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::code::{decode, encode};
use super::shards::Shards;
use crate::format::{
    ENVELOPE_LEN, Id, MAX_SHARD, MAX_SHARDS, ParityTable, Problem, Protected, Section, TAIL_LEN,
    hex, section_len, tail, unhex,
};
use crate::storage::{ErrorKind, Storage, StorageError, last_section};

/// What the keys of parity sets start with.
pub const PARITY: &str = "parity/";
/// Shards are no shorter than this, in bytes: each has a checksum of eight.
const SHORTEST: usize = 4096;
/// So many data shards are enough to have few bytes lost with each that is damaged.
const ENOUGH: usize = MAX_SHARDS / 2;
/// Fewest recovery shards: what ends in one shard and begins in the next costs two.
const FEWEST: usize = 2;

/// The key of the parity set of that id.
#[must_use]
pub fn parity_key(id: &Id) -> String {
    format!("{PARITY}{}", hex(id))
}

/// A parity set of an archive.
#[derive(Debug)]
pub struct Set {
    /// Its key.
    pub key: String,
    table: ParityTable,
    /// Length of its table, in bytes.
    table_len: u64,
}

/// How the objects of a set are, and what it can do for them.
#[derive(Debug)]
pub enum Health {
    /// Nothing is missing.
    Whole,
    /// These were not whole, and would be with these bytes.
    Healed(Vec<(String, Vec<u8>)>),
    /// More is missing than it can make good.
    Beyond {
        /// The objects that are not whole.
        objects: Vec<String>,
        /// How many data shards are damaged or lost.
        shards: usize,
        /// How many recovery shards are left.
        recovery: usize,
    },
}

/// Makes a set of objects, each with its length, with so many recovery shards of a hundred data
/// shards; its id and bytes.
///
/// # Errors
/// If an object is missing, cannot be read, or has not the bytes of its id.
pub fn protect(
    storage: &dyn Storage,
    members: Vec<Protected>,
    percent: u32,
) -> Result<(Id, Vec<u8>), StorageError> {
    let shard = shard_length(&members);
    let shards = Shards::new(storage, &members, shard);
    let mut sums = Vec::with_capacity(shards.count());
    for (at, member) in members.iter().enumerate() {
        let (mut hash, mut left) = (blake3::Hasher::new(), member.length);
        for part in shards.of(at) {
            let bytes = shards.read(part, 0..shard)?;
            sums.push(xxh3_64(&bytes));
            let there = usize::try_from(left).unwrap_or(usize::MAX).min(shard);
            hash.update(&bytes[..there]);
            left -= there as u64;
        }
        if member.id().is_some_and(|id| id != *hash.finalize().as_bytes()) {
            return Err(ErrorKind::Damaged.of(&storage.locate(&member.key)));
        }
    }
    let wanted = shards.count().saturating_mul(percent as usize).div_ceil(100);
    let recovery = wanted.clamp(FEWEST, MAX_SHARDS);
    let encoded = encode(&shards, recovery)?;
    sums.extend(encoded.chunks_exact(shard).map(xxh3_64));
    let table = ParityTable { percent, shard, recovery, members, sums }.encode();
    let mut bytes = Vec::with_capacity(encoded.len() + 2 * table.len() + TAIL_LEN);
    bytes.extend(&table);
    bytes.extend(encoded);
    let at = bytes.len() as u64;
    bytes.extend(&table);
    bytes.extend(tail(at, table.len() as u64));
    Ok((*blake3::hash(&bytes).as_bytes(), bytes))
}

/// The shortest length of shards with which there are not too many.
fn shard_length(members: &[Protected]) -> usize {
    let mut shard = SHORTEST;
    let count = |shard| members.iter().map(|member| member.shards(shard)).sum::<usize>();
    while shard < MAX_SHARD && count(shard) > ENOUGH {
        shard *= 2;
    }
    shard
}

/// The parity sets of an archive, and those that cannot be opened.
pub type Sets = (Vec<Set>, Vec<(String, StorageError)>);

/// Opens all parity sets of an archive.
///
/// # Errors
/// If they cannot be listed.
pub fn sets(storage: &dyn Storage) -> Result<Sets, StorageError> {
    let (mut sets, mut broken) = (Vec::new(), Vec::new());
    for key in storage.list(PARITY)? {
        match open(storage, &key) {
            Ok(set) => sets.push(set),
            Err(error) => broken.push((key, error)),
        }
    }
    Ok((sets, broken))
}

/// Opens the set of that key, by whichever of its two tables is whole.
///
/// # Errors
/// If neither is.
pub fn open(storage: &dyn Storage, key: &str) -> Result<Set, StorageError> {
    let first = first_table(storage, key);
    let (table, table_len) = first.or_else(|error| last_table(storage, key).map_err(|_| error))?;
    Ok(Set { key: key.to_owned(), table, table_len })
}

/// A table, and its length in bytes.
type Table = (ParityTable, u64);

fn first_table(storage: &dyn Storage, key: &str) -> Result<Table, StorageError> {
    let size = storage.size(key)?;
    let head = storage.get_range(key, 0, ENVELOPE_LEN)?;
    let length = section_len(&head).filter(|length| *length <= size);
    let length = length.and_then(|length| usize::try_from(length).ok());
    let problem = || Problem::Truncated.of(Section::Parity);
    let length = length.ok_or_else(|| StorageError::format(&storage.locate(key), problem()))?;
    table(storage, key, &storage.get_range(key, 0, length)?)
}

fn last_table(storage: &dyn Storage, key: &str) -> Result<Table, StorageError> {
    let (_, bytes) = last_section(storage, key, storage.size(key)?)?;
    table(storage, key, &bytes)
}

fn table(storage: &dyn Storage, key: &str, bytes: &[u8]) -> Result<Table, StorageError> {
    let table = ParityTable::decode(bytes);
    let table = table.map_err(|source| StorageError::format(&storage.locate(key), source))?;
    Ok((table, bytes.len() as u64))
}

impl Set {
    /// Its id, as its key tells it.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.key.strip_prefix(PARITY).and_then(unhex)
    }

    /// What it protects.
    #[must_use]
    pub fn members(&self) -> &[Protected] {
        &self.table.members
    }

    /// Recovery shards that were asked for, of a hundred data shards.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.table.percent
    }

    /// Bytes of what it protects.
    #[must_use]
    pub fn protected(&self) -> u64 {
        self.members().iter().map(|member| member.length).sum()
    }

    /// The length that it should have, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.table.set_len(self.table_len)
    }

    /// Length of its shards, in bytes.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.table.shard
    }

    /// What it protects, with the checksums of the shards of each.
    pub fn checksums(&self) -> impl Iterator<Item = (&Protected, &[u64])> {
        let mut rest = self.table.sums.as_slice();
        self.members().iter().map(move |member| {
            let (own, others) = rest.split_at(member.shards(self.table.shard));
            rest = others;
            (member, own)
        })
    }

    /// A recovery shard, or a part of it.
    fn recovery(
        &self,
        storage: &dyn Storage,
        shard: usize,
        part: Range<usize>,
    ) -> Result<Vec<u8>, StorageError> {
        let at = self.table_len + shard as u64 * self.table.shard as u64 + part.start as u64;
        storage.get_range(&self.key, at, part.len())
    }

    /// The recovery shards that are whole.
    fn good_recovery(&self, storage: &dyn Storage) -> Vec<usize> {
        let sums = &self.table.sums[self.table.data()..];
        let whole = |(shard, sum): (usize, &u64)| {
            let bytes = self.recovery(storage, shard, 0..self.table.shard).ok()?;
            (xxh3_64(&bytes) == *sum).then_some(shard)
        };
        sums.iter().enumerate().filter_map(whole).collect()
    }

    /// What is wrong with the set itself, if anything is; `data`: its recovery shards are read.
    #[must_use]
    pub fn damage(&self, storage: &dyn Storage, data: bool) -> Option<String> {
        let size = match storage.size(&self.key) {
            Ok(size) => size,
            Err(error) => return Some(error.kind.to_string()),
        };
        if size != self.length() {
            return Some(format!("is {size} bytes long, not {}", self.length()));
        }
        let whole =
            |table: Result<Table, StorageError>| table.is_ok_and(|(table, _)| table == self.table);
        if !whole(first_table(storage, &self.key)) || !whole(last_table(storage, &self.key)) {
            return Some("one of its two tables is damaged".to_owned());
        }
        let all = self.table.recovery;
        let bad = if data { all - self.good_recovery(storage).len() } else { 0 };
        (bad > 0).then(|| format!("{bad} of its {all} recovery shards are damaged"))
    }

    /// Looks at all that it protects, and makes good what is not whole.
    ///
    /// # Errors
    /// If something that was whole a moment ago cannot be read.
    pub fn heal(&self, storage: &dyn Storage) -> Result<Health, StorageError> {
        let shards = Shards::new(storage, &self.table.members, self.table.shard);
        let whole = |shard: &usize| {
            let bytes = shards.read(*shard, 0..shards.length);
            bytes.is_ok_and(|bytes| xxh3_64(&bytes) == self.table.sums[*shard])
        };
        let bad: Vec<usize> = (0..shards.count()).filter(|shard| !whole(shard)).collect();
        let longer = |member: &Protected| {
            storage.size(&member.key).map_or(true, |size| size != member.length)
        };
        let hurt: Vec<usize> = (0..self.table.members.len())
            .filter(|at| {
                let own = shards.of(*at);
                let from = bad.partition_point(|shard| *shard < own.start);
                bad.get(from).is_some_and(|shard| *shard < own.end)
                    || longer(&self.table.members[*at])
            })
            .collect();
        if hurt.is_empty() {
            return Ok(Health::Whole);
        }
        let good = if bad.is_empty() { Vec::new() } else { self.good_recovery(storage) };
        let key = |at: &usize| self.table.members[*at].key.clone();
        let beyond = || Health::Beyond {
            objects: hurt.iter().map(key).collect(),
            shards: bad.len(),
            recovery: good.len(),
        };
        if bad.len() > good.len() {
            return Ok(beyond());
        }
        let made = match bad.as_slice() {
            [] => Vec::new(),
            bad => decode(&shards, bad, self.table.recovery, &good, |shard, part| {
                self.recovery(storage, shard, part)
            })?,
        };
        let made: HashMap<usize, &[u8]> =
            bad.iter().copied().zip(made.chunks_exact(shards.length)).collect();
        let mut healed = Vec::new();
        for at in &hurt {
            match self.compose(&shards, *at, &made)? {
                Some(bytes) => healed.push((key(at), bytes)),
                None => return Ok(beyond()),
            }
        }
        Ok(Health::Healed(healed))
    }

    /// A member, of the shards that were `made` and those that are whole; `None`: it is not what it
    /// was.
    fn compose(
        &self,
        shards: &Shards<'_>,
        at: usize,
        made: &HashMap<usize, &[u8]>,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let member = &self.table.members[at];
        let mut bytes = Vec::new();
        for shard in shards.of(at) {
            match made.get(&shard) {
                Some(made) => bytes.extend_from_slice(made),
                None => bytes.extend(shards.read(shard, 0..shards.length)?),
            }
        }
        let sums = shards.of(at).zip(bytes.chunks_exact(shards.length));
        let mut same = sums.map(|(shard, bytes)| xxh3_64(bytes) == self.table.sums[shard]);
        let same = same.all(|same| same);
        bytes.truncate(usize::try_from(member.length).unwrap_or(usize::MAX));
        let own = |id: Id| id == *blake3::hash(&bytes).as_bytes();
        Ok((same && member.id().is_none_or(own)).then_some(bytes))
    }
}
