//! What is on the tab is settled one by one.

use super::*;

fn on_tab(chain: Chain, urls: &[&str], node: bool, tab: &'static str) -> World {
    let options = GateOptions {
        facilitator: format!("urls: {urls:?}, {TIMES}"),
        node,
        on_tab: true,
        tab,
        ..GateOptions::uncapped()
    };
    world_with(chain, &options)
}

fn hold(world: &World, count: usize) -> Vec<Answer> {
    let one = |_| {
        let answer = pay(world, &payment(world), "/paid/ok");
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
        answer
    };
    (0..count).map(one).collect()
}

#[test]
fn the_tab_is_settled_when_its_age_is_up() {
    for node in [true, false] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let world = on_tab(chain, &[facilitator.url()], node, "settle_age_s: 1");
        let answers = hold(&world, 20);
        world.each_settled(&answers);
        assert_eq!((facilitator.asked("/settle"), world.paid()), (20, 20 * PRICE));
        world.agree();
    }
}

#[test]
fn a_fault_leaves_it_open_until_it_is_settled() {
    for node in [true, false] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let world = on_tab(chain, &[facilitator.url()], node, "settle_age_s: 1");
        for fault in [Act::Status(503), Act::Lost, Act::Refuse("insufficient_funds")] {
            facilitator.first_at_settle(fault);
        }
        // Where the chain is not asked, a first refusal is the facilitator's word.
        let lost = usize::from(!node);
        hold(&world, 3);
        until("all have ended", || world.books().unfinished() == 0);
        assert_eq!((world.books().holds("posted"), world.books().holds("lost")), (3 - lost, lost));
        world.agree();
    }
}

#[test]
fn the_tab_is_settled_at_a_stop() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let mut world = on_tab(chain, &[facilitator.url()], true, "settle_age_s: 2000");
    hold(&world, 10);
    assert_eq!((facilitator.asked("/settle"), world.books().holds("answered")), (0, 10));
    assert!(world.gate.stop().success());
    assert_eq!((world.books().holds("posted"), world.paid()), (10, 10 * PRICE));
    assert_eq!(world.books().unbalanced(), 0);
}
