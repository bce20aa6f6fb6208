//! The scheme `exact` over EIP-3009: what is signed, its digest, and the check of it that needs no chain (reference x402 §8.1).

mod verify;

use std::cell::RefCell;

use alloy_primitives::{Address, B256, U256, hex, keccak256};

use crate::{Amount, Asset, AssetInfo, Payee, Payer, Signature};

pub use verify::{Proven, Window, match_offer, verify};

/// keccak256 of `TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)`.
pub const TRANSFER_TYPEHASH: B256 = B256::new(hex!("7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267"));

/// keccak256 of `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)`.
const DOMAIN_TYPEHASH: B256 = B256::new(hex!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"));

/// What makes an authorization one of a kind. A chain moves money once for it, so we run the upstream once for it, in
/// whatever header or protocol version it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimKey {
    /// Network and token.
    pub asset: Asset,
    /// Who signed.
    pub payer: Payer,
    /// The authorization's one-use number.
    pub nonce: B256,
}

/// The signed fields as they arrived. Nothing about them is true yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Who is said to pay.
    pub from: Address,
    /// Who would be paid.
    pub to: Address,
    /// How much, in atomic units.
    pub value: U256,
    /// Valid only after this time, in seconds.
    pub valid_after: U256,
    /// Valid only before this time, in seconds.
    pub valid_before: U256,
    /// The one-use number.
    pub nonce: B256,
}

impl Fields {
    /// The key under which the authorization is claimed, if it is over `asset`.
    #[must_use]
    pub fn key(&self, asset: Asset) -> ClaimKey {
        ClaimKey { asset, payer: Payer(self.from), nonce: self.nonce }
    }

    /// The EIP-712 digest that the payer signs for `token`.
    #[must_use]
    pub fn digest(&self, token: &AssetInfo) -> B256 {
        let hash = words_hash([
            TRANSFER_TYPEHASH,
            self.from.into_word(),
            self.to.into_word(),
            self.value.into(),
            self.valid_after.into(),
            self.valid_before.into(),
            self.nonce,
        ]);
        typed_digest(domain(token), hash)
    }
}

/// A verified, signed permission to move an amount. [`verify()`] is where one comes from; the journal gives back what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Asset, payer and nonce.
    pub key: ClaimKey,
    /// Who is paid.
    pub payee: Payee,
    /// How much.
    pub amount_atomic: u128,
    /// Seconds.
    pub valid_after_s: u64,
    /// Seconds.
    pub valid_before_s: u64,
    /// The payer's.
    pub signature: Signature,
}

impl Authorization {
    /// What it moves.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount::new(self.amount_atomic, self.key.asset)
    }

    /// The fields that were signed.
    #[must_use]
    pub fn fields(&self) -> Fields {
        Fields {
            from: self.key.payer.0,
            to: self.payee.0,
            value: U256::from(self.amount_atomic),
            valid_after: U256::from(self.valid_after_s),
            valid_before: U256::from(self.valid_before_s),
            nonce: self.key.nonce,
        }
    }
}

/// The EIP-712 domain separator of a token. Equals the contract's own `DOMAIN_SEPARATOR()` when name and version are right.
#[must_use]
pub fn domain_separator(token: &AssetInfo) -> B256 {
    words_hash([
        DOMAIN_TYPEHASH,
        keccak256(&token.name),
        keccak256(&token.version),
        U256::from(token.asset.network.chain_id).into(),
        token.asset.address.0.into_word(),
    ])
}

/// The same, remembered for the token that was asked for last on this thread: one payment after the other is in the same.
fn domain(token: &AssetInfo) -> B256 {
    thread_local! {
        static LAST: RefCell<Option<(AssetInfo, B256)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, domain)) if known == token => *domain,
        _ => last.insert((token.clone(), domain_separator(token))).1,
    })
}

/// keccak256 of these words one after the other, as EIP-712 hashes a struct.
pub(crate) fn words_hash<const N: usize>(words: [B256; N]) -> B256 {
    keccak256(words.map(|word| word.0).as_flattened())
}

/// The EIP-712 digest of a struct's hash under a domain.
pub(crate) fn typed_digest(domain: B256, hash: B256) -> B256 {
    let mut bytes = [0; 66];
    let (prefix, words) = bytes.split_at_mut(2);
    prefix.copy_from_slice(&[0x19, 0x01]);
    let (first, second) = words.split_at_mut(32);
    first.copy_from_slice(domain.as_slice());
    second.copy_from_slice(hash.as_slice());
    keccak256(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Key, Network};
    use alloy_primitives::address;

    pub(crate) const KEY_0: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    /// The fixture of reference x402 §18.
    pub(crate) fn fixture() -> (AssetInfo, Fields) {
        let fields = Fields {
            from: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            to: address!("209693Bc6afc0C5328bA36FaF03C514EF312287C"),
            value: U256::from(10_000),
            valid_after: U256::ZERO,
            valid_before: U256::from(2_000_000_000u64),
            nonce: B256::new(hex!("f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480")),
        };
        (AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap(), fields)
    }

    #[test]
    fn typehashes_are_the_hashes_of_their_types() {
        let transfer = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        assert_eq!(keccak256(transfer), TRANSFER_TYPEHASH);
        let domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        assert_eq!(keccak256(domain), DOMAIN_TYPEHASH);
    }

    #[test]
    fn domain_separators_of_usdc() {
        for (chain_id, want) in [
            (8453, hex!("02fa7265e7c5d81118673727957699e4d68f74cd74b7db77da710fe8a2c7834f")),
            (84532, hex!("71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818")),
            (1, hex!("06c37168a7db5138defc7866392bb87a741f9b3d104deb5094588ce041cae335")),
            (137, hex!("caa2ce1a5703ccbe253a34eb3166df60a705c561b44b192061e28f2a985be2ca")),
            (42161, hex!("08d11903f8419e68b1b8721bcbe2e9fc68569122a77ef18c216f10b3b5112c78")),
            (43114, hex!("bbea200329a938bc3438984a49cb0732e66d66d7bd59c127abacc1710e77f7b3")),
        ] {
            let token = AssetInfo::usdc(Network { chain_id }).unwrap();
            assert_eq!(domain_separator(&token), B256::new(want), "{chain_id}");
        }
    }

    #[test]
    fn digest_and_signature_of_the_fixture() {
        let (token, fields) = fixture();
        let digest = fields.digest(&token);
        assert_eq!(digest, B256::new(hex!("98e55be9d92643d50caffb4406d073d220e93ad21dfe3a8592bc386252a31afc")));
        let signature = Key::from_hex(KEY_0).unwrap().sign_now(digest).unwrap();
        let want = hex!(
            "903ce473a1912185579462c096a3fdb5491d606a68a8bc1b68043c5f2c41c884216c75bcacd3d7b8afd4674faea7cbc83e5ad7980d6b0af957976b41abe40ae91b"
        );
        assert_eq!(signature.as_bytes(), &want);
        assert_eq!(signature.recover(digest), Some(fields.from));
    }
}
