//! Balances: what was seen of each call with a key, and what must be true of accounts, grants and charges. Nothing here is the ledger's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Audit, Books, Id, PlainCharge, PlainEnd, PlainGrant};

/// What a holder is told of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Nothing was or will be taken.
    Nothing,
    /// So much was taken.
    Taken(u64),
}

/// What was seen of one charge from outside of the journal.
#[derive(Clone, Debug, Default)]
struct Seen {
    runs: u32,
    metered: bool,
    /// What the pieces cost that the caller was given.
    reading: u64,
    whole: bool,
    broke: bool,
    /// A fault was told in the place of the answer.
    withheld: bool,
    told: Option<Cost>,
}

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) account: Id,
    pub(crate) url: String,
    pub(crate) name: Option<u8>,
}

/// Everything that was seen of calls with a key.
#[derive(Default)]
pub(crate) struct Calls {
    seen: BTreeMap<Id, Seen>,
    /// Each run: of which charge, and who had asked.
    runs: Vec<(Id, Asked)>,
    /// How each charge had ended when it was first seen so, and how much of it was given back since.
    ends: BTreeMap<Id, (PlainEnd, u64)>,
    /// What the operator knows to be done: names of grants with how much, and of transfers.
    granted: BTreeMap<Id, u64>,
    transferred: BTreeMap<Id, u64>,
    /// Withdrawn: what he knows, and what may be.
    withdrawn: [u64; 2],
}

impl Audit {
    fn seen(&mut self, charge: Id) -> &mut Seen {
        self.calls.seen.entry(charge).or_default()
    }

    /// The upstream gets a request that a balance pays for. Returns the run's number.
    pub(crate) fn charge_runs(&mut self, id: Id, charge: Option<&PlainCharge>, asked: Asked, metered: bool) -> usize {
        let held = charge.is_some_and(|charge| charge.end == PlainEnd::Open && charge.account == asked.account);
        self.check(held, || format!("the upstream runs without a held charge: {charge:?}"));
        let seen = self.seen(id);
        seen.runs += 1;
        seen.metered = metered;
        let runs = seen.runs;
        self.check(runs == 1, || format!("two runs for one charge: {charge:?}"));
        self.calls.runs.push((id, asked));
        self.calls.runs.len() - 1
    }

    /// A piece of a metered answer is given out, worth so much.
    pub(crate) fn piece_given(&mut self, id: Id, units: u64) {
        self.seen(id).reading += units;
    }

    pub(crate) fn charge_whole(&mut self, id: Id) {
        self.seen(id).whole = true;
    }

    pub(crate) fn charge_broke(&mut self, id: Id) {
        self.seen(id).broke = true;
    }

    /// The caller reads a fault in the place of an answer that the upstream gave.
    pub(crate) fn charge_withheld(&mut self, id: Id) {
        self.seen(id).withheld = true;
    }

    pub(crate) fn charge_told(&mut self, id: Id, told: Cost) {
        self.seen(id).told = Some(told);
    }

    /// A stored answer is given out: of which run it is.
    pub(crate) fn charge_repeated(&mut self, run: usize, asked: &Asked) {
        let of = self.calls.runs.get(run).map(|(_, asked)| asked.clone());
        self.check(of.as_ref() == Some(asked) && asked.name.is_some(), || {
            format!("a stored answer is given to another call: {of:?}, {asked:?}")
        });
    }

    /// A holder is told that his balance is too low.
    pub(crate) fn told_short(&mut self, needed: u64, available: u64) {
        self.check(available < needed, || format!("a call for {needed} is refused with {available} to spend"));
    }

    /// After a commit: a charge that has ended stays as it ended, and what is given back only grows.
    pub(crate) fn charge_is(&mut self, charge: &PlainCharge) {
        if charge.end == PlainEnd::Open {
            let again = self.calls.ends.contains_key(&charge.id);
            return self.check(!again, || format!("a charge is open again: {charge:?}"));
        }
        let (end, refunded) = *self.calls.ends.entry(charge.id).or_insert((charge.end, 0));
        self.check(end == charge.end, || format!("a charge that was {end:?} ends again: {charge:?}"));
        self.check(refunded <= charge.refunded, || format!("what was given back is taken again: {charge:?}"));
        self.calls.ends.insert(charge.id, (end, charge.refunded));
    }

    pub(crate) fn granted(&mut self, name: Id, amount: u64) {
        self.calls.granted.insert(name, amount);
    }

    pub(crate) fn transferred(&mut self, name: Id, amount: u64) {
        self.calls.transferred.insert(name, amount);
    }

    /// A withdrawal is asked for, or known to be done.
    pub(crate) fn withdrawn(&mut self, amount: u64, known: bool) {
        self.calls.withdrawn[usize::from(!known)] += amount;
    }

    /// Balances at rest.
    pub(super) fn balances(&mut self, books: &Books, crashed: bool, now_ms: u64) {
        self.names_are_used_once(books);
        for charge in &books.charges {
            self.charge_is_booked(books, charge);
            self.charge_is_fair(charge, crashed);
            self.order_of_use(books, charge);
        }
        let lost: Vec<Id> =
            self.calls.seen.keys().filter(|id| !books.charges.iter().any(|it| it.id == **id)).copied().collect();
        self.check(lost.is_empty(), || format!("charges that were seen are not in the journal: {lost:?}"));
        for grant in &books.grants {
            self.grant_is_booked(books, grant, now_ms);
        }
        for (account, ..) in &books.accounts {
            self.account_comes_out(books, *account);
        }
        self.operator_was_told_the_truth(books);
    }

    fn names_are_used_once(&mut self, books: &Books) {
        let grants: BTreeSet<Id> = books.grants.iter().map(|grant| grant.id).collect();
        self.check(grants.len() == books.grants.len(), || "two grants have the name of one".to_owned());
        let charges: BTreeSet<Id> = books.charges.iter().map(|charge| charge.id).collect();
        self.check(charges.len() == books.charges.len(), || "two charges have the name of one".to_owned());
        for charge in books.charges.iter().filter(|charge| charge.name.is_some()) {
            let same = |other: &&PlainCharge| (other.account, other.name) == (charge.account, charge.name);
            let live = books.charges.iter().filter(same).filter(|other| other.end != PlainEnd::Released).count();
            self.check(live <= 1, || format!("{live} charges of one holder have the name of {charge:?}"));
        }
    }

    fn charge_is_booked(&mut self, books: &Books, charge: &PlainCharge) {
        self.check(charge.end != PlainEnd::Open, || format!("a charge never ends: {charge:?}"));
        let waits = charge.name.is_some() && charge.live && matches!(charge.end, PlainEnd::Captured(_));
        self.check(!waits, || format!("an answer is waited for that never comes: {charge:?}"));
        let drawn: u64 = charge.draws.iter().map(|(_, amount)| amount).sum();
        self.check(drawn == charge.amount, || format!("a charge holds another amount than it drew: {charge:?}"));
        let sum = |kind| -> u128 {
            let his = books.entries.iter().filter(|entry| entry.charge == Some(charge.id) && entry.kind == kind);
            his.map(|entry| entry.lines.iter().filter(|line| line.credit).map(|line| line.amount).sum::<u128>()).sum()
        };
        let (taken, back) = (sum("captured"), sum("given_back"));
        let captured = if let PlainEnd::Captured(taken) = charge.end { taken } else { 0 };
        self.check(back <= taken, || format!("a charge was given back more often than it was taken: {charge:?}"));
        self.check((taken, back) == (u128::from(captured), u128::from(charge.refunded)), || {
            format!("{taken} taken and {back} given back is not what {charge:?} says")
        });
        self.check(captured <= charge.amount, || format!("a charge took more than it held: {charge:?}"));
    }

    /// Nobody pays for what he did not get, and who got it pays.
    fn charge_is_fair(&mut self, charge: &PlainCharge, crashed: bool) {
        let seen = self.calls.seen.get(&charge.id).cloned().unwrap_or_default();
        let captured = if let PlainEnd::Captured(taken) = charge.end { taken } else { 0 };
        let kept = captured - charge.refunded.min(captured);
        let words = || format!("{charge:?}, {seen:?}");
        self.check(seen.runs > 0 || kept == 0, || format!("a call was charged that never ran: {}", words()));
        self.check(seen.told != Some(Cost::Nothing) || kept == 0, || {
            format!("a holder was told that nothing is taken: {}", words())
        });
        if let Some(Cost::Taken(told)) = seen.told {
            self.check(told == captured, || format!("a holder was told {told}: {}", words()));
        }
        if seen.metered {
            let due = seen.reading.min(charge.amount);
            let given_up = crashed && charge.end == PlainEnd::Burnt;
            self.check(captured == due || given_up, || format!("a meter's reading is not what was taken: {}", words()));
            return;
        }
        self.check(!seen.whole || captured == charge.amount, || format!("a whole answer is not paid: {}", words()));
        self.check(crashed || !(seen.broke || seen.withheld) || kept == 0, || {
            format!("a holder pays for an answer that he did not get: {}", words())
        });
    }

    /// A charge draws from what is used first, from nothing that has ended, and leaves nothing that comes before.
    fn order_of_use(&mut self, books: &Books, charge: &PlainCharge) {
        let Some((_, before)) = books.seen.iter().find(|(id, _)| *id == charge.id) else {
            return self.breaks(format!("a charge was won from nothing: {charge:?}"));
        };
        let mut usable: Vec<&PlainGrant> = before.iter().filter(|grant| grant.ends_ms > charge.opened_ms).collect();
        usable.sort_by_key(|grant| (grant.priority, grant.ends_ms, grant.at_ms, grant.id));
        let (mut owed, mut wanted) = (charge.amount, Vec::new());
        for grant in usable {
            let part = owed.min(grant.left);
            owed -= part;
            if part > 0 {
                wanted.push((grant.id, part));
            }
        }
        self.check(wanted == charge.draws, || format!("a charge draws out of turn: {charge:?} instead of {wanted:?}"));
    }

    fn grant_is_booked(&mut self, books: &Books, grant: &PlainGrant, now_ms: u64) {
        let sum = |kind| entries_of(books, grant.id, kind);
        let bought = grant.payment.is_some();
        let granted = sum("granted").checked_sub(sum("unconverted"));
        self.check(granted == Some(u128::from(grant.granted)), || format!("entries are not those of {grant:?}"));
        let times = books.entries.iter().filter(|entry| entry.grant == Some(grant.id) && entry.kind == "granted");
        self.check(bought || times.count() == 1, || format!("a grant was booked more than once: {grant:?}"));
        let used = used(books, grant.id);
        let gone = u128::from(used) + sum("lapsed") + sum("withdrawn") + u128::from(grant.left);
        self.check(gone <= u128::from(grant.granted), || {
            format!("a grant is used for more than it had: {grant:?}, {used}")
        });
        // Looked for every five seconds.
        let over = grant.ends_ms.saturating_add(20_000) < now_ms;
        self.check(!over || grant.left == 0, || format!("a grant has ended and is still there: {grant:?}"));
    }

    /// What an account was given is what it has, what its calls have cost, and what it lost or gave away.
    fn account_comes_out(&mut self, books: &Books, account: Id) {
        let his: Vec<&PlainGrant> = books.grants.iter().filter(|grant| grant.account == account).collect();
        let charges: Vec<&PlainCharge> = books.charges.iter().filter(|charge| charge.account == account).collect();
        let given: u128 = his.iter().map(|grant| u128::from(grant.granted)).sum();
        let left: u128 = his.iter().map(|grant| u128::from(grant.left)).sum();
        let (mut held, mut spent, mut calls) = (0, 0, 0);
        for charge in &charges {
            match charge.end {
                PlainEnd::Open => held += u128::from(charge.amount),
                PlainEnd::Captured(taken) => {
                    spent += u128::from(taken) - u128::from(charge.refunded.min(taken));
                    calls += 1;
                }
                PlainEnd::Released | PlainEnd::Burnt => {}
            }
        }
        let lost: u128 = his
            .iter()
            .map(|grant| entries_of(books, grant.id, "lapsed") + entries_of(books, grant.id, "withdrawn"))
            .sum();
        let gave = |grant: &&PlainGrant| grant.giver == Some(account);
        let away: u128 = books.grants.iter().filter(gave).map(|grant| u128::from(grant.granted)).sum();
        let word = alloy_primitives::hex::encode(account);
        self.check(given == left + held + spent + lost + away, || {
            format!("account {word} is not what it was given less what it gave: {given} is not {left} left, {held} held, {spent} spent, {lost} lost, {away} given away")
        });
        let name = format!("balance:{word}");
        let mut booked = 0i128;
        for line in books.entries.iter().flat_map(|entry| &entry.lines).filter(|line| line.account == name) {
            let amount = i128::try_from(line.amount).unwrap_or(i128::MAX);
            booked += if line.credit { amount } else { -amount };
        }
        let rows = i128::try_from(left + held).unwrap_or(i128::MAX);
        self.check(booked == rows, || format!("the entries of {name} come to {booked}, its rows to {rows}"));
        let noted =
            books.accounts.iter().find(|(id, ..)| *id == account).map(|(_, calls, spent)| (*calls, u128::from(*spent)));
        self.check(noted == Some((calls, spent)), || {
            format!("account {word} notes {noted:?} calls and their cost; its charges come to {calls}, {spent}")
        });
    }

    fn operator_was_told_the_truth(&mut self, books: &Books) {
        for (name, amount) in self.calls.granted.clone() {
            let there = books.grants.iter().filter(|grant| grant.id == name && grant.granted == amount).count();
            self.check(there == 1, || format!("the operator knows of a grant that is there {there} times"));
        }
        for (name, amount) in self.calls.transferred.clone() {
            let parts = books.grants.iter().filter(|grant| grant.giver.is_some() && grant.id[1..] == name[1..]);
            let moved: u64 = parts.map(|grant| grant.granted).sum();
            self.check(moved == amount, || {
                format!("the operator knows that {amount} was transferred, and {moved} was")
            });
        }
        let [known, asked] = self.calls.withdrawn;
        let withdrawn: u128 = books.grants.iter().map(|grant| entries_of(books, grant.id, "withdrawn")).sum();
        let fits = (u128::from(known)..=u128::from(known + asked)).contains(&withdrawn);
        self.check(fits, || format!("{withdrawn} was withdrawn, {known} is known to be"));
    }

    /// What payments bought stands while they do.
    pub(super) fn purchases(&mut self, books: &Books) {
        for hold in books.holds.iter() {
            let Some((account, amount)) = hold.buys else { continue };
            let posted = matches!(hold.end, super::End::Posted(_));
            let grant = books.grants.iter().find(|grant| grant.id == hold.id);
            let whole = grant
                .is_some_and(|grant| (grant.account, grant.granted, grant.payment) == (account, amount, Some(hold.id)));
            self.check(!posted || whole, || {
                format!("a payment stands, and what it bought does not: {hold:?}, {grant:?}")
            });
            // What calls had used or held when a reorg came stays granted: it is a loss, or it comes back when they end.
            let drawn = |charge: &PlainCharge| charge.draws.iter().any(|(from, _)| *from == hold.id);
            let void = grant.is_none_or(|grant| grant.left == 0 || books.charges.iter().any(drawn));
            self.check(posted || void, || format!("something was bought, and no payment stands: {hold:?}, {grant:?}"));
        }
    }
}

/// What charges have taken of a grant and not given back: of what they took, first came the first grants.
fn used(books: &Books, grant: Id) -> u64 {
    let mut used = 0;
    for charge in &books.charges {
        let mut kept = match charge.end {
            PlainEnd::Open => charge.amount,
            PlainEnd::Captured(taken) => taken - charge.refunded.min(taken),
            PlainEnd::Released | PlainEnd::Burnt => 0,
        };
        for (from, amount) in &charge.draws {
            let part = kept.min(*amount);
            kept -= part;
            used += if *from == grant { part } else { 0 };
        }
    }
    used
}

/// What the entries of a kind about a grant come to.
fn entries_of(books: &Books, grant: Id, kind: &str) -> u128 {
    let his = books.entries.iter().filter(|entry| entry.grant == Some(grant) && entry.kind == kind);
    his.map(|entry| entry.lines.iter().filter(|line| line.credit).map(|line| line.amount).sum::<u128>()).sum()
}
