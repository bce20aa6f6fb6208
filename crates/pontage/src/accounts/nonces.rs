//! Nonces of signed requests: each holds once. They are remembered for longer than a signature holds, by all workers together.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use gate::{Denial, SIGNATURE_WINDOW_MS};
use ledger::KeyId;

/// A signature holds from so long before now to so long after it: what was used is forgotten after twice that.
const REMEMBERED_MS: u64 = 2 * SIGNATURE_WINDOW_MS;
/// Of one key, in that time. It cannot take the room of the others.
const OF_KEY_MAX: u32 = 250_000;
/// Of all.
const MAX: usize = 1_000_000;

/// What was used.
#[derive(Debug)]
pub(crate) struct Nonces {
    /// What was used before is not known: nothing that was made before holds.
    since_ms: u64,
    hasher: RandomState,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    began_ms: u64,
    now: Span,
    before: Span,
}

/// Digests, by a secret of this process, that are forgotten together.
#[derive(Debug, Default)]
struct Span {
    seen: HashSet<u64>,
    of_key: BTreeMap<KeyId, u32>,
}

impl Nonces {
    pub(crate) fn new(now_ms: u64) -> Self {
        let used = Used { began_ms: now_ms, ..Used::default() };
        Self { since_ms: now_ms, hasher: RandomState::new(), used: Mutex::new(used) }
    }

    /// Uses a nonce that a signature of about now has. One that cannot be remembered is refused.
    pub(crate) fn take(&self, key: KeyId, nonce: &str, at_ms: u64, now_ms: u64) -> Result<(), Denial> {
        if at_ms < self.since_ms {
            return Err(Denial::SignatureExpired);
        }
        let digest = self.hasher.hash_one((key, nonce));
        // Whoever panicked with it has left whole sets behind.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(used.began_ms) >= REMEMBERED_MS {
            used.before = std::mem::take(&mut used.now);
            used.began_ms = now_ms;
        }
        if used.now.seen.contains(&digest) || used.before.seen.contains(&digest) {
            return Err(Denial::SignatureReplayed);
        }
        let of_key = used.now.of_key.get(&key).copied().unwrap_or_default();
        if of_key >= OF_KEY_MAX || used.now.seen.len() >= MAX {
            return Err(Denial::TooManySignatures);
        }
        used.now.of_key.insert(key, of_key.saturating_add(1));
        used.now.seen.insert(digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId([1; 16]);

    #[test]
    fn a_nonce_holds_once_for_its_key() {
        let nonces = Nonces::new(1_000);
        assert_eq!(nonces.take(KEY, "one", 1_000, 1_000), Ok(()));
        assert_eq!(nonces.take(KEY, "one", 1_000, 1_000), Err(Denial::SignatureReplayed));
        assert_eq!(nonces.take(KEY, "one", 2_000, 301_000), Err(Denial::SignatureReplayed));
        assert_eq!(nonces.take(KeyId([2; 16]), "one", 1_000, 1_000), Ok(()));
        assert_eq!(nonces.take(KEY, "two", 999, 1_000), Err(Denial::SignatureExpired), "before the start");
    }

    #[test]
    fn it_is_remembered_for_as_long_as_its_signature_holds() {
        let nonces = Nonces::new(0);
        // Made by a clock five minutes ahead, right before a span ends.
        let (used_ms, at_ms) = (REMEMBERED_MS - 1, REMEMBERED_MS - 1 + SIGNATURE_WINDOW_MS);
        assert_eq!(nonces.take(KEY, "ahead", at_ms, used_ms), Ok(()));
        for now_ms in [REMEMBERED_MS, at_ms, at_ms + SIGNATURE_WINDOW_MS] {
            assert_eq!(nonces.take(KEY, "ahead", at_ms, now_ms), Err(Denial::SignatureReplayed), "{now_ms}");
        }
        let later = used_ms + 3 * REMEMBERED_MS;
        assert_eq!(nonces.take(KEY, "x", later, later), Ok(()));
        assert_eq!(nonces.take(KEY, "y", later + REMEMBERED_MS, later + REMEMBERED_MS), Ok(()));
        let used = nonces.used.lock().unwrap();
        assert_eq!((used.now.seen.len(), used.before.seen.len()), (1, 1), "what is old is forgotten");
    }

    #[test]
    fn one_key_cannot_take_all_the_room() {
        let nonces = Nonces::new(0);
        nonces.used.lock().unwrap().now.of_key.insert(KEY, OF_KEY_MAX);
        assert_eq!(nonces.take(KEY, "one", 0, 0), Err(Denial::TooManySignatures));
        assert_eq!(nonces.take(KeyId([2; 16]), "one", 0, 0), Ok(()));
    }
}
