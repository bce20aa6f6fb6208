//! What goes wrong before a call is run.

use super::*;

const FAULTS: [Act; 13] = [
    Act::Status(500),
    Act::Status(502),
    Act::Status(503),
    Act::Status(429),
    Act::Status(404),
    Act::Status(301),
    Act::Garbage,
    Act::Empty,
    Act::Huge,
    Act::Reset,
    Act::Hang,
    Act::Refuse("unexpected_verify_error"),
    Act::Refuse("rpc_read_failed"),
];

#[test]
fn a_fault_at_verify_is_never_a_402() {
    for node in [true, false] {
        let chain = chain();
        let facilitator = Facilitator::start(chain.rpc_url());
        let world = world(chain, &[facilitator.url()], node);
        for (at, fault) in FAULTS.into_iter().enumerate() {
            let header = payment(&world);
            let path = format!("/paid/ok?{at}");
            facilitator.at_verify(fault);
            unreachable(&pay(&world, &header, &path));
            assert_eq!(world.origin.runs(&path), 0, "{fault:?}");
            facilitator.at_verify(Act::Well);
            served(&world, &pay(&world, &header, &path));
            already_served(&world, &header, &path);
            assert_eq!((world.origin.runs(&path), world.paid()), (1, PRICE * (at as u128 + 1)), "{fault:?}");
        }
        // One verify for each call that reached it, and what it settled.
        assert_eq!(facilitator.asked("/settle"), FAULTS.len());
        world.agree();
    }
}

#[test]
fn a_refusal_at_verify_is_a_402_with_its_reason() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let world = world(chain, &[facilitator.url()], false);
    for (reason, code) in [
        ("insufficient_funds", "invalid_exact_evm_insufficient_balance"),
        ("invalid_exact_evm_payload_signature", "invalid_exact_evm_signature"),
        ("something_new", "invalid_exact_evm_transaction_simulation_failed"),
    ] {
        let header = payment(&world);
        facilitator.at_verify(Act::Refuse(reason));
        let answer = pay(&world, &header, "/paid/ok");
        assert_eq!((answer.status, answer.error().as_str()), (402, code), "{}", answer.text());
        assert!(answer.headers.contains_key("payment-required"));
    }
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (0, 0));
}

#[test]
fn what_a_facilitator_is_sent() {
    let chain = chain();
    let facilitator = Facilitator::start(chain.rpc_url());
    let urls = [format!("{}/", facilitator.url())];
    let options = GateOptions {
        facilitator: format!("urls: {urls:?}, bearer: {{ env: PONTAGE_TEST_TOKEN }}, {TIMES}"),
        ..GateOptions::direct()
    };
    let world = world_with(chain, &options);
    let offer = Payer::offer(&world.url("/paid/ok"));
    let fields = world.payer.fields(&offer);
    // v1 and v2 sign the same bytes: it is told of either in v2.
    let header = world.payer.sign(Version::V1, &offer, &fields);
    served(&world, &get(&world.url("/paid/ok"), &[("x-payment", &header)]));
    for path in ["/verify", "/settle"] {
        let requests = facilitator.requests(path);
        let [(headers, body)] = requests.as_slice() else { panic!("{path}: {requests:?}") };
        assert!(headers.contains(&format!("authorization: bearer {TOKEN}")), "{headers}");
        let (payload, requirements) = (&body["paymentPayload"], &body["paymentRequirements"]);
        assert_eq!((&body["x402Version"], &payload["x402Version"]), (&2.into(), &2.into()));
        assert_eq!(&payload["accepted"], requirements);
        assert_eq!(requirements["amount"], PRICE.to_string());
        assert_eq!(requirements["payTo"], PAYEE);
        assert_eq!(requirements["asset"], USDC);
        assert_eq!((&requirements["scheme"], &requirements["network"]), (&"exact".into(), &"eip155:84532".into()));
        assert_eq!(requirements["extra"], serde_json::json!({"name": "USDC", "version": "2"}));
        let authorization = &payload["payload"]["authorization"];
        assert_eq!(authorization["nonce"], fields.nonce.to_string());
        assert_eq!(authorization["validBefore"], fields.valid_before.to_string());
    }
    assert!(!world.gate.log().contains(TOKEN), "{}", world.gate.log());
    assert!(facilitator.asked("/supported") > 0);
    world.agree();
}

#[test]
fn one_that_knows_v1_alone_is_spoken_to_in_v1() {
    let chain = chain();
    let facilitator = Facilitator::speaking(chain.rpc_url(), 1, "base-sepolia");
    let world = world(chain, &[facilitator.url()], true);
    served(&world, &pay(&world, &payment(&world), "/paid/ok"));
    for path in ["/verify", "/settle"] {
        let (_, body) = facilitator.requests(path).remove(0);
        assert_eq!((&body["x402Version"], &body["paymentPayload"]["x402Version"]), (&1.into(), &1.into()));
        assert_eq!(body["paymentPayload"]["network"], "base-sepolia");
        assert_eq!(body["paymentRequirements"]["maxAmountRequired"], PRICE.to_string());
    }
    world.agree();
}

#[test]
fn one_that_does_not_settle_on_the_network_is_not_asked() {
    let chain = chain();
    let other = Facilitator::speaking(chain.rpc_url(), 2, "eip155:1");
    let good = Facilitator::start(chain.rpc_url());
    let world = world(chain, &[other.url(), good.url()], true);
    served(&world, &pay(&world, &payment(&world), "/paid/ok"));
    assert_eq!((other.asked("/verify"), other.asked("/settle"), good.asked("/settle")), (0, 0, 1));
}
