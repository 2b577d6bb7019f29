//! A sharded cache with a byte budget and single flight: what many want is made once.
//!
//! A scan shall not throw out what is used again and again. So what is new goes through a queue of
//! its own, and only what is used again after a while there joins the hot values, as in 2Q
//! (Johnson and Shasha, VLDB 1994): a burst of uses right after the first is one use.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Fewest bytes that a shard is worth having for.
const SHARD_BYTES: u64 = 32 << 20;
/// Most shards.
const MAX_SHARDS: u64 = 16;
/// A while has passed when a part of the budget, one of so many, has come in.
const WHILE: u64 = 16;
/// What is new has one part in so many of the budget, at least.
pub const NEW: u64 = 4;

/// Values by key, kept while their weights fit the budget.
pub struct Cache<K, V, E> {
    shards: Vec<Mutex<Shard<K, V, E>>>,
    hasher: RandomState,
    budget: u64,
    /// Bytes in all shards: one of them may have more than another.
    bytes: AtomicU64,
}

struct Shard<K, V, E> {
    slots: LruCache<K, Entry<V, E>>,
    /// Values that were used again after a while, as a whole; the least recently used goes first.
    hot: LruCache<K, Entry<V, E>>,
    bytes: u64,
    /// Bytes of those that are hot.
    hot_bytes: u64,
    /// What it would have of the budget if all shards had as much.
    share: u64,
    /// Bytes that ever came in: the clock by which a while is told.
    clock: u64,
    counts: Counts,
}

struct Entry<V, E> {
    weight: u64,
    /// What the clock said when it came in.
    born: u64,
    slot: Slot<V, E>,
}

/// How often a cache was asked, and what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values that were there.
    pub hits: u64,
    /// Values that had to be made.
    pub misses: u64,
    /// Values that another thread was making already.
    pub joined: u64,
    /// Values that went to make room.
    pub evicted: u64,
    /// Bytes that it holds.
    pub bytes: u64,
}

enum Slot<V, E> {
    Ready(Arc<V>),
    Loading(Arc<Flight<V, E>>),
}

/// One load under way, and those who wait for it.
struct Flight<V, E> {
    landed: Mutex<Option<Result<Arc<V>, E>>>,
    signal: Condvar,
}

/// Takes a lock whether or not a thread panicked with it: the states below are never half-made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V, E: Clone> Flight<V, E> {
    fn new() -> Self {
        Self { landed: Mutex::new(None), signal: Condvar::new() }
    }

    fn land(&self, result: Result<Arc<V>, E>) {
        *lock(&self.landed) = Some(result);
        self.signal.notify_all();
    }

    fn wait(&self) -> Result<Arc<V>, E> {
        let mut landed = lock(&self.landed);
        loop {
            if let Some(result) = landed.as_ref() {
                return result.clone();
            }
            landed = self.signal.wait(landed).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<K: Hash + Eq + Copy, V, E> Shard<K, V, E> {
    fn new(share: u64) -> Self {
        let (slots, hot) = (LruCache::unbounded(), LruCache::unbounded());
        Self { slots, hot, bytes: 0, hot_bytes: 0, share, clock: 0, counts: Counts::default() }
    }

    /// The entry of `key`, which counts as a use of it.
    fn used(&mut self, key: &K) -> Option<&Entry<V, E>> {
        if self.hot.contains(key) {
            return self.hot.get(key);
        }
        let while_ago = self.clock.saturating_sub(self.share / WHILE);
        if self.slots.peek(key)?.born > while_ago {
            return self.slots.peek(key);
        }
        let entry = self.slots.pop(key)?;
        self.hot_bytes += entry.weight;
        self.hot.put(*key, entry);
        self.hot.get(key)
    }

    fn entry(&mut self, key: &K) -> Option<&mut Entry<V, E>> {
        match self.hot.peek_mut(key) {
            Some(entry) => Some(entry),
            None => self.slots.peek_mut(key),
        }
    }

    /// Drops an entry; returns its weight.
    fn remove(&mut self, key: &K) -> u64 {
        let hot = self.hot.pop(key);
        self.hot_bytes -= hot.as_ref().map_or(0, |entry| entry.weight);
        let weight = hot.or_else(|| self.slots.pop(key)).map_or(0, |entry| entry.weight);
        self.bytes -= weight;
        weight
    }

    /// Takes out a value, so that there is room: the oldest of the new ones, while these have more
    /// than their share, else the least recently used of the hot ones.
    ///
    /// Loads under way are passed over: their bytes are about to be there whatever we do.
    fn evict(&mut self) -> Option<Entry<V, E>> {
        let mut passed = Vec::new();
        let evicted = loop {
            let new = self.bytes - self.hot_bytes > self.share / NEW || self.hot.is_empty();
            let popped = if new { self.slots.pop_lru() } else { None };
            let Some((key, entry)) = popped.or_else(|| {
                let hot = self.hot.pop_lru();
                self.hot_bytes -= hot.as_ref().map_or(0, |(_, entry)| entry.weight);
                hot
            }) else {
                break None;
            };
            if matches!(entry.slot, Slot::Ready(_)) {
                self.bytes -= entry.weight;
                self.counts.evicted += 1;
                break Some(entry);
            }
            passed.push((key, entry));
        };
        for (key, loading) in passed {
            self.slots.put(key, loading);
        }
        evicted
    }
}

impl<K: Hash + Eq + Copy, V, E: Clone> Cache<K, V, E> {
    /// A cache that holds values of at most `budget` bytes together.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let shards = (budget / SHARD_BYTES).clamp(1, MAX_SHARDS);
        let shard = || Mutex::new(Shard::new(budget / shards));
        let (shards, hasher) = ((0..shards).map(|_| shard()).collect(), RandomState::new());
        Self { shards, hasher, budget, bytes: AtomicU64::new(0) }
    }

    fn place(&self, key: &K) -> usize {
        let shards = self.shards.len() as u64;
        usize::try_from(self.hasher.hash_one(key) % shards).unwrap_or(0)
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V, E>> {
        &self.shards[self.place(key)]
    }

    /// Takes out values of a shard until all that are left fit the budget, or it has none.
    fn evict(&self, shard: &mut Shard<K, V, E>) -> Vec<Entry<V, E>> {
        let mut evicted = Vec::new();
        while self.bytes.load(Ordering::Relaxed) > self.budget {
            let Some(entry) = shard.evict() else { break };
            self.bytes.fetch_sub(entry.weight, Ordering::Relaxed);
            evicted.push(entry);
        }
        evicted
    }

    /// Makes room in other shards than that of `key`, where there was not enough.
    fn make_room_beside(&self, key: &K) {
        let (own, shards) = (self.place(key), self.shards.len());
        for at in (own + 1..own + shards).map(|at| at % shards) {
            if self.bytes.load(Ordering::Relaxed) <= self.budget {
                return;
            }
            let evicted = self.evict(&mut lock(&self.shards[at]));
            // Freed without the lock.
            drop(evicted);
        }
    }

    /// The value of `key`, made with `load` if it is not there.
    ///
    /// However many threads want it at once, one loads, without a lock held, and all get what it
    /// got. A value of `weight` bytes makes room before it is loaded, so that the budget holds
    /// while it is. A failure is not kept.
    ///
    /// # Errors
    /// What `load` fails with; `lost` if the thread that loads panics.
    pub fn get(
        &self,
        key: K,
        weight: u64,
        lost: impl FnOnce() -> E,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        let (flight, evicted) = {
            let mut shard = lock(self.shard(&key));
            match shard.used(&key).map(|entry| &entry.slot) {
                Some(Slot::Ready(value)) => {
                    let value = Arc::clone(value);
                    shard.counts.hits += 1;
                    return Ok(value);
                }
                Some(Slot::Loading(flight)) => {
                    let flight = Arc::clone(flight);
                    shard.counts.joined += 1;
                    drop(shard);
                    return flight.wait();
                }
                None => {}
            }
            shard.bytes += weight;
            self.bytes.fetch_add(weight, Ordering::Relaxed);
            shard.clock += weight;
            shard.counts.misses += 1;
            let flight = Arc::new(Flight::new());
            let slot = Slot::Loading(Arc::clone(&flight));
            let born = shard.clock;
            shard.slots.put(key, Entry { weight, born, slot });
            (flight, self.evict(&mut shard))
        };
        // Freed without the lock.
        drop(evicted);
        self.make_room_beside(&key);
        let mut landing = Landing { cache: self, key, flight, lost: Some(lost) };
        let result = load().map(Arc::new);
        landing.lost = None;
        landing.land(result.clone());
        result
    }

    /// The value of `key`, if it is there and `will_do`; else it does not count as used.
    pub fn ready(&self, key: &K, will_do: impl FnOnce(&V) -> bool) -> Option<Arc<V>> {
        let mut shard = lock(self.shard(key));
        let value = match &shard.entry(key)?.slot {
            Slot::Ready(value) if will_do(value) => Arc::clone(value),
            _ => return None,
        };
        shard.used(key);
        shard.counts.hits += 1;
        Some(value)
    }

    /// A value that is there weighs less, or more, than was said.
    pub fn reweigh(&self, key: &K, weight: u64) {
        let mut shard = lock(self.shard(key));
        let hot = shard.hot.contains(key);
        let Some(entry) = shard.entry(key) else { return };
        let before = std::mem::replace(&mut entry.weight, weight);
        shard.bytes = shard.bytes - before + weight;
        // Wraps around where it becomes less.
        self.bytes.fetch_add(weight.wrapping_sub(before), Ordering::Relaxed);
        if hot {
            shard.hot_bytes = shard.hot_bytes - before + weight;
        }
    }

    /// How often it was asked since it was made, and what it holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for shard in &self.shards {
            let shard = lock(shard);
            all.hits += shard.counts.hits;
            all.misses += shard.counts.misses;
            all.joined += shard.counts.joined;
            all.evicted += shard.counts.evicted;
            all.bytes += shard.bytes;
        }
        all
    }
}

/// Lands a flight, also when the load panics: nobody shall wait for ever.
struct Landing<'a, K: Hash + Eq + Copy, V, E: Clone, L: FnOnce() -> E> {
    cache: &'a Cache<K, V, E>,
    key: K,
    flight: Arc<Flight<V, E>>,
    lost: Option<L>,
}

impl<K: Hash + Eq + Copy, V, E: Clone, L: FnOnce() -> E> Landing<'_, K, V, E, L> {
    fn land(&self, result: Result<Arc<V>, E>) {
        let evicted = {
            let mut shard = lock(self.cache.shard(&self.key));
            if result.is_err() {
                let weight = shard.remove(&self.key);
                self.cache.bytes.fetch_sub(weight, Ordering::Relaxed);
            }
            // Others may have loaded meanwhile what does not fit beside this, and could not make
            // room. Of what is not used any more, only the last one stays beyond the budget; so
            // nothing may land between making room, which passes over this one, and its landing.
            let evicted = self.cache.evict(&mut shard);
            if let (Ok(value), Some(entry)) = (&result, shard.entry(&self.key)) {
                entry.slot = Slot::Ready(Arc::clone(value));
            }
            evicted
        };
        drop(evicted);
        self.cache.make_room_beside(&self.key);
        self.flight.land(result);
    }
}

impl<K: Hash + Eq + Copy, V, E: Clone, L: FnOnce() -> E> Drop for Landing<'_, K, V, E, L> {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take() {
            self.land(Err(lost()));
        }
    }
}

impl<K, V, E> std::fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn the_budget_holds_and_the_recently_used_stay() {
        let cache: Cache<u32, u32, ()> = Cache::new(100);
        let loads = AtomicU32::new(0);
        let get = |key| {
            cache.get(key, 30, || (), || Ok(loads.fetch_add(1, Ordering::Relaxed))).unwrap();
            lock(&cache.shards[0]).bytes
        };
        for key in [1, 2, 3, 1, 4] {
            assert!(get(key) <= 100);
        }
        assert_eq!(loads.load(Ordering::Relaxed), 4);
        get(1);
        assert_eq!(loads.load(Ordering::Relaxed), 4, "1 was used after 2 and stays");
        get(2);
        assert_eq!(loads.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn what_is_ready_counts_as_used_only_if_it_will_do() {
        let cache: Cache<u32, u32, ()> = Cache::new(100);
        assert_eq!(cache.ready(&1, |_| true), None);
        cache.get(1, 5, || (), || Ok(7)).unwrap();
        assert_eq!(cache.ready(&1, |value| *value == 8), None);
        assert_eq!((cache.counts().hits, cache.counts().misses), (0, 1));
        (2..4).for_each(|key| drop(cache.get(key, 5, || (), || Ok(7))));
        assert_eq!(cache.ready(&1, |value| *value == 7).as_deref(), Some(&7));
        assert_eq!((cache.counts().hits, cache.counts().misses), (1, 3));
        // A scan does not throw it out.
        (10..100).for_each(|key| drop(cache.get(key, 5, || (), || Ok(7))));
        assert!(cache.ready(&1, |_| true).is_some() && cache.ready(&2, |_| true).is_none());
    }

    #[test]
    fn many_readers_share_one_load() {
        let cache: Cache<u8, u32, ()> = Cache::new(1000);
        let loads = AtomicU32::new(0);
        let start = std::sync::Barrier::new(16);
        let load = || {
            loads.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok(9)
        };
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(*cache.get(7, 10, || (), load).unwrap(), 9);
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_scan_does_not_throw_out_what_is_used_again() {
        let cache: Cache<u32, u32, ()> = Cache::new(100);
        let loads = AtomicU32::new(0);
        let get = |key| {
            cache.get(key, 5, || (), || Ok(loads.fetch_add(1, Ordering::Relaxed))).unwrap();
            assert!(lock(&cache.shards[0]).bytes <= 100);
        };
        let hot = [1, 2, 3];
        hot.into_iter().for_each(get);
        (10..14).for_each(get);
        hot.into_iter().for_each(get);
        // Each key of the scan is used several times in a row, as by one who reads file by file.
        (100..200).for_each(|key| (0..9).for_each(|_| get(key)));
        let before = loads.load(Ordering::Relaxed);
        hot.into_iter().for_each(get);
        assert_eq!(loads.load(Ordering::Relaxed), before);
        let counts = cache.counts();
        assert_eq!(counts.misses, u64::from(before));
        assert_eq!(counts.bytes, (counts.misses - counts.evicted) * 5);
    }

    #[test]
    fn what_fits_the_budget_stays_however_it_is_spread_over_shards() {
        let budget = 16 * SHARD_BYTES;
        let cache: Cache<u32, u32, ()> = Cache::new(budget);
        let weight = budget / 100;
        let get = |key| cache.get(key, weight, || (), || Ok(key)).map(|value| *value);
        for key in (0..100).chain(0..100) {
            assert_eq!(get(key), Ok(key));
        }
        let counts = cache.counts();
        assert_eq!((counts.misses, counts.hits, counts.evicted), (100, 100, 0));
        // Room for what is as large as the budget is made in all of them.
        cache.get(100, budget, || (), || Ok(100)).unwrap();
        assert_eq!((cache.counts().bytes, cache.counts().evicted), (budget, 100));
        assert_eq!(cache.bytes.load(Ordering::Relaxed), budget);
    }

    /// Four threads load what does not fit together into a cache of `budget` bytes.
    fn load_at_once(budget: u64, weight: u64) -> Counts {
        let cache: Cache<u32, u32, ()> = Cache::new(budget);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for key in 0..4 {
                let (cache, start) = (&cache, &start);
                let load = move || Ok((start.wait(), key).1);
                scope.spawn(move || cache.get(key, weight, || (), load));
            }
        });
        assert_eq!(cache.bytes.load(Ordering::Relaxed), cache.counts().bytes);
        cache.counts()
    }

    #[test]
    fn of_what_does_not_fit_together_only_the_last_one_stays() {
        for _ in 0..500 {
            let counts = load_at_once(10, 30);
            assert_eq!(counts.bytes, 30);
            assert_eq!(counts.evicted, 3);
        }
        // In several shards, two that land at once may each make the other go.
        for _ in 0..100 {
            let counts = load_at_once(4 * SHARD_BYTES, 5 * SHARD_BYTES);
            assert!(counts.bytes <= 5 * SHARD_BYTES && counts.evicted >= 3, "{counts:?}");
        }
    }

    #[test]
    fn a_value_may_turn_out_to_weigh_less() {
        let cache: Cache<u32, u32, ()> = Cache::new(100);
        cache.get(1, 90, || (), || Ok(1)).unwrap();
        cache.reweigh(&1, 10);
        cache.get(2, 90, || (), || Ok(2)).unwrap();
        cache.get(1, 90, || (), || Err(())).unwrap();
        assert_eq!(cache.counts().bytes, 100);
    }

    #[test]
    fn a_failure_is_not_kept_and_a_panic_leaves_nobody_waiting() {
        let cache: Cache<u8, u32, &str> = Cache::new(1000);
        assert_eq!(cache.get(1, 10, || "lost", || Err("bad")), Err("bad"));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cache.get(1, 10, || "lost", || panic!("load"))
        }));
        assert!(panicked.is_err());
        assert_eq!(*cache.get(1, 10, || "lost", || Ok(3)).unwrap(), 3);
        assert_eq!(lock(&cache.shards[0]).bytes, 10);
    }
}
