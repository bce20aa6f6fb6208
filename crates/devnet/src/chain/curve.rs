//! `ecrecover` by libsecp256k1, which signs here anyway. revm's own, in Rust, takes several times as long in a debug build, and a
//! payment's signature is checked at each call that tries it.

use alloy_primitives::B256;
use protocol::Signature;
use revm::precompile::{Crypto, DefaultCrypto, PrecompileHalt, install_crypto};

#[derive(Debug)]
struct Native;

impl Crypto for Native {
    fn secp256k1_ecrecover(&self, rs: &[u8; 64], odd: u8, digest: &[u8; 32]) -> Result<[u8; 32], PrecompileHalt> {
        let signature = Signature::from_bytes(&[rs.as_slice(), &[odd]].concat());
        match signature.and_then(|signature| signature.recover(B256::from(*digest))) {
            Some(address) => Ok(address.into_word().0),
            // A high s is none of ours, and fine with the EVM.
            None => DefaultCrypto.secp256k1_ecrecover(rs, odd, digest),
        }
    }
}

/// For the whole process; whoever was first stays.
pub(super) fn install() {
    install_crypto(Native);
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, hex};
    use proptest::prelude::*;
    use protocol::Key;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_revms(secret in prop::array::uniform32(1_u8..), digest: [u8; 32], noise: [u8; 64]) {
            let key = Key::from_hex(&hex::encode_prefixed(secret)).unwrap();
            let (v, r, s) = key.sign_now(B256::from(digest)).unwrap().parts();
            let order = hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
            let high = U256::from_be_bytes(order) - U256::from_be_bytes(s.0);
            let join = |s: [u8; 32]| <[u8; 64]>::try_from([r.0, s].concat()).unwrap();
            for (rs, odd) in [(join(s.0), v - 27), (join(high.to_be_bytes()), 28 - v), (noise, 0), ([0; 64], 1)] {
                let found = Native.secp256k1_ecrecover(&rs, odd, &digest);
                prop_assert_eq!(found, DefaultCrypto.secp256k1_ecrecover(&rs, odd, &digest));
            }
        }
    }
}
