//! The committed state of the journal: what a crash leaves. It asks the real ledger what a command does to its rows.

mod balances;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use facilitator::engine::{Bid, ChainTx, Mined, Rejected, Unfinished};
use gate::{Answer, Standing};
use ledger::{
    AnswerState, BlockRef, BurnReason, Change, Entry, Exposure, Funds, Hold, HoldId, Record, ReleaseReason,
    Reservation, State, Step, Violation,
};
use protocol::{Amount, Asset, ClaimKey, Network, Payer};

use crate::bug::Bug;
pub(crate) use balances::{Account, Balances};

/// A chain_tx and what became of its gas.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) chain_tx: ChainTx,
    /// Another one has its sequence, or it is mined.
    counted: bool,
    mined: Option<Mined>,
    is_final: bool,
}

#[derive(Default)]
pub(crate) struct Disk {
    /// In the order of their claims.
    pub(crate) records: Vec<Record>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) chain_txs: Vec<Signed>,
    answers: BTreeMap<HoldId, Answer>,
    pickups: BTreeMap<B256, HoldId>,
    unwatched: BTreeSet<HoldId>,
    pub(crate) balances: Balances,
    /// The clock of what is written.
    pub(crate) now_ms: u64,
    /// How often a step came that a charge's state does not allow.
    pub(crate) refused: u64,
    /// How often a step came that a hold's state does not allow.
    pub(crate) violations: u64,
    bug: Option<Bug>,
    /// How many answers there is room for.
    answers_max: usize,
}

/// The hold after a step, or none if there is no such hold.
pub(crate) type Advanced = Result<Option<Record>, Violation>;

impl Disk {
    pub(crate) fn new(bug: Option<Bug>, answers_max: usize) -> Self {
        Self { bug, answers_max, ..Self::default() }
    }

    pub(crate) fn latest(&self, key: &ClaimKey) -> Option<Record> {
        self.records.iter().rev().find(|record| record.hold.authorization.key == *key).cloned()
    }

    /// The newest claim of a hold's payer with its secret, but for those that were let go or burnt.
    fn namesake(&self, hold: &Hold) -> Option<Record> {
        let (payer, secret) = (hold.authorization.key.payer, hold.idempotency?);
        let is_one = |record: &&Record| {
            let ended = matches!(record.state, State::Released(_) | State::Burnt(_));
            let known = &record.hold;
            !ended && known.authorization.key.payer == payer && known.idempotency == Some(secret)
        };
        self.records.iter().rev().find(is_one).cloned()
    }

    pub(crate) fn by_id(&self, hold: HoldId) -> Option<&Record> {
        self.records.iter().find(|record| record.hold.id == hold)
    }

    /// What a payer owes that his balance in block `seen` does not show.
    fn unsettled(&self, key: &ClaimKey, seen: u64) -> u128 {
        let owes = |record: &&Record| {
            let other = &record.hold.authorization.key;
            other.payer == key.payer
                && other.asset == key.asset
                && match record.state {
                    State::Open | State::Answered | State::Submitted(_) => true,
                    State::Posted(settled) => settled.block > seen,
                    State::Released(_) | State::Burnt(_) | State::Lost(_) => false,
                }
        };
        self.records.iter().filter(owes).map(|record| record.hold.authorization.amount_atomic).sum()
    }

    /// What is on the tab.
    pub(crate) fn exposed(&self, hold: &Hold) -> Exposure {
        let mut exposed = Exposure::default();
        for record in &self.records {
            let micros = record.exposed_micros();
            exposed.gate_micros += micros;
            if record.hold.authorization.key.payer == hold.authorization.key.payer {
                exposed.payer_micros += micros;
            }
            if record.hold.source == hold.source {
                exposed.source_micros += micros;
            }
        }
        exposed
    }

    pub(crate) fn reserve(
        &mut self,
        hold: Hold,
        balance_atomic: Option<u128>,
        exposed: Option<Exposure>,
        caps: Exposure,
    ) -> Reservation {
        let key = hold.authorization.key;
        let latest = self.latest(&key).filter(|_| self.bug != Some(Bug::NoReservation));
        let funds = Funds {
            balance_atomic,
            unsettled_atomic: self.unsettled(&key, hold.seen.number),
            exposed: exposed.unwrap_or_else(|| self.exposed(&hold)),
            caps,
        };
        let namesake = self.namesake(&hold).filter(|_| self.bug != Some(Bug::NoReservation));
        let reservation = ledger::reserve(latest, namesake, hold, &funds);
        if let Reservation::Won(change) = &reservation {
            self.records.push(change.record.clone());
            self.entries.extend(change.entries.iter().copied());
        }
        reservation
    }

    pub(crate) fn advance(&mut self, hold: HoldId, step: Step) -> Advanced {
        let Some(at) = self.records.iter().position(|record| record.hold.id == hold) else { return Ok(None) };
        if self.bug == Some(Bug::NoUnsettle) && matches!(step, Step::Unsettle(_)) {
            return Ok(self.records.get(at).cloned());
        }
        let record = self.records[at].clone();
        match ledger::advance(&record, step) {
            Ok(None) => Ok(Some(record)),
            Ok(Some(Change { record: next, entries })) => {
                self.entries.extend(entries);
                self.follow(&record, &next);
                self.records[at] = next.clone();
                Ok(Some(next))
            }
            Err(violation) => {
                self.violations += 1;
                Err(violation)
            }
        }
    }

    /// What [`Bug::ReleaseOfSubmitted`] and [`Bug::ExpiryUnderRun`] do to a hold, past the ledger.
    pub(crate) fn let_go(&mut self, hold: HoldId) {
        if let Some(record) = self.records.iter_mut().find(|record| record.hold.id == hold) {
            record.state = State::Released(ReleaseReason::NotSent);
        }
    }

    pub(crate) fn pend(&mut self, hold: HoldId, pickup: B256) -> Result<(), Violation> {
        self.advance(hold, Step::Pend)?;
        self.pickups.insert(pickup, hold);
        Ok(())
    }

    pub(crate) fn keep_answer(&mut self, hold: HoldId, answer: Answer) -> Result<bool, Violation> {
        if self.answers.len() >= self.answers_max {
            return Ok(false);
        }
        if self.advance(hold, Step::KeepAnswer)?.is_none() {
            return Ok(false);
        }
        self.answers.insert(hold, answer);
        Ok(true)
    }

    pub(crate) fn answer(&self, hold: HoldId) -> Option<Answer> {
        self.answers.get(&hold).cloned()
    }

    pub(crate) fn picked(&self, pickup: B256) -> Option<Record> {
        self.pickups.get(&pickup).and_then(|hold| self.by_id(*hold)).cloned()
    }

    pub(crate) fn standing(&self, payer: Payer) -> Standing {
        let his = || self.records.iter().filter(|record| record.hold.authorization.key.payer == payer);
        let risky = |state| matches!(state, State::Lost(_) | State::Burnt(BurnReason::SettlementRefused));
        Standing {
            settled: his().any(|record| matches!(record.state, State::Posted(_))),
            risky: his().any(|record| risky(record.state)),
        }
    }

    fn members_at(&self, chain_tx: &ChainTx) -> Option<Vec<HoldId>> {
        let same = |signed: &&Signed| at(&signed.chain_tx) == at(chain_tx);
        self.chain_txs.iter().find(same).map(|signed| sorted(&signed.chain_tx.holds))
    }

    /// Whether a chain_tx of other holds has its sequence.
    pub(crate) fn clashes(&self, chain_tx: &ChainTx) -> bool {
        let same = self.chain_txs.iter().filter(|signed| at(&signed.chain_tx) == at(chain_tx));
        let holds = sorted(&chain_tx.holds);
        // One that moves nothing takes nobody's place.
        let moves = |signed: &&Signed| !holds.is_empty() && !signed.chain_tx.holds.is_empty();
        same.filter(moves).any(|signed| sorted(&signed.chain_tx.holds) != holds)
    }

    /// Marks holds submitted: all or nothing.
    pub(crate) fn submit(&mut self, batch: &[ChainTx]) -> Result<(), Rejected> {
        let (mut rejected, mut steps) = (Vec::new(), Vec::new());
        let careless = matches!(self.bug, Some(Bug::NewSequenceFirst | Bug::ReusedSequence));
        for chain_tx in batch {
            let same = self.members_at(chain_tx).map(|earlier| earlier == sorted(&chain_tx.holds));
            for hold in &chain_tx.holds {
                let state = self.by_id(*hold).map(|record| record.state);
                let goes_on = matches!(state, Some(State::Open | State::Answered | State::Submitted(_)));
                match same {
                    Some(true) => {}
                    None if goes_on => {}
                    Some(false) if careless && goes_on => {}
                    Some(false) | None => rejected.push(*hold),
                }
                if goes_on {
                    steps.push((*hold, Step::Submit(chain_tx.hash)));
                }
            }
        }
        if !rejected.is_empty() {
            return Err(Rejected(rejected));
        }
        for chain_tx in batch {
            self.chain_txs.push(Signed { chain_tx: chain_tx.clone(), counted: false, mined: None, is_final: false });
        }
        for (hold, step) in steps {
            // The real journal undoes the whole batch; it was looked at above, so it is only counted here.
            self.advance(hold, step).ok();
        }
        Ok(())
    }

    /// The chain_txs from a sequence on; of several with one sequence the newest.
    pub(crate) fn chain_txs_from(&self, signer: Address, sequence: u64) -> Vec<ChainTx> {
        let mut newest = BTreeMap::new();
        let his = |signed: &&Signed| signed.chain_tx.signer == signer && signed.chain_tx.sequence >= sequence;
        for signed in self.chain_txs.iter().filter(his) {
            newest.insert(signed.chain_tx.sequence, signed.chain_tx.clone());
        }
        newest.into_values().collect()
    }

    /// The latest end of those holds that have not ended.
    pub(crate) fn valid_before_s(&self, holds: &[HoldId]) -> Option<u64> {
        let open = holds.iter().filter_map(|hold| self.by_id(*hold)).filter(|record| !record.state.ended());
        open.map(|record| record.hold.authorization.valid_before_s).max()
    }

    fn bids(&self, hold: HoldId) -> Vec<Bid> {
        let his = self.chain_txs.iter().filter(|signed| signed.chain_tx.holds.contains(&hold));
        let bid = |signed: &Signed| {
            let ChainTx { hash, signer, sequence, holds, .. } = &signed.chain_tx;
            Bid { chain_tx: *hash, signer: *signer, sequence: *sequence, members: holds.len() }
        };
        his.map(bid).collect()
    }

    /// A page of what has not ended; small, so that there are several.
    pub(crate) fn unfinished(&self, after: Option<HoldId>) -> Vec<Unfinished> {
        let behind = after.and_then(|hold| self.records.iter().position(|record| record.hold.id == hold));
        let from = behind.map_or(0, |at| at + 1);
        let fits = |record: &&Record| match record.state {
            State::Open | State::Submitted(_) => true,
            State::Answered => record.answer == AnswerState::Live || record.answer == AnswerState::Pending,
            State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_) => {
                record.answer == AnswerState::Pending
            }
        };
        let rows = self.records.get(from..).unwrap_or_default().iter().filter(fits).take(5);
        rows.map(|record| Unfinished { record: record.clone(), bids: self.bids(record.hold.id) }).collect()
    }

    pub(crate) fn due(&self, after: Option<HoldId>) -> Vec<Record> {
        let delivered = |answer| matches!(answer, AnswerState::Delivered | AnswerState::Kept);
        let due = |record: &&Record| record.state == State::Answered && delivered(record.answer);
        let behind = after.and_then(|after| self.records.iter().position(|record| record.hold.id == after));
        self.records.iter().skip(behind.map_or(0, |at| at + 1)).filter(due).cloned().collect()
    }

    /// Ended holds without money that wait for their last look; those whose claim was won again first.
    pub(crate) fn watched(&self, time_s: u64) -> (Vec<HoldId>, Vec<Record>) {
        let (mut again, mut newest) = (Vec::new(), Vec::new());
        for record in &self.records {
            let ended = matches!(record.state, State::Released(_) | State::Burnt(_) | State::Lost(_));
            let late = record.hold.authorization.valid_before_s >= time_s;
            if !ended || late || self.unwatched.contains(&record.hold.id) {
                continue;
            }
            match self.latest(&record.hold.authorization.key) {
                Some(latest) if latest.hold.id != record.hold.id => again.push(record.hold.id),
                Some(_) | None => newest.push(record.clone()),
            }
        }
        (again, newest)
    }

    pub(crate) fn unwatch(&mut self, hold: HoldId) {
        self.unwatched.insert(hold);
    }

    /// Whether reconciliation has nothing left to do.
    pub(crate) fn at_rest(&self) -> bool {
        self.records.iter().all(|record| {
            let watched = !matches!(record.state, State::Posted(_)) && !self.unwatched.contains(&record.hold.id);
            record.state.ended() && !watched && record.answer != AnswerState::Pending
        }) && self.unfinal().is_empty()
    }

    pub(crate) fn unmined(&self, signer: Address, below: u64) -> Vec<B256> {
        let open =
            self.chain_txs.iter().rev().filter(|signed| {
                signed.chain_tx.signer == signer && signed.chain_tx.sequence < below && !signed.counted
            });
        open.map(|signed| signed.chain_tx.hash).collect()
    }

    pub(crate) fn mined(&mut self, network: Network, mined: &[Mined]) {
        for new in mined {
            let found = self.chain_txs.iter_mut().find(|signed| signed.chain_tx.hash == new.chain_tx);
            let Some(signed) = found.filter(|signed| !signed.is_final && (!signed.counted || signed.mined.is_some()))
            else {
                continue;
            };
            let before = signed.mined.replace(*new);
            let (place, signer) = (at(&signed.chain_tx), signed.chain_tx.signer);
            for signed in self.chain_txs.iter_mut().filter(|signed| at(&signed.chain_tx) == place) {
                signed.counted = true;
            }
            match before {
                Some(before) if before.fee_wei == new.fee_wei => continue,
                Some(before) => self.give_back(network, &before, signer),
                None => {}
            }
            let bids = self.chain_txs.iter().filter(|signed| at(&signed.chain_tx) == place).count();
            for _ in 0..if self.bug == Some(Bug::BumpPaysTwice) { bids } else { 1 } {
                self.gas(network, new.chain_tx, signer, new.fee_wei);
            }
        }
    }

    pub(crate) fn unmine(&mut self, network: Network, chain_txs: &[B256]) {
        for chain_tx in chain_txs {
            let found = self.chain_txs.iter_mut().find(|signed| signed.chain_tx.hash == *chain_tx && !signed.is_final);
            let Some(signed) = found else { continue };
            let Some(before) = signed.mined.take() else { continue };
            let (place, signer) = (at(&signed.chain_tx), signed.chain_tx.signer);
            let same = |signed: &Signed| at(&signed.chain_tx) == place;
            // Unless another one has been mined meanwhile.
            let taken = self.chain_txs.iter().any(|signed| same(signed) && signed.mined.is_some());
            self.chain_txs.iter_mut().filter(|signed| same(signed)).for_each(|signed| signed.counted = taken);
            self.give_back(network, &before, signer);
        }
    }

    fn give_back(&mut self, network: Network, before: &Mined, signer: Address) {
        let wei = Amount::new(before.fee_wei, Asset::native(network));
        self.entries.push(Entry::gas_voided(before.chain_tx, signer, wei));
    }

    /// Blocks that are not final and that something is in.
    pub(crate) fn unfinal(&self) -> Vec<BlockRef> {
        let posted = self.records.iter().filter(|record| !record.is_final).filter_map(posted_at);
        let mined = self.chain_txs.iter().filter(|signed| !signed.is_final);
        let mined = mined.filter_map(|signed| signed.mined.map(|mined| mined.block));
        let blocks: BTreeMap<(u64, B256), BlockRef> =
            posted.chain(mined).map(|block| ((block.number, block.hash), block)).collect();
        blocks.into_values().collect()
    }

    pub(crate) fn posted_in(&self, block: BlockRef) -> Vec<Record> {
        let there = |record: &&Record| !record.is_final && posted_at(record) == Some(block);
        self.records.iter().filter(there).cloned().collect()
    }

    pub(crate) fn mined_in(&self, block: BlockRef) -> Vec<B256> {
        let there = |signed: &&Signed| !signed.is_final && signed.mined.is_some_and(|mined| mined.block == block);
        self.chain_txs.iter().filter(there).map(|signed| signed.chain_tx.hash).collect()
    }

    pub(crate) fn finalize(&mut self, blocks: &[BlockRef]) {
        for record in &mut self.records {
            record.is_final |= posted_at(record).is_some_and(|block| blocks.contains(&block));
        }
        for signed in &mut self.chain_txs {
            signed.is_final |= signed.mined.is_some_and(|mined| blocks.contains(&mined.block));
        }
    }

    fn gas(&mut self, network: Network, chain_tx: B256, signer: Address, fee_wei: u128) {
        self.entries.push(Entry::gas(chain_tx, signer, Amount::new(fee_wei, Asset::native(network))));
    }
}

/// Its place: key and sequence.
fn at(chain_tx: &ChainTx) -> (Address, u64) {
    (chain_tx.signer, chain_tx.sequence)
}

fn posted_at(record: &Record) -> Option<BlockRef> {
    let State::Posted(settled) = record.state else { return None };
    Some(BlockRef { number: settled.block, hash: settled.block_hash })
}

fn sorted(holds: &[HoldId]) -> Vec<HoldId> {
    let mut sorted = holds.to_vec();
    sorted.sort_unstable();
    sorted
}
