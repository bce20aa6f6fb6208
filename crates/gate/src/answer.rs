//! An upstream's answer that is kept for a caller who has not had it.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

/// A stored answer. It is given out only for the same request and a secret that was never on a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The upstream's status.
    pub status: u16,
    /// The upstream's headers, without the hop-by-hop ones.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Digest of the request's body, if it was read to its end: a repeat must send the same bytes.
    pub request_digest: Option<B256>,
}

/// The digest under which a secret (pick-up code, `Idempotency-Key`) is kept. The secret itself is never stored.
#[must_use]
pub fn secret_digest(secret: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(secret))
}
