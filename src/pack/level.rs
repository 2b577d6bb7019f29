//! How hard frames are compressed.

use zstd::zstd_safe::{CParameter, ParamSwitch, Strategy};

/// How hard frames are compressed: 1 is fast, 9 is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

/// zstd's parameters but for the window, which covers the frame.
///
/// They are set one by one: zstd's own levels are made for windows and speeds other than these.
#[derive(Debug, Clone, Copy)]
struct Parameters {
    strategy: Strategy,
    hash_log: u32,
    chain_log: u32,
    search_log: u32,
    min_match: u32,
    target_length: u32,
}

const fn row(strategy: Strategy, logs: [u32; 3], min_match: u32, target: u32) -> Parameters {
    let [hash_log, chain_log, search_log] = logs;
    Parameters { strategy, hash_log, chain_log, search_log, min_match, target_length: target }
}

/// By level. With `btopt`, short target lengths cost more than they save.
const PLAIN: [Parameters; 9] = [
    row(Strategy::ZSTD_greedy, [19, 19, 3], 5, 0),
    row(Strategy::ZSTD_lazy, [19, 19, 4], 5, 0),
    row(Strategy::ZSTD_lazy2, [21, 21, 7], 4, 256),
    row(Strategy::ZSTD_btopt, [18, 20, 2], 5, 128),
    row(Strategy::ZSTD_btopt, [18, 20, 3], 5, 96),
    row(Strategy::ZSTD_btopt, [19, 20, 4], 4, 80),
    row(Strategy::ZSTD_btopt, [19, 21, 4], 5, 128),
    row(Strategy::ZSTD_btopt, [22, 23, 4], 5, 128),
    row(Strategy::ZSTD_btultra, [22, 24, 4], 5, 80),
];
/// Where most of a source is dropped as known, from these levels on, what is left is searched
/// harder: it takes less time still than all of the source would.
const DENSE: [(u8, Parameters); 2] = [
    (4, row(Strategy::ZSTD_btultra2, [20, 22, 5], 3, 256)),
    (8, row(Strategy::ZSTD_btultra2, [22, 24, 7], 3, 999)),
];

/// From this level up to the default, what hardly shrinks is searched as at this one: it takes
/// longest, and gains least.
const EASED: u8 = 3;

impl Level {
    /// The lowest and the highest.
    pub const RANGE: std::ops::RangeInclusive<u8> = 1..=9;

    /// A level; `None` if there is none of that number.
    #[must_use]
    pub fn new(level: u8) -> Option<Self> {
        Self::RANGE.contains(&level).then_some(Self(level))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// What to set for a frame of `length` bytes; `dense`: of a source that is mostly known;
    /// `hard`: which hardly shrinks.
    pub(super) fn parameters(self, length: usize, dense: bool, hard: bool) -> [CParameter; 8] {
        let harder = DENSE.iter().rev().find(|(from, _)| dense && self.0 >= *from);
        let eased = hard && (EASED..=Self::default().0).contains(&self.0);
        let plain = PLAIN[usize::from(if eased { EASED } else { self.0 }) - 1];
        let it = harder.map_or(plain, |(_, parameters)| *parameters);
        let window = usize::BITS - length.saturating_sub(1).leading_zeros();
        [
            CParameter::WindowLog(window.clamp(10, 27)),
            CParameter::Strategy(it.strategy),
            CParameter::HashLog(it.hash_log),
            CParameter::ChainLog(it.chain_log),
            CParameter::SearchLog(it.search_log),
            CParameter::MinMatch(it.min_match),
            CParameter::TargetLength(it.target_length),
            // By itself zstd does this for the slower strategies only; it takes hardly any time.
            CParameter::UseBlockSplitter(ParamSwitch::Enable),
        ]
    }
}

impl Default for Level {
    /// The one that wins in size and in time.
    fn default() -> Self {
        Self(6)
    }
}
