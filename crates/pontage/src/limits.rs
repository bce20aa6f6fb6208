//! How many calls are taken in a span of time: token buckets that all workers share.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, PoisonError, RwLock};

use foldhash::quality::RandomState;
use gate::{Bucket, Rate, Taken};
use ledger::{KeyId, Source};
use protocol::Payer;

use crate::config::RatesConfig;

/// Workers that take at once meet rarely.
const SHARDS: usize = 64;
/// Buckets of one kind that are kept; what they take is a few MiB.
const KEYS_MAX: usize = 100_000;
/// A crowded shard is not searched for rested buckets more often.
const SWEEP_MS: u64 = 100;

/// The number of the rate that a key has on a route, whatever else is numbered from 0 on.
pub(crate) fn route_rate(route: &str) -> u64 {
    foldhash::fast::FixedState::default().hash_one(route) | (1 << 63)
}

/// Whose bucket a token is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// Calls without a verified payer, by where they come from.
    Address(Source),
    /// Look-ups, which have a rate of their own, by where they come from.
    Lookup(Source, Rate),
    /// Signatures that are recovered, by where they come from.
    Verification(Source),
    /// Calls of a payer whose signature is proven.
    Payer(Payer),
    /// The same for one of whom a payment was settled and none has failed. It is the payer's one bucket, at another rate.
    Trusted(Payer),
    /// Calls of an API key, by one of the rates that it has.
    Account(KeyId, u64, Rate),
    /// All calls of the route with this id.
    Route(&'a str),
}

/// Every bucket. Memory is bounded: where too many keys are active at once, further ones share buckets.
pub(crate) struct Limits {
    rates: RwLock<RatesConfig>,
    address: Table<Source>,
    lookup: Table<Source>,
    verification: Table<Source>,
    payer: Table<Payer>,
    account: Table<(KeyId, u64)>,
    routes: RwLock<HashMap<String, (Rate, Mutex<Bucket>)>>,
}

impl Limits {
    /// `routes` are the ids of those that have a rate of their own.
    pub(crate) fn new(rates: RatesConfig, routes: impl IntoIterator<Item = (String, Rate)>) -> Self {
        let limits = Self {
            rates: RwLock::new(rates),
            address: Table::new(KEYS_MAX),
            lookup: Table::new(KEYS_MAX),
            verification: Table::new(KEYS_MAX),
            payer: Table::new(KEYS_MAX),
            account: Table::new(KEYS_MAX),
            routes: RwLock::default(),
        };
        limits.set_rates(rates, routes);
        limits
    }

    /// Puts other rates in place. Buckets stay as they are, so a reload gives nobody a fresh start.
    pub(crate) fn set_rates(&self, rates: RatesConfig, routes: impl IntoIterator<Item = (String, Rate)>) {
        *self.rates.write().unwrap_or_else(PoisonError::into_inner) = rates;
        let mut kept = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = |id: &str| kept.get(id).map(|(_, bucket)| *locked(bucket)).unwrap_or_default();
        *kept = routes
            .into_iter()
            .map(|(id, rate)| {
                let bucket = bucket(&id);
                (id, (rate, Mutex::new(bucket)))
            })
            .collect();
    }

    /// Takes one token. `None` where nothing is limited.
    pub(crate) fn take(&self, key: Key<'_>, now_ms: u64) -> Option<Taken> {
        let rates = *self.rates.read().unwrap_or_else(PoisonError::into_inner);
        match key {
            Key::Address(source) => Some(self.address.take(source, rates.anonymous?, now_ms)),
            Key::Lookup(source, rate) => Some(self.lookup.take(source, rate, now_ms)),
            Key::Verification(source) => Some(self.verification.take(source, rates.verification?, now_ms)),
            Key::Payer(payer) => Some(self.payer.take(payer, rates.payer?, now_ms)),
            Key::Trusted(payer) => Some(self.payer.take(payer, rates.trusted?, now_ms)),
            Key::Account(key, nth, rate) => Some(self.account.take((key, nth), rate, now_ms)),
            Key::Route(id) => {
                let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
                let (rate, bucket) = routes.get(id)?;
                Some(locked(bucket).take(*rate, now_ms))
            }
        }
    }
}

/// The buckets of one kind of key.
struct Table<K> {
    shards: Vec<Mutex<Shard<K>>>,
    /// Keyed at random, so that nobody can choose addresses that meet in one shard; nothing that callers see depends on it.
    choice: RandomState,
    shard_max: usize,
}

struct Shard<K> {
    buckets: HashMap<K, Bucket, RandomState>,
    /// Shared by the keys that found no room.
    overflow: Bucket,
    swept_at_ms: u64,
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn new(keys_max: usize) -> Self {
        let shard = || Mutex::new(Shard { buckets: HashMap::default(), overflow: Bucket::default(), swept_at_ms: 0 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            choice: RandomState::default(),
            shard_max: keys_max.div_ceil(SHARDS),
        }
    }

    fn take(&self, key: K, rate: Rate, now_ms: u64) -> Taken {
        let chosen =
            usize::try_from(self.choice.hash_one(key) % SHARDS as u64).expect("less than the number of shards");
        let mut shard = locked(&self.shards[chosen]);
        if let Some(known) = shard.buckets.get_mut(&key) {
            return known.take(rate, now_ms);
        }
        shard.new_bucket(key, self.shard_max, now_ms).take(rate, now_ms)
    }
}

impl<K: Copy + Eq + Hash> Shard<K> {
    fn new_bucket(&mut self, key: K, max: usize, now_ms: u64) -> &mut Bucket {
        // A clock that was set back must not put off the next sweep for long.
        let due = now_ms.abs_diff(self.swept_at_ms) >= SWEEP_MS;
        if self.buckets.len() >= max && due {
            self.buckets.retain(|_, bucket| !bucket.is_full(now_ms));
            self.swept_at_ms = now_ms;
        }
        if self.buckets.len() >= max {
            return &mut self.overflow;
        }
        self.buckets.entry(key).or_default()
    }
}

/// A bucket is whole at every moment, so a thread that panicked with the lock has left no harm.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const NONE: RatesConfig = RatesConfig { anonymous: None, payer: None, trusted: None, verification: None };

    fn source(n: u32) -> Source {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&n.to_be_bytes());
        Source(bytes)
    }

    fn payer(n: u8) -> Payer {
        Payer(alloy_primitives::Address::repeat_byte(n))
    }

    fn allowed(limits: &Limits, key: Key<'_>, now_ms: u64) -> Option<bool> {
        limits.take(key, now_ms).map(|taken| taken.allowed)
    }

    #[test]
    fn each_key_has_its_own_bucket() {
        let one = |calls| Some(Rate::new(calls, 1_000));
        let rates = RatesConfig { anonymous: one(1), payer: one(2), trusted: one(3), verification: one(1) };
        let limits = Limits::new(rates, [("GET /a".to_owned(), Rate::new(1, 1_000))]);
        for (key, allows) in [
            (Key::Address(source(1)), 1),
            (Key::Address(source(2)), 1),
            (Key::Verification(source(1)), 1),
            (Key::Payer(payer(1)), 2),
            (Key::Trusted(payer(2)), 3),
            (Key::Route("GET /a"), 1),
        ] {
            for _ in 0..allows {
                assert_eq!(allowed(&limits, key, NOW_MS), Some(true), "{key:?}");
            }
            assert_eq!(allowed(&limits, key, NOW_MS), Some(false), "{key:?}");
        }
        assert_eq!(limits.take(Key::Route("GET /b"), NOW_MS), None);
        // Trust is a rate, not another bucket: what was taken without it counts.
        assert_eq!(limits.take(Key::Trusted(payer(1)), NOW_MS).map(|taken| taken.remaining), Some(0));
        assert!(allowed(&limits, Key::Address(source(1)), NOW_MS + 1_000).unwrap());
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let limits = Limits::new(NONE, []);
        for key in [Key::Address(source(1)), Key::Verification(source(1)), Key::Payer(payer(1)), Key::Trusted(payer(1))]
        {
            assert_eq!(limits.take(key, NOW_MS), None);
        }
        assert!(limits.address.shards.iter().all(|shard| locked(shard).buckets.is_empty()));
    }

    #[test]
    fn other_rates_leave_the_buckets() {
        let rates = |calls| RatesConfig { anonymous: Some(Rate::new(calls, 1_000)), ..NONE };
        let route = |calls| [("GET /a".to_owned(), Rate::new(calls, 1_000))];
        let limits = Limits::new(rates(2), route(1));
        assert_eq!(allowed(&limits, Key::Route("GET /a"), NOW_MS), Some(true));
        for _ in 0..2 {
            assert_eq!(allowed(&limits, Key::Address(source(1)), NOW_MS), Some(true));
        }
        limits.set_rates(rates(4), route(1));
        assert_eq!(allowed(&limits, Key::Route("GET /a"), NOW_MS), Some(false));
        let taken = limits.take(Key::Address(source(1)), NOW_MS).unwrap();
        assert_eq!((taken.allowed, taken.limit), (false, 4), "a reload is no fresh start");
        limits.set_rates(NONE, []);
        assert_eq!(limits.take(Key::Address(source(1)), NOW_MS), None);
        assert_eq!(limits.take(Key::Route("GET /a"), NOW_MS), None);
    }

    #[test]
    fn memory_is_bounded_and_rested_buckets_make_room() {
        let table = Table::new(SHARDS * 4);
        let rate = Rate::new(10, 1_000);
        let kept = |table: &Table<Source>| table.shards.iter().map(|shard| locked(shard).buckets.len()).sum::<usize>();
        for n in 0..100_000 {
            table.take(source(n), rate, NOW_MS);
        }
        assert_eq!(kept(&table), SHARDS * 4);
        // All further keys share a bucket for each shard: none is free of limits.
        let refused = (200_000..300_000).filter(|n| !table.take(source(*n), rate, NOW_MS).allowed).count();
        assert!(refused > 99_000, "{refused}");
        // One that has a bucket is not disturbed.
        let known = (0..100_000)
            .map(source)
            .find(|key| table.shards.iter().any(|shard| locked(shard).buckets.contains_key(key)));
        assert!(table.take(known.unwrap(), rate, NOW_MS).allowed);
        // All are rested after a second, and new ones find room.
        for n in 400_000..410_000 {
            table.take(source(n), rate, NOW_MS + 2_000);
        }
        let fresh = (400_000..410_000).map(source);
        assert!(
            fresh.filter(|key| table.shards.iter().any(|shard| locked(shard).buckets.contains_key(key))).count()
                > SHARDS
        );
        assert!(kept(&table) <= SHARDS * 4);
    }

    #[test]
    fn many_threads_together_get_no_more_than_one() {
        let rates = RatesConfig { anonymous: Some(Rate::new(1_000, 60_000)), ..NONE };
        let limits = Limits::new(rates, [("GET /a".to_owned(), Rate::new(500, 60_000))]);
        let (by_address, by_route) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..2_000 {
                        let address = limits.take(Key::Address(source(n % 4)), NOW_MS).unwrap();
                        by_address.fetch_add(usize::from(address.allowed), Ordering::Relaxed);
                        let route = limits.take(Key::Route("GET /a"), NOW_MS).unwrap();
                        by_route.fetch_add(usize::from(route.allowed), Ordering::Relaxed);
                        if n % 100 == 0 {
                            limits.set_rates(rates, [("GET /a".to_owned(), Rate::new(500, 60_000))]);
                        }
                    }
                });
            }
        });
        assert_eq!((by_address.into_inner(), by_route.into_inner()), (4 * 1_000, 500));
    }
}
