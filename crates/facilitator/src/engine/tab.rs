//! What was served on the tab: many authorizations are settled in one chain_tx.

use std::collections::BTreeMap;

use alloy_primitives::U256;
use gate::{Fault, Settlement};
use ledger::{Exposure, Hold, HoldId, LossReason, Record, Step};
use protocol::{Network, Refusal};

use super::chain_tx::{members_max, pays_for_one};
use super::node::{Block, BlockAt, CallResult, EthCall, Node, NodeFault};
use super::reconcile::{BooksJournal, verdict};
use super::settle::{Engine, Landed, Pace, Submitter, too_early};
use super::token::batch_results;

/// How long a payment of which nothing can be said now is left alone.
pub(super) const REST_MS: u64 = 10_000;

/// When the tab is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TabTerms {
    /// How many payments one chain_tx carries at most; 1 where the network has no Multicall3.
    pub batch_max: usize,
    /// How long a payment waits at most.
    pub settle_age_ms: u64,
    /// The caps on exposure: at half of any of them the tab is settled.
    pub caps: Exposure,
    /// What must be left of an authorization's validity when it is submitted.
    pub margin_ms: u64,
}

impl TabTerms {
    /// Whether it is time, for holds in the order of their age. By size alone whole batches go, and the rest waits.
    pub(super) fn ready(&self, due: &[Record], now_ms: u64) -> usize {
        let mut by_payer = BTreeMap::new();
        let mut by_source = BTreeMap::new();
        let mut gate = 0u64;
        let mut ending = false;
        for Record { hold, .. } in due {
            let add = |sum: &mut u64| *sum = sum.saturating_add(hold.exposure_micros);
            add(by_payer.entry(hold.authorization.key.payer.0).or_default());
            add(by_source.entry(hold.source).or_default());
            add(&mut gate);
            let ends_ms = hold.authorization.valid_before_s.saturating_mul(1_000);
            ending |= now_ms.saturating_add(self.margin_ms) >= ends_ms;
        }
        let half = |sum: Option<&u64>, cap: u64| sum.is_some_and(|sum| *sum >= cap.div_ceil(2));
        let exposed = half(by_payer.values().max(), self.caps.payer_micros)
            || half(by_source.values().max(), self.caps.source_micros)
            || half(Some(&gate), self.caps.gate_micros);
        let old = |record: &Record| now_ms.saturating_sub(record.hold.opened_at_ms) >= self.settle_age_ms;
        if ending || due.first().is_some_and(old) || (exposed && gate > 0) {
            return due.len();
        }
        let batch_max = self.batch_max.max(1);
        due.len().saturating_sub(due.len().checked_rem(batch_max).unwrap_or(0))
    }
}

impl<N: Node, L: Submitter, P: Pace> Engine<N, L, P> {
    /// Settles what is on the tab, if it is time; `all` settles it whatever the time. Does not wait for receipts: the reconciler
    /// posts what lands. Returns how many were submitted or ended.
    ///
    /// # Errors
    /// The journal's [`Fault`]; a node's silence leaves everything on the tab.
    pub async fn settle_tab<J: BooksJournal>(
        &self,
        journal: &J,
        network: Network,
        terms: &TabTerms,
        now_ms: u64,
        all: bool,
    ) -> Result<usize, Fault> {
        let clock_ms = self.pace.elapsed_ms();
        let mut moved = 0usize;
        let mut after = None;
        loop {
            let mut due = journal.due(network, after).await?;
            let Some(last) = due.last() else { return Ok(moved) };
            after = Some(last.hold.id);
            due.retain(|record| all || !self.live.rests(record.hold.id, clock_ms));
            // What rests must not hide what comes behind it.
            if due.is_empty() {
                continue;
            }
            if !all {
                due.truncate(terms.ready(&due, now_ms));
            }
            let holds: Vec<Hold> = due.into_iter().map(|record| record.hold).collect();
            moved = moved.saturating_add(self.send_all(journal, &holds, terms, clock_ms).await?);
            if !all {
                return Ok(moved);
            }
        }
    }

    /// Submits holds in batches, and writes what became of those that cannot be.
    async fn send_all<J: BooksJournal>(
        &self,
        journal: &J,
        holds: &[Hold],
        terms: &TabTerms,
        clock_ms: u64,
    ) -> Result<usize, Fault> {
        let mut moved = 0usize;
        if holds.is_empty() {
            return Ok(0);
        }
        for group in holds.chunks(self.affordable(terms.batch_max).await) {
            // What a node says nothing of is left alone for a while, so that it does not stand in the way of the others.
            let unclear = || Sent { unclear: group.iter().map(|hold| hold.id).collect(), ..Sent::default() };
            let sent = self.send_together(group).await.unwrap_or_else(|NodeFault| unclear());
            for hold in &sent.unclear {
                self.live.rest(*hold, clock_ms, clock_ms.saturating_add(REST_MS));
            }
            moved = moved.saturating_add(sent.submitted).saturating_add(sent.steps.len());
            if !sent.steps.is_empty() {
                journal.advance_all(sent.steps).await?;
            }
        }
        Ok(moved)
    }

    /// How large a batch each settlement key can pay for, with as much again left for others; one that has run dry is not given any.
    /// A node that does not say leaves it at what the terms say.
    async fn affordable(&self, batch_max: usize) -> usize {
        let batch_max = batch_max.max(1);
        let mut coins = Vec::new();
        for signer in self.signers.current() {
            coins.push(self.node.native_balance(*signer).await);
        }
        let Ok(coins) = coins.into_iter().collect::<Result<Vec<U256>, NodeFault>>() else { return batch_max };
        let Some(price) = self.node.fees().await.ok().and_then(|fees| self.caps.price(fees, 0)) else {
            return batch_max;
        };
        let half = |wei: &U256| members_max(wei.checked_div(U256::from(2)).unwrap_or_default(), price);
        let funded = coins.iter().filter(|wei| pays_for_one(**wei, price));
        let least = funded.map(half).min().or(coins.iter().map(half).max());
        least.map_or(batch_max, |least| least.min(batch_max))
    }

    /// Tries a batch and submits the members that go through as one chain_tx. A poisoned member is left out, and judged alone.
    async fn send_together(&self, group: &[Hold]) -> Result<Sent, NodeFault> {
        let stays: Vec<_> = group.iter().map(|hold| self.live.enter(hold.id)).collect();
        let entered = group.iter().zip(&stays).filter(|(_, stay)| stay.is_some());
        let group: Vec<Hold> = entered.map(|(hold, _)| hold.clone()).collect();
        let alone = |hold: &Hold| self.transfer_call(&hold.authorization);
        let passes = match group.as_slice() {
            [] => return Ok(Sent::default()),
            [_] => None,
            group => self.tried_together(group).await,
        };
        // A batch that fails as a whole says nothing of its members: then each is tried alone.
        let together = passes.is_some();
        let passes = match passes {
            Some(passes) => passes,
            None => self.tried(group.iter().map(alone).collect()).await?,
        };
        let (good, bad): (Vec<_>, Vec<_>) = group.into_iter().zip(passes).partition(|(_, passes)| *passes);
        let mut sent = Sent::default();
        let mut bad: Vec<Hold> = bad.into_iter().map(|(hold, _)| hold).collect();
        if together && !bad.is_empty() {
            // What goes through alone fails behind another payment of the same payer, or for want of gas that another one takes: it
            // is looked at again when those have landed. A node that does not say leaves them alone; the others do not wait for it.
            let passes = self.tried(bad.iter().map(alone).collect()).await.unwrap_or(vec![true; bad.len()]);
            let (later, now): (Vec<_>, Vec<_>) = bad.into_iter().zip(passes).partition(|(_, passes)| *passes);
            sent.unclear.extend(later.iter().map(|(hold, _)| hold.id));
            bad = now.into_iter().map(|(hold, _)| hold).collect();
        }
        for hold in bad {
            match self.judge_failed(&hold).await {
                Some(step) => sent.steps.push((hold.id, step)),
                None => sent.unclear.push(hold.id),
            }
        }
        let good: Vec<Hold> = good.into_iter().map(|(hold, _)| hold).collect();
        // Without the member that made the whole fail, the others may go together after all.
        let together = together || (good.len() > 1 && self.all_pass(&good).await);
        let groups: Vec<&[Hold]> = if together { vec![&good] } else { good.chunks(1).collect() };
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            // A lane that does not take it leaves it on the tab, or the journal has it as submitted.
            if self.submitter.submit(group).await.is_ok() {
                sent.submitted = sent.submitted.saturating_add(group.len());
            }
        }
        Ok(sent)
    }

    /// Which members of a batch go through. `None` where it fails as a whole; so a node may give it up by one of its members.
    async fn tried_together(&self, group: &[Hold]) -> Option<Vec<bool>> {
        let results = self.node.calls(&[self.batch_call(group)], BlockAt::Latest).await.ok()?;
        results.first().and_then(batch_results).filter(|passes| passes.len() == group.len())
    }

    /// Whether a batch goes through with all of its members.
    async fn all_pass(&self, group: &[Hold]) -> bool {
        self.tried_together(group).await.is_some_and(|passes| passes.iter().all(|passes| *passes))
    }

    /// Submits holds once more, each in a chain_tx of its own, and says what became of those that no longer go through.
    pub(super) async fn send_each(&self, holds: Vec<Hold>) -> Vec<(HoldId, Step)> {
        let mut steps = Vec::new();
        for hold in holds {
            if let Ok(sent) = self.send_together(std::slice::from_ref(&hold)).await {
                steps.extend(sent.steps);
            }
        }
        steps
    }

    /// What became of a hold whose transfer does not go through now. One that a stranger landed leaves the tab as submitted by his
    /// chain_tx, for the reconciler; one that nobody can say who used stays until its validity has ended for good.
    async fn judge_failed(&self, hold: &Hold) -> Option<Step> {
        let head = self.node.block(BlockAt::Latest).await.ok()?;
        if too_early(&head, &hold.authorization) {
            return None;
        }
        match self.after_revert(hold, None, &head).await {
            Settlement::Unknown { chain_tx: Some(foreign) } => Some(Step::Submit(foreign)),
            Settlement::Unknown { chain_tx: None } => {
                let expired = self.is_expired(hold, &head).await.ok()?;
                let unlogged = matches!(self.landed(hold, head.place()).await.ok()?, Landed::Unlogged);
                (expired && unlogged).then_some(Step::Refuse(LossReason::Gone))
            }
            // The token refuses what is over, and everything while it is paused. Neither is the payer's doing: it is tried again, and
            // lost when a final block says that it is over.
            Settlement::Refused(Refusal::SimulationFailed) => {
                self.is_expired(hold, &head).await.ok()?.then_some(Step::Expire)
            }
            settlement @ (Settlement::Settled(_) | Settlement::Refused(_)) => verdict(settlement),
        }
    }

    /// Whether a block that is final, beneath `head`, is later than the end of a hold's validity.
    async fn is_expired(&self, hold: &Hold, head: &Block) -> Result<bool, NodeFault> {
        let last = self.last_block(head).await?;
        Ok(last.is_some_and(|last| last.time_s > hold.authorization.valid_before_s))
    }

    async fn tried(&self, calls: Vec<EthCall>) -> Result<Vec<bool>, NodeFault> {
        let results = self.node.calls(&calls, BlockAt::Latest).await?;
        if results.len() != calls.len() {
            return Err(NodeFault);
        }
        Ok(results.iter().map(|result| *result != CallResult::Reverted).collect())
    }
}

/// What became of a group.
#[derive(Default)]
struct Sent {
    /// How many are on their way.
    submitted: usize,
    /// What became of members that cannot be.
    steps: Vec<(HoldId, Step)>,
    /// Members of which nothing can be said now.
    unclear: Vec<HoldId>,
}
