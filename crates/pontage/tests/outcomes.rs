//! The outcome table: how a run of the upstream ends, and what becomes of the money, in the books and on the chain.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::net::TcpListener;
use std::thread::{self, ScopedJoinHandle};

use alloy_primitives::U256;
use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use rusqlite::Connection;
use xtask::chain::{Anvil, AnvilOptions, KEYS, USDC};

use kit::{
    Answer, FUNDS, Gate, GateOptions, Link, Origin, PAYEE, PAYER, PRICE, Payer, Raw, SETTLER, World, cancel, get, land,
    move_all, request, root, until,
};

/// One signed payment.
struct Paying {
    header: String,
    offer: Offer,
    fields: Fields,
}

impl Paying {
    fn new(world: &World) -> Self {
        Self::until(world, None)
    }

    /// Valid for so many seconds from now.
    fn for_s(world: &World, seconds: u64) -> Self {
        Self::until(world, Some(seconds))
    }

    fn until(world: &World, seconds: Option<u64>) -> Self {
        let offer = Payer::offer(&world.url("/paid/ok"));
        let mut fields = world.payer.fields(&offer);
        if let Some(seconds) = seconds {
            fields.valid_before = fields.valid_before - U256::from(offer.max_timeout_s) + U256::from(seconds);
        }
        let header = world.payer.sign(Version::V2, &offer, &fields);
        Self { header, offer, fields }
    }

    /// Sends it for a path.
    fn get(&self, world: &World, path: &str) -> Answer {
        get(&world.url(path), &[("host", "localhost"), ("payment-signature", &self.header)])
    }

    /// The same with an `Idempotency-Key`.
    fn get_with_key(&self, world: &World, path: &str, key: &str) -> Answer {
        let headers = [("host", "localhost"), ("payment-signature", self.header.as_str()), ("idempotency-key", key)];
        get(&world.url(path), &headers)
    }

    /// Sends it over a connection that can be broken off.
    fn raw(&self, world: &World, path: &str, more: &[(&str, &str)]) -> Raw {
        let mut headers = vec![("payment-signature", self.header.as_str())];
        headers.extend_from_slice(more);
        Raw::get(world.gate.url(), path, &headers)
    }

    /// Sends it in a thread, and returns once the upstream runs.
    fn start<'scope, 'a: 'scope>(
        &'a self,
        scope: &'scope thread::Scope<'scope, 'a>,
        world: &'a World,
        path: &'static str,
    ) -> ScopedJoinHandle<'scope, Answer> {
        let call = scope.spawn(move || self.get(world, path));
        until("the upstream runs", || world.origin.runs(path) > 0);
        call
    }

    fn land(&self, world: &World) -> String {
        land(&world.payer, &self.offer, &self.fields)
    }
}

fn state(state: &str, reason: &str) -> (String, Option<String>) {
    (state.to_owned(), Some(reason.to_owned()))
}

fn money(price_times: u128) -> i128 {
    i128::try_from(PRICE * price_times).expect("fits")
}

/// Nothing moved, and everything has ended.
fn untouched(world: &World) {
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (0, FUNDS));
    assert!(world.chain.transfers_to(PAYEE).unwrap().is_empty());
    assert_eq!((world.books().balance("revenue:"), world.books().balance("refund_due:")), (0, 0));
    world.agree();
}

/// A replay of what was served: the receipt, and nothing else.
fn already_served(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (409, "already_served"), "{}", answer.text());
    assert_eq!((answer.money().as_str(), &answer.receipt()["success"]), ("moved", &true.into()));
    assert!(!answer.headers.contains_key("payment-required"));
}

/// A replay of what moved and is owed back.
fn owed_back(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (409, "answer_lost"), "{}", answer.text());
    assert_eq!((answer.money().as_str(), &answer.receipt()["success"]), ("moved", &true.into()));
    assert!(!answer.headers.contains_key("payment-required"));
}

/// A replay of what was not charged.
fn not_charged(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (409, "not_charged"), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
}

/// Never a 402: the settlement is on its way.
fn pending(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"), "{}", answer.text());
    assert_eq!(answer.money(), "unknown");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.headers.contains_key("payment-required"));
    let receipt = answer.receipt();
    assert_eq!((&receipt["success"], &receipt["errorReason"]), (&false.into(), &"settlement_pending".into()));
}

fn pickup(answer: &Answer) -> String {
    answer.json()["pickup_url"].as_str().expect("a pick-up URL").to_owned()
}

/// A chain on which a test says when a block comes.
fn still() -> AnvilOptions {
    AnvilOptions { mining: false, ..AnvilOptions::default() }
}

#[test]
fn an_upstream_that_refuses_costs_nothing() {
    let world = World::new();
    for status in ["404", "500"] {
        let payment = Paying::new(&world);
        let path = format!("/paid/{status}");
        for run in 1..=2 {
            let answer = payment.get(&world, &path);
            assert_eq!((answer.status, answer.text().as_str()), (status.parse().unwrap(), "not served"));
            assert!(!answer.headers.contains_key("payment-response"), "{:?}", answer.headers);
            assert_eq!(answer.headers["x-origin"], "yes");
            // The claim is let go, so the same payment may run again.
            assert_eq!(world.origin.runs(&path), run);
            assert_eq!(world.books().newest(), state("released", "free_status"));
        }
    }
    untouched(&world);
    let payment = Paying::new(&world);
    assert_eq!(payment.get(&world, "/paid/500?other").status, 500);
    let answer = payment.get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    already_served(&payment.get(&world, "/paid/ok"));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (PRICE, 1));
    world.agree();
}

#[test]
fn an_upstream_without_an_answer_is_not_paid_and_not_run_again() {
    let world = World::with(AnvilOptions::default(), &GateOptions { timeout: "1s", ..GateOptions::default() });
    // So that a pooled connection is there.
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    for (path, status, error) in [
        ("/paid/reset", 502, "bad_gateway"),
        ("/paid/hang", 504, "upstream_timeout"),
        ("/paid/reset?2", 502, "bad_gateway"),
    ] {
        let payment = Paying::new(&world);
        let answer = payment.get(&world, path);
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert_eq!(world.books().newest(), state("burnt", "unanswered"));
        not_charged(&payment.get(&world, path));
        assert_eq!(world.origin.most_runs(path), 1);
    }
    untouched(&world);
}

#[test]
fn an_upstream_that_is_not_there_is_not_paid() {
    let chain = Anvil::start(&root(), &AnvilOptions::default()).unwrap();
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = Gate::start(chain.rpc_url(), &format!("http://{gone}"), &GateOptions::default());
    let world = World { gate, origin: Origin::start(), chain, payer: Payer::new(PAYER) };
    let payment = Paying::new(&world);
    for _ in 0..2 {
        let answer = payment.get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.error().as_str()), (502, "bad_gateway"), "{}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert_eq!(world.books().newest(), state("released", "not_sent"));
    }
    untouched(&world);
}

#[test]
fn an_answer_that_breaks_is_owed_back() {
    let world = World::new();
    for (payment, key) in [(Paying::new(&world), None), (Paying::new(&world), Some(("idempotency-key", "k")))] {
        let paid = world.paid();
        let owed = world.books().balance("refund_due:");
        let answer = payment.raw(&world, "/paid/half", key.as_slice()).read_all();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("payment-response: ") && answer.contains("content-length: 10"), "{answer}");
        // Cut off: the caller must see that something is missing.
        assert!(answer.ends_with("half"), "{answer}");
        until("the charge is owed back", || world.books().balance("refund_due:") == owed + money(1));
        assert_eq!((world.paid(), world.books().newest().0), (paid + PRICE, "posted".to_owned()));
        owed_back(&payment.get_with_key(&world, "/paid/half", "k"));
    }
    assert_eq!((world.books().balance("revenue:"), world.origin.runs("/paid/half")), (0, 2));
    world.agree();
}

#[test]
fn a_caller_who_leaves_before_the_head_is_not_charged() {
    let world = World::new();
    let payment = Paying::new(&world);
    let caller = payment.raw(&world, "/paid/gate", &[]);
    until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
    caller.hang_up();
    until("the hold is burnt", || world.books().newest() == state("burnt", "unanswered"));
    world.origin.let_go();
    not_charged(&payment.get(&world, "/paid/gate"));
    assert_eq!(world.origin.runs("/paid/gate"), 1);
    untouched(&world);
}

#[test]
fn a_caller_who_leaves_before_anything_was_sent_has_lost_nothing() {
    let world = World::new();
    let payment = Paying::new(&world);
    let lock = Connection::open(world.gate.journal()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    payment.raw(&world, "/paid/ok", &[]).hang_up();
    lock.execute_batch("ROLLBACK").unwrap();
    until("the hold is let go", || world.books().unfinished() == 0);
    // He may have left before or after the claim; or the call was sent before his leaving was seen.
    let answer = payment.get(&world, "/paid/ok");
    match world.origin.runs("/paid/ok") {
        1 if answer.status == 200 => assert_eq!(world.paid(), PRICE),
        1 if answer.error() == "already_served" => assert_eq!(world.paid(), PRICE),
        1 => not_charged(&answer),
        runs => panic!("{runs} runs"),
    }
    world.agree();
}

#[test]
fn a_caller_who_leaves_before_the_settlement_ends_is_charged_and_can_have_his_answer() {
    let world = World::with(still(), &GateOptions::default());
    let (keyed, plain) = (Paying::new(&world), Paying::new(&world));
    let text = format!(
        "POST /paid/echo HTTP/1.1\r\nhost: localhost\r\npayment-signature: {}\r\nidempotency-key: one\r\ncontent-length: 5\r\n\r\nhello",
        keyed.header
    );
    let with_key = Raw::send(world.gate.url(), text.as_bytes());
    let without = plain.raw(&world, "/paid/ok", &[]);
    until("both are submitted", || world.books().holds("submitted") == 2);
    with_key.hang_up();
    without.hang_up();
    world.chain.set_automine(true).unwrap();
    until("both are posted", || world.books().holds("posted") == 2);

    let again = |key: &str, body: &[u8]| {
        let headers = [("host", "localhost"), ("payment-signature", keyed.header.as_str()), ("idempotency-key", key)];
        request("POST", &world.url("/paid/echo"), &headers, body)
    };
    until("the answer is stored", || again("one", b"hello").status == 200);
    let answer = again("one", b"hello");
    assert_eq!((answer.text().as_str(), &answer.receipt()["success"]), ("hello", &true.into()));
    assert_eq!(answer.headers["x-origin"], "yes");
    already_served(&again("two", b"hello"));
    let other = again("one", b"other");
    assert_eq!((other.status, other.error().as_str()), (409, "authorization_conflict"), "{}", other.text());
    already_served(&plain.get(&world, "/paid/ok"));
    already_served(&plain.get_with_key(&world, "/paid/ok", "one"));
    assert_eq!((world.origin.runs("/paid/echo"), world.origin.runs("/paid/ok")), (1, 1));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
    world.agree();
}

#[test]
fn a_caller_who_leaves_half_way_is_charged_and_can_have_his_answer() {
    let world = World::new();
    let (keyed, plain) = (Paying::new(&world), Paying::new(&world));
    let mut with_key = keyed.raw(&world, "/paid/slow", &[("idempotency-key", "one")]);
    let mut without = plain.raw(&world, "/paid/slow?2", &[]);
    for caller in [&mut with_key, &mut without] {
        assert!(caller.read_until("first").ends_with("first"));
    }
    with_key.hang_up();
    without.hang_up();
    world.origin.let_go();
    until("the answer is stored", || keyed.get_with_key(&world, "/paid/slow", "one").status == 200);
    let answer = keyed.get_with_key(&world, "/paid/slow", "one");
    assert_eq!((answer.text().as_str(), &answer.receipt()["success"]), ("firstlater", &true.into()));
    already_served(&keyed.get(&world, "/paid/slow"));
    already_served(&plain.get(&world, "/paid/slow?2"));
    assert_eq!(world.origin.most_runs("/paid/slow"), 1);
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
    world.agree();
}

#[test]
fn an_endless_answer_is_not_kept_for_a_caller_who_left() {
    let world = World::new();
    for (payment, key) in [(Paying::new(&world), None), (Paying::new(&world), Some(("idempotency-key", "k")))] {
        let before = world.origin.runs("broken off");
        let mut caller = payment.raw(&world, "/paid/endless", key.as_slice());
        assert!(caller.read_until("xxx").starts_with("HTTP/1.1 200"));
        caller.hang_up();
        // Whatever more comes is worth nothing to anybody: it is more than an answer that is kept may have.
        until("the upstream is broken off", || world.origin.runs("broken off") > before);
        already_served(&payment.get_with_key(&world, "/paid/endless", "k"));
    }
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
    world.agree();
}

/// What a payer does to his authorization while the upstream runs, and how the call ends then.
fn during_the_run(sender: &str, data: impl Fn(&World, &Paying) -> String) -> (World, Answer, Answer) {
    let world = World::new();
    let payment = Paying::new(&world);
    let (answer, again) = thread::scope(|scope| {
        let call = payment.start(scope, &world, "/paid/gate");
        let chain_tx = world.chain.send_as(sender, USDC, &data(&world, &payment)).unwrap();
        assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(true));
        world.origin.let_go();
        (call.join().unwrap(), payment.get(&world, "/paid/gate"))
    });
    assert_eq!(world.origin.runs("/paid/gate"), 1);
    (world, answer, again)
}

fn refused_after_the_run(answer: &Answer, reason: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (402, reason), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
    assert!(!answer.text().contains("served"), "the body is not released: {}", answer.text());
    assert!(answer.headers.contains_key("payment-required"));
    let receipt = answer.receipt();
    assert_eq!((&receipt["success"], &receipt["errorReason"]), (&false.into(), &reason.into()));
}

#[test]
fn a_payer_who_empties_his_wallet_during_the_run_gets_nothing() {
    let (world, answer, again) = during_the_run(PAYER.address, |_, _| move_all(FUNDS));
    refused_after_the_run(&answer, "invalid_exact_evm_insufficient_balance");
    not_charged(&again);
    assert_eq!(world.books().newest(), state("burnt", "settlement_refused"));
    assert_eq!(world.paid(), 0);
    world.agree();
}

#[test]
fn a_payer_who_cancels_during_the_run_gets_nothing() {
    let data = |world: &World, payment: &Paying| cancel(&world.payer, &payment.offer, &payment.fields);
    let (world, answer, again) = during_the_run(PAYER.address, data);
    refused_after_the_run(&answer, "invalid_exact_evm_nonce_already_used");
    not_charged(&again);
    assert_eq!(world.books().newest(), state("burnt", "settlement_refused"));
    untouched(&world);
}

#[test]
fn a_payer_who_lands_it_during_the_run_has_paid() {
    let (world, answer, again) = during_the_run(PAYER.address, |world, payment| payment.land(world));
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    already_served(&again);
    let transfers = world.chain.transfers_to(PAYEE).unwrap();
    assert_eq!(transfers.len(), 1);
    assert_eq!(answer.receipt()["transaction"], transfers[0].chain_tx.as_str());
    assert_eq!(world.books().balance("revenue:"), money(1));
    world.agree();
}

#[test]
fn an_authorization_that_a_stranger_lands_during_the_run_is_in_suspense() {
    let (world, answer, again) = during_the_run(KEYS[5].address, |world, payment| payment.land(world));
    // Whose books it belongs in is for a person to say: not served free, not charged twice, never told to pay again.
    pending(&answer);
    pending(&again);
    assert_eq!((world.paid(), world.chain.transfers_to(PAYEE).unwrap().len()), (PRICE, 1));
    assert_eq!(world.books().balance("revenue:"), 0);
    world.chain.increase_time(120).unwrap();
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("the money is in the books", || world.books().balance("suspense:") == money(1));
    assert_eq!(world.books().newest(), state("burnt", "foreign_transfer"));
    world.agree();
}

#[test]
fn an_authorization_that_its_payer_lands_before_or_after_the_call() {
    let world = World::new();
    let before = Paying::new(&world);
    world.chain.send_as(PAYER.address, USDC, &before.land(&world)).unwrap();
    let answer = before.get(&world, "/paid/before");
    let reason = "invalid_exact_evm_nonce_already_used";
    assert_eq!((answer.status, answer.error().as_str()), (402, reason), "{}", answer.text());
    assert_eq!((world.origin.runs("/paid/before"), world.paid()), (0, PRICE));

    let after = Paying::new(&world);
    assert_eq!(after.get(&world, "/paid/after").status, 200);
    let chain_tx = world.chain.send_as(PAYER.address, USDC, &after.land(&world)).unwrap();
    assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(false));
    already_served(&after.get(&world, "/paid/after"));
    assert_eq!((world.origin.runs("/paid/after"), world.paid()), (1, 2 * PRICE));
    assert_eq!(world.books().balance("revenue:"), money(1));
}

#[test]
fn an_authorization_that_its_payer_lands_after_a_free_answer_is_in_suspense_once() {
    let world = World::new();
    let payments = [Paying::for_s(&world, 30), Paying::for_s(&world, 85)];
    for payment in &payments {
        // Claimed and let go twice: money that comes later belongs to one of the two.
        for _ in 0..2 {
            assert_eq!(payment.get(&world, "/paid/500").status, 500);
        }
        world.chain.send_as(PAYER.address, USDC, &payment.land(&world)).unwrap();
        let answer = payment.get(&world, "/paid/500");
        assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_nonce_already_used"));
    }
    assert_eq!(world.books().balance("suspense:"), 0);
    // The second comes in a later round of the reconciler, which must not find the first one again.
    for (seconds, found) in [(40, 1), (60, 2)] {
        world.chain.increase_time(seconds).unwrap();
        for _ in 0..13 {
            world.chain.mine().unwrap();
        }
        until("the money is in suspense", || world.books().balance("suspense:") >= money(found));
        assert_eq!(world.books().balance("suspense:"), money(found));
    }
    assert_eq!((world.origin.runs("/paid/500"), world.paid()), (4, 2 * PRICE));
    world.agree();
}

#[test]
fn a_settlement_that_is_not_confirmed_in_time_is_pending_and_resolves_by_itself() {
    let world = World::with(still(), &GateOptions::default());
    let (payment, keyed) = (Paying::new(&world), Paying::new(&world));
    let (large, broken) = (Paying::new(&world), Paying::new(&world));
    let (answer, with_key, large_answer, broken_answer) = thread::scope(|scope| {
        let calls = [
            scope.spawn(|| payment.get(&world, "/paid/ok")),
            scope.spawn(|| keyed.get_with_key(&world, "/paid/ok?key", "one")),
            scope.spawn(|| large.get(&world, "/paid/big")),
            scope.spawn(|| broken.get(&world, "/paid/half")),
        ];
        calls.map(|call| call.join().unwrap()).into()
    });
    for answer in [&answer, &with_key, &large_answer, &broken_answer] {
        pending(answer);
        assert!(answer.json()["transaction"].as_str().is_some_and(|hash| hash.len() == 66), "{}", answer.text());
    }
    until("what can be kept is kept", || {
        let answers: Vec<_> = world.books().claims().into_iter().map(|claim| claim.answer).collect();
        answers.iter().filter(|answer| *answer == "kept").count() == 2
            && answers.iter().filter(|answer| *answer == "lost").count() == 2
    });
    // A retry is never told to pay again, and nothing is given out that is not paid.
    pending(&payment.get(&world, "/paid/ok"));
    pending(&keyed.get_with_key(&world, "/paid/ok?key", "one"));
    pending(&large.get(&world, "/paid/big"));
    let picked = |answer: &Answer| get(&world.url(&pickup(answer)), &[]);
    pending(&picked(&answer));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (0, 0));

    world.chain.set_automine(true).unwrap();
    until("the reconciler posts all", || world.books().holds("posted") == 4);
    let body = picked(&answer);
    assert_eq!((body.status, body.text().as_str()), (200, "served"));
    assert_eq!((&body.receipt()["success"], &body.receipt()["amount"]), (&true.into(), &PRICE.to_string().into()));
    already_served(&payment.get(&world, "/paid/ok"));
    let body = keyed.get_with_key(&world, "/paid/ok?key", "one");
    assert_eq!((body.status, body.text().as_str()), (200, "served"));
    for lost in [&large_answer, &broken_answer] {
        let gone = picked(lost);
        assert_eq!((gone.status, gone.error().as_str(), gone.money().as_str()), (410, "answer_lost", "moved"));
        assert_eq!(gone.receipt()["success"], true);
    }
    assert_eq!((world.books().balance("revenue:"), world.books().balance("refund_due:")), (money(2), money(2)));
    assert_eq!((world.origin.runs("/paid/"), world.origin.most_runs("/paid/")), (4, 1));
    assert_eq!(world.chain.transfers_to(PAYEE).unwrap().len(), 4);
    world.agree();
}

#[test]
fn a_pending_settlement_survives_a_kill() {
    let mut world = World::with(still(), &GateOptions::default());
    let (kept, lost) = (Paying::new(&world), Paying::new(&world));
    let answer = kept.get(&world, "/paid/ok");
    pending(&answer);
    until("the answer is kept", || world.books().claims()[0].answer == "kept");
    // This one's answer is with its caller when the process dies.
    let mut caller = lost.raw(&world, "/paid/ok?lost", &[]);
    until("both are submitted", || world.books().holds("submitted") == 2);
    world.gate.kill();
    assert_eq!(caller.read_all(), "");
    world.gate.restart();
    let picked = |world: &World| get(&world.url(&pickup(&answer)), &[]);
    pending(&picked(&world));
    pending(&kept.get(&world, "/paid/ok"));
    pending(&lost.get(&world, "/paid/ok?lost"));

    world.chain.set_automine(true).unwrap();
    until("both are posted", || world.books().holds("posted") == 2);
    let body = picked(&world);
    assert_eq!((body.status, body.text().as_str(), &body.receipt()["success"]), (200, "served", &true.into()));
    already_served(&kept.get(&world, "/paid/ok"));
    owed_back(&lost.get(&world, "/paid/ok?lost"));
    assert_eq!((world.books().balance("revenue:"), world.books().balance("refund_due:")), (money(1), money(1)));
    assert_eq!((world.origin.runs("/paid/ok"), world.origin.most_runs("/paid/ok")), (2, 1));
    world.agree();
}

#[test]
fn a_chain_tx_that_the_node_forgets_is_sent_again_and_one_that_comes_too_late_moves_nothing() {
    let world = World::with(still(), &GateOptions::default());
    let (good, late) = (Paying::for_s(&world, 85), Paying::for_s(&world, 25));
    let (answer, late_answer) = thread::scope(|scope| {
        let call = scope.spawn(|| good.get(&world, "/paid/ok"));
        let late = scope.spawn(|| late.get(&world, "/paid/ok?late"));
        (call.join().unwrap(), late.join().unwrap())
    });
    pending(&answer);
    pending(&late_answer);
    let chain_tx = answer.json()["transaction"].clone();
    world.chain.rpc("anvil_dropTransaction", serde_json::json!([chain_tx])).unwrap();
    let known = || !world.chain.rpc("eth_getTransactionByHash", serde_json::json!([chain_tx])).unwrap().is_null();
    until("the same bytes are sent again", known);
    world.chain.increase_time(35).unwrap();
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("both have ended", || world.books().unfinished() == 0);
    assert_eq!(get(&world.url(&pickup(&answer)), &[]).status, 200);
    let gone = get(&world.url(&pickup(&late_answer)), &[]);
    assert_eq!((gone.status, gone.error().as_str(), gone.money().as_str()), (410, "not_charged", "untouched"));
    not_charged(&late.get(&world, "/paid/ok?late"));
    let claims = world.books().claims();
    let burnt: Vec<_> = claims.iter().filter(|claim| claim.state == "burnt").collect();
    assert_eq!(burnt.len(), 1);
    assert_eq!(burnt[0].reason.as_deref(), Some("settlement_refused"));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (PRICE, money(1)));
    world.agree();
}

#[test]
fn a_settlement_that_never_lands_is_let_go_when_it_is_final() {
    let world = World::new();
    // Without gas no node takes the settlement.
    world.chain.set_native_balance(SETTLER.address, 0).unwrap();
    let payment = Paying::for_s(&world, 25);
    let answer = payment.get(&world, "/paid/ok");
    pending(&answer);
    world.chain.increase_time(40).unwrap();
    world.chain.mine().unwrap();
    // Expired, but not final: it stays as it is.
    pending(&payment.get(&world, "/paid/ok"));
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("it is let go", || world.books().newest() == state("released", "expired"));
    let again = payment.get(&world, "/paid/ok");
    assert_eq!((again.status, again.error().as_str(), again.money().as_str()), (409, "expired", "untouched"));
    let gone = get(&world.url(&pickup(&answer)), &[]);
    assert_eq!((gone.status, gone.error().as_str()), (410, "not_charged"));
    untouched(&world);
    // The lane goes on once there is gas: the old chain_tx reverts and frees its sequence.
    world.chain.set_native_balance(SETTLER.address, 1_000_000_000_000_000_000).unwrap();
    let next = Paying::for_s(&world, 88);
    assert_eq!(next.get(&world, "/paid/ok?next").status, 200);
    assert_eq!((world.paid(), world.origin.runs("/paid/")), (PRICE, 2));
    world.agree();
}

#[test]
fn nothing_paid_is_served_without_the_journal() {
    let world = World::new();
    let (payment, other) = (Paying::new(&world), Paying::new(&world));
    let lock = Connection::open(world.gate.journal()).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for payment in [&payment, &other] {
        let answer = payment.get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.error().as_str()), (503, "journal_unavailable"), "{}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.headers.contains_key("payment-required"));
    }
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (0, 0));
    lock.execute_batch("ROLLBACK").unwrap();
    for payment in [&payment, &other] {
        let answer = payment.get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
    }
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (2, 2 * PRICE));
    world.agree();
}

#[test]
fn a_journal_that_fails_during_the_run_leaves_nothing_half_done() {
    let world = World::new();
    let (served, failed) = (Paying::new(&world), Paying::new(&world));
    let lock = Connection::open(world.gate.journal()).unwrap();
    let (first, second) = thread::scope(|scope| {
        let first = served.start(scope, &world, "/paid/gate?1");
        let second = failed.start(scope, &world, "/paid/gate?2");
        lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
        world.origin.let_go();
        (first.join().unwrap(), second.join().unwrap())
    });
    for answer in [&first, &second] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.text().contains("served"));
    }
    assert_eq!(world.paid(), 0);
    lock.execute_batch("ROLLBACK").unwrap();
    until("both holds end", || world.books().unfinished() == 0);
    for payment in [&served, &failed] {
        let path = if std::ptr::eq(payment, &served) { "/paid/gate?1" } else { "/paid/gate?2" };
        let again = payment.get(&world, path);
        assert_eq!(again.status, 409, "{}", again.text());
    }
    assert_eq!(world.origin.most_runs("/paid/gate"), 1);
    world.agree();
}

#[test]
fn a_journal_that_fails_after_the_money_moved_owes_it_back() {
    let world = World::with(still(), &GateOptions::default());
    let payment = Paying::new(&world);
    let lock = Connection::open(world.gate.journal()).unwrap();
    let answer = thread::scope(|scope| {
        let call = scope.spawn(|| payment.get(&world, "/paid/ok"));
        until("it is submitted", || world.books().holds("submitted") == 1);
        lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
        world.chain.set_automine(true).unwrap();
        call.join().unwrap()
    });
    assert_eq!((answer.status, answer.error().as_str()), (503, "journal_unavailable"), "{}", answer.text());
    assert_eq!(answer.money(), "moved");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
    lock.execute_batch("ROLLBACK").unwrap();
    until("it is owed back", || world.books().balance("refund_due:") == money(1));
    owed_back(&payment.get(&world, "/paid/ok"));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (PRICE, 1));
    world.agree();
}

#[test]
fn a_chain_node_that_is_away_is_a_fault_and_never_a_402() {
    let chain = Anvil::start(&root(), &AnvilOptions::default()).unwrap();
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let (link, origin) = (Link::to(chain.rpc_url()), Origin::start());
    let gate = Gate::start(link.url(), &origin.url(), &GateOptions::default());
    let world = World { gate, origin, chain, payer: Payer::new(PAYER) };
    let (payment, running) = (Paying::new(&world), Paying::new(&world));

    link.cut();
    let answer = payment.get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.error().as_str()), (503, "chain_unavailable"), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!(world.origin.runs("/paid/ok"), 0);
    link.mend();
    assert_eq!(payment.get(&world, "/paid/ok").status, 200);

    // Away from the head to the end of the budget: what was signed is sent when the node is back.
    let answer = thread::scope(|scope| {
        let call = running.start(scope, &world, "/paid/gate");
        link.cut();
        world.origin.let_go();
        call.join().unwrap()
    });
    pending(&answer);
    pending(&running.get(&world, "/paid/gate"));
    already_served(&payment.get(&world, "/paid/ok"));
    link.mend();
    until("it is posted", || world.books().holds("posted") == 2);
    assert_eq!(get(&world.url(&pickup(&answer)), &[]).text(), "served");
    already_served(&running.get(&world, "/paid/gate"));
    assert_eq!((world.paid(), world.origin.runs("/paid/gate")), (2 * PRICE, 1));
    world.agree();
}
