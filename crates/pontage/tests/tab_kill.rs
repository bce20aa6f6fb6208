//! The process is killed as by a power cut, two hundred times, while payers call on the tab. Afterwards every call that was
//! answered is settled, once, and every authorization ran at most once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::keccak256;
use protocol::Offer;
use serde_json::json;
use xtask::chain::{Chain, ChainOptions, KEYS, TestKey, USDC};

use kit::{Answer, Claim, FUNDS, GateOptions, PAYEE, PRICE, Payer, SETTLER, World, try_request, until};

/// Who pays, and from how many threads each.
const PAYERS: &[TestKey] = KEYS.split_at(2).1.split_at(4).0;
const THREADS: usize = 2;
/// How long one payment may take to get its last answer.
const PATIENCE: Duration = Duration::from_secs(45);

/// One payment and what it was told at last.
struct Told {
    nonce: String,
    line: String,
    attempts: usize,
    last: Answer,
}

/// A small generator whose seed is printed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Whether the payer has nothing left to ask.
fn is_last(answer: &Answer) -> bool {
    match answer.status {
        409 => !matches!(answer.error().as_str(), "in_flight" | "released"),
        status => status < 500,
    }
}

/// What the callers share.
struct Crowd {
    offer: Offer,
    url: Mutex<String>,
    count: AtomicU64,
    stop: AtomicBool,
}

impl Crowd {
    /// Pays until told to stop. A payment that got no answer, or a 5xx, is sent again as it is.
    fn pay(&self, payer: &Payer, keyed: bool) -> Vec<Told> {
        let mut all = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let line = format!("/paid/ok?n={}.", self.count.fetch_add(1, Ordering::Relaxed));
            let (header, nonce) = payer.payment(&self.offer);
            // The port changes with every start; the resource does not.
            let mut headers = vec![("host", "localhost"), ("payment-signature", header.as_str())];
            if keyed {
                headers.push(("idempotency-key", header.as_str()));
            }
            let (last, attempts) = self.insist(&line, &headers);
            all.push(Told { nonce: nonce.to_string(), line, attempts, last });
        }
        all
    }

    fn insist(&self, line: &str, headers: &[(&str, &str)]) -> (Answer, usize) {
        let start = Instant::now();
        for attempts in 1.. {
            let whole = format!("{}{line}", self.url.lock().unwrap());
            match try_request("GET", &whole, headers, b"") {
                Ok(answer) if is_last(&answer) => return (answer, attempts),
                Ok(answer) => {
                    assert!(answer.headers.contains_key("retry-after"), "{}", answer.text());
                    assert!(start.elapsed() < PATIENCE, "{line} {}: {}", answer.status, answer.text());
                }
                Err(error) => assert!(start.elapsed() < PATIENCE, "{line}: {error}"),
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        unreachable!("attempts are not bounded, time is")
    }
}

/// The chain_txs that used an authorization, by its nonce.
fn uses(chain: &Chain) -> BTreeMap<String, Vec<String>> {
    let topic = keccak256("AuthorizationUsed(address,bytes32)").to_string();
    let filter = json!([{"address": USDC, "fromBlock": "0x0", "toBlock": "latest", "topics": [topic]}]);
    let logs = chain.rpc("eth_getLogs", filter).unwrap();
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for log in logs.as_array().unwrap() {
        let nonce = log["topics"][2].as_str().unwrap().to_owned();
        uses.entry(nonce).or_default().push(log["transactionHash"].as_str().unwrap().to_owned());
    }
    uses
}

#[test]
fn killed_two_hundred_times_nothing_on_the_tab_is_lost_or_doubled() {
    killed(200, &ChainOptions::default());
}

/// Most kills find batches on their way: they are sent again, and reconciled.
#[test]
fn the_same_while_batches_wait_for_their_block() {
    killed(25, &ChainOptions { block_time_s: Some(1), ..ChainOptions::default() });
}

fn killed(kills: usize, chain: &ChainOptions) {
    let options = GateOptions {
        routes: "  - { path: /paid/*, price: \"0.01\", settlement: tab }\n",
        more: "tab: { settle_age_s: 1, batch_max: 20 }".to_owned(),
        pinned: true,
        ..GateOptions::default()
    };
    let World { mut gate, origin, chain, payer } = World::with(chain.clone(), &options);
    for key in PAYERS.iter().skip(1) {
        chain.mint(key.address, FUNDS).unwrap();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::from(now.subsec_nanos()) | 1);
    eprintln!("KILL_SEED={seed}");
    let mut chance = Chance(seed);

    let crowd = Crowd {
        offer: Payer::offer(&format!("{}/paid/ok", gate.url())),
        url: Mutex::new(gate.url().to_owned()),
        count: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let start = Instant::now();
    let told: Vec<Told> = thread::scope(|scope| {
        let lanes: Vec<_> = PAYERS
            .iter()
            .flat_map(|key| (0..THREADS).map(move |thread| (key, thread % 2 == 0)))
            .map(|(key, keyed)| {
                let crowd = &crowd;
                scope.spawn(move || crowd.pay(&Payer::new(key), keyed))
            })
            .collect();
        for _ in 0..kills {
            // Mostly soon, within a second of which the tab is settled at the start alone; at times late enough for its age.
            let most = if chance.below(8) == 0 { 1_200_000 } else { 200_000 };
            thread::park_timeout(Duration::from_micros(2_000 + chance.below(most)));
            gate.kill();
            // The start must bear it as well.
            if chance.below(4) == 0 {
                gate.start_and_kill(Duration::from_micros(chance.below(60_000)));
            }
            gate.restart();
            gate.url().clone_into(&mut crowd.url.lock().unwrap());
        }
        crowd.stop.store(true, Ordering::Relaxed);
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    eprintln!("{kills} kills in {:.1?}", start.elapsed());
    let world = World { gate, origin, chain, payer };
    until("every hold ends", || world.books().unfinished() == 0);
    on_the_chain(&world);
    as_told(&world, &told);
}

/// Journal, chain and upstream.
fn on_the_chain(world: &World) {
    let (books, claims) = (world.books(), world.books().claims());
    let uses = uses(&world.chain);
    let transfers = world.chain.transfers_to(PAYEE).unwrap();
    assert!(world.origin.most_runs("n=") <= 1);
    assert!(uses.values().all(|chain_txs| chain_txs.len() == 1), "one authorization was used twice");
    assert_eq!(uses.len(), transfers.len());
    assert!(transfers.iter().all(|transfer| transfer.value == PRICE));
    world.agree();
    assert_eq!((books.exposure_off(), books.exposed()), (Vec::new(), 0));
    // Nobody cheats here: nothing is lost, nothing comes late.
    assert!(claims.iter().all(|claim| claim.state != "lost" && !claim.late), "{claims:?}");
    let posted: BTreeMap<_, _> = posted(&claims);
    assert_eq!(posted.keys().copied().collect::<BTreeSet<_>>(), uses.keys().map(String::as_str).collect());
    for (nonce, claim) in posted {
        assert_eq!(uses[nonce], [claim.chain_tx.clone().unwrap()]);
    }
    // The lane: no sequence was left out or used twice, and the chain has all of them.
    let sequences = books.sequences();
    assert_eq!(sequences, (0..u64::try_from(sequences.len()).unwrap()).collect::<Vec<_>>());
    let next = world.chain.rpc("eth_getTransactionCount", json!([SETTLER.address, "latest"])).unwrap();
    assert_eq!(next, format!("{:#x}", sequences.len()));
    let direct = claims.iter().filter(|claim| claim.rail == "direct").count();
    eprintln!(
        "{} holds, {direct} of them direct; {} transfers in {} chain_txs",
        claims.len(),
        transfers.len(),
        sequences.len()
    );
}

fn posted(claims: &[Claim]) -> BTreeMap<&str, &Claim> {
    let mut posted = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claim.state == "posted") {
        assert!(posted.insert(claim.nonce.as_str(), claim).is_none(), "posted twice: {claim:?}");
    }
    posted
}

/// The payers: what each was told last is what happened.
fn as_told(world: &World, told: &[Told]) {
    let claims = world.books().claims();
    let posted = posted(&claims);
    let mut tally: BTreeMap<(u16, String, &str), usize> = BTreeMap::new();
    for told in told {
        let (last, claim, runs) = (&told.last, posted.get(told.nonce.as_str()), world.origin.runs(&told.line));
        let text = last.text();
        let what = match (last.status, last.error().as_str(), claim) {
            (200, _, Some(claim)) => {
                assert_eq!((text.as_str(), runs, claim.refund_due), ("served", 1, false), "{}", told.line);
                let receipt = last.receipt();
                match receipt["extra"]["state"].as_str() {
                    Some("held") => assert_eq!(receipt["extra"]["payment"], claim.id.as_str()),
                    _ => assert_eq!(receipt["transaction"], claim.chain_tx.as_deref().unwrap()),
                }
                "served"
            }
            (409, "already_served" | "answer_lost", Some(claim)) => {
                assert_eq!((runs, claim.refund_due), (1, last.error() == "answer_lost"), "{}", told.line);
                if claim.refund_due { "owed back" } else { "charged, answer not delivered" }
            }
            (409, "not_charged", None) => "not charged",
            _ => panic!("{} got {} {text} after {} attempts, claim {claim:?}", told.line, last.status, told.attempts),
        };
        *tally.entry((last.status, last.error(), what)).or_default() += 1;
    }
    let known: BTreeSet<_> = told.iter().map(|told| told.nonce.as_str()).collect();
    assert!(claims.iter().all(|claim| known.contains(claim.nonce.as_str())));
    eprintln!("{} payments: {tally:#?}", told.len());
}
