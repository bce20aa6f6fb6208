//! What leads to the points. Each sets the stage, has the process die in the middle of it, and leaves the judgement to the stage.

use std::thread;

use serde_json::json;
use xtask::chain::{ChainOptions, USDC};

use super::kit::{
    Act as Does, Answer, FUNDS, Facilitator, GateOptions, PAYER, PRICE, REFUNDER, Raw, SETTLER, get, land, move_all,
    request, try_request, until,
};
use super::run;
use super::stage::{Stage, chain, chain_with, options, plain};

const WALLET: u128 = 1_000_000;

/// A call that is sent to a gate which dies in it.
fn called(options: &GateOptions, path: &str, point: &str) {
    let mut stage = Stage::new(options);
    stage.sign(path);
    stage.restart_to_die(point);
    stage.send();
    stage.died(point);
    stage.judge();
}

pub(crate) fn direct(point: &str) {
    called(&plain(), "/paid/ok", point);
}

/// Two, which go in one chain_tx.
pub(crate) fn tab(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.sign("/tab/ok?1.");
    stage.sign("/tab/ok?2.");
    stage.restart_to_die(point);
    stage.send();
    stage.died(point);
    stage.judge();
}

/// Whose answer goes on after its head.
pub(crate) fn streamed(point: &str) {
    called(&plain(), "/tab/slow", point);
}

pub(crate) fn free_status(point: &str) {
    called(&plain(), "/paid/404", point);
}

pub(crate) fn unanswered(point: &str) {
    called(&plain(), "/paid/reset", point);
}

/// Whose wallet is emptied while the API runs.
pub(crate) fn emptied(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.sign("/paid/gate");
    stage.restart_to_die(point);
    thread::scope(|scope| {
        let (call, world) = (&stage.calls[0], &stage.world);
        scope.spawn(|| call.send(world));
        until("the API runs", || world.origin.runs("/paid/gate") == 1);
        world.chain.send_as(PAYER.address, USDC, &move_all(FUNDS)).unwrap();
        world.origin.let_go();
    });
    stage.died(point);
    stage.judge();
}

/// Whose wallet is emptied after he was served.
pub(crate) fn emptied_on_tab(point: &str) {
    let mut stage = Stage::new(&options("settle_age_s: 4", ""));
    stage.served("/tab/ok");
    stage.world.chain.send_as(PAYER.address, USDC, &move_all(FUNDS)).unwrap();
    stage.restart_to_die(point);
    stage.died(point);
    stage.judge();
}

/// Which its payer may ask for again.
pub(crate) fn kept(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.sign_keyed("/paid/ok");
    stage.restart_to_die(point);
    stage.send();
    stage.died(point);
    stage.judge();
}

pub(crate) fn first(point: &str) {
    called(&plain(), "/first/ok", point);
}

/// Whose answer is broken off by the API after the charge.
pub(crate) fn broken(point: &str) {
    called(&plain(), "/paid/half", point);
}

/// Whose proxy reports that it was not served.
pub(crate) fn taken_back(point: &str) {
    let mut stage = Stage::new(&GateOptions { arguments: &["--sidecar"], ..options("settle_age_s: 600", "") });
    stage.sign("/__pay/check/tab/ok");
    stage.restart_to_die(point);
    let checked = stage.calls[0].send(&stage.world).unwrap();
    assert_eq!(checked.status, 200, "{}", checked.text());
    let report = json!({ "hold": checked.headers["x-pay-hold"], "status": 502 }).to_string();
    let url = stage.world.url("/__pay/outcome");
    assert!(try_request("POST", &url, &[], report.as_bytes()).is_err());
    stage.world.gate.died(point);
    stage.world.gate.restart();
    // The proxy reports it again.
    let again = request("POST", &stage.world.url("/__pay/outcome"), &[], report.as_bytes());
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(stage.world.books().newest(), ("burnt".to_owned(), Some("broken".to_owned())));
    assert_eq!(stage.world.paid(), 0);
}

/// Two that run when the process before dies: one has no answer, one the half of it.
pub(crate) fn interrupted(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.sign("/paid/gate");
    stage.sign("/tab/slow");
    let send = |at: usize| {
        let call = &stage.calls[at];
        Raw::get(stage.world.gate.url(), &call.path, &[("payment-signature", call.header.as_str())])
    };
    let (_running, mut begun) = (send(0), send(1));
    assert!(begun.read_until("first").ends_with("first"));
    until("both run", || stage.world.origin.runs("/paid/gate") == 1);
    stage.restart_to_die(point);
    stage.died(point);
    stage.judge();
}

/// On the tab and on its way when the process before died.
fn submitted(options: &GateOptions) -> Stage {
    let mut stage = Stage::new(options);
    stage.world.chain.set_automine(false).unwrap();
    stage.served("/tab/ok");
    until("it is submitted", || stage.state() == "submitted");
    stage
}

pub(crate) fn on_its_way(point: &str) {
    let mut stage = submitted(&plain());
    stage.world.gate.kill();
    stage.world.gate.restart_to_die(point);
    stage.world.chain.set_automine(true).unwrap();
    stage.world.chain.mine().unwrap();
    stage.died(point);
    stage.judge();
}

/// Whose chain_tx nobody takes until it is worth nothing.
pub(crate) fn expired(point: &str) {
    let mut stage = Stage::on(chain_with(&ChainOptions { mining: false, ..ChainOptions::default() }), &plain());
    stage.served("/tab/ok");
    until("it is submitted", || stage.state() == "submitted");
    stage.world.gate.kill();
    let coin = stage.world.chain.native_balance(SETTLER.address).unwrap();
    stage.world.chain.set_native_balance(SETTLER.address, 0).unwrap();
    stage.world.chain.increase_time(4_000).unwrap();
    stage.bury();
    stage.world.gate.restart_to_die(point);
    stage.died(point);
    until("it has ended", || stage.world.books().unfinished() == 0);
    // The lane lands what it has signed, which moves nothing any more.
    stage.world.chain.set_native_balance(SETTLER.address, coin).unwrap();
    stage.world.chain.set_automine(true).unwrap();
    stage.judge();
}

/// Whose chain_tx is stuck below the base fee, and outbid.
pub(crate) fn outbid(point: &str) {
    let mut stage = submitted(&plain());
    stage.restart_to_die(point);
    stage.world.chain.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).unwrap();
    stage.world.chain.mine().unwrap();
    stage.world.gate.died(point);
    stage.world.chain.set_automine(true).unwrap();
    stage.world.gate.restart();
    stage.judge();
}

/// Whose validity ends while its chain_tx is stuck: the lane gives the sequence up with one that moves nothing.
pub(crate) fn nothing_left_to_move(point: &str) {
    let mut stage = submitted(&plain());
    let chain = &stage.world.chain;
    stage.world.gate.kill();
    chain.increase_time(4_000).unwrap();
    chain.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).unwrap();
    chain.mine().unwrap();
    stage.world.gate.restart_to_die(point);
    stage.world.gate.died(point);
    stage.world.chain.set_automine(true).unwrap();
    stage.world.gate.restart();
    until("its sequence is given up", || {
        let nothing = "SELECT count(*) FROM chain_txs WHERE fate = 'mined' AND hash NOT IN (SELECT chain_tx FROM bids)";
        run::count(&stage.world.gate, nothing) == 1
    });
    stage.bury();
    stage.judge();
}

/// Which a reorg takes out.
pub(crate) fn out_of_the_chain(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.served("/paid/ok");
    stage.gas_is_booked();
    stage.world.gate.kill();
    stage.world.chain.set_automine(false).unwrap();
    stage.world.chain.rpc("anvil_reorg", json!([1, []])).unwrap();
    assert_eq!(stage.world.paid(), 0, "it is out");
    stage.world.gate.restart_to_die(point);
    stage.died(point);
    until("it is back", || {
        stage.world.chain.mine().unwrap();
        stage.world.paid() == PRICE && stage.world.books().holds("posted") == 1
    });
    stage.world.chain.set_automine(true).unwrap();
    stage.judge();
}

/// Whose block has become final.
pub(crate) fn deep(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.served("/paid/ok");
    stage.gas_is_booked();
    stage.world.gate.kill();
    stage.bury();
    stage.world.gate.restart_to_die(point);
    stage.died(point);
    stage.judge();
}

/// Which was free, and which the payer lands all the same.
pub(crate) fn long_after(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.served("/paid/404");
    let call = &stage.calls[0];
    let data = land(&stage.world.payer, &call.offer, &call.fields);
    stage.world.chain.send_as(PAYER.address, USDC, &data).unwrap();
    stage.world.gate.kill();
    stage.world.chain.increase_time(4_000).unwrap();
    stage.bury();
    stage.world.gate.restart_to_die(point);
    stage.died(point);
    until("it is booked", || stage.world.books().claims()[0].late);
    stage.judge();
}

/// What is done at each start, with something in the books.
pub(crate) fn books(point: &str) {
    let mut stage = Stage::new(&plain());
    stage.served("/paid/ok");
    stage.restart_to_die(point);
    stage.died(point);
    stage.judge();
}

/// Told to stop with a payment on the tab.
pub(crate) fn stopped(point: &str) {
    let mut stage = Stage::new(&options("settle_age_s: 600", ""));
    stage.sign("/tab/ok");
    stage.restart_to_die(point);
    stage.send();
    until("it is held", || stage.state() == "answered");
    stage.world.gate.ask_to_stop();
    stage.world.gate.died(point);
    stage.world.gate.rewrite("settle_age_s: 600", "settle_age_s: 1");
    stage.world.gate.restart();
    stage.judge();
}

fn others(facilitator: &Facilitator) -> GateOptions {
    let facilitator = format!("urls: [\"{}\"], verify_timeout_ms: 1000, settle_timeout_ms: 1000", facilitator.url());
    GateOptions { facilitator, ..GateOptions::direct() }
}

/// Which a facilitator of others settles, that does so at first.
fn by_others(point: &str, does: Does) {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let mut stage = Stage::on(chain, &others(&facilitator));
    stage.sign("/paid/ok");
    stage.restart_to_die(point);
    facilitator.at_settle(does);
    stage.send();
    stage.world.gate.died(point);
    facilitator.at_settle(Does::Well);
    stage.world.gate.restart();
    until("it is settled", || stage.world.books().holds("submitted") == 0);
    let told = stage.calls[0].answer.as_ref().map(Answer::json).unwrap_or_default();
    if let Some(pickup) = told["pickup_url"].as_str() {
        let picked = get(&stage.world.url(pickup), &[]);
        let kept = stage.world.books().claims()[0].answer == "kept";
        assert_eq!(picked.status, if kept { 200 } else { 410 }, "{}", picked.text());
    }
    stage.judge();
}

pub(crate) fn handed(point: &str) {
    by_others(point, Does::Well);
}

/// Whose settlement is not known in time.
pub(crate) fn pending(point: &str) {
    by_others(point, Does::Hang);
}

/// Which a facilitator of others had and had not answered when the process before died.
pub(crate) fn handed_before(point: &str) {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let mut stage = Stage::on(chain, &others(&facilitator));
    stage.sign("/paid/ok");
    facilitator.at_settle(Does::Hang);
    stage.send();
    assert_eq!(stage.calls[0].answer.as_ref().map(Answer::error).as_deref(), Some("settlement_pending"));
    if point.ends_with("expire") {
        stage.world.chain.increase_time(4_000).unwrap();
        stage.bury();
    } else {
        facilitator.at_settle(Does::Well);
    }
    stage.restart_to_die(point);
    stage.died(point);
    stage.judge();
}

/// A payment that is final, and a refund of it is asked for.
fn to_refund(options: &GateOptions, wallet: u128) -> Stage {
    let mut stage = Stage::new(options);
    if wallet > 0 {
        stage.world.chain.mint(REFUNDER.address, wallet).unwrap();
    }
    stage.served("/paid/ok");
    stage.gas_is_booked();
    stage.bury();
    stage
}

pub(crate) fn refunded(point: &str) {
    let mut stage = to_refund(&plain(), WALLET);
    let payment = stage.payment();
    stage.restart_to_die(point);
    let lost = run::Ran::of(run::start_refund(&stage.world.gate, &[&payment]));
    stage.died(point);
    eprintln!("{lost}");
    let again = run::refund(&stage.world.gate, &[&payment]);
    assert!(again.code == 0 && again.out.starts_with("refunded: 0.010000 USDC"), "{again}");
    assert_eq!(stage.given_back(), [PRICE], "it moved once");
    stage.judge();
}

pub(crate) fn wallet_empty(point: &str) {
    let mut stage = to_refund(&plain(), 0);
    let payment = stage.payment();
    stage.restart_to_die(point);
    run::Ran::of(run::start_refund(&stage.world.gate, &[&payment]));
    stage.died(point);
    stage.world.chain.mint(REFUNDER.address, WALLET).unwrap();
    let again = run::refund(&stage.world.gate, &[&payment]);
    assert!(again.code == 0 && again.out.starts_with("refunded: 0.010000 USDC"), "{again}");
    assert_eq!(stage.given_back(), [PRICE], "it moved once");
    stage.judge();
}

pub(crate) fn refund_out_of_the_chain(point: &str) {
    let mut stage = to_refund(&plain(), WALLET);
    let payment = stage.payment();
    assert_eq!(run::refund(&stage.world.gate, &[&payment]).code, 0);
    stage.gas_is_booked();
    stage.world.gate.kill();
    stage.world.chain.set_automine(false).unwrap();
    stage.world.chain.rpc("anvil_reorg", json!([1, []])).unwrap();
    assert!(stage.given_back().is_empty(), "it is out");
    stage.world.gate.restart_to_die(point);
    stage.died(point);
    until("it is back", || {
        stage.world.chain.mine().unwrap();
        stage.given_back() == [PRICE]
            && run::count(&stage.world.gate, "SELECT count(*) FROM refunds WHERE state = 'refunded'") == 1
    });
    stage.world.chain.set_automine(true).unwrap();
    stage.judge();
}

pub(crate) fn refunded_by_hand(point: &str) {
    let mut stage = to_refund(&options("settle_age_s: 1", ""), WALLET);
    let payment = stage.payment();
    let printed = run::refund(&stage.world.gate, &[&payment, "--unsigned", "--json"]).json();
    let data = printed["refunds"][0]["unsigned"]["data"].as_str().unwrap();
    let hash = stage.world.chain.send_as(REFUNDER.address, USDC, data).unwrap();
    stage.restart_to_die(point);
    run::Ran::of(run::start_refund(&stage.world.gate, &[&payment, "--settled-by", &hash]));
    stage.died(point);
    let linked = run::refund(&stage.world.gate, &[&payment, "--settled-by", &hash]);
    assert!(linked.code == 0 && linked.out.contains(&format!("in {hash}")), "{linked}");
    assert_eq!(stage.given_back(), [PRICE]);
    stage.judge();
}
