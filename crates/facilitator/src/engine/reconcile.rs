//! Holds that a settlement left open, and ended ones whose authorization may still be landed by somebody.

use alloy_primitives::B256;
use gate::{Fault, Journal, Settlement};
use ledger::{AnswerState, BurnReason, HoldId, Record, ReleaseReason, State, Step};
use protocol::Network;

use super::node::{BlockAt, Node, NodeFault};
use super::settle::{Engine, Landed, Pace, Submitter};

/// Behind how many blocks a block is taken as final, where something is ended for good. (Per network later.)
const FINALITY_BLOCKS: u64 = 12;

/// A hold that has not ended, with the hash and sequence of every chain_tx that was signed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The hold.
    pub record: Record,
    /// Hash and sequence, oldest first.
    pub chain_txs: Vec<(B256, u64)>,
}

/// What reconciliation needs of the journal.
pub trait BooksJournal: Journal {
    /// Holds on a network that are open or submitted, or whose answer is being stored, oldest first, at most 1,000 behind the hold `after`.
    fn unfinished(
        &self,
        network: Network,
        after: Option<HoldId>,
    ) -> impl Future<Output = Result<Vec<Unfinished>, Fault>>;

    /// Released and burnt holds whose `validBefore` is before `time_s` and that were not looked at since, at most 100.
    fn watched(&self, network: Network, time_s: u64) -> impl Future<Output = Result<Vec<Record>, Fault>>;

    /// Says that a hold needs no more watching.
    fn unwatch(&self, hold: HoldId) -> impl Future<Output = Result<(), Fault>>;
}

/// What must be done once at start, before anything is served: runs that a crash cut off are burnt (the upstream may have run,
/// nothing was submitted), and answers that died with the process are lost.
///
/// # Errors
/// The journal's [`Fault`].
pub async fn recover<J: BooksJournal>(journal: &J, network: Network) -> Result<(), Fault> {
    let mut after = None;
    loop {
        let page = journal.unfinished(network, after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.record.hold.id);
        for Unfinished { record, .. } in page {
            let hold = record.hold.id;
            match (record.state, record.answer) {
                (State::Open, AnswerState::Live | AnswerState::Pending | AnswerState::Lost) => {
                    journal.advance(hold, Step::Burn(BurnReason::Interrupted)).await?;
                }
                (State::Submitted(_), AnswerState::Live | AnswerState::Pending)
                | (State::Posted(_) | State::Released(_) | State::Burnt(_), AnswerState::Pending) => {
                    journal.advance(hold, Step::LoseAnswer).await?;
                }
                (State::Submitted(_), AnswerState::Kept | AnswerState::Lost)
                | (State::Open, AnswerState::Kept)
                | (
                    State::Posted(_) | State::Released(_) | State::Burnt(_),
                    AnswerState::Live | AnswerState::Kept | AnswerState::Lost,
                ) => {}
            }
        }
    }
}

impl<N: Node, L: Submitter, P: Pace> Engine<N, L, P> {
    /// Looks at every unfinished hold once, then at those that are watched. Returns how many were resolved.
    ///
    /// # Errors
    /// The journal's [`Fault`]; a node's silence only leaves things as they are.
    pub async fn reconcile<J: BooksJournal>(&self, journal: &J, network: Network) -> Result<usize, Fault> {
        let mut resolved = 0usize;
        let Ok(final_time_s) = self.final_time_s().await else { return Ok(0) };
        let mut after = None;
        loop {
            let page = journal.unfinished(network, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.hold.id);
            for Unfinished { record, chain_txs } in page {
                if let Ok(Some(step)) = self.resolve(&record, &chain_txs, final_time_s).await {
                    journal.advance(record.hold.id, step).await?;
                    resolved = resolved.saturating_add(1);
                }
            }
        }
        for record in journal.watched(network, final_time_s).await? {
            match self.landed(&record.hold).await {
                Ok(Landed::Paid(settled) | Landed::Foreign(settled)) => {
                    journal.advance(record.hold.id, Step::Post(settled)).await?;
                    resolved = resolved.saturating_add(1);
                }
                Ok(Landed::Not | Landed::Gone | Landed::Unlogged) => {}
                Err(NodeFault) => continue,
            }
            journal.unwatch(record.hold.id).await?;
        }
        Ok(resolved)
    }

    /// The time of the newest block that is final; 0 while the chain is younger than that.
    async fn final_time_s(&self) -> Result<u64, NodeFault> {
        let latest = self.node.block(BlockAt::Latest).await?;
        match latest.number.checked_sub(FINALITY_BLOCKS) {
            Some(number) => Ok(self.node.block(BlockAt::Number(number)).await?.time_s),
            None => Ok(0),
        }
    }

    async fn resolve(
        &self,
        record: &Record,
        chain_txs: &[(B256, u64)],
        final_time_s: u64,
    ) -> Result<Option<Step>, NodeFault> {
        let hold = &record.hold;
        match (record.state, record.answer) {
            (State::Submitted(_), _) => {}
            // Never submitted, but the answer is kept for the caller: try to be paid for it.
            (State::Open, AnswerState::Kept) => {
                if let Some(step) = verdict(self.settle(hold).await) {
                    return Ok(Some(step));
                }
            }
            // Nothing was submitted and there is nothing to be paid for.
            (State::Open, AnswerState::Lost) => return Ok(Some(Step::Burn(BurnReason::Interrupted))),
            // Its permit lives, or its answer is being stored.
            (State::Open, AnswerState::Live | AnswerState::Pending) => return Ok(None),
            (State::Posted(_) | State::Released(_) | State::Burnt(_), _) => return Ok(None),
        }
        {
            let Some(_stay) = self.live.enter(hold.id) else { return Ok(None) };
            for (chain_tx, _) in chain_txs {
                if let Some(receipt) = self.node.receipt(*chain_tx).await?
                    && let Some(step) = verdict(self.judge(hold, &receipt).await)
                {
                    return Ok(Some(step));
                }
            }
            let expired = final_time_s > hold.authorization.valid_before_s;
            match self.landed(hold).await? {
                Landed::Paid(settled) => return Ok(Some(Step::Post(settled))),
                Landed::Gone => return Ok(Some(Step::Burn(BurnReason::SettlementRefused))),
                // Whose books a stranger's chain_tx belongs in is for a person to say; until the end it stays unknown.
                Landed::Foreign(_) => return Ok(expired.then_some(Step::Burn(BurnReason::ForeignTransfer))),
                Landed::Unlogged => return Ok(expired.then_some(Step::Burn(BurnReason::SettlementRefused))),
                Landed::Not if expired => return Ok(Some(never_moved(record.state))),
                Landed::Not => {}
            }
        }
        // Every sequence that was given to it went to another chain_tx of the same key: it can never land. The authorization's
        // nonce makes a second one safe.
        let mined = self.node.sequence(self.signer).await?;
        let dead = !chain_txs.is_empty() && chain_txs.iter().all(|(_, sequence)| *sequence < mined);
        if dead {
            return Ok(verdict(self.settle(hold).await));
        }
        Ok(None)
    }
}

/// The authorization has expired unused, and a final block says so.
const fn never_moved(state: State) -> Step {
    match state {
        State::Submitted(_) => Step::Release(ReleaseReason::Expired),
        State::Open | State::Posted(_) | State::Released(_) | State::Burnt(_) => {
            Step::Burn(BurnReason::SettlementRefused)
        }
    }
}

fn verdict(settlement: Settlement) -> Option<Step> {
    match settlement {
        Settlement::Settled(settled) => Some(Step::Post(settled)),
        Settlement::Refused(_) => Some(Step::Burn(BurnReason::SettlementRefused)),
        Settlement::Unknown { .. } => None,
    }
}
