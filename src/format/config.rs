//! `packfs.toml`: what holds for a whole store, set once. Layout: `format-spec.md`, "Settings".

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{FormatError, MAX_BLOCK, Problem, Section, VERSION};

/// The last line of the file starts with this; the checksum covers all before it.
const CHECKSUM_KEY: &str = "checksum = ";
/// Longest settings file, in bytes.
const MAX_LEN: usize = 64 * 1024;

/// Which hash names blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum BlockHash {
    /// BLAKE3: no one can make two blocks that share it.
    #[serde(rename = "blake3")]
    Blake3 = 0,
    /// XXH3-128: faster, for data that nobody crafts.
    #[serde(rename = "xxh3-128")]
    Xxh3 = 1,
}

impl BlockHash {
    pub(super) fn parse(byte: u8) -> Result<Self, Problem> {
        match byte {
            0 => Ok(Self::Blake3),
            1 => Ok(Self::Xxh3),
            _ => Err(Problem::Malformed("unknown block hash")),
        }
    }

    /// Checks how many bytes of a hash are kept: enough to tell blocks apart, and no more than
    /// there are.
    pub(super) fn check_len(self, length: usize) -> Result<(), Problem> {
        let whole = match self {
            Self::Blake3 => 32,
            Self::Xxh3 => 16,
        };
        match (8..=whole).contains(&length) {
            true => Ok(()),
            false => Err(Problem::Malformed("length of block hashes")),
        }
    }
}

/// How files are cut into blocks (`FastCDC`), lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutting {
    /// No block but a file's last is shorter.
    pub min: u32,
    /// What most blocks come near to.
    pub average: u32,
    /// No block is longer.
    pub max: u32,
}

/// All that is known of settings before their version is.
#[derive(Deserialize)]
struct Version {
    format: u16,
}

/// The settings of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Format version.
    pub format: u16,
    /// Names the store; 32 hexadecimal digits.
    pub store: String,
    /// Features that a reader must know to read it.
    #[serde(default)]
    pub incompatible: Vec<String>,
    /// Features that a reader may ignore.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Which hash names its blocks.
    pub hash: BlockHash,
    /// How many bytes of each hash are kept, 8 to 32.
    pub hash_len: u8,
    /// How many recovery shards of a hundred data shards it is to have; `None`: no parity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parity: Option<u8>,
    /// How its files are cut.
    pub cutting: Cutting,
}

impl Config {
    /// The file's text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let magic = String::from_utf8_lossy(&Section::Config.magic()).trim_end().to_owned();
        let body = toml::to_string(self).unwrap_or_default();
        let text = format!("# {magic}: settings of a packfs store; do not edit\n{body}");
        let sum = xxh3_64(text.as_bytes());
        format!("{text}\n[seal]\n{CHECKSUM_KEY}\"{sum:016x}\"\n").into_bytes()
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// If the file is damaged, malformed, or needs what this packfs does not have.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::parse(bytes).map_err(|problem| problem.of(Section::Config))
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() > MAX_LEN {
            return Err(Problem::Limit("length"));
        }
        if !bytes.starts_with(b"# PFSconf:") {
            return Err(Problem::Magic);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::Checksum)?;
        let (body, seal) =
            text.rsplit_once(&format!("\n[seal]\n{CHECKSUM_KEY}")).ok_or(Problem::Truncated)?;
        if seal != format!("\"{:016x}\"\n", xxh3_64(body.as_bytes())) {
            return Err(Problem::Checksum);
        }
        // The version first: a newer one may have other settings altogether.
        let version: Version =
            toml::from_str(body).map_err(|_| Problem::Malformed("no format version"))?;
        if version.format != VERSION {
            return Err(Problem::Version(version.format));
        }
        let config: Self = toml::from_str(body)
            .map_err(|_| Problem::Malformed("not the settings it should be"))?;
        if let Some(feature) = config.incompatible.first() {
            return Err(Problem::Feature(feature.clone()));
        }
        config.valid().map(|()| config)
    }

    fn valid(&self) -> Result<(), Problem> {
        let Cutting { min, average, max } = self.cutting;
        if !(64 <= min && min <= average && average <= max && max as usize <= MAX_BLOCK) {
            return Err(Problem::Malformed("lengths of blocks"));
        }
        self.hash.check_len(usize::from(self.hash_len))?;
        if self.parity.is_some_and(|percent| !(1..=100).contains(&percent)) {
            return Err(Problem::Malformed("a percentage that cannot be"));
        }
        let named = |name: &String| {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !name.is_empty() && name.bytes().all(plain)
        };
        if !self.incompatible.iter().chain(&self.compatible).all(named) {
            return Err(Problem::Malformed("name of a feature"));
        }
        if self.store.len() != 32 || !self.store.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Problem::Malformed("store id"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip_and_every_flip_is_seen() {
        let config = Config {
            format: VERSION,
            store: "0123456789abcdef0123456789abcdef".into(),
            incompatible: vec![],
            compatible: vec![],
            hash: BlockHash::Xxh3,
            hash_len: 16,
            parity: Some(5),
            cutting: Cutting { min: 2048, average: 8192, max: 65_536 },
        };
        let bytes = config.encode();
        assert_eq!(Config::decode(&bytes).unwrap(), config);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Config::decode(&bad).is_err(), "bit {bit}");
        }
        let beyond = Config { parity: Some(101), ..config.clone() };
        assert!(Config::decode(&beyond.encode()).is_err());
        let newer = Config { format: 2, ..config };
        assert_eq!(Config::decode(&newer.encode()).unwrap_err().problem, Problem::Version(2));
    }
}
