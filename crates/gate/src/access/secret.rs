//! The shape of secrets. Only digests are kept.

use std::fmt;

use alloy_primitives::hex;
use sha2::{Digest as _, Sha256};

/// What an API key's secret begins with.
pub const SECRET_PREFIX: &str = "pg_";
/// What a scoped token begins with.
pub const TOKEN_PREFIX: &str = "pgt_";

const SECRET_DIGITS: usize = 48;
/// How much of a secret is shown in lists: 160 of its 192 bits stay unknown.
const SHOWN_DIGITS: usize = 8;

/// The SHA-256 of a secret. A secret has 192 random bits, so its digest need not be slow to make.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretDigest(pub [u8; 32]);

impl SecretDigest {
    /// The digest of an API key's secret: `pg_` and 48 hex digits. `None` for every other text.
    #[must_use]
    pub fn of_secret(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SECRET_PREFIX)?;
        let is_hex = digits.len() == SECRET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self::of(text))
    }

    /// The digest of any text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(***)")
    }
}

/// A new secret.
#[must_use]
pub fn new_secret(entropy: [u8; 24]) -> String {
    format!("{SECRET_PREFIX}{}", hex::encode(entropy))
}

/// The part of a secret by which its holder knows it again.
#[must_use]
pub fn secret_prefix(secret: &str) -> String {
    secret.chars().take(SECRET_PREFIX.len().saturating_add(SHOWN_DIGITS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_secrets_have_a_digest() {
        let secret = new_secret([0xab; 24]);
        assert_eq!(secret.len(), 51);
        let upper = secret.replace("ab", "AB");
        let digest = SecretDigest::of_secret(&secret).unwrap();
        assert_ne!(Some(digest), SecretDigest::of_secret(&upper), "a secret is its bytes");
        for text in ["", "pg_", &secret[..50], &format!("{secret}0"), &secret.replace("ab", "xy"), "pgt_x", "PG_00"] {
            assert_eq!(SecretDigest::of_secret(text), None, "{text}");
        }
        assert_eq!(secret_prefix(&secret), "pg_abababab");
        assert_eq!(format!("{digest:?}"), "SecretDigest(***)");
    }
}
