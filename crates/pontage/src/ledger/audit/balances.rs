//! What must hold of balances: the rows of accounts, grants and charges are what their entries come to. Rows in, findings out.

use std::collections::BTreeMap;

use ledger::{ChargeRecord, ChargeState, Grant, GrantId, GrantSource, KeyId, Side};
use protocol::{Amount, Asset};
use store::{AccountRow, EntryRow};

use super::books::{RESTORE, differs};
use super::finding::{Finding, Subject, Word};

/// What is summed up while entries and charges are read.
#[derive(Debug, Default)]
pub(super) struct Balances {
    /// What the lines of each account of a balance come to.
    booked: BTreeMap<(String, Asset), i128>,
    /// What the charges of each account come to.
    charged: BTreeMap<KeyId, Charged>,
    /// What charges hold or have kept of each grant.
    used: BTreeMap<GrantId, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Charged {
    held: u64,
    calls: u64,
    spent: u64,
}

impl Balances {
    /// Takes the lines of an entry.
    pub(super) fn take(&mut self, entry: &EntryRow) {
        for line in entry.lines.iter().filter(|line| line.account.starts_with("balance:")) {
            let amount = i128::try_from(line.amount_atomic).unwrap_or(i128::MAX);
            let amount = if line.side == Side::Credit { amount } else { -amount };
            let sum = self.booked.entry((line.account.clone(), line.asset)).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// A charge took what its entries say, within what it held, from what it drew.
    pub(super) fn check_charge(&mut self, record: &ChargeRecord, entries: &[EntryRow]) -> Vec<Finding> {
        let (charge, unit) = (&record.charge, record.charge.unit);
        let (taken, kept) = match record.state {
            ChargeState::Open => (0, charge.amount),
            ChargeState::Captured(taken) => (taken, taken.saturating_sub(record.refunded)),
            ChargeState::Released(_) | ChargeState::Burnt(_) => (0, 0),
        };
        self.count(record, kept);
        let mut findings = Vec::new();
        let mut wrong = |found: String| {
            let mut finding = misbooked(Subject::Charge(charge.id), format!("charge {} {found}", charge.id));
            finding.amount = Some(unit.amount(charge.amount));
            findings.push(finding);
        };
        let drawn = record.draws.iter().fold(0u64, |sum, draw| sum.saturating_add(draw.amount));
        if drawn != charge.amount {
            wrong(format!("holds {} and has drawn {drawn}", charge.amount));
        }
        if taken > charge.amount || record.refunded > taken {
            wrong(format!("held {}, took {taken} and gave {} back", charge.amount, record.refunded));
        }
        let (balance, earned) = (format!("balance:{}", charge.key), "earned".to_owned());
        let (mut captured, mut back) = (0u128, 0u128);
        for entry in entries {
            let (from, to, sum) = match entry.kind.as_str() {
                "captured" => (&balance, &earned, &mut captured),
                "given_back" => (&earned, &balance, &mut back),
                kind => {
                    wrong(format!("has the {kind} entry {}, which is not a charge's", entry.id));
                    continue;
                }
            };
            let atomic = moved(entry);
            *sum = sum.saturating_add(atomic);
            if let Some(what) = differs(entry, from, to, Amount::new(atomic, unit.amount(0).asset)) {
                wrong(format!("has the {} entry {}: {what}", entry.kind, entry.id));
            }
        }
        if (captured, back) != (u128::from(taken), u128::from(record.refunded)) {
            let refunded = record.refunded;
            wrong(format!("took {taken} and gave {refunded} back; its entries come to {captured} and {back}"));
        }
        findings
    }

    fn count(&mut self, record: &ChargeRecord, kept: u64) {
        let sums = self.charged.entry(record.charge.key).or_default();
        match record.state {
            ChargeState::Open => sums.held = sums.held.saturating_add(kept),
            ChargeState::Captured(_) => {
                sums.calls = sums.calls.saturating_add(1);
                sums.spent = sums.spent.saturating_add(kept);
            }
            ChargeState::Released(_) | ChargeState::Burnt(_) => {}
        }
        // What was given back came from the end.
        let mut kept = kept;
        for draw in &record.draws {
            let part = kept.min(draw.amount);
            kept = kept.saturating_sub(part);
            let used = self.used.entry(draw.grant).or_default();
            *used = used.saturating_add(part);
        }
    }

    /// A grant is what was granted, and has not given more than that. Says what of it went to other accounts.
    pub(super) fn check_grant(&self, grant: &Grant, entries: &[EntryRow]) -> (Vec<Finding>, u64) {
        let balance = format!("balance:{}", grant.key);
        let source = match grant.source {
            GrantSource::Operator | GrantSource::Automatic => "issued".to_owned(),
            GrantSource::Payment(_) => "conversion".to_owned(),
            GrantSource::Transfer(from) => format!("balance:{from}"),
        };
        let mut findings = Vec::new();
        let mut wrong = |found: String| {
            let mut finding = misbooked(Subject::Grant(grant.id), format!("grant {} {found}", grant.id));
            finding.amount = Some(grant.unit.amount(grant.granted));
            findings.push(finding);
        };
        let (mut granted, mut gone) = (0i128, 0u128);
        for entry in entries {
            let atomic = moved(entry);
            let signed = i128::try_from(atomic).unwrap_or(i128::MAX);
            let (from, to) = match entry.kind.as_str() {
                "granted" => {
                    granted = granted.saturating_add(signed);
                    (source.as_str(), balance.as_str())
                }
                "unconverted" => {
                    granted = granted.saturating_sub(signed);
                    (balance.as_str(), source.as_str())
                }
                kind @ ("lapsed" | "withdrawn") => {
                    gone = gone.saturating_add(atomic);
                    (balance.as_str(), if kind == "lapsed" { "lapsed" } else { "issued" })
                }
                kind => {
                    wrong(format!("has the {kind} entry {}, which is not a grant's", entry.id));
                    continue;
                }
            };
            if let Some(what) = differs(entry, from, to, Amount::new(atomic, grant.unit.amount(0).asset)) {
                wrong(format!("has the {} entry {}: {what}", entry.kind, entry.id));
            }
        }
        if granted != i128::from(grant.granted) {
            wrong(format!("is of {}; its entries come to {granted}", grant.granted));
        }
        let used = self.used.get(&grant.id).copied().unwrap_or(0);
        let all = gone.saturating_add(u128::from(used)).saturating_add(u128::from(grant.left));
        let away = u128::from(grant.granted).checked_sub(all);
        if away.is_none() {
            let left = grant.left;
            wrong(format!("is of {}: {used} used, {gone} ended or taken back and {left} left are more", grant.granted));
        }
        (findings, away.and_then(|away| u64::try_from(away).ok()).unwrap_or(0))
    }

    /// A balance is what its entries come to, and its calls what its charges do. `away` is what is gone of its grants and not otherwise
    /// explained, `given` what other accounts have from it.
    pub(super) fn check_account(
        &mut self,
        account: &AccountRow,
        grants: &[Grant],
        (away, given): (u64, u64),
    ) -> Vec<Finding> {
        let left = grants.iter().fold(0u64, |sum, grant| sum.saturating_add(grant.left));
        let Charged { held, calls, spent } = self.charged.remove(&account.id).unwrap_or_default();
        let name = format!("balance:{}", account.id);
        let asset = account.unit.amount(0).asset;
        let booked = self.booked.remove(&(name.clone(), asset)).unwrap_or(0);
        let mut findings = Vec::new();
        let mut wrong = |found: String| {
            let found = format!("account {} {found}", account.id);
            findings.push(Finding::new(Word::SumsDiffer, Subject::Account(account.id), found, RESTORE));
        };
        if booked != i128::from(left.saturating_add(held)) {
            wrong(format!("has {left} left and {held} held; its entries come to {booked}"));
        }
        if (account.calls, account.spent) != (calls, spent) {
            let noted = format!("notes {} calls for {}", account.calls, account.spent);
            wrong(format!("{noted}; its charges come to {calls} for {spent}"));
        }
        if away != given {
            wrong(format!("lacks {away} that went to other accounts; they have {given} from it"));
        }
        findings
    }

    /// Lines and charges of accounts that are not there, or in another unit than theirs.
    pub(super) fn finish(self) -> Vec<Finding> {
        let lines = self.booked.into_iter().filter(|(_, sum)| *sum != 0).map(|((name, _), sum)| {
            let found = format!("entries of {name} come to {sum}, in a unit that no account of this name has");
            Finding::new(Word::SumsDiffer, Subject::Balance(name), found, RESTORE)
        });
        lines.collect()
    }
}

/// What an entry moves: the amount of its first line.
fn moved(entry: &EntryRow) -> u128 {
    entry.lines.first().map_or(0, |line| line.amount_atomic)
}

fn misbooked(subject: Subject, found: String) -> Finding {
    Finding::new(Word::Misbooked, subject, found, RESTORE)
}

#[cfg(test)]
mod tests;
