//! What is read on the chain before a payment is admitted.

use gate::{Check, Seen};
use protocol::x402::{Credential, Version};
use protocol::{Offer, OfferExtra, Proven, exact::Window};

use super::*;

pub(super) fn proven() -> Proven {
    let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
    let offer = Offer {
        asset_info: token,
        amount_atomic: AMOUNT,
        payee: Payee(PAYEE),
        max_timeout_s: 60,
        extra: OfferExtra::default(),
    };
    let authorization = hold(0).authorization;
    let header = Credential::print(Version::V2, &offer, "", &authorization.fields(), &authorization.signature);
    let credential = Credential::parse(header.unwrap().as_bytes()).unwrap();
    protocol::verify(&credential, &[offer], Window { now_s: VALID_BEFORE_S - 60, remaining_min_s: 1, skew_s: 0 })
        .unwrap()
}

fn word(check: Check) -> String {
    match check {
        Check::Payable(Seen { block, balance_atomic: Some(balance) }) => {
            format!("payable at {} with {balance}", block.number)
        }
        Check::Payable(Seen { block, balance_atomic: None }) => format!("payable at {}", block.number),
        Check::Refused(refusal) => format!("refused {refusal:?}"),
        Check::Fault(fault) => fault.to_string(),
    }
}

const ABSENT: Event = |world| world.deployed.set(false);
const SPENT: Event = |world| world.used.borrow_mut().extend([nonce(0)]);
const OTHER_SPENT: Event = |world| world.used.borrow_mut().extend([nonce(1)]);
const SHORT: Event = |world| world.balance.set(AMOUNT - 1);
const RICH: Event = |world| world.balance.set(u128::MAX);
const STUBBORN: Event = |world| world.token_refuses.set(true);

#[test]
fn refusals_in_their_order() {
    for (events, want) in [
        (&[][..], "payable at 103 with 10000"),
        (&[RICH], "payable at 103 with 340282366920938463463374607431768211455"),
        (&[OTHER_SPENT], "payable at 103 with 10000"),
        (&[ABSENT], "refused AssetNotDeployed"),
        (&[SPENT], "refused NonceAlreadyUsed"),
        (&[SHORT], "refused InsufficientBalance"),
        (&[STUBBORN], "refused SimulationFailed"),
        (&[ABSENT, SPENT, SHORT, STUBBORN], "refused AssetNotDeployed"),
        (&[SPENT, SHORT, STUBBORN], "refused NonceAlreadyUsed"),
        (&[SPENT, STUBBORN], "refused NonceAlreadyUsed"),
        (&[SHORT, STUBBORN], "refused InsufficientBalance"),
    ] {
        let world = World::new();
        events.iter().for_each(|event| event(&world));
        assert_eq!(word(now(engine(&world).check(&proven(), Depth::Chain))), want);
        assert_eq!(world.said(), "block latest, 3 calls 103", "{want}: all is read at one block");
    }
}

/// A transfer that a chain_tx of ours has no gas for is not admitted; nonce and balance may take what the node allows.
#[test]
fn the_gas_of_a_trial() {
    let world = World::new();
    now(engine(&world).check(&proven(), Depth::Chain));
    let gas: Vec<_> = world.tried.borrow().iter().map(|call| call.gas_max).collect();
    assert_eq!(gas, [None, None, Some(200_000)]);
}

/// A node that does not answer is never the payer's fault, whatever else is wrong.
#[test]
fn faults() {
    for (method, calls) in [("block", "block latest"), ("calls", "block latest, 3 calls 103")] {
        for event in [ABSENT, SPENT, SHORT, STUBBORN] {
            let world = World::new();
            event(&world);
            world.fail_after(method, 0);
            let got = word(now(engine(&world).check(&proven(), Depth::Chain)));
            assert_eq!(got, "chain_unavailable (money: untouched)", "{method}");
            assert_eq!(world.said(), calls);
        }
    }
}

/// The newest block that any engine of the process has read stands in for the look; without one the chain is read.
#[test]
fn a_local_check_reads_nothing_once_a_block_is_known() {
    let world = World::new();
    let engine = engine(&world);
    let other = engine.clone();
    assert_eq!(word(now(engine.check(&proven(), Depth::Local))), "payable at 103 with 10000", "no block is known");
    assert_eq!(world.said(), "block latest, 3 calls 103");
    // Whatever is wrong, it is not looked at.
    for event in [ABSENT, SPENT, SHORT, STUBBORN] {
        event(&world);
        world.latest.set(200);
        assert_eq!(word(now(engine.check(&proven(), Depth::Local))), "payable at 103");
        assert_eq!(word(now(other.check(&proven(), Depth::Local))), "payable at 103", "clones share the block");
        assert_eq!(world.said(), "");
    }
    assert_eq!(word(now(engine.check(&proven(), Depth::Chain))), "refused AssetNotDeployed");
}

/// What was refused was not admitted: its block is noted by nobody. Who else reads blocks notes them all.
#[test]
fn which_blocks_are_noted() {
    let world = World::new();
    let engine = engine(&world);
    for (event, latest, want) in
        [(SHORT, 103, None), (RICH, 104, Some(104)), (RICH, 90, Some(104)), (STUBBORN, 105, Some(104))]
    {
        event(&world);
        world.latest.set(latest);
        now(engine.check(&proven(), Depth::Chain));
        assert_eq!(engine.head.get().map(|block| block.number), want, "{latest}: it never goes back");
    }
    world.latest.set(107);
    now(engine.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
    assert_eq!(engine.head.get(), Some(BlockRef { number: 107, hash: B256::with_last_byte(7) }));
    world.fail_after("block", 0);
    world.latest.set(108);
    now(engine.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
    assert_eq!(engine.head.get().map(|block| block.number), Some(107));
}

/// A reorg puts another block at the same height.
#[test]
fn the_newest_block_of_a_height_counts() {
    let head = Head::default();
    let block = |number, byte| BlockRef { number, hash: B256::repeat_byte(byte) };
    for (seen, want) in [(block(5, 1), block(5, 1)), (block(5, 2), block(5, 2)), (block(4, 3), block(5, 2))] {
        head.set(seen);
        assert_eq!(head.get(), Some(want));
    }
}
