//! A signed EIP-1559 chain_tx that carries one transfer.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rlp::{Encodable, Header};
use ledger::HoldId;
use protocol::{Network, SignFault, Signer};

use super::node::Fees;

/// More than any EIP-3009 transfer of a proxied USDC needs (about 90,000), less than a mistake could burn.
const GAS_LIMIT: u64 = 200_000;

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
    /// For which hold.
    pub hold: HoldId,
}

/// What is signed, in the order of EIP-1559.
struct Unsigned {
    chain_id: u64,
    sequence: u64,
    tip: u128,
    fee_max: u128,
    to: Address,
    data: Bytes,
}

impl Unsigned {
    fn encode_fields(&self, out: &mut Vec<u8>) {
        self.chain_id.encode(out);
        self.sequence.encode(out);
        self.tip.encode(out);
        self.fee_max.encode(out);
        GAS_LIMIT.encode(out);
        self.to.encode(out);
        0u8.encode(out);
        self.data.encode(out);
        Header { list: true, payload_length: 0 }.encode(out);
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

impl ChainTx {
    /// Builds and signs a call of `to` with `data`.
    ///
    /// # Errors
    /// [`SignFault`] when the signer cannot sign now.
    pub(super) async fn sign<S: Signer>(
        signer: &S,
        network: Network,
        sequence: u64,
        fees: Fees,
        (to, data): (Address, Bytes),
        hold: HoldId,
    ) -> Result<Self, SignFault> {
        // Twice the base fee outlasts six full blocks in a row; only the base fee of the block that takes it is paid.
        let fee_max = fees.base.saturating_mul(2).saturating_add(fees.tip);
        let unsigned = Unsigned { chain_id: network.chain_id, sequence, tip: fees.tip, fee_max, to, data };
        let signature = signer.sign(keccak256(unsigned.envelope(|_| {}))).await?;
        let (v, r, s) = signature.parts();
        let raw = unsigned.envelope(|out| {
            u8::from(v == 28).encode(out);
            alloy_primitives::U256::from_be_bytes(r.0).encode(out);
            alloy_primitives::U256::from_be_bytes(s.0).encode(out);
        });
        Ok(Self { network, signer: signer.address(), sequence, hash: keccak256(&raw), raw: raw.into(), hold })
    }
}
