//! Keys and signatures. Payers sign truly, since the gate recovers them; what was signed once in this thread is remembered, for
//! seeds sign the same few things. The lane's signature is made up: nobody on this chain recovers it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, address, keccak256};
use protocol::exact::Fields;
use protocol::x402::{Credential, Version};
use protocol::{Key, Offer, SignFault, Signature, Signer};

/// Our keys' addresses.
pub(crate) const LANES: [Address; 2] =
    [address!("00000000000000000000000000000000000000aa"), address!("00000000000000000000000000000000000000ab")];

const PAYERS: [&str; 3] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

thread_local! {
    static KEYS: Vec<Key> = PAYERS.iter().map(|hex| Key::from_hex(hex).expect("the keys are valid")).collect();
    static SIGNED: RefCell<BTreeMap<(B256, u64), (Signature, String)>> = const { RefCell::new(BTreeMap::new()) };
}

pub(crate) const PAYERS_MAX: usize = PAYERS.len();

pub(crate) fn payer_address(payer: usize) -> Address {
    KEYS.with(|keys| keys.get(payer).map_or(Address::ZERO, Signer::address))
}

/// A payer's signature over the fields, and the header that carries it.
pub(crate) fn sign(payer: usize, offer: &Offer, fields: &Fields) -> (Signature, String) {
    let digest = fields.digest(&offer.asset_info);
    let place = (digest, offer.max_timeout_s);
    if let Some(found) = SIGNED.with(|signed| signed.borrow().get(&place).cloned()) {
        return found;
    }
    let signature = KEYS.with(|keys| keys[payer].sign_now(digest)).expect("a valid key signs");
    let url = "http://gate.test/";
    let header =
        Credential::print(Version::V2, offer, url, fields, &signature).expect("v2 has a name for every network");
    SIGNED.with(|signed| signed.borrow_mut().insert(place, (signature, header.clone())));
    (signature, header)
}

/// A lane's key, by its place.
#[derive(Clone, Debug)]
pub(crate) struct LaneKey(pub(crate) u8);

impl LaneKey {
    /// Whose signature it is, by the first byte of its second half.
    pub(crate) fn signer(mark: u8) -> Option<Address> {
        LANES.get(usize::from(mark.checked_sub(1)?)).copied()
    }
}

impl Signer for LaneKey {
    fn address(&self) -> Address {
        LANES[usize::from(self.0)]
    }

    async fn sign(&self, digest: B256) -> Result<Signature, SignFault> {
        let mut bytes = [0; 65];
        let (r, rest) = bytes.split_at_mut(32);
        r.copy_from_slice(keccak256(digest).as_slice());
        // Small enough to be the low form.
        rest[..32].copy_from_slice(digest.as_slice());
        rest[0] = 1 + self.0;
        rest[32] = 27;
        Signature::from_bytes(&bytes).ok_or(SignFault)
    }
}
