//! A gate that is killed as by a power cut, again and again, while payers pay. Afterwards nothing was run twice, nothing was charged
//! twice, and every movement of money is in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::keccak256;
use protocol::Offer;
use serde_json::{Value, json};
use xtask::chain::{Chain, ChainOptions, KEYS, TestKey, USDC};

use super::{Answer, Claim, FUNDS, GateOptions, PAYEE, PRICE, Payer, World, try_request, until};

/// Who pays, and from how many threads each.
const PAYERS: &[TestKey] = KEYS.split_at(2).1.split_at(4).0;
const THREADS: usize = 2;
/// How long one payment may take to get its last answer.
const PATIENCE: Duration = Duration::from_secs(45);

/// One payment and what it was told, attempt by attempt.
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

/// Pays until told to stop. A payment that got no answer, or a 5xx, is sent again as it is.
fn pay(
    payer: &Payer,
    offer: &Offer,
    keyed: bool,
    url: &Mutex<String>,
    count: &AtomicU64,
    stop: &AtomicBool,
) -> Vec<Told> {
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/paid/ok?n={}.", count.fetch_add(1, Ordering::Relaxed));
        let (header, nonce) = payer.payment(offer);
        // The port changes with every start; the resource does not.
        let mut headers = vec![("host", "localhost"), ("payment-signature", header.as_str())];
        if keyed {
            headers.push(("idempotency-key", header.as_str()));
        }
        let start = Instant::now();
        let mut attempts = 0;
        let last = loop {
            attempts += 1;
            let whole = format!("{}{path}", url.lock().unwrap());
            match try_request("GET", &whole, &headers, b"") {
                Ok(answer) if is_last(&answer) => break answer,
                Ok(answer) => {
                    assert!(answer.headers.contains_key("retry-after"), "{}", answer.text());
                    assert!(start.elapsed() < PATIENCE, "{path} {}: {}", answer.status, answer.text());
                }
                Err(error) => assert!(start.elapsed() < PATIENCE, "{path}: {error}"),
            }
            thread::park_timeout(Duration::from_millis(5));
        };
        all.push(Told { nonce: nonce.to_string(), line: path, attempts, last });
    }
    all
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

/// Kills the gate again and again while payers pay, and looks at what became of everything. `pause_ms` is how long it lives.
pub(crate) fn killed(kills: usize, chain: &ChainOptions, options: &GateOptions, pause_ms: RangeInclusive<u64>) {
    let World { mut gate, origin, chain, payer } = World::with(chain.clone(), options);
    for key in PAYERS.iter().skip(1) {
        chain.mint(key.address, FUNDS).unwrap();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::from(now.subsec_nanos()) | 1);
    eprintln!("KILL_SEED={seed}");
    let mut chance = Chance(seed);

    let offer = Payer::offer(&format!("{}/paid/ok", gate.url()));
    let url = Mutex::new(gate.url().to_owned());
    let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let told: Vec<Told> = thread::scope(|scope| {
        let (offer, url, count, stop) = (&offer, &url, &count, &stop);
        let lanes: Vec<_> = PAYERS
            .iter()
            .flat_map(|key| (0..THREADS).map(move |thread| (key, thread % 2 == 0)))
            .map(|(key, keyed)| scope.spawn(move || pay(&Payer::new(key), offer, keyed, url, count, stop)))
            .collect();
        for _ in 0..kills {
            let span_us = (pause_ms.end() - pause_ms.start()) * 1_000;
            thread::park_timeout(Duration::from_micros(pause_ms.start() * 1_000 + chance.below(span_us)));
            gate.kill();
            // The start must bear it as well.
            if chance.below(3) == 0 {
                gate.start_and_kill(Duration::from_micros(chance.below(60_000)));
            }
            gate.restart();
            gate.url().clone_into(&mut url.lock().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    eprintln!("{kills} kills in {:.1?}", start.elapsed());
    let world = World { gate, origin, chain, payer };
    until("every hold ends", || world.books().unfinished() == 0);
    audit(&world, &told);
}

/// The receipt names the chain_tx of its claim, or the claim, where it was on the tab then.
fn names(world: &World, receipt: &Value, claim: &Claim) {
    assert_eq!(receipt["success"], true, "{receipt}");
    if world.on_tab() && receipt["transaction"] == "" {
        assert_eq!(
            (&receipt["extra"]["state"], &receipt["extra"]["payment"]),
            (&"held".into(), &claim.id.as_str().into())
        );
    } else {
        assert_eq!(receipt["transaction"], claim.chain_tx.as_deref().unwrap());
    }
}

fn audit(world: &World, told: &[Told]) {
    let claims = world.books().claims();
    let uses = uses(&world.chain);
    let transfers = world.chain.transfers_to(PAYEE).unwrap();

    // The upstream: at most once for each request, and each request had one authorization.
    assert!(world.origin.most_runs("n=") <= 1);
    // The chain: every transfer is worth the price and is in the books, under the authorization that it used.
    assert!(uses.values().all(|chain_txs| chain_txs.len() == 1), "one authorization was used twice");
    assert_eq!(uses.len(), transfers.len());
    assert!(transfers.iter().all(|transfer| transfer.value == PRICE));
    let moved: BTreeSet<_> = transfers.iter().map(|transfer| transfer.chain_tx.as_str()).collect();
    let mut posted: BTreeMap<&str, &Claim> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claim.state == "posted") {
        assert!(posted.insert(&claim.nonce, claim).is_none(), "posted twice: {claim:?}");
        let chain_tx = claim.chain_tx.as_deref().unwrap();
        assert!(moved.contains(chain_tx), "posted, but not on the chain: {claim:?}");
        assert_eq!(uses[&claim.nonce], [chain_tx]);
    }
    let late: BTreeSet<_> = claims.iter().filter(|claim| claim.late).map(|claim| claim.nonce.as_str()).collect();
    for nonce in uses.keys() {
        assert!(posted.contains_key(nonce.as_str()) || late.contains(nonce.as_str()), "not in the books: {nonce}");
    }
    world.agree();
    // Each lane: no sequence was left out or used twice, and the chain has all of them.
    let by_signer = world.books().sequences_by_signer();
    for (signer, sequences) in &by_signer {
        assert_eq!(*sequences, (0..u64::try_from(sequences.len()).unwrap()).collect::<Vec<_>>(), "{signer}");
        let next = world.chain.rpc("eth_getTransactionCount", json!([signer, "latest"])).unwrap();
        assert_eq!(next, format!("{:#x}", sequences.len()), "{signer}");
    }
    let chain_txs: usize = by_signer.values().map(Vec::len).sum();

    // The payers: what each was told last is what happened.
    let mut tally: BTreeMap<(u16, String, &str), usize> = BTreeMap::new();
    for told in told {
        let (last, claim) = (&told.last, posted.get(told.nonce.as_str()));
        let runs = world.origin.runs(&told.line);
        let text = last.text();
        let what = match (last.status, last.error().as_str(), claim) {
            (200, _, Some(claim)) => {
                assert_eq!((text.as_str(), runs), ("served", 1));
                names(world, &last.receipt(), claim);
                if claim.refund_due { "served and owed back" } else { "served" }
            }
            (409, "already_served" | "answer_lost", Some(claim)) => {
                assert_eq!(runs, 1, "{}", told.line);
                names(world, &last.receipt(), claim);
                assert_eq!(claim.refund_due, last.error() == "answer_lost");
                if claim.refund_due { "owed back" } else { "charged, answer not delivered" }
            }
            (409, "not_charged", None) => {
                assert!(!uses.contains_key(&told.nonce), "told that it was not charged: {}", told.nonce);
                "not charged"
            }
            _ => panic!("{} got {} {text} after {} attempts, claim {claim:?}", told.line, last.status, told.attempts),
        };
        *tally.entry((last.status, last.error(), what)).or_default() += 1;
    }
    if world.on_tab() {
        // What was answered is charged and what was not is burnt: nothing is lost or owed, and most go together.
        assert!(claims.iter().all(|claim| matches!(claim.state.as_str(), "posted" | "burnt") && !claim.refund_due));
        assert!(claims.iter().all(|claim| claim.state == "posted" || claim.reason.as_deref() == Some("interrupted")));
        assert_eq!((world.books().exposure_off(), world.books().exposed()), (Vec::new(), 0));
        assert!(chain_txs < posted.len(), "{chain_txs} chain_txs for {} payments", posted.len());
    }
    let known: BTreeSet<_> = told.iter().map(|told| told.nonce.as_str()).collect();
    assert!(claims.iter().all(|claim| known.contains(claim.nonce.as_str())));
    eprintln!("{} payments, {} transfers: {tally:#?}", told.len(), transfers.len());
}
