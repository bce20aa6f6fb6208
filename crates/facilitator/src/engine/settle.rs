//! The checks that need a chain, and the settlement of one hold.

use alloy_primitives::{Address, B256, U256};
use gate::{Check, Depth, Fault, FaultKind, Seen, Settlement};
use ledger::{BlockRef, Hold};
use protocol::{Authorization, Proven, Refusal, Settled};

use super::chain_tx::{TRANSFER_GAS_MAX, gas_max};
use super::finality::Finality;
use super::live::{Head, Live};
use super::node::{Block, BlockAt, CallResult, ChainReceipt, EthCall, Log, Node, NodeFault};
use super::price::FeeCaps;
use super::signers::Signers;
use super::token::{
    CANCELED, MULTICALL3, USED, balance_data, batch_data, moved, moved_by_itself, state_data, transfer_data, word,
};

/// How far behind the block that was read at admission a use is looked for, where a reorg took that block out.
const REORG_MAX_BLOCKS: u64 = 128;
/// The longest pause between two looks for a receipt.
const SLOW_MS: u64 = 500;

/// Hands holds to a lane.
pub trait Submitter {
    /// The hash of the one chain_tx for all of them that is now in the journal and on its way.
    fn submit(&self, holds: &[Hold]) -> impl Future<Output = Result<B256, Fault>>;
}

/// How long a settlement is waited for.
pub trait Pace {
    /// Milliseconds of a clock that never goes back.
    fn elapsed_ms(&self) -> u64;

    /// Waits.
    fn sleep(&self, ms: u64) -> impl Future<Output = ()>;
}

/// One chain's settlement over its ports.
#[derive(Clone, Debug)]
pub struct Engine<N, L, P> {
    /// The chain.
    pub node: N,
    /// The lanes.
    pub submitter: L,
    /// Waiting.
    pub pace: P,
    /// Whose chain_txs are ours.
    pub signers: Signers,
    /// What they may bid for gas.
    pub caps: FeeCaps,
    /// Shared by every engine and reconciler of the process.
    pub live: Live,
    /// The newest block that was read, for payments that are admitted without a look at the chain.
    pub head: Head,
    /// How deep a payment must be.
    pub finality: Finality,
    /// After this long without a receipt the settlement is Unknown.
    pub budget_ms: u64,
}

/// Who used an authorization.
pub(super) enum Landed {
    /// Nobody.
    Not,
    /// The payer or we, after the hold was won, with the matching Transfer.
    Paid(Settled),
    /// Somebody else, with the matching Transfer.
    Foreign(Settled),
    /// Cancelled, or used for another transfer: it will never pay this hold.
    Gone,
    /// By this chain_tx, which is not deep enough yet.
    Shallow(B256),
    /// Used, and no log says by whom since the block that was read at admission: the node's parts disagree for a moment, or a
    /// reorg moved an older use. Such a use is no payment for this hold; it only may not be the last word.
    Unlogged,
}

/// What a settlement key has, and what one settlement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    /// Its native coin, in wei.
    pub wei: U256,
    /// What must be there before a transfer is taken, in wei.
    pub needed_wei: U256,
    /// Whether gas costs more than may be bid: then nothing is sent.
    pub too_dear: bool,
}

impl<N: Node, L: Submitter, P: Pace> Engine<N, L, P> {
    /// Looks into the purse of a settlement key.
    ///
    /// # Errors
    /// [`NodeFault`] when nobody can say now.
    pub async fn purse(&self, signer: Address) -> Result<Purse, NodeFault> {
        let (wei, fees) = (self.node.native_balance(signer).await?, self.node.fees().await?);
        let price = self.caps.price(fees, 0);
        let fee_max = price.map_or(fees.base.saturating_mul(2), |price| price.fee_max);
        let needed_wei = U256::from(fee_max).saturating_mul(U256::from(TRANSFER_GAS_MAX));
        Ok(Purse { wei, needed_wei, too_dear: price.is_none() })
    }

    /// Reads code, nonce, balance and a simulation, in two requests. A node's failure is a fault, never a refusal. At
    /// [`Depth::Local`] nothing is read, once any block is known.
    pub async fn check(&self, proven: &Proven, depth: Depth) -> Check {
        if let (Depth::Local, Some(block)) = (depth, self.head.get()) {
            return Check::Payable(Seen { block, balance_atomic: None });
        }
        match self.read(proven.authorization()).await {
            Ok(check) => check,
            Err(NodeFault) => Check::Fault(Fault::untouched(FaultKind::Node)),
        }
    }

    async fn read(&self, authorization: &Authorization) -> Result<Check, NodeFault> {
        // All is read at one block, which goes into the hold: an authorization that is used after it was unused when the hold
        // was won, and what was settled after it is not in the balance yet.
        let block = self.node.block(BlockAt::Latest).await?;
        let calls =
            [self.state_call(authorization), self.balance_call(authorization), self.transfer_call(authorization)];
        let results = self.node.calls(&calls, BlockAt::Of(block.place())).await?;
        let [used, balance, transfer] = results.as_slice() else { return Err(NodeFault) };
        let (Some(used), Some(balance)) = (word(used), word(balance)) else {
            return Ok(Check::Refused(Refusal::AssetNotDeployed));
        };
        if !used.is_zero() {
            return Ok(Check::Refused(Refusal::NonceAlreadyUsed));
        }
        let balance_atomic = u128::try_from(balance).unwrap_or(u128::MAX);
        if balance_atomic < authorization.amount_atomic {
            return Ok(Check::Refused(Refusal::InsufficientBalance));
        }
        if *transfer == CallResult::Reverted && !too_early(&block, authorization) {
            return Ok(Check::Refused(Refusal::SimulationFailed));
        }
        self.head.set(block.place());
        Ok(Check::Payable(Seen { block: block.place(), balance_atomic: Some(balance_atomic) }))
    }

    /// Moves the money of a hold: tries it once more, submits it through the lane, and waits for the receipt.
    pub async fn settle(&self, hold: &Hold) -> Settlement {
        let Some(_stay) = self.live.enter(hold.id) else { return Settlement::Unknown { chain_tx: None } };
        // The run took time: a payer who emptied his wallet or cancelled meanwhile is found here, before gas is spent on him.
        if let Ok(results) = self.node.calls(&[self.transfer_call(&hold.authorization)], BlockAt::Latest).await
            && results.first() == Some(&CallResult::Reverted)
            && let Ok(head) = self.node.block(BlockAt::Latest).await
            && !too_early(&head, &hold.authorization)
        {
            return self.after_revert(hold, None, &head).await;
        }
        match self.submitter.submit(std::slice::from_ref(hold)).await {
            Ok(chain_tx) => self.wait(hold, chain_tx).await,
            Err(_) => Settlement::Unknown { chain_tx: None },
        }
    }

    async fn wait(&self, hold: &Hold, chain_tx: B256) -> Settlement {
        let start = self.pace.elapsed_ms();
        let mut pause_ms = 5u64;
        loop {
            if let Ok(Some(receipt)) = self.node.receipt(chain_tx).await
                && let Ok(Some(settlement)) = self.by_receipt(hold, &receipt).await
            {
                return settlement;
            }
            // The lane may have outbid itself, so that the money moves by another chain_tx of ours.
            if pause_ms >= SLOW_MS
                && let Ok(Landed::Paid(settled)) = self.landed_now(hold).await
            {
                return Settlement::Settled(settled);
            }
            if self.pace.elapsed_ms().saturating_sub(start) >= self.budget_ms {
                return Settlement::Unknown { chain_tx: Some(chain_tx) };
            }
            self.pace.sleep(pause_ms).await;
            pause_ms = pause_ms.saturating_mul(2).min(SLOW_MS);
        }
    }

    /// What a receipt of our own chain_tx means. `None` while it is not deep enough, or is not of the branch of the newest block: where
    /// it failed on the one, it may go through on the other.
    async fn by_receipt(&self, hold: &Hold, receipt: &ChainReceipt) -> Result<Option<Settlement>, NodeFault> {
        if moved(receipt, &hold.authorization) {
            return Ok(self.is_deep_now(receipt).await?.then(|| Settlement::Settled(settled(hold, receipt))));
        }
        let head = self.node.block(BlockAt::Latest).await?;
        if !self.finality.is_deep(receipt.block, head.number) || !self.carries(head.place(), receipt.place()).await? {
            return Ok(None);
        }
        Ok(Some(self.judge(hold, receipt, &head).await))
    }

    /// What our own chain_tx's receipt means, which is deep enough under `head`.
    pub(super) async fn judge(&self, hold: &Hold, receipt: &ChainReceipt, head: &Block) -> Settlement {
        if moved(receipt, &hold.authorization) {
            return Settlement::Settled(settled(hold, receipt));
        }
        if receipt.success {
            return Settlement::Refused(Refusal::TransferEventMismatch);
        }
        self.after_revert(hold, Some(receipt.chain_tx), head).await
    }

    /// The transfer was refused by the token: was the authorization used, is it gone, or is the payer's wallet empty? All is read at
    /// one block, `head`, which stands on that of the chain_tx: nodes behind one URL are not all at the same height, nor on the same
    /// branch, and what one of them has not seen is no reason to give a payment up.
    pub(super) async fn after_revert(&self, hold: &Hold, chain_tx: Option<B256>, head: &Block) -> Settlement {
        let unknown = Settlement::Unknown { chain_tx };
        if too_early(head, &hold.authorization) {
            return unknown;
        }
        match self.landed(hold, head.place()).await {
            Ok(Landed::Paid(settled)) => Settlement::Settled(settled),
            Ok(Landed::Foreign(settled)) => Settlement::Unknown { chain_tx: Some(settled.chain_tx) },
            Ok(Landed::Gone) => Settlement::Refused(Refusal::NonceAlreadyUsed),
            Ok(Landed::Not) => {
                let calls = [self.balance_call(&hold.authorization), self.transfer_call(&hold.authorization)];
                match self.node.calls(&calls, BlockAt::Of(head.place())).await {
                    // A chain_tx that failed alone is not repeated: whoever can make it fail could make us pay gas for ever.
                    Ok(results) if chain_tx.is_some() || results.get(1) == Some(&CallResult::Reverted) => {
                        Settlement::Refused(self.empty_or_failed(hold, results.first(), chain_tx))
                    }
                    Ok(_) | Err(NodeFault) => unknown,
                }
            }
            Ok(Landed::Unlogged | Landed::Shallow(_)) | Err(NodeFault) => unknown,
        }
    }

    fn empty_or_failed(&self, hold: &Hold, balance: Option<&CallResult>, chain_tx: Option<B256>) -> Refusal {
        let balance = balance.and_then(word);
        if balance.is_some_and(|balance| balance < U256::from(hold.authorization.amount_atomic)) {
            return Refusal::InsufficientBalance;
        }
        if chain_tx.is_some() { Refusal::TransactionFailed } else { Refusal::SimulationFailed }
    }

    /// The same in the newest block.
    pub(super) async fn landed_now(&self, hold: &Hold) -> Result<Landed, NodeFault> {
        let head = self.node.block(BlockAt::Latest).await?;
        self.landed(hold, head.place()).await
    }

    /// Looks for a use of the hold's authorization that is not known from a receipt of ours, in the blocks up to `head`. Only a use in
    /// a block after the one that was read at admission counts as payment for this hold.
    pub(super) async fn landed(&self, hold: &Hold, head: BlockRef) -> Result<Landed, NodeFault> {
        let results = self.node.calls(&[self.state_call(&hold.authorization)], BlockAt::Of(head)).await?;
        let used = results.first().and_then(word).ok_or(NodeFault)?;
        if used.is_zero() {
            return Ok(Landed::Not);
        }
        let key = &hold.authorization.key;
        let from_block = hold.seen.number.saturating_add(1);
        let mut use_of = self.use_of(&hold.authorization, from_block, head).await?;
        // The nonce was unused in the block that was read at admission, and so it was in every one that the chain shares with it.
        if use_of.is_none() && self.has_left(hold.seen, head).await? {
            let from_block = from_block.saturating_sub(REORG_MAX_BLOCKS);
            use_of = self.use_of(&hold.authorization, from_block, head).await?;
        }
        let Some(log) = use_of else { return Ok(Landed::Unlogged) };
        if log.topics.first() == Some(&CANCELED) {
            return Ok(Landed::Gone);
        }
        let receipt = self.node.receipt(log.chain_tx).await?;
        // The same chain_tx on another branch may have come to another end.
        let receipt = receipt.filter(|receipt| receipt.place() == log.place()).ok_or(NodeFault)?;
        // Our own chain_tx is one call of the token; anybody else's may hold more.
        let ours = self.signers.contains(receipt.from) && moved(&receipt, &hold.authorization);
        if !ours && !moved_by_itself(&receipt, &hold.authorization) {
            return Ok(Landed::Gone);
        }
        if !self.finality.is_deep(receipt.block, head.number) {
            return Ok(Landed::Shallow(receipt.chain_tx));
        }
        let settled = settled(hold, &receipt);
        let known = self.signers.contains(receipt.from) || receipt.from == key.payer.0;
        Ok(if known { Landed::Paid(settled) } else { Landed::Foreign(settled) })
    }

    /// The log of an authorization's end, which is in one block of a branch at most.
    async fn use_of(
        &self,
        authorization: &Authorization,
        from_block: u64,
        head: BlockRef,
    ) -> Result<Option<Log>, NodeFault> {
        if from_block > head.number {
            return Ok(None);
        }
        let key = &authorization.key;
        let topics = [vec![USED, CANCELED], vec![key.payer.0.into_word()], vec![key.nonce]];
        let logs = self.node.logs(key.asset.address.0, &topics, from_block, head).await?;
        Ok(logs.into_iter().next())
    }

    fn state_call(&self, authorization: &Authorization) -> EthCall {
        self.token_call(authorization, state_data(authorization.key.payer.0, authorization.key.nonce))
    }

    fn balance_call(&self, authorization: &Authorization) -> EthCall {
        self.token_call(authorization, balance_data(authorization.key.payer.0))
    }

    pub(super) fn transfer_call(&self, authorization: &Authorization) -> EthCall {
        // What a chain_tx of ours could not pay for must not pass its trial.
        let call = self.token_call(authorization, transfer_data(authorization));
        EthCall { gas_max: Some(TRANSFER_GAS_MAX), ..call }
    }

    /// A call of Multicall3 that moves the money of all of these.
    pub(super) fn batch_call(&self, holds: &[Hold]) -> EthCall {
        let data = batch_data(holds.iter().map(|hold| &hold.authorization));
        EthCall { from: self.signers.caller(), to: MULTICALL3, data, gas_max: Some(gas_max(holds.len())) }
    }

    fn token_call(&self, authorization: &Authorization, data: alloy_primitives::Bytes) -> EthCall {
        EthCall { from: self.signers.caller(), to: authorization.key.asset.address.0, data, gas_max: None }
    }
}

/// Whether the newest block is older than the start of validity, which our own clock has passed: a chain that has been idle, or a
/// payer who signs "from now". The token refuses it in that block and takes it in the next, so trying it proves nothing.
pub(super) const fn too_early(block: &Block, authorization: &Authorization) -> bool {
    block.time_s <= authorization.valid_after_s
}

pub(super) fn settled(hold: &Hold, receipt: &ChainReceipt) -> Settled {
    Settled {
        chain_tx: receipt.chain_tx,
        block: receipt.block,
        block_hash: receipt.block_hash,
        amount: hold.authorization.amount(),
        payer: hold.authorization.key.payer,
    }
}
