//! What is read on the chain before a payment is admitted.

use gate::{Check, Seen};
use protocol::x402::{Credential, Version};
use protocol::{Offer, Proven, exact::Window};

use super::*;

fn proven() -> Proven {
    let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
    let offer = Offer { asset_info: token, amount_atomic: AMOUNT, payee: Payee(PAYEE), max_timeout_s: 60 };
    let authorization = hold(0).authorization;
    let header = Credential::print(Version::V2, &offer, "", &authorization.fields(), &authorization.signature);
    let credential = Credential::parse(header.unwrap().as_bytes()).unwrap();
    protocol::verify(&credential, &[offer], Window { now_s: VALID_BEFORE_S - 60, remaining_min_s: 1, skew_s: 0 })
        .unwrap()
}

fn word(check: Check) -> String {
    match check {
        Check::Payable(Seen { block, balance_atomic }) => format!("payable at {} with {balance_atomic}", block.number),
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
        assert_eq!(word(now(engine(&world).check(&proven()))), want);
        assert_eq!(world.said(), "block latest, 3 calls 103", "{want}: all is read at one block");
    }
}

/// A node that does not answer is never the payer's fault, whatever else is wrong.
#[test]
fn faults() {
    for (method, calls) in [("block", "block latest"), ("calls", "block latest, 3 calls 103")] {
        for event in [ABSENT, SPENT, SHORT, STUBBORN] {
            let world = World::new();
            event(&world);
            world.fail_after(method, 0);
            let got = word(now(engine(&world).check(&proven())));
            assert_eq!(got, "chain_unavailable (money: untouched)", "{method}");
            assert_eq!(world.said(), calls);
        }
    }
}
