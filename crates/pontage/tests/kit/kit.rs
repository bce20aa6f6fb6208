//! A chain, a gate, an upstream and a payer for one test. Everything is on loopback and port 0, and ends with the test.
#![allow(dead_code, unused_imports, clippy::unwrap_used, reason = "no suite uses everything, and a test may panic")]

mod admin;
mod bent;
mod books;
mod calldata;
mod facilitator;
mod gate;
mod killed;
mod link;
mod origin;
mod payer;
mod rail;
mod raw;
mod service;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use xtask::chain::{Chain, ChainOptions, KEYS, TestKey};

pub(crate) use admin::{ADMIN, ADMIN_TOKEN, Admin};
pub(crate) use bent::{Bent, Way};
pub(crate) use books::{Books, Claim};
pub(crate) use calldata::{block, cancel, land, land_json, move_all, unblock};
pub(crate) use facilitator::{Act, Facilitator, TOKEN, WORDS};
pub(crate) use gate::{Gate, GateOptions, TRUST_SECRET};
pub(crate) use killed::killed;
pub(crate) use link::Link;
pub(crate) use origin::Origin;
pub(crate) use payer::{Answer, Payer, get, request, try_request};
pub(crate) use rail::on_tab;
pub(crate) use raw::Raw;
pub(crate) use service::{Service, asked, fresh, post, try_post, wanted};

/// Who settles.
pub(crate) const SETTLER: &TestKey = &KEYS[1];
/// Who pays.
pub(crate) const PAYER: &TestKey = &KEYS[2];
/// From whose wallet money is given back, where the configuration names `PONTAGE_REFUNDS_KEY`.
pub(crate) const REFUNDER: &TestKey = &KEYS[4];
/// Who is paid: an address without a key here.
pub(crate) const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// What every paid route of the kit costs.
pub(crate) const PRICE: u128 = 10_000;
/// What the payer has at first.
pub(crate) const FUNDS: u128 = 1_000_000_000;

/// Everything that a test needs.
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) origin: Origin,
    pub(crate) chain: Chain,
    pub(crate) payer: Payer,
}

impl World {
    /// A chain that mines at once, a payer with funds, and a gate in front of the upstream.
    pub(crate) fn new() -> Self {
        Self::with(ChainOptions::default(), &GateOptions::default())
    }

    pub(crate) fn with(chain: ChainOptions, options: &GateOptions) -> Self {
        let chain = start_chain(chain);
        chain.plant_token().expect("the token is planted");
        chain.plant_multicall().expect("Multicall3 is planted");
        Self::on(chain, options)
    }

    /// The same on a chain whose token is planted.
    pub(crate) fn on(chain: Chain, options: &GateOptions) -> Self {
        chain.mint(PAYER.address, FUNDS).expect("the payer is funded");
        let origin = Origin::start();
        let gate = Gate::start(chain.rpc_url(), &origin.url(), options);
        Self { gate, origin, chain, payer: Payer::new(PAYER) }
    }

    /// What the payee has on the chain.
    pub(crate) fn paid(&self) -> u128 {
        self.chain.balance(PAYEE).expect("the chain answers")
    }

    pub(crate) fn books(&self) -> Books {
        Books::open(self.gate.journal())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gate.url())
    }

    /// Everything has ended, every entry balances, and the books say what the chain says.
    pub(crate) fn agree(&self) {
        let books = self.books();
        until("every hold ends", || books.unfinished() == 0);
        assert_eq!(books.unbalanced(), 0);
        // What was lost is earned and missing: the two cancel each other.
        let accounts = ["revenue:", "loss:", "refund_due:", "suspense:"];
        let ours: i128 = accounts.iter().map(|account| books.balance(account)).sum();
        assert_eq!(ours, i128::try_from(self.paid()).expect("fits"), "books and chain");
        let transfers = self.chain.transfers_to(PAYEE).expect("the chain answers");
        let mut moved: Vec<_> = transfers.into_iter().map(|transfer| transfer.chain_tx).collect();
        moved.sort();
        let late = books.claims().iter().filter(|claim| claim.late).count();
        let posted = books.posted_chain_txs();
        assert!(posted.iter().all(|chain_tx| moved.contains(chain_tx)), "a posted chain_tx is not on the chain");
        assert_eq!(posted.len() + late, moved.len(), "transfers that are not in the books");
        if self.gate.on_tab() {
            self.gate.all_on_tab();
        }
    }
}

/// Starts a chain: anvil, or pontage's own where the environment says so (`cargo xtask test` runs the suites on both).
pub(crate) fn start_chain(options: ChainOptions) -> Chain {
    let devnet = std::env::var("PONTAGE_TEST_CHAIN").is_ok_and(|chain| chain == "devnet");
    let devnet = devnet.then(|| PathBuf::from(env!("CARGO_BIN_EXE_pontage")));
    Chain::start(&root(), &ChainOptions { devnet, ..options }).expect("a chain starts")
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies two folders deep").to_owned()
}

/// Waits for something that another process or thread brings about. Bounded; says what did not come.
pub(crate) fn until(what: &str, mut true_now: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !true_now() {
        assert!(Instant::now() < end, "did not come to pass: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
