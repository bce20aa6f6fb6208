//! secp256k1 signatures: libsecp256k1 natively, k256 on wasm. One interface, the same answers.

use std::fmt;

use alloy_primitives::{Address, B256, hex, keccak256};

#[cfg(not(target_arch = "wasm32"))]
use self::native as backend;
#[cfg(target_arch = "wasm32")]
use self::portable as backend;

/// Half of the group order: an s above it is the second, malleable form of a signature.
const HALF_ORDER: [u8; 32] = hex!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

/// A recoverable signature with a low s and v of 27 or 28. There is no other way to hold one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 65]);

impl Signature {
    /// Takes `r ‖ s ‖ v`. A v of 0 or 1 is read as 27 or 28; a high s, another v and another length are `None`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut bytes: [u8; 65] = bytes.try_into().ok()?;
        let (rs, v) = bytes.split_at_mut(64);
        let s = rs.get(32..)?;
        if s > HALF_ORDER.as_slice() {
            return None;
        }
        let v = v.first_mut()?;
        match *v {
            0 | 1 => *v = v.checked_add(27)?,
            27 | 28 => {}
            _ => return None,
        }
        Some(Self(bytes))
    }

    /// `r ‖ s ‖ v`, v of 27 or 28.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// The three parts as the `(v, r, s)` overload of a token takes them.
    #[must_use]
    pub fn parts(&self) -> (u8, B256, B256) {
        let [rs @ .., v] = self.0;
        let (r, s) = rs.split_at(32);
        (v, B256::from_slice(r), B256::from_slice(s))
    }

    /// The address whose key made this signature over `digest`, if there is one.
    #[must_use]
    pub fn recover(&self, digest: B256) -> Option<Address> {
        self.recover_key(digest).map(|key| key.address())
    }

    /// The same, as the key itself.
    #[must_use]
    pub fn recover_key(&self, digest: B256) -> Option<PublicKey> {
        let [rs @ .., v] = self.0;
        backend::recover(digest, &rs, v.checked_sub(27)?).map(PublicKey)
    }
}

/// The public half of a key: a point of secp256k1. Prints as `0x04` and its 128 digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 64]);

impl PublicKey {
    /// The address that belongs to it.
    #[must_use]
    pub fn address(&self) -> Address {
        address_of(&self.0)
    }

    /// Reads `0x04` and 128 digits. Whether it is a point of the curve is not asked: no signature is another's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x04").filter(|digits| digits.len() == 128)?;
        hex::decode_to_array(digits).map(Self).ok()
    }

    /// Its short form: which of the two points there are for x, and x.
    #[must_use]
    pub fn compressed(&self) -> [u8; 33] {
        let mut short = [0; 33];
        let (x, y) = self.0.split_at(32);
        let is_odd = y.last().is_some_and(|last| last % 2 == 1);
        let bytes = std::iter::once(if is_odd { 3 } else { 2 }).chain(x.iter().copied());
        short.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        short
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x04{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

/// Something that can sign for one address: a key in this process, or another process.
pub trait Signer {
    /// Whose signatures these are.
    fn address(&self) -> Address;

    /// Signs `digest`.
    ///
    /// # Errors
    /// [`SignFault`] when the backend cannot sign now. A backend must not sign anything else.
    fn sign(&self, digest: B256) -> impl Future<Output = Result<Signature, SignFault>>;

    /// Signs a chain_tx by its unsigned bytes, `0x02 ‖ rlp([fields…])`. A backend that signs only what it can read reads them.
    ///
    /// # Errors
    /// As [`Signer::sign`].
    fn sign_chain_tx(&self, unsigned: &[u8]) -> impl Future<Output = Result<Signature, SignFault>> {
        self.sign(keccak256(unsigned))
    }
}

/// A signing backend is out of reach or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signer cannot sign now")]
pub struct SignFault;

/// A private key in this process. Prints `***`.
#[derive(Clone)]
pub struct Key {
    secret: [u8; 32],
    public: PublicKey,
    address: Address,
}

/// Not `0x` and 64 hex digits of a number below the group order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not hold a private key (0x and 64 hex digits)")]
pub struct NotAKey;

impl Key {
    /// Reads `0x` and 64 hex digits.
    ///
    /// # Errors
    /// [`NotAKey`]; the text is not repeated in it.
    pub fn from_hex(text: &str) -> Result<Self, NotAKey> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // `decode` would take a second prefix.
        if digits.len() != 64 {
            return Err(NotAKey);
        }
        let secret = hex::decode_to_array::<_, 32>(digits).map_err(|_| NotAKey)?;
        let public = backend::public_point(&secret).map(PublicKey).ok_or(NotAKey)?;
        Ok(Self { secret, public, address: public.address() })
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs at once.
    ///
    /// # Errors
    /// [`SignFault`] if the library refuses, which a valid key never sees.
    pub fn sign_now(&self, digest: B256) -> Result<Signature, SignFault> {
        backend::sign(&self.secret, digest).as_ref().and_then(|bytes| Signature::from_bytes(bytes)).ok_or(SignFault)
    }
}

impl Signer for Key {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, digest: B256) -> Result<Signature, SignFault> {
        self.sign_now(digest)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(*** of {})", self.address)
    }
}

/// The address of an uncompressed point (64 bytes, without its 0x04 prefix).
fn address_of(point: &[u8; 64]) -> Address {
    Address::from_slice(keccak256(point).split_at(12).1)
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use alloy_primitives::B256;
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    use secp256k1::{Message, PublicKey, SecretKey};

    pub(super) fn recover(digest: B256, rs: &[u8; 64], id: u8) -> Option<[u8; 64]> {
        let signature = RecoverableSignature::from_compact(rs, RecoveryId::from_u8_masked(id)).ok()?;
        let key = signature.recover_ecdsa(Message::from_digest(digest.0)).ok()?;
        point(&key)
    }

    pub(super) fn sign(secret: &[u8; 32], digest: B256) -> Option<[u8; 65]> {
        let key = SecretKey::from_secret_bytes(*secret).ok()?;
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest.0), &key);
        let (id, rs) = signature.serialize_compact();
        super::join(&rs, id.to_u8())
    }

    pub(super) fn public_point(secret: &[u8; 32]) -> Option<[u8; 64]> {
        point(&SecretKey::from_secret_bytes(*secret).ok()?.public_key())
    }

    fn point(key: &PublicKey) -> Option<[u8; 64]> {
        key.serialize_uncompressed().split_first()?.1.try_into().ok()
    }
}

#[cfg(any(target_arch = "wasm32", test))]
mod portable {
    use alloy_primitives::B256;
    use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
    use k256::elliptic_curve::sec1::ToSec1Point;

    pub(super) fn recover(digest: B256, rs: &[u8; 64], id: u8) -> Option<[u8; 64]> {
        let signature = Signature::from_slice(rs).ok()?;
        let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, RecoveryId::from_byte(id)?).ok()?;
        point(&key)
    }

    pub(super) fn sign(secret: &[u8; 32], digest: B256) -> Option<[u8; 65]> {
        let key = SigningKey::from_slice(secret).ok()?;
        let (signature, id) = key.sign_prehash_recoverable(digest.as_slice());
        let rs: [u8; 64] = signature.to_bytes().as_slice().try_into().ok()?;
        super::join(&rs, id.to_byte())
    }

    pub(super) fn public_point(secret: &[u8; 32]) -> Option<[u8; 64]> {
        point(SigningKey::from_slice(secret).ok()?.verifying_key())
    }

    fn point(key: &VerifyingKey) -> Option<[u8; 64]> {
        key.as_affine().to_sec1_point(false).as_bytes().split_first()?.1.try_into().ok()
    }
}

fn join(rs: &[u8; 64], id: u8) -> Option<[u8; 65]> {
    let mut bytes = [0; 65];
    let (head, v) = bytes.split_at_mut(64);
    head.copy_from_slice(rs);
    *v.first_mut()? = id.checked_add(27)?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY_0: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn first_key_of_the_test_mnemonic() {
        let key = Key::from_hex(KEY_0).unwrap();
        assert_eq!(key.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(format!("{key:?}"), "Key(*** of 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266)");
    }

    #[test]
    fn keys_that_are_none() {
        let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let prefixed_twice = format!("0x{KEY_0}");
        for text in ["", "0x", "0x00", &format!("0x{}", "0".repeat(64)), order, &KEY_0[..65], &prefixed_twice] {
            assert!(Key::from_hex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_high_half_of_s_and_odd_v_are_no_signature() {
        let good = Key::from_hex(KEY_0).unwrap().sign_now(B256::repeat_byte(7)).unwrap();
        let mut high = *good.as_bytes();
        let order = hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
        let s = alloy_primitives::U256::from_be_slice(&high[32..64]);
        high[32..64].copy_from_slice(&(alloy_primitives::U256::from_be_bytes(order) - s).to_be_bytes::<32>());
        high[64] = 55 - high[64];
        assert!(Signature::from_bytes(&high).is_none());
        for v in [2, 26, 29, 255] {
            let mut odd = *good.as_bytes();
            odd[64] = v;
            assert!(Signature::from_bytes(&odd).is_none(), "v {v}");
        }
        let mut zero_based = *good.as_bytes();
        zero_based[64] -= 27;
        assert_eq!(Signature::from_bytes(&zero_based), Some(good));
        assert!(Signature::from_bytes(&good.as_bytes()[..64]).is_none());
    }

    proptest! {
        #[test]
        fn both_backends_agree(secret in prop::array::uniform32(1u8..), digest: [u8; 32], noise: [u8; 64], id in 0u8..2) {
            let digest = B256::from(digest);
            let native = native::sign(&secret, digest);
            prop_assert_eq!(native, portable::sign(&secret, digest));
            prop_assert_eq!(native::public_point(&secret), portable::public_point(&secret));
            prop_assert_eq!(native::recover(digest, &noise, id), portable::recover(digest, &noise, id));
            if let Some(bytes) = native {
                let key = address_of(&native::public_point(&secret).unwrap());
                prop_assert_eq!(Signature::from_bytes(&bytes).unwrap().recover(digest), Some(key));
            }
        }
    }
}
