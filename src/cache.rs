//! A sharded LRU cache with a byte budget and single flight: what many want is made once.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Fewest bytes that a shard is worth having for.
const SHARD_BYTES: u64 = 32 << 20;
/// Most shards.
const MAX_SHARDS: u64 = 16;

/// Values by key, kept while their weights fit the budget.
pub struct Cache<K, V, E> {
    shards: Vec<Mutex<Shard<K, V, E>>>,
    hasher: RandomState,
}

struct Shard<K, V, E> {
    slots: LruCache<K, (u64, Slot<V, E>)>,
    bytes: u64,
    budget: u64,
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
    /// Drops the least recently used values until `weight` more bytes fit.
    ///
    /// Loads under way are passed over: their bytes are about to be there whatever we do.
    fn make_room(&mut self, weight: u64) {
        let mut passed = Vec::new();
        while self.bytes + weight > self.budget {
            match self.slots.pop_lru() {
                Some((_, (freed, Slot::Ready(_)))) => self.bytes -= freed,
                Some((key, loading)) => passed.push((key, loading)),
                None => break,
            }
        }
        for (key, loading) in passed {
            self.slots.put(key, loading);
        }
    }
}

impl<K: Hash + Eq + Copy, V, E: Clone> Cache<K, V, E> {
    /// A cache that holds values of at most `budget` bytes together.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let shards = (budget / SHARD_BYTES).clamp(1, MAX_SHARDS);
        let shard = || Shard { slots: LruCache::unbounded(), bytes: 0, budget: budget / shards };
        Self {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V, E>> {
        let shards = self.shards.len() as u64;
        &self.shards[usize::try_from(self.hasher.hash_one(key) % shards).unwrap_or(0)]
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
        self.get_where(key, weight, |_| true, lost, |_| load())
    }

    /// As [`Cache::get`], of a value that may be there in part: one that does not do is replaced
    /// by what `load` makes, which is told whether there was one. What it makes must do.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_where(
        &self,
        key: K,
        weight: u64,
        does: impl Fn(&V) -> bool,
        lost: impl FnOnce() -> E,
        load: impl FnOnce(bool) -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        let (flight, again, weight) = loop {
            let mut shard = lock(self.shard(&key));
            let (again, weight) = match shard.slots.get(&key) {
                Some((_, Slot::Ready(value))) if does(value) => return Ok(Arc::clone(value)),
                // What it was charged with is what it gives back.
                Some((charged, Slot::Ready(_))) => (true, *charged),
                Some((_, Slot::Loading(flight))) => {
                    let flight = Arc::clone(flight);
                    drop(shard);
                    let value = flight.wait()?;
                    if does(&value) {
                        return Ok(value);
                    }
                    continue;
                }
                None => {
                    shard.make_room(weight);
                    shard.bytes += weight;
                    (false, weight)
                }
            };
            let flight = Arc::new(Flight::new());
            shard.slots.put(key, (weight, Slot::Loading(Arc::clone(&flight))));
            break (flight, again, weight);
        };
        let mut landing = Landing { cache: self, key, weight, flight, lost: Some(lost) };
        let result = load(again).map(Arc::new);
        landing.lost = None;
        landing.land(result.clone());
        result
    }
}

/// Lands a flight, also when the load panics: nobody shall wait for ever.
struct Landing<'a, K: Hash + Eq + Copy, V, E: Clone, L: FnOnce() -> E> {
    cache: &'a Cache<K, V, E>,
    key: K,
    weight: u64,
    flight: Arc<Flight<V, E>>,
    lost: Option<L>,
}

impl<K: Hash + Eq + Copy, V, E: Clone, L: FnOnce() -> E> Landing<'_, K, V, E, L> {
    fn land(&self, result: Result<Arc<V>, E>) {
        {
            let mut shard = lock(self.cache.shard(&self.key));
            match &result {
                Ok(value) => {
                    shard.slots.put(self.key, (self.weight, Slot::Ready(Arc::clone(value))));
                }
                Err(_) => {
                    shard.slots.pop(&self.key);
                    shard.bytes -= self.weight;
                }
            }
        }
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
    use std::sync::atomic::{AtomicU32, Ordering};

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
    fn many_readers_share_one_load() {
        let cache: Cache<u8, u32, ()> = Cache::new(1000);
        let loads = AtomicU32::new(0);
        let start = std::sync::Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    let value = cache.get(
                        7,
                        10,
                        || (),
                        || {
                            loads.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            Ok(9)
                        },
                    );
                    assert_eq!(*value.unwrap(), 9);
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_value_that_does_not_do_is_replaced_and_weighs_no_more() {
        let cache: Cache<u8, u32, ()> = Cache::new(1000);
        let get = |least, made| {
            let does = |value: &u32| *value >= least;
            *cache.get_where(1, 10, does, || (), |again| Ok(made + u32::from(again))).unwrap()
        };
        assert_eq!(get(3, 5), 5);
        assert_eq!(get(5, 9), 5);
        assert_eq!(get(6, 9), 10, "loaded again");
        assert_eq!(get(10, 99), 10);
        assert_eq!(lock(&cache.shards[0]).bytes, 10);
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
