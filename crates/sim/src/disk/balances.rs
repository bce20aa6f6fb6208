//! Balances on the disk: accounts, grants and charges. It asks the real ledger what a command does to its rows.

use std::collections::BTreeMap;

use gate::{Answer, Charging};
use ledger::{
    AnswerState, BurnReason, Charge, ChargeChange, ChargeRecord, ChargeState, ChargeStep, ChargeViolation, Charged,
    Entry, EntryKind, Grant, GrantChange, GrantId, HoldId, KeyId, Record, State, Unit,
};

use super::Disk;
use crate::bug::Bug;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) unit: Unit,
    /// Charges that were captured.
    pub(crate) calls: u64,
    /// What they took, less what was given back.
    pub(crate) spent: u64,
}

#[derive(Default)]
pub(crate) struct Balances {
    pub(crate) accounts: BTreeMap<KeyId, Account>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) charges: Vec<ChargeRecord>,
    /// What each charge could draw from when it was won, for the auditor.
    pub(crate) seen: Vec<(HoldId, Vec<Grant>)>,
}

pub(crate) type Advanced = Result<Option<(ChargeRecord, u64)>, ChargeViolation>;

impl Balances {
    pub(crate) fn usable(&self, key: KeyId) -> Vec<Grant> {
        self.grants.iter().filter(|grant| grant.key == key && grant.left > 0).cloned().collect()
    }

    pub(crate) fn charged(&self, id: HoldId) -> Option<&ChargeRecord> {
        self.charges.iter().find(|record| record.charge.id == id)
    }

    fn write(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            match self.grants.iter_mut().find(|known| known.id == grant.id) {
                Some(known) => *known = grant,
                None => self.grants.push(grant),
            }
        }
    }
}

impl Disk {
    fn wrote(&mut self, change: GrantChange) {
        self.balances.write(change.grants);
        self.entries.extend(change.entries);
    }

    /// Raises a balance, once for each name.
    pub(crate) fn give(&mut self, grant: Grant) -> bool {
        let known = self.balances.grants.iter().any(|known| known.id == grant.id);
        if self.balances.accounts.get(&grant.key).is_none_or(|account| account.unit != grant.unit) {
            return false;
        }
        match ledger::grant(grant) {
            Some(change) if known && self.bug == Some(Bug::GrantTwice) => {
                self.balances.grants.extend(change.grants);
                self.entries.extend(change.entries);
            }
            Some(change) if !known => self.wrote(change),
            Some(_) | None => {}
        }
        true
    }

    pub(crate) fn withdraw(&mut self, key: KeyId, amount: u64) -> bool {
        let change = ledger::withdraw(&self.balances.usable(key), amount, self.now_ms);
        change.map(|change| self.wrote(change)).is_some()
    }

    pub(crate) fn transfer(&mut self, from: KeyId, to: KeyId, amount: u64, name: [u8; 16]) -> bool {
        let part = |position: u8| {
            let mut id = name;
            id[0] ^= position;
            GrantId(id)
        };
        let unit = |key| self.balances.accounts.get(&key).map(|account| account.unit);
        if unit(from) != unit(to) {
            return false;
        }
        if self.balances.grants.iter().any(|grant| grant.id == part(0)) {
            return true;
        }
        let Some(mut change) = ledger::transfer(&self.balances.usable(from), to, amount, self.now_ms, part) else {
            return false;
        };
        if self.bug == Some(Bug::TransferCopies) {
            change.grants.retain(|grant| grant.key == to);
        }
        self.wrote(change);
        true
    }

    pub(crate) fn lapse(&mut self) -> usize {
        let change = ledger::lapse(&self.balances.grants, self.now_ms);
        let ended = change.grants.len();
        self.wrote(change);
        ended
    }

    /// Holds the price of a call. `early` is what the account had before the step, which [`Bug::GrantUsedTwice`] goes by.
    pub(crate) fn charge(&mut self, charge: Charge, early: Option<Vec<Grant>>) -> Charging {
        if let Some(record) = charge.idempotency.and_then(|_| self.named(&charge)) {
            return Charging::Taken(record);
        }
        if self.balances.accounts.get(&charge.key).is_none_or(|account| account.unit != charge.unit) {
            return Charging::Closed;
        }
        let usable = early.unwrap_or_else(|| self.balances.usable(charge.key));
        match ledger::charge(&usable, charge) {
            Charged::Short { available } => Charging::Short { available },
            Charged::Won(change) => {
                let (available, id, amount) = (change.available, change.record.charge.id, change.record.charge.amount);
                self.balances.seen.push((id, usable));
                self.balances.charges.push(change.record);
                self.wrote(GrantChange { grants: change.grants, entries: change.entries });
                if self.bug == Some(Bug::DebitBeforeHold) {
                    self.advance_charge(id, ChargeStep::Capture(amount)).ok();
                }
                Charging::Won { available, warned: Vec::new() }
            }
        }
    }

    fn named(&self, charge: &Charge) -> Option<ChargeRecord> {
        let is_one = |record: &&ChargeRecord| {
            let known = &record.charge;
            let same = known.key == charge.key && known.idempotency == charge.idempotency;
            same && !matches!(record.state, ChargeState::Released(_))
        };
        self.balances.charges.iter().rev().find(is_one).cloned()
    }

    pub(crate) fn advance_charge(&mut self, id: HoldId, step: ChargeStep) -> Advanced {
        let Some(at) = self.balances.charges.iter().position(|record| record.charge.id == id) else { return Ok(None) };
        let before = self.balances.charges[at].clone();
        let mut record = before.clone();
        if let (Some(Bug::RefundOfRelease), ChargeState::Released(_), ChargeStep::Refund(_)) =
            (self.bug, record.state, step)
        {
            record.state = ChargeState::Captured(record.charge.amount);
        }
        let grants: Vec<Grant> =
            self.balances.grants.iter().filter(|grant| grant.key == record.charge.key).cloned().collect();
        match ledger::advance_charge(&record, &grants, step, self.now_ms) {
            Ok(None) => Ok(Some((record, ledger::available(&grants, self.now_ms)))),
            Ok(Some(mut change)) => {
                let stands = |payment: HoldId| {
                    self.records
                        .iter()
                        .any(|record| record.hold.id == payment && matches!(record.state, State::Posted(_)))
                };
                ledger::give_back_unpaid(&mut change, |payment| !stands(payment), self.now_ms);
                self.spoil(&before, &mut change, step);
                self.count(&before, &change.record);
                let (record, available) = (change.record.clone(), change.available);
                self.balances.charges[at] = change.record;
                self.wrote(GrantChange { grants: change.grants, entries: change.entries });
                Ok(Some((record, available)))
            }
            Err(violation) => {
                self.refused += 1;
                Err(violation)
            }
        }
    }

    /// What planted bugs make of a step.
    fn spoil(&self, before: &ChargeRecord, change: &mut ChargeChange, step: ChargeStep) {
        match (self.bug, step) {
            (Some(Bug::RemainderKept), ChargeStep::Capture(_)) => change.grants.clear(),
            (Some(Bug::RefundOfRelease), ChargeStep::Refund(_)) => change.record.state = before.state,
            _ => {}
        }
    }

    fn count(&mut self, before: &ChargeRecord, after: &ChargeRecord) {
        let taken = |record: &ChargeRecord| match record.state {
            ChargeState::Captured(taken) => taken - record.refunded.min(taken),
            ChargeState::Open | ChargeState::Released(_) | ChargeState::Burnt(_) => 0,
        };
        let is_captured = |record: &ChargeRecord| matches!(record.state, ChargeState::Captured(_));
        if let Some(account) = self.balances.accounts.get_mut(&after.charge.key) {
            account.calls += u64::from(is_captured(after) && !is_captured(before));
            account.spent = account.spent + taken(after) - taken(before);
        }
    }

    pub(crate) fn keep_charged_answer(&mut self, id: HoldId, answer: Answer) -> Result<bool, ChargeViolation> {
        let has_room = self.answers.len() < self.answers_max;
        let step = if has_room { ChargeStep::KeepAnswer } else { ChargeStep::LoseAnswer };
        if has_room {
            self.answers.insert(id, answer);
        }
        Ok(self.advance_charge(id, step)?.is_some() && has_room)
    }

    /// At start: what a crash left open is given back, and nobody waits for an answer that is not coming.
    pub(crate) fn recover_charges(&mut self) -> usize {
        if self.bug == Some(Bug::NoChargeRecovery) {
            return 0;
        }
        let open: Vec<(HoldId, ChargeState)> = self
            .balances
            .charges
            .iter()
            .filter(|record| {
                let waits = record.charge.idempotency.is_some() && record.answer == AnswerState::Live;
                record.state == ChargeState::Open || (waits && matches!(record.state, ChargeState::Captured(_)))
            })
            .map(|record| (record.charge.id, record.state))
            .collect();
        for (id, state) in &open {
            let step = match state {
                ChargeState::Open => ChargeStep::Burn(BurnReason::Interrupted),
                ChargeState::Captured(_) | ChargeState::Released(_) | ChargeState::Burnt(_) => ChargeStep::LoseAnswer,
            };
            self.advance_charge(*id, step).ok();
        }
        open.len()
    }

    /// What a change of a hold does to what it bought.
    pub(super) fn follow(&mut self, before: &Record, after: &Record) {
        let Some(purchase) = &after.hold.buys else { return };
        let grant = self.balances.grants.iter().find(|grant| grant.id == GrantId(after.hold.id.0));
        let Some(mut change) = ledger::bought(before, after, grant, self.now_ms) else { return };
        if self.bug == Some(Bug::KeepsBought) {
            let undoes = |entry: &Entry| entry.kind == EntryKind::Unconverted;
            if change.entries.iter().any(undoes) {
                change = GrantChange::default();
            }
        }
        let account = Account { unit: purchase.unit, calls: 0, spent: 0 };
        self.balances.accounts.entry(purchase.key).or_insert(account);
        self.wrote(change);
    }
}
