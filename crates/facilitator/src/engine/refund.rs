//! Money that is given back: a payment in the other direction, signed by the refunds key and sent by the lane.
//!
//! One call is one look at one refund. Whatever came of the looks before it, the authorization's nonce lets the money move once.

use alloy_primitives::{Address, B256, U256};
use gate::Fault;
use ledger::{Hold, Record, Refund, RefundId, RefundProblem, RefundState, RefundStep, State};
use protocol::Network;

use super::node::{BlockAt, CallResult, EthCall, Node, NodeFault};
use super::settle::{Engine, Landed, Pace, Submitter};
use super::token::{balance_data, gave, moved, word};

/// A chain_tx that was signed for a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundBid {
    /// Who signed it.
    pub signer: Address,
    /// Its sequence.
    pub sequence: u64,
}

/// What refunds need of the journal.
pub trait RefundJournal {
    /// Refunds on a network that are paid from the wallet and have not come to their end: due, submitted, or in a block from
    /// `young_block` on, which may still be taken back. Oldest first, at most 1,000.
    fn open_refunds(&self, network: Network, young_block: u64) -> impl Future<Output = Result<Vec<RefundId>, Fault>>;

    /// A refund with every chain_tx that was signed for it.
    fn refund(&self, id: RefundId) -> impl Future<Output = Result<Option<(Refund, Vec<RefundBid>)>, Fault>>;

    /// Takes a step in one durable write, and returns the refund as it stands then.
    fn advance_refund(&self, id: RefundId, step: RefundStep) -> impl Future<Output = Result<Option<Refund>, Fault>>;
}

/// Whether the money of a posted payment is on the chain, as the books say. What came after a payment had ended was booked by a final
/// block.
///
/// # Errors
/// [`NodeFault`] when nobody can say now.
pub async fn is_on_chain<N: Node>(node: &N, payment: &Record) -> Result<bool, NodeFault> {
    let State::Posted(settled) = payment.state else { return Ok(true) };
    let receipt = node.receipt(settled.chain_tx).await?;
    Ok(receipt.is_some_and(|receipt| moved(&receipt, &payment.hold.authorization)))
}

/// The block in which a chain_tx of somebody's has paid a refund, and how often it did: one chain_tx may pay several alike.
///
/// # Errors
/// [`NodeFault`] when nobody can say now.
pub async fn paid_by_hand<N: Node>(
    node: &N,
    refund: &Refund,
    chain_tx: B256,
) -> Result<Option<(u64, usize)>, NodeFault> {
    let Some(receipt) = node.receipt(chain_tx).await? else { return Ok(None) };
    let after = receipt.success && receipt.block > refund.seen.number;
    let times = gave(&receipt, refund.asset, refund.to, refund.amount_atomic);
    Ok((after && times > 0).then_some((receipt.block, times)))
}

impl<N: Node, L: Submitter, P: Pace> Engine<N, L, P> {
    /// Looks once at every refund that has not come to its end. Returns those that have changed.
    ///
    /// # Errors
    /// The journal's [`Fault`]; a node's silence only leaves things as they are.
    pub async fn mind_refunds<J: RefundJournal>(
        &self,
        journal: &J,
        network: Network,
        cap_micros: u64,
    ) -> Result<Vec<Refund>, Fault> {
        let Ok(head) = self.node.block(BlockAt::Latest).await else { return Ok(Vec::new()) };
        let mut changed = Vec::new();
        let Ok(last) = self.last_block(&head).await else { return Ok(Vec::new()) };
        for id in journal.open_refunds(network, last.map_or(0, |last| last.number)).await? {
            let before = journal.refund(id).await?.map(|(refund, _)| refund);
            let after = self.pay_refund(journal, id, cap_micros).await?;
            changed.extend(after.filter(|_| after != before));
        }
        Ok(changed)
    }

    /// Looks what became of a refund on the chain; sends it where nothing has, and nothing may any more. Does not wait for a
    /// receipt. Returns the refund as it stands then.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn pay_refund<J: RefundJournal>(
        &self,
        journal: &J,
        id: RefundId,
        cap_micros: u64,
    ) -> Result<Option<Refund>, Fault> {
        // Of two that look at once, one would send what the other has sent.
        let Some(_stay) = self.live.enter(id.hold()) else {
            return Ok(journal.refund(id).await?.map(|(refund, _)| refund));
        };
        let Some((refund, bids)) = journal.refund(id).await? else { return Ok(None) };
        let Some(hold) = refund.as_hold() else { return Ok(Some(refund)) };
        match self.next_for(&refund, &hold, &bids).await {
            Ok(Next::Step(step)) => journal.advance_refund(id, step).await,
            Ok(Next::Wait) | Err(NodeFault) => Ok(Some(refund)),
            Ok(Next::Send) => {
                let admitted = journal.advance_refund(id, RefundStep::Admit { cap_micros }).await?;
                if admitted.is_none_or(|refund| refund.day.is_none()) {
                    return Ok(admitted);
                }
                // A lane that does not take it leaves it due, or the journal has it as submitted.
                self.submitter.submit(std::slice::from_ref(&hold)).await.ok();
                Ok(journal.refund(id).await?.map(|(refund, _)| refund))
            }
        }
    }

    async fn next_for(&self, refund: &Refund, hold: &Hold, bids: &[RefundBid]) -> Result<Next, NodeFault> {
        // All that the verdict rests on is read at one block.
        let head = self.node.block(BlockAt::Latest).await?.place();
        let at = BlockAt::Of(head);
        let landed = self.landed(hold, head).await?;
        match (refund.state, landed) {
            // A node that lags takes nothing back.
            (RefundState::Refunded { block, .. }, Landed::Not) if head.number < block => return Ok(Next::Wait),
            (RefundState::Refunded { .. }, Landed::Not) => return Ok(Next::Step(RefundStep::Undo)),
            (RefundState::Refunded { .. }, _) => return Ok(Next::Wait),
            // Whoever landed it, what was owed has moved.
            (_, Landed::Paid(settled) | Landed::Foreign(settled)) => {
                return Ok(Next::Step(RefundStep::Settle { chain_tx: settled.chain_tx, block: settled.block }));
            }
            (_, Landed::Gone) => return Ok(Next::Step(RefundStep::Stop(RefundProblem::TokenRefuses))),
            (_, Landed::Unlogged | Landed::Shallow(_)) => return Ok(Next::Wait),
            (RefundState::Due | RefundState::Submitted(_), Landed::Not) => {}
        }
        if let RefundState::Submitted(_) = refund.state {
            for bid in bids {
                if bid.sequence >= self.node.sequence(bid.signer, at).await? {
                    return Ok(Next::Wait);
                }
            }
        }
        let asset = refund.asset.address.0;
        let wallet = hold.authorization.key.payer.0;
        let balance = EthCall { from: wallet, to: asset, data: balance_data(wallet), gas_max: None };
        let results = self.node.calls(&[balance, self.transfer_call(&hold.authorization)], at).await?;
        let [balance, transfer] = results.as_slice() else { return Err(NodeFault) };
        let problem = match (word(balance), transfer) {
            (Some(balance), _) if balance < U256::from(refund.amount_atomic) => RefundProblem::WalletEmpty,
            (_, CallResult::Returned(_)) => return Ok(Next::Send),
            (_, CallResult::Reverted) => RefundProblem::TokenRefuses,
        };
        Ok(Next::Step(RefundStep::Stop(problem)))
    }
}

/// What a look at a refund comes to.
enum Next {
    /// It moves on.
    Step(RefundStep),
    /// It is sent.
    Send,
    /// Nothing can be said or done yet.
    Wait,
}
