//! A stop, as a service manager asks for it: calls and settlements end, and nothing is left half done.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::net::TcpListener;
use std::thread;

use kit::{Gate, GateOptions, PAYEE, PRICE, Payer, Raw, World, get, until};
use xtask::chain::ChainOptions;

/// What went wrong would stand in the log.
fn clean(gate: &Gate) {
    let log = gate.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

#[test]
fn an_idle_gate_stops_at_once_and_starts_again() {
    let mut world = World::new();
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    assert!(world.gate.stop().success());
    clean(&world.gate);
    world.gate.restart();
    world.settled(&world.payer.buy(&world.url("/paid/ok")));
    world.agree();
    assert_eq!((world.paid(), world.books().holds("posted")), (2 * PRICE, 2));
}

#[test]
fn a_call_in_flight_is_served() {
    let mut world = World::new();
    let url = world.url("/paid/gate");
    let (header, _) = world.payer.payment(&Payer::offer(&url));
    let call = thread::spawn(move || get(&url, &[("payment-signature", &header)]));
    until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
    world.gate.ask_to_stop();
    until("it is stopping", || world.gate.log().contains("stopping"));
    world.origin.let_go();
    assert_eq!(call.join().unwrap().status, 200);
    assert!(world.gate.ended().success());
    clean(&world.gate);
    if world.on_tab() {
        // It was served on the tab, which is submitted at the end and not waited for: the next start posts it.
        assert_eq!((world.books().holds("open"), world.books().holds("answered")), (0, 0));
        world.gate.restart();
        world.rest();
    }
    assert_eq!((world.paid(), world.books().unfinished()), (PRICE, 0));
    world.agree();
}

/// Its caller has left, so no connection waits for it: the settlement is still waited for. `direct` alone: nobody waits for the
/// tab, and `tab::batches` has what a stop does with it.
#[test]
fn a_settlement_that_no_connection_owns_is_waited_for() {
    let mut world = World::with(ChainOptions { mining: false, ..ChainOptions::default() }, &GateOptions::direct());
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let caller = Raw::get(world.gate.url(), "/paid/ok", &[("payment-signature", &header)]);
    until("the settlement is on its way", || world.books().holds("submitted") == 1);
    caller.hang_up();
    world.gate.ask_to_stop();
    until("it is stopping", || world.gate.log().contains("stopping"));
    world.chain.mine().unwrap();
    assert!(world.gate.ended().success());
    clean(&world.gate);
    assert_eq!((world.paid(), world.books().holds("posted"), world.books().unfinished()), (PRICE, 1, 0));
}

#[test]
fn an_address_on_which_somebody_listens_is_refused() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [taken.local_addr().unwrap().to_string(), world.gate.url().replace("http://", "")] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("pontage.yaml");
        let text = format!(
            "version: 1\nlisten: {address}\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"{}\" }}\n\
             routes: [{{ path: /, free: true }}]\n",
            world.origin.url()
        );
        std::fs::write(&config, text).unwrap();
        let start = std::process::Command::new(env!("CARGO_BIN_EXE_pontage"))
            .args(["start", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&start.stderr);
        assert!(!start.status.success() && said.contains("cannot be bound"), "{said}");
    }
}

/// What is written to a file that is gone is durable nowhere.
#[test]
fn nothing_paid_is_served_on_a_journal_that_is_gone() {
    let world = World::new();
    // Each worker opens the journal before it answers, and the listener gives each of them some of these.
    for _ in 0..32 {
        assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    }
    let journal = world.gate.journal();
    let kept = journal.with_extension("kept");
    std::fs::rename(&journal, &kept).unwrap();
    let answer = world.payer.buy(&world.url("/paid/ok"));
    assert_eq!((answer.status, answer.error().as_str()), (503, "journal_unavailable"));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (0, 0));
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    std::fs::rename(&kept, &journal).unwrap();
    world.settled(&world.payer.buy(&world.url("/paid/ok")));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (PRICE, 1));
    world.agree();
}
