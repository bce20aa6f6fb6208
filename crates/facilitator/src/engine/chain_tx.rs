//! A signed EIP-1559 chain_tx that carries one transfer, many in one call of Multicall3, or nothing at all.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, Header};
use ledger::HoldId;
use protocol::{Network, SignFault, Signer};

use super::price::Price;
use super::token::transfers;

/// More than any EIP-3009 transfer of a proxied USDC needs (about 90,000), less than a mistake could burn.
pub(super) const TRANSFER_GAS_MAX: u64 = 200_000;
/// The same for each transfer of a batch, which shares the chain_tx's own 21,000 with the others.
const MEMBER_GAS_MAX: u64 = 120_000;

/// What a chain_tx for so many holds may take.
pub(super) fn gas_max(members: usize) -> u64 {
    match u64::try_from(members) {
        Ok(members @ 2..) => TRANSFER_GAS_MAX.saturating_add(MEMBER_GAS_MAX.saturating_mul(members)),
        Ok(0 | 1) | Err(_) => TRANSFER_GAS_MAX,
    }
}

/// For how many holds one chain_tx can be paid for with so much native coin: the whole of its gas must be there before it runs.
pub(super) fn members_max(wei: U256, price: Price) -> usize {
    let price = U256::from(price.fee_max.max(1));
    let gas = u64::try_from(wei.checked_div(price).unwrap_or_default()).unwrap_or(u64::MAX);
    let members = gas.saturating_sub(TRANSFER_GAS_MAX).checked_div(MEMBER_GAS_MAX).unwrap_or(0);
    usize::try_from(members).unwrap_or(usize::MAX).max(1)
}

/// Whether one transfer can be paid for with so much native coin.
pub(super) fn pays_for_one(wei: U256, price: Price) -> bool {
    wei >= U256::from(price.fee_max).saturating_mul(U256::from(TRANSFER_GAS_MAX))
}

/// A chain_tx as the journal keeps it, before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainTx {
    /// The chain.
    pub network: Network,
    /// Who signed it.
    pub signer: Address,
    /// The signer's transaction counter.
    pub sequence: u64,
    /// Its hash.
    pub hash: B256,
    /// The signed bytes, sent again as they are.
    pub raw: Bytes,
    /// For which holds: one, or the members of a batch. None where it only takes its sequence, so that later ones can land.
    pub holds: Vec<HoldId>,
}

/// What is signed, in the order of EIP-1559.
struct Unsigned {
    chain_id: u64,
    sequence: u64,
    price: Price,
    gas_max: u64,
    to: Address,
    data: Bytes,
}

impl Unsigned {
    fn encode_fields(&self, out: &mut Vec<u8>) {
        self.chain_id.encode(out);
        self.sequence.encode(out);
        self.price.tip.encode(out);
        self.price.fee_max.encode(out);
        self.gas_max.encode(out);
        self.to.encode(out);
        0u8.encode(out);
        self.data.encode(out);
        Header { list: true, payload_length: 0 }.encode(out);
    }

    /// Reads what [`ChainTx::sign`] wrote.
    fn decode(raw: &[u8]) -> Option<Self> {
        let (kind, mut rest) = raw.split_first()?;
        let list = Header::decode(&mut rest).ok()?.list;
        if *kind != 0x02 || !list {
            return None;
        }
        let (chain_id, sequence) = (u64::decode(&mut rest).ok()?, u64::decode(&mut rest).ok()?);
        let price = Price { tip: u128::decode(&mut rest).ok()?, fee_max: u128::decode(&mut rest).ok()? };
        let (gas_max, to) = (u64::decode(&mut rest).ok()?, Address::decode(&mut rest).ok()?);
        let (_value, data) = (u8::decode(&mut rest).ok()?, Bytes::decode(&mut rest).ok()?);
        Some(Self { chain_id, sequence, price, gas_max, to, data })
    }

    /// `0x02 ‖ rlp([fields…])`, with what `more` appends.
    fn envelope(&self, more: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut payload = Vec::new();
        self.encode_fields(&mut payload);
        more(&mut payload);
        let mut out = vec![0x02];
        Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend_from_slice(&payload);
        out
    }
}

/// What the unsigned bytes of a chain_tx ask for, as far as a lane asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The EIP-155 id.
    pub chain_id: u64,
    /// What it bids for gas.
    pub price: Price,
    /// How much gas it may take.
    pub gas_max: u64,
    /// What it does.
    pub act: Act,
}

/// What a lane signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// EIP-3009 transfers of these tokens, one for each.
    Transfers(Vec<Address>),
    /// Sends nothing to this address.
    Nothing(Address),
}

impl Asked {
    /// Reads unsigned bytes. `None` for anything that a lane would not sign: a chain_tx of another type, one with a value or an access
    /// list, one that is spelt in another way, and any other call.
    #[must_use]
    pub fn read(unsigned: &[u8]) -> Option<Self> {
        let read = Unsigned::decode(unsigned)?;
        if read.envelope(|_| {}) != unsigned {
            return None;
        }
        let act = match transfers(read.to, &read.data) {
            Some(tokens) => Act::Transfers(tokens),
            None if read.data.is_empty() => Act::Nothing(read.to),
            None => return None,
        };
        let (chain_id, price, gas_max) = (read.chain_id, read.price, read.gas_max);
        Some(Self { chain_id, price, gas_max, act })
    }
}

/// The most gas that a lane lets a chain_tx take for so many transfers.
#[must_use]
pub fn gas_allowed(transfers: usize) -> u64 {
    gas_max(transfers)
}

impl ChainTx {
    /// Builds and signs a call of `to` with `data`.
    ///
    /// # Errors
    /// [`SignFault`] when the signer cannot sign now.
    pub(super) async fn sign<S: Signer>(
        signer: &S,
        network: Network,
        sequence: u64,
        price: Price,
        (to, data): (Address, Bytes),
        holds: Vec<HoldId>,
    ) -> Result<Self, SignFault> {
        let gas_max = gas_max(holds.len());
        let unsigned = Unsigned { chain_id: network.chain_id, sequence, price, gas_max, to, data };
        Self::signed(signer, network, &unsigned, holds).await
    }

    /// The same call at the same sequence for another price.
    ///
    /// # Errors
    /// [`SignFault`] when the signer cannot sign now, or the bytes are none of ours.
    pub(super) async fn outbid<S: Signer>(&self, signer: &S, price: Price) -> Result<Self, SignFault> {
        let unsigned = Unsigned { price, ..Unsigned::decode(&self.raw).ok_or(SignFault)? };
        Self::signed(signer, self.network, &unsigned, self.holds.clone()).await
    }

    /// What takes its sequence and does nothing: the signer sends itself nothing. It is for no hold.
    ///
    /// # Errors
    /// [`SignFault`] when the signer cannot sign now, or the bytes are none of ours.
    pub(super) async fn no_op<S: Signer>(&self, signer: &S, price: Price) -> Result<Self, SignFault> {
        let old = Unsigned::decode(&self.raw).ok_or(SignFault)?;
        let unsigned = Unsigned { price, to: signer.address(), data: Bytes::new(), ..old };
        Self::signed(signer, self.network, &unsigned, Vec::new()).await
    }

    /// What it bids for gas.
    pub(super) fn price(&self) -> Option<Price> {
        Unsigned::decode(&self.raw).map(|unsigned| unsigned.price)
    }

    async fn signed<S: Signer>(
        signer: &S,
        network: Network,
        unsigned: &Unsigned,
        holds: Vec<HoldId>,
    ) -> Result<Self, SignFault> {
        let signature = signer.sign_chain_tx(&unsigned.envelope(|_| {})).await?;
        let (v, r, s) = signature.parts();
        let raw = unsigned.envelope(|out| {
            u8::from(v == 28).encode(out);
            U256::from_be_bytes(r.0).encode(out);
            U256::from_be_bytes(s.0).encode(out);
        });
        Ok(Self {
            network,
            signer: signer.address(),
            sequence: unsigned.sequence,
            hash: keccak256(&raw),
            raw: raw.into(),
            holds,
        })
    }
}
