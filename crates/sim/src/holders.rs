//! What a seed holds of balances: accounts, what the operator does to them, and who calls with a key.

use std::sync::Arc;

use alloy_primitives::B256;
use gate::{Price, Sale, secret_digest};
use ledger::{Grant, GrantId, GrantSource, KeyId, Unit};

use crate::chance::Chance;
use crate::plan::{Crash, Moment, Plan};
use crate::world::BEGIN_S;

/// How long callers come.
const CALLS_MS: u64 = 22_000;
/// What a payment buys, in the unit of who is topped up.
const BOUGHT: u64 = 50;

/// The account of this number.
pub(crate) const fn key(number: u8) -> KeyId {
    KeyId([number + 1; 16])
}

/// What it counts in: the last one is of another unit than the others.
pub(crate) const fn unit(number: u8) -> Unit {
    if number == 2 { Unit::Credit } else { Unit::Usd }
}

/// Something that the operator does.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    /// Raises a balance; asked again by the same name until he knows that it is done.
    Grant(Grant),
    /// Takes from a balance, once: it has no name.
    Withdraw { key: KeyId, amount: u64 },
    /// Gives a part of one balance to another, by a name.
    Transfer { from: KeyId, to: KeyId, amount: u64, name: [u8; 16] },
    /// Gives back a part of a charge, whatever became of it.
    Refund { place: usize, amount: u64 },
}

/// A call with a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyCall {
    pub(crate) account: u8,
    pub(crate) at_ms: u64,
    pub(crate) url: String,
    /// The price, or what a metered call may cost at most.
    pub(crate) amount: u64,
    /// How much each piece of the answer costs; without it the price is fixed.
    pub(crate) piece: Option<u64>,
    /// His `Idempotency-Key`.
    pub(crate) name: Option<u8>,
    pub(crate) patience_ms: u64,
    pub(crate) retries: u64,
}

impl KeyCall {
    pub(crate) fn digest(&self) -> Option<B256> {
        self.name.map(|name| secret_digest(&[name, self.account]))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    pub(crate) accounts: u8,
    pub(crate) errands: Vec<(u64, Errand)>,
    pub(crate) calls: Vec<KeyCall>,
}

impl Holders {
    /// Half of the seeds have accounts. In some of those payments buy a balance, and crashes come when a charge is written.
    pub(crate) fn draw(seed: u64, plan: &mut Plan) -> Self {
        let chance = &mut Chance::new(seed ^ 0xacc7);
        if chance.one_in(2) {
            return Self::default();
        }
        let accounts = u8::try_from(chance.between(1, 3)).unwrap_or(1);
        plan.crashes.iter_mut().for_each(|crash| strike(chance, crash));
        if !chance.one_in(4) {
            sell(chance, plan);
        }
        let errands = errands(chance, accounts);
        Self { accounts, errands, calls: calls(chance, accounts) }
    }
}

fn strike(chance: &mut Chance, crash: &mut Crash) {
    if crash.moment.is_none() && chance.one_in(3) {
        crash.moment = Some(if chance.one_in(3) { Moment::Charge } else { Moment::EndCharge });
    }
}

/// A payment of the `direct` route raises the first balance.
fn sell(chance: &mut Chance, plan: &mut Plan) {
    let sale = Sale {
        key: Some(key(0)),
        unit: unit(0),
        amount: BOUGHT,
        valid_ms: chance.one_in(3).then(|| chance.between(5_000, 60_000)),
    };
    for route in Arc::make_mut(&mut plan.snapshot).routes.iter_mut().filter(|route| route.id == "/d/*") {
        if let Price::Due(terms) = &mut route.price {
            terms.sells = Some(sale.clone());
        }
    }
}

fn errands(chance: &mut Chance, accounts: u8) -> Vec<(u64, Errand)> {
    let mut errands = Vec::new();
    let mut number = 0;
    let mut name = || {
        number += 1;
        [number; 16]
    };
    for account in 0..accounts {
        for _ in 0..chance.between(1, 3) {
            // Most are there before anybody calls.
            let at_ms = if chance.one_in(3) { chance.below(CALLS_MS) } else { 0 };
            let amount = chance.between(1, 60);
            let grant = Grant {
                id: GrantId(name()),
                key: key(account),
                unit: unit(account),
                source: GrantSource::Operator,
                label: String::new(),
                priority: u8::try_from(chance.below(3)).unwrap_or(0),
                granted: amount,
                left: amount,
                granted_at_ms: BEGIN_S * 1_000 + at_ms,
                expires_at_ms: chance.one_in(3).then(|| BEGIN_S * 1_000 + chance.between(2_000, 60_000)),
            };
            errands.push((at_ms, Errand::Grant(grant)));
        }
    }
    let any = |chance: &mut Chance| key(u8::try_from(chance.below(u64::from(accounts))).unwrap_or(0));
    for _ in 0..chance.below(6) {
        let at_ms = chance.below(CALLS_MS + 10_000);
        let errand = match chance.below(5) {
            0 => Errand::Withdraw { key: any(chance), amount: chance.between(1, 20) },
            1 | 2 => {
                let (from, to) = (any(chance), any(chance));
                Errand::Transfer { from, to, amount: chance.between(1, 30), name: name() }
            }
            _ => Errand::Refund { place: chance.place(8), amount: chance.between(1, 25) },
        };
        errands.push((at_ms, errand));
    }
    errands
}

fn calls(chance: &mut Chance, accounts: u8) -> Vec<KeyCall> {
    let rush_ms = chance.one_in(2).then(|| chance.below(CALLS_MS));
    let count = chance.between(1, 8);
    let call = |_| {
        let metered = chance.one_in(3);
        KeyCall {
            account: u8::try_from(chance.below(u64::from(accounts))).unwrap_or(0),
            at_ms: rush_ms.unwrap_or_else(|| chance.below(CALLS_MS)) + chance.below(80),
            url: format!("http://gate.test/t/{}", chance.below(2)),
            amount: chance.between(1, 25),
            piece: metered.then(|| chance.between(1, 8)),
            name: (!metered && chance.one_in(3)).then(|| u8::try_from(chance.below(3)).unwrap_or(0)),
            patience_ms: if chance.one_in(3) { chance.below(6_000) } else { crate::run::PATIENT_MS },
            retries: [0, 0, 1, 2][chance.place(4)],
        }
    };
    (0..count).map(call).collect()
}
