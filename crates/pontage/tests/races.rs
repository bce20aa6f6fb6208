//! Many calls at once: one authorization pays once, many pay each for itself, and books and chain agree.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use alloy_primitives::{U256, hex, uint};
use protocol::x402::{Version, decode_header, encode_header};
use xtask::chain::{ChainOptions, KEYS, USDC};
use xtask::peers;

use kit::{
    Answer, FUNDS, Gate, GateOptions, Link, Origin, PAYEE, PAYER, PRICE, Payer, SETTLER, World, get, land, root,
    start_chain, until,
};

/// How many call at once.
const WIDE: usize = 64;

/// Calls from as many threads at once, all let loose together.
fn at_once(count: usize, call: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
    let start = Barrier::new(count);
    let (start, call) = (&start, &call);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..count)
            .map(|at| {
                scope.spawn(move || {
                    start.wait();
                    call(at)
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// Calls `count` times, at most `WIDE` at once.
fn in_turns(count: usize, wide: usize, call: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
    let next = AtomicUsize::new(0);
    let (next, call) = (&next, &call);
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..wide)
            .map(|_| {
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count {
                            return answers;
                        }
                        answers.push(call(at));
                    }
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    })
}

/// How often each status and error came.
fn tally(answers: &[Answer]) -> BTreeMap<(u16, String), usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry((answer.status, answer.error())).or_default() += 1;
    }
    tally
}

fn expect(answers: &[Answer], want: &[(u16, &str, usize)]) {
    let want: BTreeMap<_, _> =
        want.iter().map(|(status, error, count)| ((*status, (*error).to_owned()), *count)).collect();
    assert_eq!(tally(answers), want);
}

/// Every answer that says paid or held has the one receipt that the chain confirms.
fn one_transfer(world: &World, answers: &[Answer]) {
    world.rest();
    let transfers = world.chain.transfers_to(PAYEE).unwrap();
    assert_eq!(transfers.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status == 200 || answer.error() == "already_served") {
        assert_eq!(world.settled_before(answer), transfers[0].chain_tx, "{}", answer.text());
    }
    assert_eq!(world.books().balance("revenue:"), i128::try_from(PRICE).unwrap());
    world.agree();
}

#[test]
fn one_credential_at_once_runs_once() {
    let world = World::new();
    // Several rounds: the interesting moments are short.
    for round in 0..6 {
        let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
        let path = format!("/paid/ok?round={round}");
        let answers =
            at_once(WIDE, |_| get(&world.url(&path), &[("host", "localhost"), ("payment-signature", &header)]));
        expect(&answers, &[(200, "", 1), (409, "already_served", WIDE - 1)]);
        assert_eq!(world.origin.runs(&path), 1);
        world.rest();
        let transfers = world.chain.transfers_to(PAYEE).unwrap();
        assert_eq!(transfers.len(), round + 1);
        for answer in &answers {
            assert_eq!(world.settled_before(answer), transfers[round].chain_tx, "{}", answer.text());
        }
    }
    world.agree();
}

#[test]
fn one_credential_at_once_waits_for_a_slow_run() {
    let world = World::new();
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let answers = thread::scope(|scope| {
        let calls = scope.spawn(|| {
            at_once(WIDE, |_| get(&world.url("/paid/gate"), &[("host", "localhost"), ("payment-signature", &header)]))
        });
        until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
        world.origin.let_go();
        calls.join().unwrap()
    });
    expect(&answers, &[(200, "", 1), (409, "already_served", WIDE - 1)]);
    assert_eq!(world.origin.runs("/paid/gate"), 1);
    one_transfer(&world, &answers);
}

#[test]
fn one_idempotency_key_at_once_gives_all_the_same_answer() {
    let world = World::new();
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let headers =
        [("host", "localhost"), ("payment-signature", header.as_str()), ("idempotency-key", "key of the first call")];
    let answers = at_once(WIDE, |_| get(&world.url("/paid/ok"), &headers));
    expect(&answers, &[(200, "", WIDE)]);
    assert!(answers.iter().all(|answer| answer.text() == "served"));
    assert_eq!(world.origin.runs("/paid/ok"), 1);
    one_transfer(&world, &answers);
}

#[test]
fn one_authorization_in_both_envelopes_runs_once() {
    let world = World::new();
    let offer = Payer::offer(&world.url("/paid/ok"));
    let fields = world.payer.fields(&offer);
    let (v2, v1) = (world.payer.sign(Version::V2, &offer, &fields), world.payer.sign(Version::V1, &offer, &fields));
    let answers = at_once(WIDE, |at| {
        let payment = if at % 2 == 0 { ("payment-signature", v2.as_str()) } else { ("x-payment", v1.as_str()) };
        get(&world.url("/paid/ok"), &[("host", "localhost"), payment])
    });
    expect(&answers, &[(200, "", 1), (409, "already_served", WIDE - 1)]);
    assert_eq!(world.origin.runs("/paid/ok"), 1);
    one_transfer(&world, &answers);
}

#[test]
fn one_credential_for_two_requests_pays_for_one() {
    let world = World::new();
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let answers = at_once(WIDE, |at| {
        let path = if at % 2 == 0 { "/paid/ok?a" } else { "/paid/ok?b" };
        get(&world.url(path), &[("host", "localhost"), ("payment-signature", &header)])
    });
    let half = WIDE / 2;
    expect(&answers, &[(200, "", 1), (409, "already_served", half - 1), (409, "authorization_conflict", half)]);
    assert_eq!(world.origin.runs("/paid/ok"), 1);
    one_transfer(&world, &answers);
}

/// A copy of the payment that was looked up before the first one was claimed, and read the chain after that one had settled.
#[test]
fn a_copy_that_reads_the_chain_late_is_not_told_to_pay_again() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let (link, origin) = (Link::to(chain.rpc_url()), Origin::start());
    let gate = Gate::start(link.url(), &origin.url(), &GateOptions::default());
    let world = World { gate, origin, chain, payer: Payer::new(PAYER) };
    let offer = Payer::offer(&world.url("/paid/ok"));
    let (header, nonce) = world.payer.payment(&offer);
    let (reads, claims) = ("eth_getBlockByNumber", nonce.to_string().trim_start_matches("0x").to_owned());
    let call = || get(&world.url("/paid/ok"), &[("host", "localhost"), ("payment-signature", &header)]);
    let (first, late) = thread::scope(|scope| {
        link.hold(&claims, "none");
        let first = scope.spawn(call);
        until("the first call reads its nonce", || link.held() == 1);
        link.hold(reads, "eth_maxPriorityFeePerGas");
        let late = scope.spawn(call);
        // One of them is the reconciler's.
        until("the second call and the reconciler read the newest block", || link.held() == 3);
        link.let_go(&claims);
        let first = first.join().unwrap();
        // On the tab it is served before; the reconciler, which waits as well, cannot have posted it.
        until("the first one has landed", || world.paid() == PRICE);
        link.let_go(reads);
        (first, late.join().unwrap())
    });
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!((late.status, late.error().as_str()), (409, "already_served"), "{}", late.text());
    assert_eq!(world.origin.runs("/paid/ok"), 1);
    one_transfer(&world, &[first, late]);
}

#[test]
fn a_thousand_payments_all_settle() {
    const COUNT: usize = 1_000;
    let world = World::with(ChainOptions::default(), &GateOptions::uncapped());
    let offer = Payer::offer(&world.url("/paid/ok"));
    let answers = in_turns(COUNT, WIDE, |at| {
        let (header, _) = world.payer.payment(&offer);
        get(&world.url(&format!("/paid/ok?n={at}.")), &[("payment-signature", &header)])
    });
    expect(&answers, &[(200, "", COUNT)]);
    world.each_settled(&answers);
    assert_eq!((world.origin.runs("n="), world.origin.most_runs("n=")), (COUNT, 1));
    settled(&world, COUNT);
}

/// So many payments are in the books and on the chain, and no sequence was left out or used twice.
fn settled(world: &World, count: usize) {
    world.rest();
    let books = world.books();
    assert_eq!((books.holds("posted"), books.unfinished()), (count, 0));
    let total = PRICE * u128::try_from(count).unwrap();
    assert_eq!((world.paid(), books.balance("revenue:")), (total, i128::try_from(total).unwrap()));
    let mut moved: Vec<_> =
        world.chain.transfers_to(PAYEE).unwrap().into_iter().map(|transfer| transfer.chain_tx).collect();
    moved.sort();
    assert_eq!(moved, books.posted_chain_txs());
    moved.dedup();
    let chain_txs = moved.len();
    if world.on_tab() {
        assert!(chain_txs < count, "{chain_txs} chain_txs for {count} payments: they did not go together");
    } else {
        assert_eq!(chain_txs, count);
    }
    let sequences = books.sequences();
    assert_eq!(sequences, (0..u64::try_from(chain_txs).unwrap()).collect::<Vec<_>>());
    let next = world.chain.rpc("eth_getTransactionCount", serde_json::json!([SETTLER.address, "latest"])).unwrap();
    assert_eq!(next, format!("{chain_txs:#x}"));
    world.agree();
}

#[test]
fn payments_on_a_chain_with_a_block_a_second_all_settle() {
    let chain = ChainOptions { block_time_s: Some(1), ..ChainOptions::default() };
    let world = World::with(chain, &GateOptions::default());
    let offer = Payer::offer(&world.url("/paid/ok"));
    let answers = in_turns(50, 25, |at| {
        let (header, _) = world.payer.payment(&offer);
        get(&world.url(&format!("/paid/ok?n={at}.")), &[("payment-signature", &header)])
    });
    expect(&answers, &[(200, "", 50)]);
    world.each_settled(&answers);
    assert_eq!(world.origin.most_runs("n="), 1);
    settled(&world, 50);
}

#[test]
fn a_wallet_pays_for_no_more_than_it_holds() {
    let world = World::new();
    let poor = Payer::new(&KEYS[6]);
    world.chain.mint(KEYS[6].address, 10 * PRICE).unwrap();
    let offer = Payer::offer(&world.url("/paid/ok"));
    // Held open, so that all 40 are claimed against the same balance.
    let answers = thread::scope(|scope| {
        let calls = scope.spawn(|| {
            at_once(40, |at| {
                let (header, _) = poor.payment(&offer);
                get(&world.url(&format!("/paid/gate?n={at}.")), &[("payment-signature", &header)])
            })
        });
        until("ten run", || world.origin.runs("n=") == 10);
        until("the others are refused or wait", || calls.is_finished() || world.books().unfinished() == 10);
        world.origin.let_go();
        calls.join().unwrap()
    });
    expect(&answers, &[(200, "", 10), (402, "invalid_exact_evm_insufficient_balance", 30)]);
    world.rest();
    assert_eq!((world.origin.runs("n="), world.chain.balance(KEYS[6].address).unwrap()), (10, 0));
    assert_eq!(world.books().holds("burnt"), 0);
    settled(&world, 10);
}

#[test]
fn the_same_on_circles_own_token() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_fiat_token(&peers::fiat_token(&root()).unwrap()).unwrap();
    let world = World::on(chain, &GateOptions::default());
    let offer = Payer::offer(&world.url("/paid/ok"));

    let answer = world.payer.buy(&world.url("/paid/ok"));
    assert_eq!((answer.status, answer.text().as_str(), &answer.receipt()["success"]), (200, "served", &true.into()));
    world.settled(&answer);
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (PRICE, FUNDS - PRICE));

    let (header, _) = world.payer.payment(&offer);
    let answers =
        at_once(WIDE, |_| get(&world.url("/paid/ok?once"), &[("host", "localhost"), ("payment-signature", &header)]));
    expect(&answers, &[(200, "", 1), (409, "already_served", WIDE - 1)]);
    assert_eq!(world.origin.runs("/paid/ok?once"), 1);

    // The second form of a signature, which the token refuses as well.
    let fields = world.payer.fields(&offer);
    let forged = high_s(&world.payer.sign(Version::V2, &offer, &fields));
    let refused = get(&world.url("/paid/forged"), &[("payment-signature", &forged)]);
    assert_eq!((refused.status, refused.error().as_str()), (402, "invalid_exact_evm_signature"), "{}", refused.text());

    let used = world.payer.fields(&offer);
    let chain_tx = world.chain.send_as(PAYER.address, USDC, &land(&world.payer, &offer, &used)).unwrap();
    assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(true));
    let header = world.payer.sign(Version::V2, &offer, &used);
    let refused = get(&world.url("/paid/used"), &[("payment-signature", &header)]);
    assert_eq!((refused.status, refused.error().as_str()), (402, "invalid_exact_evm_nonce_already_used"));
    assert_eq!(world.origin.runs("/paid/"), 2);

    world.rest();
    assert!(answers.iter().all(|answer| world.settled_before(answer).len() == 66));
    assert_eq!((world.books().holds("posted"), world.books().unfinished()), (2, 0));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (3 * PRICE, i128::try_from(2 * PRICE).unwrap()));
}

/// The other form of the same signature: s is taken from the group order, and v flips.
fn high_s(header: &str) -> String {
    const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
    let mut payment = decode_header(header.as_bytes()).unwrap();
    let mut bytes = hex::decode(payment["payload"]["signature"].as_str().unwrap()).unwrap();
    let s = ORDER - U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    bytes[64] = 55 - bytes[64];
    payment["payload"]["signature"] = hex::encode_prefixed(bytes).into();
    encode_header(&payment)
}
