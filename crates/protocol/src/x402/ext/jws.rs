//! A receipt as a compact JWS (RFC 7515) under ES256K (RFC 8812). The `kid` is a `did:key`, which holds the key itself: who verifies
//! asks nobody.

use alloy_primitives::B256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::json::get;
use crate::{Key, PublicKey, SignFault, Signature};

/// The multicodec of a compressed secp256k1 key, as a varint.
const SECP256K1: [u8; 2] = [0xe7, 0x01];

/// What a JWS says, and whose key signed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Jws {
    /// The whole of it: three parts in base64url with dots between.
    pub text: String,
    /// What is said.
    pub payload: Value,
    /// Who says it.
    pub signer: PublicKey,
}

impl Jws {
    /// Signs `payload`.
    ///
    /// # Errors
    /// [`SignFault`] if the library refuses, which a valid key never sees.
    pub fn sign(payload: Value, key: &Key) -> Result<Self, SignFault> {
        let header = json!({ "alg": "ES256K", "kid": kid(&key.public()) });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&payload));
        let signature = key.sign_now(digest(&signed))?;
        let (rs, _) = signature.as_bytes().split_at(64);
        let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(rs));
        Ok(Self { text, payload, signer: key.public() })
    }

    /// Reads one whose signature is its key's. `None` for every other text, and for keys that have to be fetched.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let value = |part: &str| serde_json::from_slice::<Value>(&bytes(part)?).ok();
        let (header, payload, rs) = (value(header)?, value(payload)?, bytes(signature)?);
        let named = get(&header, "kid")?.as_str()?;
        if get(&header, "alg")? != "ES256K" || rs.len() != 64 || !payload.is_object() || get(&header, "crit").is_some()
        {
            return None;
        }
        // A JWS does not say which of the two keys that fit it is meant; its name does.
        let of = |v: u8| Signature::from_bytes(&[&rs[..], &[v]].concat())?.recover_key(digest(signed));
        let signer = [27, 28].into_iter().filter_map(of).find(|key| kid(key) == named)?;
        Some(Self { text: text.to_owned(), payload, signer })
    }

    /// `{format, signature}`: the payload is within the signature.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "format": "jws", "signature": self.text })
    }
}

fn digest(signed: &str) -> B256 {
    B256::from_slice(&Sha256::digest(signed))
}

impl PublicKey {
    /// The key's name, which is the key.
    #[must_use]
    pub fn did_key(&self) -> String {
        format!("did:key:{}", multibase(self))
    }
}

/// The one key of a [`PublicKey::did_key`].
fn kid(key: &PublicKey) -> String {
    let name = multibase(key);
    format!("did:key:{name}#{name}")
}

fn multibase(key: &PublicKey) -> String {
    format!("z{}", bs58::encode([&SECP256K1[..], &key.compressed()].concat()).into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::tests::KEY_0;

    #[test]
    fn a_jws_reads_back_and_no_byte_of_it_can_be_changed() {
        let key = Key::from_hex(KEY_0).unwrap();
        let jws = Jws::sign(json!({ "version": 1, "payer": "0x1", "issuedAt": 5 }), &key).unwrap();
        assert_eq!(Jws::parse(&jws.text), Some(jws.clone()));
        assert_eq!(jws.signer.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        for at in 0..jws.text.len() {
            for other in [b'A', b'B', b'.', b'=', b'0'] {
                let mut bytes = jws.text.clone().into_bytes();
                if std::mem::replace(&mut bytes[at], other) == other {
                    continue;
                }
                let text = String::from_utf8(bytes).unwrap();
                assert_eq!(Jws::parse(&text), None, "{at}: {text}");
            }
        }
    }

    /// The vector of the did:key method for secp256k1, whose key is known.
    #[test]
    fn the_name_of_a_key() {
        let key = Key::from_hex("0x9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c").unwrap();
        let named = kid(&key.public());
        assert_eq!(named, format!("{0}#{1}", key.public().did_key(), &named[8..57]));
        assert_eq!(key.public().did_key(), "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme");
    }
}
