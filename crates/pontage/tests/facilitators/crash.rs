//! The gate dies between `/settle` and its answer.

use super::*;

#[test]
fn what_was_handed_over_when_the_gate_died_is_charged_once() {
    for (node, act) in [(true, Act::LostHang), (true, Act::Hang), (false, Act::LostHang), (false, Act::Hang)] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let mut world = world(chain, &[facilitator.url()], node);
        let header = payment(&world);
        facilitator.at_settle(act);
        let url = world.url("/paid/ok");
        let call = std::thread::spawn({
            let header = header.clone();
            move || {
                kit::try_request("GET", &url, &[("host", "localhost"), ("payment-signature", &header)], b"").is_err()
            }
        });
        until("it is handed over", || facilitator.asked("/settle") == 1 && (act == Act::Hang || world.paid() == PRICE));
        assert_eq!(world.books().holds("submitted"), 1, "{act:?}");
        world.gate.kill();
        assert!(call.join().unwrap());
        assert_eq!(world.books().newest().0, "submitted");
        world.gate.restart();
        facilitator.at_settle(Act::Well);
        until("it is posted", || world.books().holds("posted") == 1);
        // The answer died with the process: what moved is owed back.
        let again = pay(&world, &header, "/paid/ok");
        assert_eq!((again.status, again.error().as_str()), (409, "answer_lost"), "{}", again.text());
        assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (PRICE, 1), "{node} {act:?}");
        world.agree();
    }
}

#[test]
fn what_nobody_can_tell_of_is_never_let_go() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let mut world = world(chain, &[facilitator.url()], false);
    let header = payment(&world);
    facilitator.at_settle(Act::Hang);
    pending(&pay(&world, &header, "/paid/ok"));
    world.gate.stop();
    world.gate.restart();
    facilitator.at_settle(Act::Refuse("insufficient_funds"));
    let asked = facilitator.asked("/settle");
    until("it is asked again", || facilitator.asked("/settle") > asked + 1);
    assert_eq!(world.books().newest(), ("submitted".to_owned(), None));
}
