//! The one-use texts of sign-in-with-x. The server need not remember those that it gave out, only those that were used.

use std::fmt;

use alloy_primitives::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const MAC_BYTES: usize = 16;

/// What makes our texts ours. Prints `***`.
#[derive(Clone)]
pub struct SignInSecret([u8; 32]);

impl SignInSecret {
    /// Takes 32 bytes that nobody else knows. Texts made under other bytes are refused, so bytes that are new at each start
    /// end what was given out before.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.chain_update(b"sign-in-with-x nonce ").chain_update(body)
    }
}

impl fmt::Debug for SignInSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInSecret(***)")
    }
}

/// A text to be signed once: when it was given out, and a random number. The order is by time, so that what is too old to come
/// again can be forgotten from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignInNonce {
    /// When it was given out, in seconds.
    pub issued_at_s: u64,
    /// What tells it from others of the same second.
    pub random: [u8; 8],
}

impl SignInNonce {
    /// The text: 64 hex digits.
    #[must_use]
    pub fn print(&self, secret: &SignInSecret) -> String {
        let body = self.body();
        let mac = secret.mac(&body).finalize().into_bytes();
        let mac = mac.get(..MAC_BYTES).expect("SHA-256 has 32 bytes");
        hex::encode([&body, mac].concat())
    }

    /// Reads a text that was printed under this secret, however old, and no other.
    #[must_use]
    pub fn parse(secret: &SignInSecret, text: &str) -> Option<Self> {
        // `decode` would take a prefix and upper case: two texts of one number.
        if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let bytes = hex::decode_to_array::<_, { 16 + MAC_BYTES }>(text).ok()?;
        let (body, mac) = bytes.split_first_chunk::<16>()?;
        secret.mac(body).verify_truncated_left(mac).ok()?;
        let (issued_at_s, random) = body.split_first_chunk::<8>()?;
        Some(Self { issued_at_s: u64::from_be_bytes(*issued_at_s), random: random.try_into().ok()? })
    }

    fn body(&self) -> [u8; 16] {
        let mut body = [0; 16];
        let (issued_at_s, random) = body.split_at_mut(8);
        issued_at_s.copy_from_slice(&self.issued_at_s.to_be_bytes());
        random.copy_from_slice(&self.random);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_are_read() {
        let secret = SignInSecret::new([7; 32]);
        assert_eq!(format!("{secret:?}"), "SignInSecret(***)");
        let nonce = SignInNonce { issued_at_s: 1_900_000_000, random: [1, 2, 3, 4, 5, 6, 7, 8] };
        let text = nonce.print(&secret);
        assert_eq!((text.len(), text.bytes().all(|b| b.is_ascii_alphanumeric())), (64, true));
        assert_eq!(SignInNonce::parse(&secret, &text), Some(nonce));
        assert_eq!(SignInNonce::parse(&SignInSecret::new([8; 32]), &text), None);
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(SignInNonce::parse(&secret, std::str::from_utf8(&other).unwrap()), None, "{at}");
        }
        let prefixed = format!("0x{text}");
        for odd in ["", "0", &text[..62], &text.to_uppercase(), &prefixed, &format!("{text}00"), &"é".repeat(32)] {
            assert_eq!(SignInNonce::parse(&secret, odd), None, "{odd}");
        }
    }
}
