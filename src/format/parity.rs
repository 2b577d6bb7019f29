//! The table of a parity set: which objects it protects, and what their shards should be.
//! Layout: `format-spec.md`, "Parity".

use std::collections::HashSet;

use super::image::{MAX_KEY, valid_key};
use super::wire::{Cursor, Put};
use super::{
    FormatError, Id, MAX_PACK, MAX_SHARD, MAX_SHARDS, Problem, Section, TAIL_LEN, open, seal, unhex,
};

/// Shards are as long as a multiple of this, in bytes: the code works on so many at once.
pub const SHARD_STEP: usize = 64;

/// An object that a parity set protects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub length: u64,
}

impl Protected {
    /// The id that its key tells; `None`: it is of settings, which has none.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.key.len().checked_sub(64).and_then(|at| self.key.get(at..)).and_then(unhex)
    }

    /// How many shards of that length it takes.
    #[must_use]
    pub fn shards(&self, shard: usize) -> usize {
        usize::try_from(self.length.div_ceil(shard.max(1) as u64)).unwrap_or(usize::MAX)
    }
}

/// The table of a parity set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParityTable {
    /// Recovery shards that were asked for, of a hundred data shards.
    pub percent: u32,
    /// Length of a shard, in bytes.
    pub shard: usize,
    /// How many recovery shards there are.
    pub recovery: usize,
    /// What it protects, in the order of data shards.
    pub members: Vec<Protected>,
    /// Checksums of data shards, and then of recovery shards.
    pub sums: Vec<u64>,
}

impl ParityTable {
    /// How many data shards there are.
    #[must_use]
    pub fn data(&self) -> usize {
        self.sums.len().saturating_sub(self.recovery)
    }

    /// Length of the set whose table of `table_len` bytes it is.
    #[must_use]
    pub fn set_len(&self, table_len: u64) -> u64 {
        2 * table_len + self.recovery as u64 * self.shard as u64 + TAIL_LEN as u64
    }

    /// The section's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(self.percent);
        out.put_len(self.shard);
        out.put_len(self.members.len());
        out.put_len(self.recovery);
        for member in &self.members {
            out.put_u64(member.length);
            out.put_len(member.key.len());
            out.extend(member.key.as_bytes());
        }
        self.sums.iter().for_each(|sum| out.put_u64(*sum));
        seal(Section::Parity, &out, None).0
    }

    /// Reads a section that must fill `bytes`.
    ///
    /// # Errors
    /// If the section is damaged or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = open(Section::Parity, bytes)?;
        Self::parse(&payload).map_err(|problem| problem.of(Section::Parity))
    }

    fn parse(payload: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(payload);
        let (percent, shard) = (cursor.u32()?, cursor.u32()? as usize);
        let (count, recovery) = (cursor.count(12)?, cursor.u32()? as usize);
        if !(1..=100).contains(&percent) {
            return Err(Problem::Malformed("a percentage that cannot be"));
        }
        if shard == 0 || shard > MAX_SHARD || !shard.is_multiple_of(SHARD_STEP) {
            return Err(Problem::Malformed("a length of shards that cannot be"));
        }
        if recovery == 0 || recovery > MAX_SHARDS || count > MAX_SHARDS {
            return Err(Problem::Limit("number of shards"));
        }
        let mut members = Vec::with_capacity(count);
        let mut data = 0usize;
        for _ in 0..count {
            let member = Self::member(&mut cursor)?;
            data = data.saturating_add(member.shards(shard));
            members.push(member);
        }
        if data == 0 || data > MAX_SHARDS {
            return Err(Problem::Limit("number of shards"));
        }
        let keys: HashSet<&str> = members.iter().map(|member| member.key.as_str()).collect();
        if keys.len() < members.len() {
            return Err(Problem::Malformed("a member that comes twice"));
        }
        let sums = cursor.records(data + recovery, 8)?.chunks_exact(8);
        let sums = sums.map(|sum| sum.try_into().map_or(0, u64::from_le_bytes)).collect();
        cursor.end()?;
        Ok(Self { percent, shard, recovery, members, sums })
    }

    fn member(cursor: &mut Cursor<'_>) -> Result<Protected, Problem> {
        let length = cursor.u64()?;
        let key_len = cursor.count(1)?;
        if key_len > MAX_KEY || length > MAX_PACK {
            return Err(Problem::Limit("length of a key or an object"));
        }
        let key = std::str::from_utf8(cursor.take(key_len)?).ok().filter(|key| valid_key(key));
        let key = key.ok_or(Problem::Malformed("a key that cannot be one"))?.to_owned();
        let kinds = ["packs/", "index/", "trees/", "roots/"];
        let member = Protected { key, length };
        let named = kinds.iter().any(|kind| member.key.starts_with(kind)) && member.id().is_some();
        match named || member.key == "packfs.toml" {
            true => Ok(member),
            false => Err(Problem::Malformed("a key of what is not protected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::hex;

    fn table() -> ParityTable {
        let key = format!("index/{}", hex(&[7; 32]));
        let members = vec![
            Protected { key, length: 130 },
            Protected { key: "packfs.toml".to_owned(), length: 64 },
        ];
        ParityTable { percent: 5, shard: 64, recovery: 2, members, sums: (0..6).collect() }
    }

    #[test]
    fn a_table_round_trips() {
        let table = table();
        assert_eq!(table.data(), 4);
        assert_eq!(table.members[0].id(), Some([7; 32]));
        assert_eq!(ParityTable::decode(&table.encode()), Ok(table));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong = |change: &dyn Fn(&mut ParityTable)| {
            let mut table = table();
            change(&mut table);
            assert!(ParityTable::decode(&table.encode()).is_err(), "{table:?}");
        };
        wrong(&|table| table.percent = 0);
        wrong(&|table| table.percent = 101);
        wrong(&|table| table.shard = 63);
        wrong(&|table| table.shard = 0);
        wrong(&|table| table.shard = MAX_SHARD * 2);
        wrong(&|table| table.recovery = 0);
        wrong(&|table| table.recovery = 3);
        wrong(&|table| table.sums.push(1));
        wrong(&|table| table.members.clear());
        wrong(&|table| table.members[1] = table.members[0].clone());
        wrong(&|table| table.members[0].length = MAX_PACK + 1);
        wrong(&|table| table.members[1].key = "snapshots/a".to_owned());
        wrong(&|table| table.members[1].key = "../packfs.toml".to_owned());
        wrong(&|table| table.members[1].key = "packs/x".to_owned());
    }
}
