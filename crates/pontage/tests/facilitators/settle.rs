//! What goes wrong once a call was run.

use super::*;

/// Nothing moves while it lasts.
const UNMOVED: [Act; 11] = [
    Act::Status(500),
    Act::Status(503),
    Act::Status(429),
    Act::Garbage,
    Act::Empty,
    Act::Huge,
    Act::Reset,
    Act::Hang,
    Act::Hashless,
    Act::Refuse("unexpected_settle_error"),
    Act::Refuse("invalid_exact_evm_nonce_already_used"),
];
/// The money moves, and the answer does not say so.
const MOVED: [Act; 4] = [Act::Lost, Act::LostHang, Act::Lost500, Act::Pending];

#[test]
fn a_fault_at_settle_is_never_a_402_nor_a_second_charge() {
    for node in [true, false] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let world = world(chain, &[facilitator.url()], node);
        for (at, fault) in UNMOVED.into_iter().enumerate() {
            let (header, path) = (payment(&world), format!("/paid/ok?{at}"));
            facilitator.at_settle(fault);
            let answer = pay(&world, &header, &path);
            pending(&answer);
            pending(&pay(&world, &header, &path));
            assert_eq!((world.origin.runs(&path), world.books().holds("submitted")), (1, 1), "{fault:?}");
            facilitator.at_settle(Act::Well);
            picked_up(&world, &header, &path, &answer);
            assert_eq!((world.origin.runs(&path), world.paid()), (1, PRICE * (at as u128 + 1)), "{fault:?}");
        }
        world.agree();
    }
}

#[test]
fn an_answer_that_is_lost_after_the_money_moved_is_found_on_the_chain() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let world = world(chain, &[facilitator.url()], true);
    for (at, fault) in MOVED.into_iter().enumerate() {
        let (header, path) = (payment(&world), format!("/paid/ok?{at}"));
        facilitator.at_settle(fault);
        served(&world, &pay(&world, &header, &path));
        already_served(&world, &header, &path);
        assert_eq!((world.origin.runs(&path), world.paid()), (1, PRICE * (at as u128 + 1)), "{fault:?}");
    }
    world.agree();
}

#[test]
fn without_a_node_it_is_found_by_asking_again() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let world = world(chain, &[facilitator.url()], false);
    for (at, fault) in MOVED.into_iter().enumerate() {
        let (header, path) = (payment(&world), format!("/paid/ok?{at}"));
        facilitator.at_settle(fault);
        let answer = pay(&world, &header, &path);
        pending(&answer);
        assert_eq!(world.paid(), PRICE * (at as u128 + 1), "{fault:?}");
        facilitator.at_settle(Act::Well);
        picked_up(&world, &header, &path, &answer);
        assert_eq!((world.origin.runs(&path), world.paid()), (1, PRICE * (at as u128 + 1)), "{fault:?}");
    }
    // The same words each time, so that a facilitator knows them again.
    let mut bodies: Vec<_> = facilitator.requests("/settle").into_iter().map(|(_, body)| body.to_string()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), MOVED.len());
    world.agree();
}

#[test]
fn a_made_up_hash_is_never_settled() {
    for lie in [Act::MadeUp, Act::NeverMined] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let world = world(chain, &[facilitator.url()], true);
        let header = payment(&world);
        facilitator.at_settle(lie);
        let answer = pay(&world, &header, "/paid/ok");
        pending(&answer);
        let asked = facilitator.asked("/settle");
        until("it is asked again", || facilitator.asked("/settle") > asked + 1);
        assert_eq!((world.books().holds("posted"), world.books().holds("submitted"), world.paid()), (0, 1, 0));
        facilitator.at_settle(Act::Well);
        picked_up(&world, &header, "/paid/ok", &answer);
        assert_eq!(world.paid(), PRICE);
        world.agree();
    }
}

#[test]
fn a_payer_who_empties_his_wallet_is_refused_after_the_run() {
    for node in [true, false] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let world = world(chain, &[facilitator.url()], node);
        let header = payment(&world);
        facilitator.at_settle(Act::Refuse("insufficient_funds"));
        let answer = std::thread::scope(|scope| {
            let call = scope.spawn(|| pay(&world, &header, "/paid/gate"));
            until("the upstream runs", || world.origin.runs("/paid/gate") > 0);
            world.chain.send_as(PAYER.address, USDC, &move_all(FUNDS)).unwrap();
            world.origin.let_go();
            call.join().unwrap()
        });
        assert_eq!((answer.status, answer.money().as_str()), (402, "untouched"), "{}", answer.text());
        assert_eq!(answer.error(), "invalid_exact_evm_insufficient_balance");
        assert_eq!(world.books().newest(), ("burnt".to_owned(), Some("settlement_refused".to_owned())));
        assert_eq!((facilitator.asked("/settle"), world.paid()), (1, 0));
        world.agree();
    }
}

#[test]
fn a_refusal_that_the_chain_does_not_share_is_not_taken() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let world = world(chain, &[facilitator.url()], true);
    let header = payment(&world);
    facilitator.at_settle(Act::Refuse("insufficient_funds"));
    let answer = pay(&world, &header, "/paid/ok");
    pending(&answer);
    facilitator.at_settle(Act::Well);
    picked_up(&world, &header, "/paid/ok", &answer);
    assert_eq!(world.paid(), PRICE);
    world.agree();
}

#[test]
fn a_refusal_after_silence_is_not_taken() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let world = world(chain, &[facilitator.url()], false);
    let header = payment(&world);
    // It has moved the money, and then says no.
    facilitator.first_at_settle(Act::Lost500);
    facilitator.at_settle(Act::Refuse("insufficient_funds"));
    let answer = pay(&world, &header, "/paid/ok");
    pending(&answer);
    let asked = facilitator.asked("/settle");
    until("it is asked again", || facilitator.asked("/settle") > asked + 1);
    assert_eq!((world.books().holds("submitted"), world.paid()), (1, PRICE));
    facilitator.at_settle(Act::Well);
    picked_up(&world, &header, "/paid/ok", &answer);
    world.agree();
}
