//! One gate that dies once, and what must hold afterwards.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use serde_json::json;
use xtask::chain::{Chain, ChainOptions, USDC};

use super::kit::{self, Answer, GateOptions, PAYEE, PRICE, Payer, REFUNDER, World, try_request, until};
use super::run;

/// How long one payment may take to get its last answer.
const PATIENCE: Duration = Duration::from_secs(40);

const ROUTES: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n  \
    - { path: /tab/*, price: \"0.01\", settlement: tab }\n  - { path: /first/*, price: \"0.01\", settle_first: true }\n";

/// What a gate is started with here. `{{ tab }}` and the like are in YAML.
pub(crate) fn options(tab: &str, refunds: &str) -> GateOptions {
    GateOptions {
        routes: ROUTES,
        more: format!(
            "receipts: {{ signer: {{ env: PONTAGE_SIGNER_KEY }} }}\ntab: {{ {tab} }}\nrefunds: {{ {refunds} }}"
        ),
        pinned: true,
        ..GateOptions::default()
    }
}

/// As [`options`], with what most want.
pub(crate) fn plain() -> GateOptions {
    options("settle_age_s: 1", "signer: { env: PONTAGE_REFUNDS_KEY }")
}

/// One signed payment and what was answered before the process died.
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) header: String,
    pub(crate) offer: Offer,
    pub(crate) fields: Fields,
    /// Whether it has an `Idempotency-Key`.
    keyed: bool,
    pub(crate) answer: Option<Answer>,
}

/// A world whose gate dies.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) calls: Vec<Call>,
    /// Where the gate is to die.
    point: String,
}

impl Stage {
    /// On anvil, whatever the run: our own chain has no reorgs.
    pub(crate) fn new(options: &GateOptions) -> Self {
        Self::on(chain(), options)
    }

    pub(crate) fn on(chain: Chain, options: &GateOptions) -> Self {
        Self { world: World::on(chain, options), calls: Vec::new(), point: String::new() }
    }

    /// Signs a payment for a path while there is a gate to ask for its price.
    pub(crate) fn sign(&mut self, path: &str) {
        let offer = Payer::offer(&self.world.url(path));
        let fields = self.world.payer.fields(&offer);
        let header = self.world.payer.sign(Version::V2, &offer, &fields);
        self.calls.push(Call { path: path.to_owned(), header, offer, fields, keyed: false, answer: None });
    }

    /// The same with an `Idempotency-Key`, by which the answer is kept.
    pub(crate) fn sign_keyed(&mut self, path: &str) {
        self.sign(path);
        self.calls.last_mut().unwrap().keyed = true;
    }

    /// Sends what was signed. The process may die meanwhile.
    pub(crate) fn send(&mut self) {
        for at in 0..self.calls.len() {
            self.calls[at].answer = self.calls[at].send(&self.world);
        }
    }

    /// Signs and sends, before the process is to die.
    pub(crate) fn served(&mut self, path: &str) {
        self.sign(path);
        let call = self.calls.last_mut().unwrap();
        call.answer = call.send(&self.world);
        assert!(call.answer.is_some(), "{path} is not answered");
    }

    /// Kills the gate, and starts it so that it dies at a point.
    pub(crate) fn restart_to_die(&mut self, point: &str) {
        self.world.gate.kill();
        point.clone_into(&mut self.point);
        self.world.gate.restart_to_die(point);
    }

    /// Waits until it has, and starts it again.
    pub(crate) fn died(&mut self, point: &str) {
        self.world.gate.died(point);
        self.world.origin.let_go();
        self.world.gate.restart();
    }

    /// The payment of the newest call.
    pub(crate) fn payment(&self) -> String {
        let nonce = self.calls.last().unwrap().fields.nonce.to_string();
        self.world.books().claims().into_iter().find(|claim| claim.nonce == nonce).unwrap().id
    }

    pub(crate) fn state(&self) -> String {
        self.world.books().newest().0
    }

    pub(crate) fn bury(&self) {
        (0..13).for_each(|_| self.world.chain.mine().unwrap());
    }

    pub(crate) fn gas_is_booked(&self) {
        until("the gas is booked", || {
            run::count(&self.world.gate, "SELECT count(*) FROM chain_txs WHERE fate IS NULL") == 0
        });
    }

    /// Repeats every call as its payer would, and compares what he is told, the books and the chain.
    pub(crate) fn judge(self) {
        let world = &self.world;
        let last: Vec<Answer> = self.calls.iter().map(|call| call.repeat(world)).collect();
        until("every hold ends", || world.books().unfinished() == 0);
        self.gas_is_booked();
        let uses = uses(&world.chain);
        assert!(uses.values().all(|count| *count == 1), "one authorization was used twice: {uses:?}");
        for (call, last) in self.calls.iter().zip(&last) {
            let moved = uses.contains_key(&call.fields.nonce.to_string());
            call.judge(world, last, moved, self.is_unheard());
        }
        let (books, paid) = (world.books(), world.paid());
        assert_eq!(books.unbalanced(), 0);
        assert_eq!(paid, PRICE * u128::try_from(uses.len()).unwrap(), "each moved once");
        let back: u128 = self.given_back().iter().sum();
        let accounts = ["revenue:", "loss:", "refund_due:", "suspense:", "refunds:"];
        let ours: i128 = accounts.iter().map(|account| books.balance(account)).sum();
        assert_eq!(ours, i128::try_from(paid).unwrap() - i128::try_from(back).unwrap(), "books and chain");
        let audit = run::pontage(&world.gate, &["ledger", "audit"]);
        assert_eq!(audit.code, 0, "{audit}");
    }

    /// Whether it died when no answer on `direct` can have been released, because the money was not posted.
    fn is_unheard(&self) -> bool {
        let acts = ["submit", "send", "hand-over", "ask-to-settle", "before-post"];
        acts.iter().any(|act| self.point.ends_with(act))
    }

    /// What went from the refunds wallet to the payer.
    pub(crate) fn given_back(&self) -> Vec<u128> {
        let transfers = self.world.chain.transfers_to(kit::PAYER.address).unwrap().into_iter();
        transfers
            .filter(|transfer| transfer.from.eq_ignore_ascii_case(REFUNDER.address))
            .map(|transfer| transfer.value)
            .collect()
    }
}

impl Call {
    /// The port changes with every start of the gate; the resource does not.
    pub(crate) fn send(&self, world: &World) -> Option<Answer> {
        let mut headers = vec![("host", "localhost"), ("payment-signature", self.header.as_str())];
        if self.keyed {
            headers.push(("idempotency-key", &self.header));
        }
        try_request("GET", &world.url(&self.path), &headers, b"").ok()
    }

    /// Sends it until there is nothing left to ask.
    fn repeat(&self, world: &World) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.send(world);
            match answer {
                Some(answer) if is_last(&answer) => return answer,
                answer => {
                    let told = answer.map(|answer| answer.text());
                    assert!(start.elapsed() < PATIENCE, "{} has no last answer: {told:?}", self.path);
                }
            }
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Whether what its payer is told is what happened.
    fn judge(&self, world: &World, last: &Answer, moved: bool, unheard: bool) {
        let nonce = self.fields.nonce.to_string();
        let claim = world.books().claims().into_iter().rfind(|claim| claim.nonce == nonce);
        let (state, late) = claim.as_ref().map_or(("", false), |claim| (claim.state.as_str(), claim.late));
        let said = format!("{} {} {}; {claim:?}; moved {moved}", self.path, last.status, last.text());
        assert_eq!(moved, state == "posted" || late, "what moved is in the books, and nothing else: {said}");
        let first = self.answer.as_ref().filter(|first| first.status == 200 && !first.text().is_empty());
        if first.is_some_and(|first| first.text() == "served") {
            assert!(matches!(state, "posted" | "lost"), "it was served and is neither charged nor missed: {said}");
        }
        let due = claim.as_ref().is_some_and(|claim| claim.refund_due);
        let runs = world.origin.runs(&self.path);
        if unheard && self.answer.is_none() && claim.as_ref().is_some_and(|claim| claim.rail == "direct") {
            assert!(!moved || due || last.status == 200, "it moved, nobody had an answer, and nothing is owed: {said}");
        }
        let is_right = match (last.status, last.error().as_str()) {
            (200, _) => runs == 1 && matches!(state, "posted" | "lost"),
            (404, _) => state == "released",
            (409, "already_served") => runs == 1 && !due && matches!(state, "posted" | "lost"),
            (409, "answer_lost") => state == "posted" && due,
            (409, "not_charged" | "expired") => !moved && runs <= 1,
            (409, "payment_failed") => !moved && state == "lost",
            (409, "in_suspense") => moved && late,
            // Nobody is told to pay for what has moved, but for what moved by itself after its call had ended.
            (402, _) => !moved || late,
            _ => false,
        };
        assert!(is_right, "{said}; {runs} runs, owed back {due}");
        eprintln!("    {} {} {state}, {runs} runs, owed back {due}", last.status, last.error());
    }
}

/// Whether the payer has nothing left to ask.
fn is_last(answer: &Answer) -> bool {
    match answer.status {
        409 => !matches!(answer.error().as_str(), "in_flight" | "released"),
        status => status < 500,
    }
}

/// A chain with the token, and who pays back with a wallet.
pub(crate) fn chain() -> Chain {
    chain_with(&ChainOptions::default())
}

pub(crate) fn chain_with(options: &ChainOptions) -> Chain {
    let chain = Chain::start(&kit::root(), options).unwrap();
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    chain
}

/// How often each authorization to the payee was used, by its nonce.
fn uses(chain: &Chain) -> BTreeMap<String, usize> {
    let topic = keccak256("AuthorizationUsed(address,bytes32)").to_string();
    let filter = json!([{"address": USDC, "fromBlock": "0x0", "toBlock": "latest", "topics": [topic]}]);
    let logs = chain.rpc("eth_getLogs", filter).unwrap();
    let payee: Vec<String> = chain.transfers_to(PAYEE).unwrap().into_iter().map(|transfer| transfer.chain_tx).collect();
    let mut uses = BTreeMap::new();
    for log in logs.as_array().unwrap() {
        // A refund uses one of the refunds wallet.
        if payee.iter().any(|chain_tx| log["transactionHash"] == chain_tx.as_str()) {
            *uses.entry(log["topics"][2].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    uses
}
