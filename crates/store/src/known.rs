//! What this process knows of the journal without reading it: which claims are not in it, and how payers stand. A journal belongs to one
//! process, and every write of that one goes past here before it is committed or right after.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use alloy_primitives::{Address, B256};
use gate::Standing;
use protocol::{Asset, AssetAddress, ClaimKey, Network, Payer};
use rusqlite::Connection;

use crate::rows;

/// Words of the first layer: 2 MiB. Each further layer is twice as large as the one before it.
const FIRST_WORDS: usize = 1 << 18;
const LAYERS: usize = 12;
/// Bits for each claim, and how many of them are set: about one answer in 400 is a needless read.
const BITS_PER_CLAIM: u64 = 12;
const PROBES: u64 = 4;
/// How many payers' standings are kept.
const STANDINGS_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Known {
    claims: Claims,
    /// Whether every claim of the file is in `claims`.
    complete: AtomicBool,
    standings: Mutex<Standings>,
    /// How often keys were changed.
    access: AtomicU64,
}

#[derive(Debug, Default)]
struct Standings {
    of: BTreeMap<Payer, Standing>,
    /// Counts what was forgotten: what was read before that is not kept.
    forgotten: u64,
}

impl Known {
    pub(crate) fn new() -> Self {
        let standings = Mutex::new(Standings::default());
        Self { claims: Claims::new(), complete: AtomicBool::new(false), standings, access: AtomicU64::new(0) }
    }

    /// Reads every claim of the file once. Those that are written meanwhile are noted by the writer.
    pub(crate) fn fill(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut statement = db.prepare("SELECT network, asset, payer, nonce FROM holds")?;
        let claims = statement.query_map([], |row| {
            let asset = Asset {
                network: Network { chain_id: rows::unsigned(row, 0)? },
                address: AssetAddress(Address::new(rows::fixed(row, 1)?)),
            };
            Ok(ClaimKey {
                asset,
                payer: Payer(Address::new(rows::fixed(row, 2)?)),
                nonce: B256::new(rows::fixed(row, 3)?),
            })
        })?;
        for claim in claims {
            self.claims.add(&claim?);
        }
        self.complete.store(true, Ordering::Release);
        Ok(())
    }

    /// Before a claim is committed.
    pub(crate) fn claimed(&self, key: &ClaimKey) {
        self.claims.add(key);
    }

    /// Whether a claim is certainly not in the journal. `false` says nothing.
    pub(crate) fn is_unclaimed(&self, key: &ClaimKey) -> bool {
        self.complete.load(Ordering::Acquire) && !self.claims.may_have(key)
    }

    /// A payer's standing, or what to read and keep it with.
    pub(crate) fn standing(&self, payer: &Payer) -> Result<Standing, u64> {
        let standings = self.standings();
        standings.of.get(payer).copied().ok_or(standings.forgotten)
    }

    /// Keeps what was read, unless something was forgotten since: the read may be older than that.
    pub(crate) fn keep_standing(&self, payer: Payer, standing: Standing, asked_at: u64) {
        let mut standings = self.standings();
        if standings.forgotten != asked_at {
            return;
        }
        if standings.of.len() >= STANDINGS_MAX {
            standings.of.clear();
        }
        standings.of.insert(payer, standing);
    }

    /// After a commit that may have changed the standing of payers, before anybody is told of it.
    pub(crate) fn forget_standings(&self, payers: &[Payer]) {
        if payers.is_empty() {
            return;
        }
        let mut standings = self.standings();
        standings.forgotten = standings.forgotten.wrapping_add(1);
        for payer in payers {
            standings.of.remove(payer);
        }
    }

    /// After a commit that changed keys, plans or secrets, before anybody is told of it.
    pub(crate) fn access_changed(&self) {
        self.access.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn access_generation(&self) -> u64 {
        self.access.load(Ordering::Acquire)
    }

    fn standings(&self) -> MutexGuard<'_, Standings> {
        // Whoever panicked with it has left whole entries behind.
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Bloom filter that grows: says of a claim that it is not there, or that it may be.
#[derive(Debug)]
struct Claims {
    layers: [OnceLock<Layer>; LAYERS],
    hashers: [RandomState; 2],
}

#[derive(Debug)]
struct Layer {
    words: Vec<AtomicU64>,
    claims: AtomicU64,
}

impl Claims {
    fn new() -> Self {
        Self { layers: std::array::from_fn(|_| OnceLock::new()), hashers: [RandomState::new(), RandomState::new()] }
    }

    fn add(&self, key: &ClaimKey) {
        let hashes = self.hashes(key);
        let mut last = None;
        for (at, slot) in self.layers.iter().enumerate() {
            let layer = slot.get_or_init(|| Layer::new(FIRST_WORDS << at));
            last = Some(layer);
            if !layer.is_full() {
                break;
            }
        }
        // Beyond the last layer's size it only gets less sharp.
        if let Some(layer) = last {
            layer.add(hashes);
        }
    }

    fn may_have(&self, key: &ClaimKey) -> bool {
        let hashes = self.hashes(key);
        self.layers.iter().map_while(OnceLock::get).any(|layer| layer.may_have(hashes))
    }

    /// Keyed with chance: a payer chooses his nonces and must not choose where they fall.
    fn hashes(&self, key: &ClaimKey) -> [u64; 2] {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(key))
    }
}

impl Layer {
    fn new(words: usize) -> Self {
        Self { words: std::iter::repeat_with(AtomicU64::default).take(words).collect(), claims: AtomicU64::new(0) }
    }

    fn is_full(&self) -> bool {
        let bits = u64::try_from(self.words.len()).unwrap_or(u64::MAX).saturating_mul(64);
        self.claims.load(Ordering::Relaxed) >= bits / BITS_PER_CLAIM
    }

    fn add(&self, hashes: [u64; 2]) {
        self.claims.fetch_add(1, Ordering::Relaxed);
        for (word, bit) in self.places(hashes) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    fn may_have(&self, hashes: [u64; 2]) -> bool {
        self.places(hashes).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    fn places(&self, [one, two]: [u64; 2]) -> impl Iterator<Item = (&AtomicU64, u64)> {
        (0..PROBES).filter_map(move |probe| {
            let hash = one.wrapping_add(two.wrapping_mul(probe));
            let at = usize::try_from(hash >> 6).unwrap_or(usize::MAX).checked_rem(self.words.len())?;
            Some((self.words.get(at)?, 1 << (hash & 63)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> ClaimKey {
        let asset = Asset { network: Network { chain_id: 1 }, address: AssetAddress(Address::ZERO) };
        ClaimKey { asset, payer: Payer(Address::ZERO), nonce: B256::from(alloy_primitives::U256::from(number)) }
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let claims = Claims::new();
        claims.layers[0].set(Layer::new(1 << 10)).unwrap();
        // Twice as many as the small first layer is made for, so that a second one is there.
        let count = 2 * (1 << 16) / BITS_PER_CLAIM;
        (0..count).for_each(|number| claims.add(&key(number)));
        assert!(claims.layers[1].get().is_some());
        assert!((0..count).all(|number| claims.may_have(&key(number))), "nothing that is there is denied");
        let wrong = (count..count + 10_000).filter(|number| claims.may_have(&key(*number))).count();
        assert!(wrong < 200, "{wrong} of 10,000");
    }

    #[test]
    fn before_the_file_was_read_nothing_is_denied() {
        let known = Known::new();
        assert!(!known.is_unclaimed(&key(1)));
        known.complete.store(true, Ordering::Release);
        assert!(known.is_unclaimed(&key(1)));
        known.claimed(&key(1));
        assert!(!known.is_unclaimed(&key(1)));
    }

    #[test]
    fn a_standing_that_was_read_before_something_was_forgotten_is_not_kept() {
        let (known, payer) = (Known::new(), Payer(Address::ZERO));
        let asked_at = known.standing(&payer).unwrap_err();
        known.forget_standings(&[payer]);
        known.keep_standing(payer, Standing::default(), asked_at);
        let asked_at = known.standing(&payer).unwrap_err();
        known.keep_standing(payer, Standing::default(), asked_at);
        assert_eq!(known.standing(&payer), Ok(Standing::default()));
        known.forget_standings(&[payer]);
        assert!(known.standing(&payer).is_err());
    }
}
