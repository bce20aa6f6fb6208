//! The auditor. It shares no code with the ledger: it sees what the upstream, the callers and the chain see, reads the books as
//! plain rows, and says which sentence was broken.

mod balances;
mod plain;
mod rest;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

pub(crate) use balances::{Asked, Cost};
pub(crate) use plain::{Books, End, PlainCharge, PlainEnd, PlainGrant, PlainHold};
pub(crate) use rest::{Facts, Transfer};

/// An authorization, as the chain knows it.
pub(crate) type Key = (Address, B256);
pub(crate) type Id = [u8; 16];

/// What the seed agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) payee: Address,
    pub(crate) signers: [Address; 2],
    /// Of a payer, of a source, of everyone.
    pub(crate) caps: [u64; 3],
}

/// What a caller is told of his money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing moved, and nothing will by our doing.
    Untouched,
    /// Held, or not known.
    Open,
    /// It moved.
    Moved,
    /// It moved by this chain_tx, this much.
    Receipt(B256, u128),
}

/// One run of the upstream.
#[derive(Clone, Debug)]
struct Run {
    key: Key,
    url: String,
    secret: Option<u8>,
    going: bool,
    /// It answered 400 or above: whoever sent it may come again.
    free: bool,
}

/// A served call on the tab.
#[derive(Clone, Debug)]
struct OnTab {
    hold: Id,
    key: Key,
    source: u8,
    micros: u64,
}

/// Something that was said.
#[derive(Clone, Debug)]
struct Statement {
    key: Key,
    hold: Option<Id>,
    told: Told,
}

pub(crate) struct Audit {
    terms: Terms,
    runs: Vec<Run>,
    tab: Vec<OnTab>,
    served: BTreeSet<Id>,
    whole: BTreeSet<Id>,
    broke: BTreeSet<Id>,
    statements: Vec<Statement>,
    payloads: BTreeMap<(Address, u64), B256>,
    calls: balances::Calls,
    /// The first broken sentence, and further ones.
    pub(crate) broken: Vec<String>,
}

/// What a caller shows for a stored answer.
pub(crate) struct Shows<'a> {
    pub(crate) key: Key,
    pub(crate) url: &'a str,
    pub(crate) secret: Option<u8>,
    /// He came with the pick-up code.
    pub(crate) code: bool,
}

impl Audit {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            terms,
            runs: Vec::new(),
            tab: Vec::new(),
            served: BTreeSet::new(),
            whole: BTreeSet::new(),
            broke: BTreeSet::new(),
            statements: Vec::new(),
            payloads: BTreeMap::new(),
            calls: balances::Calls::default(),
            broken: Vec::new(),
        }
    }

    pub(crate) fn breaks(&mut self, sentence: impl Into<String>) {
        self.broken.push(sentence.into());
    }

    fn check(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(sentence());
        }
    }

    /// The upstream gets a request. Returns the run's number.
    pub(crate) fn run_started(&mut self, key: Key, url: &str, secret: Option<u8>, claim: Option<&PlainHold>) -> usize {
        let word = word(key);
        self.check(claim.is_some_and(|hold| hold.end == End::Open && hold.key == key), || {
            format!("the upstream runs without a claim: {word}, {claim:?}")
        });
        let (mut together, mut again) = (false, false);
        for run in self.runs.iter().filter(|run| run.key == key) {
            together |= run.going;
            again |= !run.going && !run.free;
        }
        self.check(!together, || format!("two runs at a time for one authorization: {word}"));
        self.check(!again, || format!("another run after one that was not free: {word}"));
        self.runs.push(Run { key, url: url.to_owned(), secret, going: true, free: false });
        self.runs.len() - 1
    }

    /// A run begins for a payer whose balance was looked at: `owed` is what he owes with it.
    pub(crate) fn covered(&mut self, claim: &PlainHold, owed: u128, balance: u128) {
        self.check(owed <= balance, || format!("a payer owes {owed} and has {balance}: {claim:?}"));
    }

    /// The upstream is done with a request, or its connection is gone.
    pub(crate) fn run_ended(&mut self, run: usize, free: bool) {
        if let Some(run) = self.runs.get_mut(run) {
            run.going = false;
            run.free |= free;
        }
    }

    /// A signed chain_tx leaves for the node.
    pub(crate) fn sent(&mut self, hash: B256, at: (Address, u64), payload: Option<B256>, durable: bool, clashes: bool) {
        self.check(durable, || format!("a chain_tx is sent that is not in the journal: {hash}"));
        self.check(!clashes, || format!("a sequence is given before the old chain_tx at it is sent again: {at:?}"));
        // What moves nothing may take the place of anything.
        let Some(payload) = payload else { return };
        let earlier = *self.payloads.entry(at).or_insert(payload);
        self.check(earlier == payload, || format!("two payments were signed for the sequence {at:?}"));
    }

    /// The first byte of a body that is paid for leaves. `claim` is the durable row, `on_chain` whether the money is in a block.
    pub(crate) fn released(&mut self, hold: Id, claim: Option<&PlainHold>, on_chain: bool) {
        let Some(claim) = claim else {
            return self.breaks("a body is released for a hold that is not in the journal");
        };
        self.served.insert(hold);
        if claim.tab {
            let answered = !matches!(claim.end, End::Open | End::Released(_));
            self.check(answered, || format!("a body on the tab is released before its answer is durable: {claim:?}"));
        } else {
            self.check(on_chain, || format!("a body is released before its Transfer is in a block: {claim:?}"));
        }
    }

    /// A payment is given up: refused after its run, or a loss.
    pub(crate) fn gave_up(&mut self, hold: &PlainHold, fair: bool) {
        self.check(fair, || format!("a payment is given up that would go through, or did: {hold:?}"));
    }

    /// The upstream broke off while a body was being released.
    pub(crate) fn broke_off(&mut self, hold: Id) {
        self.broke.insert(hold);
    }

    /// The last byte of a body has left.
    pub(crate) fn given_out(&mut self, hold: Id) {
        self.whole.insert(hold);
    }

    /// A call was served on the tab. `settled` says whether what another hold owes is settled or given up.
    pub(crate) fn on_tab(&mut self, claim: &PlainHold, source: u8, settled: &dyn Fn(Id, Key) -> bool) {
        self.tab.push(OnTab { hold: claim.id, key: claim.key, source, micros: claim.micros });
        let mut sums = [0u64; 3];
        for item in self.tab.iter().filter(|item| !settled(item.hold, item.key)) {
            sums[0] += if item.key.0 == claim.key.0 { item.micros } else { 0 };
            sums[1] += if item.source == source { item.micros } else { 0 };
            sums[2] += item.micros;
        }
        let caps = self.terms.caps;
        let within = sums.iter().zip(caps).all(|(sum, cap)| *sum <= cap);
        self.check(within, || format!("the tab is above its caps: {sums:?} of {caps:?}"));
    }

    /// A stored answer is given out. Its body says of which run it is.
    pub(crate) fn stored(&mut self, run: usize, shows: &Shows<'_>) {
        let Some(run) = self.runs.get(run).cloned() else { return self.breaks("a stored answer is of no run") };
        let same = run.key == shows.key && run.url == shows.url;
        self.check(same, || format!("a stored answer is given to another request: {run:?}"));
        let knows = shows.code || (run.secret.is_some() && run.secret == shows.secret);
        self.check(knows, || format!("a stored answer is given without the secret: {run:?}"));
    }

    /// A caller is told something of his money.
    pub(crate) fn told(&mut self, key: Key, hold: Option<Id>, told: Told) {
        self.statements.push(Statement { key, hold, told });
    }

    /// A caller whose claim was known all the time is asked to pay.
    pub(crate) fn asked_again(&mut self, key: Key) {
        let word = word(key);
        self.breaks(format!("a caller is asked to pay again for a claim that is known: {word}"));
    }
}

fn word((payer, nonce): Key) -> String {
    format!("payer {payer}, nonce {}", crate::world::short(nonce))
}
