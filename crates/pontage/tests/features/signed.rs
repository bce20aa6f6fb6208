//! Signed offers and receipts, and calls that were paid before.

use protocol::x402::decode_header;
use protocol::x402::ext::{OfferClaim, ReceiptClaim, SignInMessage, Signed};
use protocol::{Key, Network, Signer as _};

use super::*;
use crate::kit::{PRICE, SETTLER};

const ROUTES: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }
  - { path: /first/*, price: \"0.01\", settle_first: true }
";
const AGAIN: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct, reentry_s: 3600 }
  - { path: /brief/*, price: \"0.01\", settlement: direct, reentry_s: 3 }
  - { path: /once/*, price: \"0.01\", settlement: direct }
";

fn challenge(answer: &Answer) -> Value {
    decode_header(answer.headers["payment-required"].as_bytes()).expect("a challenge")
}

#[test]
fn offers_and_receipts_name_their_signer() {
    let world = world(ROUTES, "extensions: { offer_signer: { env: PONTAGE_SIGNER_KEY } }");
    let signer = Key::from_hex(SETTLER.secret).expect("a key").address();
    for path in ["/paid/ok", "/first/ok", "/tab/ok"] {
        let challenge = challenge(&get(&world.url(path), &[]));
        let offers = challenge["extensions"]["offer-receipt"]["info"]["offers"].as_array().expect("offers").clone();
        assert_eq!(offers.len(), challenge["accepts"].as_array().expect("offers").len());
        for (offer, accepted) in offers.iter().zip(challenge["accepts"].as_array().unwrap()) {
            let claim = Signed::<OfferClaim>::parse(offer).expect("a signed offer");
            assert_eq!(claim.signer(), Some(signer));
            assert_eq!(offer["payload"]["amount"], accepted["amount"]);
            assert_eq!(offer["payload"]["payTo"], accepted["payTo"]);
            assert_eq!(offer["payload"]["resourceUrl"], challenge["resource"]["url"]);
            let mut spoilt = offer.clone();
            spoilt["payload"]["amount"] = "1".into();
            assert_ne!(Signed::<OfferClaim>::parse(&spoilt).and_then(|claim| claim.signer()), Some(signer));
        }
        let answer = world.payer.buy(&world.url(path));
        assert_eq!(answer.status, 200);
        let receipt = answer.receipt();
        let signed = &receipt["extensions"]["offer-receipt"]["info"]["receipt"];
        if path == "/tab/ok" {
            assert!(signed.is_null(), "what has not settled is not certified: {receipt}");
            continue;
        }
        assert_eq!(Signed::<ReceiptClaim>::parse(signed).expect("a signed receipt").signer(), Some(signer));
        assert_eq!(signed["payload"]["transaction"], receipt["transaction"]);
        assert_eq!(signed["payload"]["resourceUrl"], challenge["resource"]["url"]);
    }
}

/// A proof of the payer's key for what a 402 offers.
fn sign_in(payer: &Payer, url: &str) -> String {
    let challenge = challenge(&get(url, &[]));
    let info = &challenge["extensions"]["sign-in-with-x"]["info"];
    let text = |name: &str| info[name].as_str().map(str::to_owned);
    let resources =
        info["resources"].as_array().map(|all| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect());
    let message = SignInMessage {
        domain: text("domain").expect("a domain"),
        address: payer.address(),
        statement: text("statement"),
        uri: text("uri").expect("a URI"),
        chain: Network::BASE_SEPOLIA,
        nonce: text("nonce").expect("a nonce"),
        issued_at: text("issuedAt").expect("a time"),
        expiration_time: text("expirationTime"),
        not_before: None,
        request_id: None,
        resources,
    };
    message.to_header(&payer.key.sign_now(message.digest()).expect("a signature"))
}

fn enter(world: &World, payer: &Payer, path: &str) -> Answer {
    let proof = sign_in(payer, &world.url(path));
    get(&world.url(path), &[("sign-in-with-x", &proof)])
}

fn told_origin(world: &World) -> Vec<(String, String)> {
    world.origin.last().headers.into_iter().filter(|(name, _)| name.starts_with("x-pay-")).collect()
}

#[test]
fn whoever_has_paid_comes_again() {
    let world = world(AGAIN, "");
    let stranger = Payer::numbered(77);
    assert_eq!(enter(&world, &world.payer, "/paid/ok").status, 402, "nothing was paid yet");
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    let again = enter(&world, &world.payer, "/paid/ok");
    assert_eq!((again.status, again.text().as_str()), (200, "served"));
    assert!(!again.headers.contains_key("payment-response"), "nothing was paid for this one");
    let told = told_origin(&world);
    assert!(told.contains(&("x-pay-verified".to_owned(), "paid-before".to_owned())), "{told:?}");
    assert!(told.contains(&("x-pay-from".to_owned(), world.payer.address())), "{told:?}");
    // Not another resource, not by another key, and not where the route does not say so.
    assert_eq!(enter(&world, &world.payer, "/paid/ok?other").status, 402);
    assert_eq!(enter(&world, &world.payer, "/paid/echo").status, 402);
    assert_eq!(enter(&world, &stranger, "/paid/ok").status, 402);
    let proof = sign_in(&world.payer, &world.url("/paid/ok"));
    assert_eq!(request("POST", &world.url("/paid/ok"), &[("sign-in-with-x", &proof)], b"").status, 402);
    assert_eq!(world.payer.buy(&world.url("/once/ok")).status, 200);
    assert!(challenge(&get(&world.url("/once/ok"), &[]))["extensions"]["sign-in-with-x"].is_null());
    let runs = world.origin.runs("/");
    let proof = sign_in(&world.payer, &world.url("/paid/ok"));
    assert_eq!(get(&world.url("/once/ok"), &[("sign-in-with-x", &proof)]).status, 402);
    assert_eq!(world.origin.runs("/"), runs);
    assert_eq!(world.paid(), 2 * PRICE);
}

/// A proof is good once, also when many show it at once.
#[test]
fn a_proof_is_taken_once() {
    let world = world(AGAIN, "");
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    let proof = sign_in(&world.payer, &world.url("/paid/ok"));
    let answers = at_once(16, |_| get(&world.url("/paid/ok"), &[("sign-in-with-x", &proof)]));
    assert_eq!(count(&answers, 200, ""), 1);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.iter().all(|answer| answer.status < 500 && answer.status >= 400), "{:?}", refused[0]);
    assert_eq!(world.origin.runs("/paid/ok"), 2);
}

#[test]
fn it_is_for_a_time_only() {
    let world = world(AGAIN, "");
    assert_eq!(world.payer.buy(&world.url("/brief/ok")).status, 200);
    assert_eq!(enter(&world, &world.payer, "/brief/ok").status, 200);
    until("the time is over", || enter(&world, &world.payer, "/brief/ok").status == 402);
    assert_eq!(world.payer.buy(&world.url("/brief/ok")).status, 200, "it can be bought again");
}

/// Whoever got his money back has not paid.
#[test]
fn what_is_owed_back_opens_nothing() {
    let routes = "  - { path: /first/*, price: \"0.01\", settle_first: true, reentry_s: 3600 }\n";
    let world = world(routes, "");
    assert_eq!(world.payer.buy(&world.url("/first/500")).status, 500);
    until("it is owed back", || only(&world).refund_due);
    assert_eq!(enter(&world, &world.payer, "/first/500").status, 402);
}
