//! A facilitator of somebody else, and what happens without it: G-032, G-055, G-056, G-061, G-064, G-065, G-X05.

use xtask::chain::ChainOptions;

use crate::kit::{Act, Answer, Facilitator, GateOptions, PAYER, PRICE, Payer, WORDS, World, get, start_chain, until};
use crate::{challenge, world};

/// A gate on one facilitator, and further lines of its configuration.
fn remote(more: &str) -> (Facilitator, World) {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    let facilitator = Facilitator::start(chain.rpc_url());
    let options = GateOptions {
        facilitator: format!("urls: [\"{}\"], verify_timeout_ms: 1000, settle_timeout_ms: 2000", facilitator.url()),
        more: more.to_owned(),
        ..GateOptions::direct()
    };
    let world = World::on(chain, &options);
    (facilitator, world)
}

fn pay(world: &World) -> Answer {
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    get(&world.url("/paid/ok"), &[("payment-signature", &header)])
}

#[test]
fn g_055_one_verify_for_a_paid_call() {
    let (facilitator, world) = remote("");
    assert_eq!(pay(&world).status, 200);
    let asked = facilitator.requests("/verify");
    let [(_, body)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(body["x402Version"], 2);
    assert!(body["paymentPayload"].is_object() && body["paymentRequirements"].is_object(), "{body}");
    assert_eq!(body["paymentRequirements"]["amount"], PRICE.to_string());
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    assert_eq!(facilitator.asked("/verify"), 1, "who shows nothing costs no call");
}

#[test]
fn g_056_the_client_of_facilitators() {
    let (facilitator, world) = remote("public_url: \"https://api.example.com\"");
    for _ in 0..2 {
        let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
        assert_eq!(get(&world.url("/paid/ok"), &[("payment-signature", &header)]).status, 200);
    }
    for path in ["/verify", "/settle"] {
        for (headers, _) in facilitator.requests(path) {
            assert!(headers.contains("x-gate-domain: api.example.com\r\n"), "{path}: {headers}");
        }
    }
    // Whoever hangs is not waited for longer than is configured.
    facilitator.at_verify(Act::Hang);
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let begun = std::time::Instant::now();
    assert_eq!(get(&world.url("/paid/ok"), &[("payment-signature", &header)]).status, 503);
    let took = begun.elapsed().as_millis();
    assert!((900..4_000).contains(&took), "{took} ms for a limit of one second");
}

/// The reason is the `error`, in the words of x402.
#[test]
fn g_061_a_refused_payment_is_402_with_its_reason() {
    let (facilitator, world) = remote("");
    facilitator.at_verify(Act::Refuse("insufficient_funds"));
    let answer = pay(&world);
    assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_insufficient_balance"));
    assert_eq!(challenge(&answer)["error"], "invalid_exact_evm_insufficient_balance");
    assert!(!answer.text().contains(WORDS));
    assert_eq!((world.origin.runs("/paid/"), world.paid()), (0, 0));
}

#[test]
fn g_064_a_facilitator_out_of_reach_is_503() {
    let (facilitator, world) = remote("");
    for act in [Act::Status(500), Act::Garbage, Act::Reset] {
        facilitator.at_verify(act);
        let answer = pay(&world);
        assert_eq!((answer.status, answer.error().as_str()), (503, "service_unavailable"), "{act:?}");
        assert_eq!(answer.json()["message"], "Payment facilitator is unreachable.");
        assert_eq!(answer.money(), "untouched");
        assert!(answer.headers["retry-after"].parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    }
    assert_eq!((world.origin.runs("/paid/"), world.paid()), (0, 0));
}

#[test]
fn g_065_fail_mode_open_passes_on_unpaid_and_says_so() {
    let (facilitator, world) = remote("fail_mode: open");
    facilitator.at_verify(Act::Status(500));
    let answer = pay(&world);
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    assert!(!answer.headers.contains_key("payment-response"));
    let headers = world.origin.last().headers;
    assert!(headers.contains(&("x-pay-verified".to_owned(), "false".to_owned())), "{headers:?}");
    assert!(headers.iter().all(|(name, _)| name != "x-pay-from"), "{headers:?}");
    until("it is in the log", || world.gate.log().contains("nobody can verify payments"));
    assert_eq!(world.paid(), 0);
    // Who shows no payment is asked for one all the same, and a payment that is refused is no outage.
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    facilitator.at_verify(Act::Refuse("insufficient_funds"));
    assert_eq!(pay(&world).status, 402);
}

#[test]
fn g_032_fail_mode_is_closed_unless_it_is_said() {
    for (more, status) in [("", 503), ("fail_mode: closed", 503), ("fail_mode: open", 200)] {
        let (facilitator, world) = remote(more);
        facilitator.die();
        assert_eq!(pay(&world).status, status, "{more}");
        assert_eq!(world.paid(), 0);
    }
    assert!(crate::config::changed("version: 1", "version: 1\nfail_mode: maybe").contains("fail_mode"));
}

/// A receipt says what has happened to the money, and what it says is so.
#[test]
fn g_x05_a_receipt_is_true() {
    let routes = "  - { path: /direct/*, price: \"0.01\", settlement: direct }\n  - { path: /tab/*, price: \"0.01\", settlement: tab }\n";
    let world = world(routes, "tab: { settle_age_s: 1 }");
    let receipt = world.payer.buy(&world.url("/direct/ok")).receipt();
    let chain_tx = receipt["transaction"].as_str().unwrap();
    let transfers = world.chain.transfers_to(crate::kit::PAYEE).unwrap();
    assert_eq!(transfers.iter().filter(|transfer| transfer.chain_tx == chain_tx).count(), 1, "{receipt}");
    assert!(receipt["payer"].as_str().unwrap().eq_ignore_ascii_case(PAYER.address), "{receipt}");
    // What is not settled yet does not say that it is, and its status does as soon as it is.
    let receipt = world.payer.buy(&world.url("/tab/ok")).receipt();
    assert_eq!((&receipt["transaction"], &receipt["extra"]["state"]), (&"".into(), &"held".into()), "{receipt}");
    let status = world.url(receipt["extra"]["status_url"].as_str().unwrap());
    until("it is settled", || get(&status, &[]).json()["state"] == "settled");
    let chain_tx = get(&status, &[]).json()["transaction"].clone();
    let transfers = world.chain.transfers_to(crate::kit::PAYEE).unwrap();
    assert!(transfers.iter().any(|transfer| chain_tx == transfer.chain_tx), "{chain_tx}");
    // A call that failed has none that says success.
    let answer = world.payer.buy(&world.url("/direct/500"));
    assert!(answer.status == 500 && answer.receipt()["success"] != true, "{}", answer.receipt());
}
