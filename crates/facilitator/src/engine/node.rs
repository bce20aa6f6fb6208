//! What the engine asks of a chain node.

use alloy_primitives::{Address, B256, Bytes, U256};
use ledger::BlockRef;

/// Nobody can say now. The cause is logged by the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chain node does not answer")]
pub struct NodeFault;

/// A block's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Seconds since 1970.
    pub time_s: u64,
}

impl Block {
    /// Which it is.
    #[must_use]
    pub const fn place(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAt {
    /// The newest that the node has.
    Latest,
    /// By height.
    Number(u64),
    /// This one. Nobody can say where the chain that is asked does not have it.
    Of(BlockRef),
    /// The newest that nodes call `safe`.
    Safe,
    /// The newest that nodes call `finalized`.
    Finalized,
}

/// A call that is tried without being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthCall {
    /// As whom.
    pub from: Address,
    /// Which contract.
    pub to: Address,
    /// Selector and arguments.
    pub data: Bytes,
    /// The most gas that it may take; `None` leaves it to the node.
    pub gas_max: Option<u64>,
}

/// How a tried call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It returned these bytes; none at all where there is no contract.
    Returned(Bytes),
    /// The contract refused, or ran out of gas.
    Reverted,
}

/// What a unit of gas costs, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// The newest block's base fee.
    pub base: u128,
    /// A tip that gets a chain_tx in.
    pub tip: u128,
}

/// What a node said to a signed chain_tx. None of it proves that it will not land, and none of it fails a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Taken.
    Accepted,
    /// The node has it already.
    Known,
    /// Its sequence has been used, by itself or by another one.
    SequenceUsed,
    /// The node has another one with this sequence that bids more, or too nearly as much.
    Underpriced,
    /// Not taken for another reason; the adapter logged it.
    NotAccepted,
}

/// A log of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Who emitted it.
    pub address: Address,
    /// Event and indexed arguments.
    pub topics: Vec<B256>,
    /// The rest.
    pub data: Bytes,
    /// In which chain_tx.
    pub chain_tx: B256,
    /// In which block.
    pub block: u64,
    /// That block's hash.
    pub block_hash: B256,
}

impl Log {
    /// In which block it is.
    #[must_use]
    pub const fn place(&self) -> BlockRef {
        BlockRef { number: self.block, hash: self.block_hash }
    }
}

/// A chain_tx that is in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReceipt {
    /// Which.
    pub chain_tx: B256,
    /// Its block.
    pub block: u64,
    /// That block's hash.
    pub block_hash: B256,
    /// Whether it went through.
    pub success: bool,
    /// Who sent it.
    pub from: Address,
    /// What its sender paid for it, in wei: gas used at the price that was taken, and a rollup's fee for its data. `None` where
    /// the node does not say.
    pub fee_wei: Option<u128>,
    /// What it emitted.
    pub logs: Vec<Log>,
}

impl ChainReceipt {
    /// In which block it is.
    #[must_use]
    pub const fn place(&self) -> BlockRef {
        BlockRef { number: self.block, hash: self.block_hash }
    }
}

/// One chain, read and written through nodes. Every method is bounded in time by its adapter.
///
/// Two questions may be answered from two branches: endpoints hear of a reorg one after the other. What belongs together is asked of
/// one block by its hash, and is a fault where whoever is asked does not have it.
pub trait Node {
    /// The EIP-155 id.
    fn chain_id(&self) -> impl Future<Output = Result<u64, NodeFault>>;
    /// A block's head.
    fn block(&self, at: BlockAt) -> impl Future<Output = Result<Block, NodeFault>>;
    /// The head of the block of this height that `head` stands on.
    fn under(&self, head: BlockRef, number: u64) -> impl Future<Output = Result<Block, NodeFault>>;
    /// Tries calls on one block, all in one request.
    fn calls(&self, calls: &[EthCall], at: BlockAt) -> impl Future<Output = Result<Vec<CallResult>, NodeFault>>;
    /// How many chain_txs of an account are in blocks, up to this one.
    fn sequence(&self, account: Address, at: BlockAt) -> impl Future<Output = Result<u64, NodeFault>>;
    /// Native coin of an account, in wei.
    fn native_balance(&self, account: Address) -> impl Future<Output = Result<U256, NodeFault>>;
    /// What gas costs.
    fn fees(&self) -> impl Future<Output = Result<Fees, NodeFault>>;
    /// Sends signed chain_txs, in order, in one request.
    fn send(&self, raw: &[Bytes]) -> impl Future<Output = Result<Vec<Sent>, NodeFault>>;
    /// A chain_tx's receipt, if it is in a block: of the branch of whoever is asked, which its block tells.
    fn receipt(&self, chain_tx: B256) -> impl Future<Output = Result<Option<ChainReceipt>, NodeFault>>;
    /// Logs of one contract from a block up to `head`, in the blocks that this one stands on; each place of `topics` lists what it
    /// may hold.
    fn logs(
        &self,
        address: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        head: BlockRef,
    ) -> impl Future<Output = Result<Vec<Log>, NodeFault>>;
}
