//! Payments whose fault only the chain knows.

use super::*;

fn act(world: &World, sender: &TestKey, data: &str) {
    let chain_tx = world.chain.send_as(sender.address, USDC, data).unwrap();
    assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(true));
}

/// Prepares a payer's wallet and nonce before his payment arrives.
type Prepare = fn(&World, &TestKey, &Payer, &Offer, &Fields);

/// Error and field.
type Said = (&'static str, Option<&'static str>);

const EMPTY: Said = ("invalid_exact_evm_insufficient_balance", Some("payload.authorization.from"));
const USED: Said = ("invalid_exact_evm_nonce_already_used", Some("payload.authorization.nonce"));
const FAILS: Said = ("invalid_exact_evm_transaction_simulation_failed", None);

#[test]
fn the_chain_says_no() {
    let rows: [(&str, u128, Prepare, Said); 7] = [
        ("empty wallet", 0, |_, _, _, _, _| (), EMPTY),
        ("one unit short", PRICE - 1, |_, _, _, _, _| (), EMPTY),
        (
            "landed by the payer",
            5 * PRICE,
            |world, key, payer, offer, fields| act(world, key, &land(payer, offer, fields)),
            USED,
        ),
        (
            // The gate's own signer sent it, but for no hold of this gate.
            "landed by the settler",
            5 * PRICE,
            |world, _, payer, offer, fields| act(world, SETTLER, &land(payer, offer, fields)),
            USED,
        ),
        (
            "cancelled",
            5 * PRICE,
            |world, key, payer, offer, fields| act(world, key, &cancel(payer, offer, fields)),
            USED,
        ),
        ("blacklisted", 5 * PRICE, |world, key, _, _, _| act(world, key, &block(key.address)), FAILS),
        (
            // A token asks a payer that has code instead of recovering the signature; this one says nothing.
            "payer with code",
            5 * PRICE,
            |world, key, _, _, _| world.chain.plant(key.address, "0x00").unwrap(),
            FAILS,
        ),
    ];
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    for ((row, funds, prepare, (error, field)), key) in rows.iter().zip(&KEYS[3..]) {
        for version in [Version::V2, Version::V1] {
            let row = format!("{row} {version:?}");
            let payer = Payer::new(key);
            if world.chain.balance(key.address).unwrap() < *funds {
                world.chain.mint(key.address, *funds).unwrap();
            }
            let fields = payer.fields(&offer);
            prepare(&world, key, &payer, &offer, &fields);
            let before = (ground(&world), is_used(&world, key.address, fields.nonce), balance(&world, key));
            let header = payer.sign(version, &offer, &fields);
            let answer = get(&url, &[("payment-signature", &header)]);
            refused(&row, &answer, 402, error, *field);
            let after = (ground(&world), is_used(&world, key.address, fields.nonce), balance(&world, key));
            assert_eq!(after, before, "{row}");
            assert_eq!(before.1, *error == USED.0, "{row}");
        }
    }
}

fn balance(world: &World, key: &TestKey) -> u128 {
    world.chain.balance(key.address).unwrap()
}

/// The payee is blocked: nobody can pay, and nobody is served.
#[test]
fn a_payee_that_cannot_be_paid() {
    let world = World::new();
    act(&world, SETTLER, &block(PAYEE));
    let before = ground(&world);
    refused("blocked payee", &world.payer.buy(&world.url("/paid/ok")), 402, FAILS.0, FAILS.1);
    assert_eq!(ground(&world), before);
}

/// The token's contract has gone since the start.
#[test]
fn a_token_that_has_gone() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let (header, nonce) = world.payer.payment(&Payer::offer(&url));
    let before = ground(&world);
    let code = world.chain.rpc("eth_getCode", json!([USDC, "latest"])).unwrap();
    world.chain.plant(USDC, "0x").unwrap();
    let answer = get(&url, &[("payment-signature", &header)]);
    refused("no contract", &answer, 402, "asset_not_deployed_contract", None);
    world.chain.plant(USDC, code.as_str().unwrap()).unwrap();
    assert_eq!(ground(&world), before);
    assert!(!is_used(&world, PAYER.address, nonce));
    // The refusal did not burn the payment.
    world.settled(&get(&url, &[("payment-signature", &header)]));
    world.agree();
}
