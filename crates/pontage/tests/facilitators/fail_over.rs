//! With two of them, calls go on.

use super::*;

/// How the first one fails, and how it is asked for it.
fn fails(fault: Act, at_settle: bool) {
    let chain = chain();
    let (first, second) = (Facilitator::start(chain.rpc_url()), Facilitator::start(chain.rpc_url()));
    let world = world(chain, &[first.url(), second.url()], true);
    if at_settle {
        first.at_settle(fault)
    } else {
        first.at_verify(fault)
    }
    for at in 0..2 {
        let (header, path) = (payment(&world), format!("/paid/ok?{at}"));
        served(&world, &pay(&world, &header, &path));
        already_served(&world, &header, &path);
        assert_eq!((world.origin.runs(&path), world.paid()), (1, PRICE * (at + 1)), "{fault:?}");
    }
    let path = if at_settle { "/settle" } else { "/verify" };
    assert!(first.asked(path) > 0 && second.asked(path) > 0, "{fault:?}");
    world.agree();
}

#[test]
fn calls_go_on_while_the_first_fails_at_verify() {
    for fault in [Act::Status(500), Act::Status(429), Act::Garbage, Act::Reset, Act::Hang] {
        fails(fault, false);
    }
}

#[test]
fn calls_go_on_while_the_first_fails_at_settle() {
    for fault in [Act::Status(500), Act::Status(429), Act::Garbage, Act::Reset, Act::Hang, Act::Lost, Act::LostHang] {
        fails(fault, true);
    }
}

#[test]
fn calls_go_on_without_the_first() {
    for node in [true, false] {
        let chain = chain();
        let second = Facilitator::start(chain.rpc_url());
        let world = world(chain, &[&Facilitator::nowhere(), second.url()], node);
        served(&world, &pay(&world, &payment(&world), "/paid/ok"));
        assert_eq!((world.paid(), second.asked("/verify"), second.asked("/settle")), (PRICE, 1, 1));
        world.agree();
    }
}

#[test]
fn calls_go_on_when_the_first_dies_between_verify_and_settle() {
    for node in [true, false] {
        let chain = chain();
        let (first, second) = (Facilitator::start(chain.rpc_url()), Facilitator::start(chain.rpc_url()));
        let world = world(chain, &[first.url(), second.url()], node);
        let header = payment(&world);
        let answer = std::thread::scope(|scope| {
            let call = scope.spawn(|| pay(&world, &header, "/paid/gate"));
            until("the upstream runs", || world.origin.runs("/paid/gate") > 0);
            first.die();
            world.origin.let_go();
            call.join().unwrap()
        });
        served(&world, &answer);
        assert_eq!((first.asked("/verify"), first.asked("/settle"), second.asked("/settle")), (1, 0, 1));
        assert_eq!((world.paid(), world.origin.runs("/paid/gate")), (PRICE, 1));
        world.agree();
    }
}

#[test]
fn what_the_first_has_moved_the_second_cannot_refuse() {
    let chain = chain();
    let (first, second) = (Facilitator::start(chain.rpc_url()), Facilitator::start(chain.rpc_url()));
    let world = world(chain, &[first.url(), second.url()], false);
    let header = payment(&world);
    // The second finds the nonce used and says so.
    first.at_settle(Act::Lost);
    let answer = pay(&world, &header, "/paid/ok");
    pending(&answer);
    assert!(second.asked("/settle") > 0);
    assert_eq!((world.paid(), world.books().holds("submitted")), (PRICE, 1));
    first.at_settle(Act::Well);
    picked_up(&world, &header, "/paid/ok", &answer);
    assert_eq!(world.paid(), PRICE);
    world.agree();
}

#[test]
fn one_that_fails_is_left_alone_and_taken_back() {
    let chain = chain();
    let (first, second) = (Facilitator::start(chain.rpc_url()), Facilitator::start(chain.rpc_url()));
    let world = world(chain, &[first.url(), second.url()], true);
    first.at_verify(Act::Status(500));
    let mut paid = 0;
    for _ in 0..7 {
        served(&world, &pay(&world, &payment(&world), "/paid/ok"));
        paid += 1;
    }
    assert_eq!((first.asked("/verify"), first.asked("/settle")), (5, 7), "settling it does well");
    assert!(world.gate.log().contains("left alone"), "{}", world.gate.log());
    first.at_verify(Act::Well);
    until("it is asked once more", || {
        served(&world, &pay(&world, &payment(&world), "/paid/ok"));
        paid += 1;
        first.asked("/verify") > 5
    });
    let asked = second.asked("/verify");
    served(&world, &pay(&world, &payment(&world), "/paid/ok"));
    assert_eq!((second.asked("/verify"), world.paid()), (asked, PRICE * (paid + 1)));
    world.agree();
}
