//! What must hold within the books. Pure: rows in, findings out.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use ledger::{About, Rail, Refund, RefundState, Side, State};
use protocol::{Amount, Asset, AssetInfo, Network, Signature};
use store::{ChainTxRow, EntryRow, Fate, Payment, SealDigest, SealRow, TabSum};

use super::finding::{Finding, Subject, Word};
use crate::ledger::print::dollars;

pub(super) const RESTORE: &str = "the file was changed: compare it with a backup";

/// An entry has one debit and one credit, of the same amount of the same asset.
pub(super) fn check_entry(entry: &EntryRow) -> Option<Finding> {
    let found = match entry.lines.as_slice() {
        [one, two] if one.side == two.side => format!("both sides are a {}", side(one.side)),
        [one, two] if one.asset != two.asset => "its two sides are in different assets".to_owned(),
        [one, two] if one.amount_atomic != two.amount_atomic => {
            format!("{} {} against {} {}", side(one.side), one.amount_atomic, side(two.side), two.amount_atomic)
        }
        [_, _] => return None,
        lines => format!("it has {} sides instead of two", lines.len()),
    };
    let about = about(entry.about);
    let found = format!("{} entry {} of {about} does not balance: {found}", entry.kind, entry.id);
    Some(Finding::new(Word::Unbalanced, Subject::Entry(entry.id), found, RESTORE))
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Debit => "debit",
        Side::Credit => "credit",
    }
}

fn about(about: About) -> String {
    match about {
        About::Hold(id) => format!("payment {id}"),
        About::ChainTx(hash) => format!("transaction {hash}"),
        About::Charge(id) => format!("charge {id}"),
        About::Grant(id) => format!("grant {id}"),
    }
}

/// Kind, the account that is debited, the one that is credited, and how much.
type Expected = (&'static str, String, String, u128);

/// What a payment that buys a balance has besides: its revenue is a debt while it stands. What is refunded is none any more.
fn bought(payment: &Payment, refunds: &[Refund]) -> Vec<Expected> {
    let record = &payment.record;
    if record.hold.buys.as_ref().is_none_or(|purchase| purchase.amount == 0) {
        return Vec::new();
    }
    let authorization = &record.hold.authorization;
    let (revenue, conversion) = (format!("revenue:{}", authorization.payee), "conversion".to_owned());
    let times = u32::from(matches!(record.state, State::Posted(_))) + record.reorgs;
    let mut expected = Vec::new();
    for _ in 0..times {
        expected.push(("converted", revenue.clone(), conversion.clone(), authorization.amount_atomic));
    }
    for _ in 0..record.reorgs {
        expected.push(("unconverted", conversion.clone(), revenue.clone(), authorization.amount_atomic));
    }
    let given_up = refunds.iter().filter(|refund| refund.own_due && matches!(record.state, State::Posted(_)));
    expected.extend(given_up.map(|refund| ("unconverted", conversion.clone(), revenue.clone(), refund.amount_atomic)));
    expected
}

/// The entries that a payment must have by its state and its refunds.
fn expected(payment: &Payment, refunds: &[Refund], entries: &[EntryRow]) -> Vec<Expected> {
    let record = &payment.record;
    let (payer, payee) = (record.hold.authorization.key.payer, record.hold.authorization.payee);
    let (wallet, revenue, loss) = (format!("external:{payer}"), format!("revenue:{payee}"), format!("loss:{payee}"));
    let (due, suspense, all) =
        (format!("refund_due:{payer}"), format!("suspense:{payee}"), record.hold.authorization.amount_atomic);
    let mut expected = Vec::new();
    expected.extend(bought(payment, refunds));
    // What a reorg took out is in loss, each time until it came back.
    let back = record.reorgs.saturating_sub(u32::from(record.is_unsettled()));
    for _ in 0..record.reorgs {
        expected.push(("unsettled", loss.clone(), wallet.clone(), all));
    }
    for _ in 0..back {
        expected.push(("resettled", wallet.clone(), loss.clone(), all));
    }
    // The gate owes all of it, but for what refunds had booked as owed before.
    let own = refunds.iter().filter(|refund| refund.own_due);
    let left = own.fold(all, |left, refund| left.saturating_sub(refund.amount_atomic));
    if record.refund_due && left > 0 {
        expected.push(("refund_due", revenue.clone(), due.clone(), left));
    }
    match record.state {
        State::Posted(_) => expected.push(("posted", wallet.clone(), revenue.clone(), all)),
        State::Lost(_) if record.reorgs > 0 => {
            expected.push(("posted", wallet.clone(), revenue.clone(), all));
            if record.late {
                expected.push(("recovered", wallet.clone(), loss, all));
            }
        }
        State::Submitted(_) if record.reorgs > 0 => {
            expected.push(("posted", wallet.clone(), revenue.clone(), all));
        }
        State::Lost(_) => {
            expected.push(("uncollected", loss.clone(), revenue.clone(), all));
            if record.late {
                expected.push(("recovered", wallet.clone(), loss, all));
            }
        }
        State::Released(_) | State::Burnt(_) => {
            if record.late {
                expected.push(("late", wallet.clone(), suspense.clone(), all));
            }
        }
        State::Open | State::Answered | State::Submitted(_) => {}
    }
    let from = if matches!(record.state, State::Released(_) | State::Burnt(_)) { suspense } else { revenue };
    for refund in refunds {
        let amount = refund.amount_atomic;
        if refund.own_due {
            expected.push(("refund_due", from.clone(), due.clone(), amount));
        }
        if let RefundState::Refunded { .. } = refund.state {
            expected.push(("refunded", due.clone(), wallet.clone(), amount));
        }
    }
    // What a reorg took back had moved once more.
    let undone = entries.iter().filter(|entry| entry.kind == "unrefunded").filter_map(|entry| entry.lines.first());
    for amount in undone.map(|line| line.amount_atomic) {
        if refunds.iter().any(|refund| refund.amount_atomic == amount) {
            expected.push(("unrefunded", wallet.clone(), due.clone(), amount));
            expected.push(("refunded", due.clone(), wallet.clone(), amount));
        }
    }
    expected
}

/// A payment's state agrees with its entries: each that it must have once, with its accounts and amount, and no other.
pub(super) fn check_payment(payment: &Payment, refunds: &[Refund], entries: &[EntryRow]) -> Vec<Finding> {
    let hold = &payment.record.hold;
    let amount = hold.authorization.amount();
    let mut left = without_voided(payment, entries);
    let mut findings = Vec::new();
    let mut add = |subject, found: String| {
        let mut finding = Finding::new(Word::Misbooked, subject, found, RESTORE);
        (finding.network, finding.amount) = (Some(amount.asset.network), Some(amount));
        findings.push(finding);
    };
    for (kind, from, to, atomic) in expected(payment, refunds, entries) {
        let wrong = |entry: &EntryRow| differs(entry, &from, &to, Amount::new(atomic, amount.asset));
        let exact = left.iter().position(|entry| entry.kind == kind && wrong(entry).is_none());
        let Some(at) = exact.or_else(|| left.iter().position(|entry| entry.kind == kind)) else {
            add(Subject::Payment(hold.id), format!("payment {} has no {kind} entry", hold.id));
            continue;
        };
        let entry = left.remove(at);
        if let Some(what) = wrong(entry) {
            add(Subject::Entry(entry.id), format!("{kind} entry {} of payment {}: {what}", entry.id, hold.id));
        }
    }
    for entry in left {
        let found = format!("{} entry {} does not belong to the state of payment {}", entry.kind, entry.id, hold.id);
        add(Subject::Entry(entry.id), found);
    }
    let on_tab = hold.rail == Rail::Tab && !payment.record.state.ended();
    let exposed = if on_tab { hold.exposure_micros } else { 0 };
    if payment.exposed_micros != exposed {
        let (kept, held) = (dollars(payment.exposed_micros), dollars(exposed));
        let found = format!("payment {} counts {kept} on the tab instead of {held}", hold.id);
        findings.push(Finding::new(Word::SumsDiffer, Subject::Payment(hold.id), found, RESTORE));
    }
    findings
}

/// The entries of a payment without each refund that a reorg made void, which has its own void behind it.
fn without_voided<'a>(payment: &Payment, entries: &'a [EntryRow]) -> Vec<&'a EntryRow> {
    let authorization = &payment.record.hold.authorization;
    let (due, revenue) =
        (format!("refund_due:{}", authorization.key.payer), format!("revenue:{}", authorization.payee));
    let whole = |entry: &EntryRow, from: &str, to: &str| differs(entry, from, to, authorization.amount()).is_none();
    let (mut left, mut voided) = (Vec::new(), 0);
    for entry in entries {
        let refund = left.iter().rposition(|before: &&EntryRow| {
            before.kind == "refund_due" && entry.kind == "refund_voided" && whole(before, &revenue, &due)
        });
        match refund {
            Some(at) if whole(entry, &due, &revenue) && voided < payment.record.reorgs => {
                left.remove(at);
                voided += 1;
            }
            Some(_) | None => left.push(entry),
        }
    }
    left
}

/// What a payment says is what its payer has signed.
pub(super) fn check_signature(payment: &Payment, token: &AssetInfo) -> Option<Finding> {
    let authorization = &payment.record.hold.authorization;
    let signer = authorization.signature.recover(authorization.fields().digest(token));
    if signer == Some(authorization.key.payer.0) {
        return None;
    }
    let id = payment.record.hold.id;
    let found = format!("payment {id} is not what {} has signed", authorization.key.payer);
    let mut finding = Finding::new(Word::Misbooked, Subject::Payment(id), found, RESTORE);
    (finding.network, finding.amount) = (Some(token.asset.network), Some(authorization.amount()));
    Some(finding)
}

/// What is wrong with an entry that must move `amount` from one account to another.
pub(super) fn differs(entry: &EntryRow, from: &str, to: &str, amount: Amount) -> Option<String> {
    for (side, account) in [(Side::Debit, from), (Side::Credit, to)] {
        let Some(line) = entry.lines.iter().find(|line| line.side == side) else { continue };
        if line.account != account {
            return Some(format!("it is on {} instead of {account}", line.account));
        }
        if line.asset != amount.asset {
            return Some("it is in another asset than the payment".to_owned());
        }
        if line.amount_atomic != amount.atomic {
            return Some(format!("{account} has {} instead of {}", line.amount_atomic, amount.atomic));
        }
    }
    None
}

/// The sums on the tab are those of the payments on it.
pub(super) fn check_sums(sums: &[TabSum]) -> Vec<Finding> {
    let wrong = sums.iter().filter(|sum| sum.kept_micros != sum.held_micros);
    let finding = |sum: &TabSum| {
        let who = match (sum.scope.as_str(), sum.who.len()) {
            ("payer", 20) => format!("payer {}", Address::from_slice(&sum.who)),
            ("gate", _) => "gate".to_owned(),
            (scope, _) => format!("{scope} {}", alloy_primitives::hex::encode(&sum.who)),
        };
        let (kept, held) = (dollars(sum.kept_micros), dollars(sum.held_micros));
        let found = format!("the tab of {who} is kept as {kept}; its payments come to {held}");
        Finding::new(Word::SumsDiffer, Subject::Tab(who), found, RESTORE)
    };
    wrong.map(finding).collect()
}

/// The chain_txs of each key have sequences without a gap, one of each at most is mined, and every mined one has its gas in the
/// books. `chain_txs` in the order of network, signer and sequence; `gas` by chain_tx.
pub(super) fn check_chain_txs(chain_txs: &[ChainTxRow], gas: &BTreeMap<B256, Vec<EntryRow>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last: Option<(Network, Address, u64)> = None;
    let mut mined: BTreeMap<(Network, Address, u64), B256> = BTreeMap::new();
    for tx in chain_txs {
        if let Some((network, signer, sequence)) = last
            && (network, signer) == (tx.network, tx.signer)
            && tx.sequence > sequence + 1
        {
            let (first, end) = (sequence + 1, tx.sequence - 1);
            let which = if first == end { format!("sequence {first}") } else { format!("sequences {first}–{end}") };
            let found = format!("not in the journal: {which} of the key {signer} on {network}");
            let action = "only pontage may sign with this key; if nothing else did, the file was changed";
            findings.push(Finding::new(Word::SequenceGap, Subject::ChainTx(tx.hash), found, action));
        }
        let key = (tx.network, tx.signer, tx.sequence);
        last = Some(key);
        let entries = gas.get(&tx.hash).map_or(&[][..], Vec::as_slice);
        if let Some(Fate::Mined { .. }) = tx.fate
            && let Some(other) = mined.insert(key, tx.hash)
        {
            let found =
                format!("transactions {other} and {} have sequence {} and are both mined", tx.hash, tx.sequence);
            findings.push(Finding::new(Word::Misbooked, Subject::ChainTx(tx.hash), found, RESTORE));
        }
        findings.extend(check_gas(tx, entries));
    }
    findings
}

fn check_gas(tx: &ChainTxRow, entries: &[EntryRow]) -> Option<Finding> {
    let what = match (tx.fate, gas_without_voided(tx, entries)) {
        (Some(Fate::Mined { fee_wei, .. }), [entry]) if entry.kind == "gas" => {
            let amount = Amount::new(fee_wei, Asset::native(tx.network));
            let what = differs(entry, &format!("key:{}", tx.signer), &format!("gas:{}", tx.signer), amount)?;
            let found = format!("gas entry {} of transaction {}: {what}", entry.id, tx.hash);
            return Some(Finding::new(Word::Misbooked, Subject::Entry(entry.id), found, RESTORE));
        }
        (Some(Fate::Mined { .. }), []) => "is mined and has no gas entry".to_owned(),
        (Some(Fate::Mined { .. }), entries) => format!("has {} entries instead of its gas", entries.len()),
        (None | Some(Fate::Outbid), []) => return None,
        (None | Some(Fate::Outbid), _) => "is not mined and has a gas entry".to_owned(),
    };
    let found = format!("transaction {} {what}", tx.hash);
    Some(Finding::new(Word::Misbooked, Subject::ChainTx(tx.hash), found, RESTORE))
}

/// The entries of a chain_tx without each gas that a reorg made void, which has its void behind it.
fn gas_without_voided<'a>(tx: &ChainTxRow, entries: &'a [EntryRow]) -> &'a [EntryRow] {
    let (key, gas) = (format!("key:{}", tx.signer), format!("gas:{}", tx.signer));
    let amount = |entry: &EntryRow| {
        let atomic = entry.lines.first().map_or(0, |line| line.amount_atomic);
        Amount::new(atomic, Asset::native(tx.network))
    };
    let mut left = entries;
    while let [one, other, rest @ ..] = left
        && (one.kind.as_str(), other.kind.as_str()) == ("gas", "gas_voided")
        && differs(one, &key, &gas, amount(one)).is_none()
        && differs(other, &gas, &key, amount(one)).is_none()
    {
        left = rest;
    }
    left
}

/// Walks the entries in the order of their ids and recomputes the seals over them.
#[derive(Debug)]
pub(super) struct SealWalk<'a> {
    seals: &'a [SealRow],
    /// Keys that may have sealed.
    signers: &'a BTreeSet<Address>,
    at: usize,
    digest: SealDigest,
    last_entry: u64,
    /// Seals that miss an entry.
    short: BTreeSet<u64>,
    unsealed: Option<(u64, u64)>,
    findings: Vec<Finding>,
}

impl<'a> SealWalk<'a> {
    pub(super) fn new(seals: &'a [SealRow], signers: &'a BTreeSet<Address>) -> Self {
        let mut walk = Self {
            seals,
            signers,
            at: 0,
            digest: SealDigest::after(None),
            last_entry: 0,
            short: BTreeSet::new(),
            unsealed: None,
            findings: Vec::new(),
        };
        walk.check_chain();
        walk
    }

    /// Whether the seals follow one another without a gap.
    fn check_chain(&mut self) {
        let (mut id, mut last) = (0, 0);
        for seal in self.seals {
            let found = if seal.id != id + 1 {
                Some(format!(
                    "seal {} is missing: nothing holds entries {}–{}",
                    id + 1,
                    last + 1,
                    seal.first_entry.saturating_sub(1)
                ))
            } else if seal.first_entry != last + 1 || seal.last_entry < seal.first_entry {
                Some(format!("seal {} begins at entry {} instead of {}", seal.id, seal.first_entry, last + 1))
            } else {
                None
            };
            let subject = Subject::Seal(if seal.id == id + 1 { seal.id } else { id + 1 });
            self.findings.extend(found.map(|found| Finding::new(Word::BrokenSeal, subject, found, RESTORE)));
            (id, last) = (seal.id, seal.last_entry);
        }
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, entry: &EntryRow) {
        self.miss(entry.id);
        while self.seals.get(self.at).is_some_and(|seal| seal.last_entry < entry.id) {
            self.end_seal();
        }
        match self.seals.get(self.at) {
            Some(seal) if seal.first_entry <= entry.id => self.digest.take(entry),
            Some(_) => {}
            None => self.unsealed = Some((self.unsealed.map_or(entry.id, |(first, _)| first), entry.id)),
        }
        self.last_entry = entry.id;
    }

    /// Names the entries between the last one and this.
    fn miss(&mut self, next: u64) {
        if next == self.last_entry + 1 {
            return;
        }
        let short = self.seals.iter().filter(|seal| seal.first_entry < next && seal.last_entry > self.last_entry);
        self.short.extend(short.filter(|seal| seal.first_entry.max(self.last_entry + 1) < next).map(|seal| seal.id));
        for id in (self.last_entry + 1..next).take(1_000) {
            let seal = self.seals.iter().find(|seal| (seal.first_entry..=seal.last_entry).contains(&id));
            let found = match seal {
                Some(seal) => format!("entry {id}, sealed by seal {}, is missing", seal.id),
                None => format!("entry {id} is missing: numbers have no gaps"),
            };
            let word = if seal.is_some() { Word::BrokenSeal } else { Word::Misbooked };
            self.findings.push(Finding::new(word, Subject::Entry(id), found, RESTORE));
        }
    }

    /// Compares a seal with what was read under it, and begins the next.
    fn end_seal(&mut self) {
        let Some(seal) = self.seals.get(self.at) else { return };
        let digest = std::mem::replace(&mut self.digest, SealDigest::after(Some(seal.hash)));
        let before = self.at.checked_sub(1).and_then(|at| self.seals.get(at)).map_or(0, |seal| seal.id);
        self.at += 1;
        // Without the seal before it, or all of its entries, it cannot be recomputed; that is a finding already.
        let whole = seal.id == before + 1 && !self.short.contains(&seal.id);
        let signer = Signature::from_bytes(&seal.signature).and_then(|signature| signature.recover(seal.hash));
        let found = if whole && digest.finish() != seal.hash {
            let (first, last) = (seal.first_entry, seal.last_entry);
            format!("an entry among {first}–{last} is not what seal {} was written over", seal.id)
        } else if signer != Some(seal.signer) {
            format!("the signature of seal {} is not by {}", seal.id, seal.signer)
        } else if !self.signers.contains(&seal.signer) {
            format!("seal {} is signed by {}, which is no settlement key of this journal", seal.id, seal.signer)
        } else {
            return;
        };
        self.findings.push(Finding::new(Word::BrokenSeal, Subject::Seal(seal.id), found, RESTORE));
    }

    /// What was found, and which entries no seal covers.
    pub(super) fn finish(mut self) -> (Vec<Finding>, Option<(u64, u64)>) {
        if let Some(seal) = self.seals.last() {
            self.miss(seal.last_entry + 1);
        }
        while self.at < self.seals.len() {
            self.end_seal();
        }
        (self.findings, self.unsealed)
    }
}

/// A seal tells that one of its entries was changed; the other checks may tell which.
pub(super) fn name_changed(findings: &mut [Finding], seals: &[SealRow]) {
    let entries: Vec<u64> = findings
        .iter()
        .filter_map(|finding| if let Subject::Entry(id) = finding.subject { Some(id) } else { None })
        .collect();
    for finding in findings.iter_mut().filter(|finding| finding.word == Word::BrokenSeal) {
        let Subject::Seal(id) = finding.subject else { continue };
        let Some(seal) = seals.iter().find(|seal| seal.id == id) else { continue };
        let inside = entries.iter().filter(|entry| (seal.first_entry..=seal.last_entry).contains(*entry));
        let mut inside: Vec<String> = inside.map(u64::to_string).collect();
        inside.dedup();
        if !inside.is_empty() && finding.found.starts_with("an entry among") {
            finding.found = format!("{}: see entry {}", finding.found, inside.join(", "));
        }
    }
}
