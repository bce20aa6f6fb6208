//! Chain_txs as they arrive: raw bytes are decoded, their signer is recovered.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, Header};
use protocol::Signature;
use revm::context::TxEnv;
use revm::context_interface::transaction::AccessList;

/// The layouts that are understood. Their numbers are those of EIP-2718.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Before EIP-2718, with EIP-155's chain id in `v`.
    Legacy = 0,
    /// EIP-2930.
    AccessList = 1,
    /// EIP-1559.
    DynamicFee = 2,
}

/// A chain_tx with its sender. Whether it can be mined is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct ChainTx {
    pub(crate) hash: B256,
    pub(crate) layout: Layout,
    pub(crate) chain_id: u64,
    pub(crate) from: Address,
    pub(crate) sequence: u64,
    pub(crate) gas_limit: u64,
    /// The most that is paid for a unit of gas.
    pub(crate) fee_max: u128,
    /// The most of it that goes to the miner. Equals `fee_max` where the layout has one price.
    pub(crate) tip_max: u128,
    /// `None` makes a contract.
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    pub(crate) access_list: AccessList,
    pub(crate) v: u64,
    pub(crate) r: U256,
    pub(crate) s: U256,
    pub(crate) size_bytes: usize,
}

/// Why raw bytes are no chain_tx of this chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAChainTx {
    #[error("the raw transaction is empty")]
    Empty,
    #[error("the raw transaction is no RLP of its type")]
    Malformed,
    #[error("bytes follow the raw transaction")]
    Trailing,
    #[error("blob transactions (EIP-4844, type 3) are not supported")]
    Blob,
    #[error("set-code transactions (EIP-7702, type 4) are not supported")]
    SetCode,
    #[error("transaction type {0} is not supported")]
    UnknownType(u8),
    #[error("only replay-protected (EIP-155) transactions are allowed")]
    NotProtected,
    #[error("invalid signature")]
    Signature,
}

impl From<alloy_rlp::Error> for NotAChainTx {
    fn from(_: alloy_rlp::Error) -> Self {
        Self::Malformed
    }
}

impl ChainTx {
    /// Reads what `eth_sendRawTransaction` is given and recovers who signed it. A signature with a high `s` is refused (EIP-2).
    pub(crate) fn decode(raw: &[u8]) -> Result<Self, NotAChainTx> {
        match raw.first() {
            None => Err(NotAChainTx::Empty),
            Some(0x01) => Self::decode_as(Layout::AccessList, raw, 1),
            Some(0x02) => Self::decode_as(Layout::DynamicFee, raw, 1),
            Some(0x03) => Err(NotAChainTx::Blob),
            Some(0x04) => Err(NotAChainTx::SetCode),
            Some(0xc0..) => Self::decode_as(Layout::Legacy, raw, 0),
            Some(other) => Err(NotAChainTx::UnknownType(*other)),
        }
    }

    fn decode_as(layout: Layout, raw: &[u8], prefix: usize) -> Result<Self, NotAChainTx> {
        let (kind, mut rest) = raw.split_at(prefix);
        let fields = Header::decode_bytes(&mut rest, true)?;
        if !rest.is_empty() {
            return Err(NotAChainTx::Trailing);
        }
        let rest = &mut &*fields;
        let chain_id = if layout == Layout::Legacy { 0 } else { u64::decode(rest)? };
        let sequence = u64::decode(rest)?;
        let first_fee = u128::decode(rest)?;
        let fee_max = if layout == Layout::DynamicFee { u128::decode(rest)? } else { first_fee };
        let gas_limit = u64::decode(rest)?;
        let to = TxKind::decode(rest)?.into_to();
        let (value, data) = (U256::decode(rest)?, Bytes::decode(rest)?);
        let access_list = if layout == Layout::Legacy { AccessList::default() } else { AccessList::decode(rest)? };
        // What is signed are the fields up to here, as they came.
        let signed = fields.strip_suffix(*rest).ok_or(NotAChainTx::Malformed)?;
        let (v, r, s) = (u64::decode(rest)?, U256::decode(rest)?, U256::decode(rest)?);
        if !rest.is_empty() {
            return Err(NotAChainTx::Malformed);
        }

        let (chain_id, odd) = if layout == Layout::Legacy { protected(v)? } else { (chain_id, v) };
        let digest = signing_digest(kind, signed, (layout == Layout::Legacy).then_some(chain_id));
        let odd = u8::try_from(odd).ok().filter(|odd| *odd < 2).ok_or(NotAChainTx::Signature)?;
        let bytes = [&r.to_be_bytes::<32>(), &s.to_be_bytes::<32>(), [odd].as_slice()].concat();
        let from = Signature::from_bytes(&bytes).and_then(|signature| signature.recover(digest));
        let from = from.ok_or(NotAChainTx::Signature)?;
        Ok(Self {
            hash: keccak256(raw),
            layout,
            chain_id,
            from,
            sequence,
            gas_limit,
            fee_max,
            tip_max: first_fee,
            to,
            value,
            data,
            access_list,
            v,
            r,
            s,
            size_bytes: raw.len(),
        })
    }

    /// Gives an unsigned chain_tx the hash that stands for it. Its "signature" names the sender, so that two senders' differ.
    pub(crate) fn hash_unsigned(&mut self) {
        self.r = U256::from_be_slice(self.from.as_slice());
        let mut fields = Vec::new();
        self.sequence.encode(&mut fields);
        self.tip_max.encode(&mut fields);
        self.fee_max.encode(&mut fields);
        self.gas_limit.encode(&mut fields);
        self.to.map_or(TxKind::Create, TxKind::Call).encode(&mut fields);
        self.value.encode(&mut fields);
        self.data.encode(&mut fields);
        self.r.encode(&mut fields);
        let digest = signing_digest(&[0x7e], &fields, Some(self.chain_id));
        (self.hash, self.size_bytes) = (digest, fields.len());
    }

    /// What the miner gets for a unit of gas, and `None` when the base fee is not even covered.
    pub(crate) fn tip(&self, base_fee: u128) -> Option<u128> {
        Some(self.fee_max.checked_sub(base_fee)?.min(self.tip_max))
    }

    /// The most that it can cost its sender. `None` is more than anyone can have.
    pub(crate) fn cost_max(&self) -> Option<U256> {
        U256::from(self.gas_limit).checked_mul(U256::from(self.fee_max))?.checked_add(self.value)
    }

    /// As the EVM takes it.
    pub(crate) fn env(&self) -> TxEnv {
        TxEnv {
            tx_type: self.layout as u8,
            caller: self.from,
            gas_limit: self.gas_limit,
            gas_price: self.fee_max,
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.data.clone(),
            nonce: self.sequence,
            chain_id: Some(self.chain_id),
            access_list: self.access_list.clone(),
            gas_priority_fee: (self.layout == Layout::DynamicFee).then_some(self.tip_max),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: Vec::new(),
        }
    }
}

/// Chain id and parity of EIP-155's `v`.
fn protected(v: u64) -> Result<(u64, u64), NotAChainTx> {
    match v {
        27 | 28 => Err(NotAChainTx::NotProtected),
        _ => v.checked_sub(35).map(|rest| (rest / 2, rest % 2)).ok_or(NotAChainTx::Signature),
    }
}

fn signing_digest(kind: &[u8], fields: &[u8], protected_for: Option<u64>) -> B256 {
    let mut payload = fields.to_vec();
    if let Some(chain_id) = protected_for {
        chain_id.encode(&mut payload);
        0_u8.encode(&mut payload);
        0_u8.encode(&mut payload);
    }
    let mut envelope = kind.to_vec();
    Header { list: true, payload_length: payload.len() }.encode(&mut envelope);
    envelope.extend_from_slice(&payload);
    keccak256(envelope)
}

#[cfg(test)]
mod tests;
