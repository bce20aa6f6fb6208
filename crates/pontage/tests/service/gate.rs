//! A gate of ours settles through a facilitator of ours, over HTTP: two processes, two journals, one transfer for each payment.

use crate::kit::{GateOptions, Service, TOKEN, World, fresh, get, start_chain, until};
use xtask::chain::ChainOptions;

/// A gate in front of the kit's upstream, with the facilitator and, if asked for, a node of its own.
fn world(rail: &'static str, node: bool) -> (World, Service) {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    let service = Service::start(chain.rpc_url());
    let options = GateOptions {
        facilitator: format!("urls: [\"{}\"], bearer: {{ env: PONTAGE_TEST_TOKEN }}", service.url()),
        on_tab: rail == "tab",
        node,
        ..GateOptions::direct()
    };
    (World::on(chain, &options), service)
}

#[test]
fn the_two_journals_agree_with_the_chain() {
    assert!(TOKEN.len() >= 16);
    for rail in ["direct", "tab"] {
        for node in [true, false] {
            let (world, service) = world(rail, node);
            for count in 1..=3 {
                let answer = world.payer.buy(&world.url("/paid/ok"));
                assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{rail} {node}");
                until("it is settled", || world.chain.transfers_to(crate::kit::PAYEE).unwrap().len() == count);
            }
            world.agree();
            let theirs = service.books();
            until("the facilitator's books are done", || theirs.unfinished() == 0);
            assert_eq!(theirs.posted_chain_txs(), world.books().posted_chain_txs(), "{rail} {node}");
        }
    }
}

/// Killed while a call is being paid for: the gate asks again, and the payment moves once.
#[test]
fn a_facilitator_that_is_killed_in_between() {
    let (world, mut service) = world("direct", true);
    for round in 1..=4 {
        let url = world.url("/paid/ok");
        let answer = std::thread::scope(|scope| {
            let call = scope.spawn(|| world.payer.buy(&url));
            until("it is claimed", || service.books().claims().len() == round);
            service.kill_and_restart_on_same_port();
            call.join().unwrap()
        });
        assert_eq!(answer.status, 200, "the gate asks again: {}", answer.text());
    }
    world.agree();
    let theirs = service.books();
    until("the facilitator's books are done", || theirs.unfinished() == 0);
    let (ours, theirs) = (world.books().posted_chain_txs(), theirs.posted_chain_txs());
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 4);
    assert_eq!(service.settle(&fresh(&world.payer)).json()["success"], true);
    assert_eq!(get(&format!("{}/readyz", service.url()), &[]).status, 200);
}
