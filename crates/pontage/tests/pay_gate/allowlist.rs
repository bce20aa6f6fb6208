//! Who passes unpaid, and by what: G-022, G-031, G-069, G-X01.

use protocol::Network;
use protocol::x402::ext::SignInMessage;
use xtask::chain::{ChainOptions, KEYS};

use crate::kit::{Act, Answer, Facilitator, GateOptions, PAYER, PRICE, Payer, World, get};
use crate::{challenge, world};

const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /paid/*, price: \"0.01\", settlement: direct, allowlist: [\"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC\"] }
  - { path: /club/*, free: true, allowlist: [\"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC\"] }
  - { path: /dear/*, price: \"0.01\" }
";
const EVERYWHERE: &str = "global_allowlist: [\"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC\"]";

/// What proves a key to a gate that has just answered so.
pub(crate) fn proof(payer: &Payer, answer: &Answer) -> String {
    let info = challenge(answer)["extensions"]["sign-in-with-x"]["info"].clone();
    let text = |name: &str| info[name].as_str().map(str::to_owned);
    let resources = info["resources"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned());
    let message = SignInMessage {
        domain: text("domain").unwrap(),
        address: payer.address(),
        statement: text("statement"),
        uri: text("uri").unwrap(),
        chain: Network::BASE_SEPOLIA,
        nonce: text("nonce").unwrap(),
        issued_at: text("issuedAt").unwrap(),
        expiration_time: text("expirationTime"),
        not_before: None,
        request_id: None,
        resources: Some(resources.collect()),
    };
    message.to_header(&payer.key.sign_now(message.digest()).unwrap())
}

/// Asks, proves the key, and asks again.
fn signed_in(payer: &Payer, url: &str) -> Answer {
    let proof = proof(payer, &get(url, &[]));
    get(url, &[("sign-in-with-x", &proof)])
}

/// What the origin was told last.
fn told(world: &World) -> [Option<String>; 2] {
    let headers = world.origin.last().headers;
    ["x-pay-verified", "x-pay-from"]
        .map(|name| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
}

fn listed() -> [Option<String>; 2] {
    [Some("allowlisted".to_owned()), Some(PAYER.address.to_owned())]
}

#[test]
fn g_022_an_allowlist_opens_its_route_to_who_proves_the_key() {
    let world = world(ROUTES, "");
    let stranger = Payer::new(&KEYS[3]);
    for path in ["/paid/ok", "/club/ok"] {
        let answer = signed_in(&world.payer, &world.url(path));
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{path}");
        assert_eq!(told(&world), listed(), "{path}");
        let runs = world.origin.runs(path);
        assert_eq!(signed_in(&stranger, &world.url(path)).status, 402, "{path}");
        assert_eq!(world.origin.runs(path), runs, "{path}");
    }
    // A proof is good once, and for this gate alone.
    let used = proof(&world.payer, &get(&world.url("/paid/ok"), &[]));
    for (status, error) in [(200, ""), (402, "invalid_siwx_nonce")] {
        let answer = get(&world.url("/paid/ok"), &[("sign-in-with-x", &used)]);
        assert_eq!((answer.status, answer.error().as_str()), (status, error));
    }
    // Where nothing can be paid, the 402 says what is missing.
    let closed = get(&world.url("/club/ok"), &[]);
    assert_eq!((closed.status, closed.error().as_str()), (402, "sign_in_required"));
    // Other routes do not know the list, and whoever is not on it may pay.
    assert!(challenge(&get(&world.url("/dear/ok"), &[]))["extensions"]["sign-in-with-x"].is_null());
    assert_eq!(world.paid(), 0);
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    assert_eq!(world.paid(), PRICE);
}

#[test]
fn g_031_a_global_allowlist_opens_every_route() {
    let routes = "  - { path: /paid/*, price: \"0.01\" }\n  - { path: /also/*, price: \"0.01\" }\n";
    let world = world(routes, EVERYWHERE);
    for path in ["/paid/ok", "/also/ok"] {
        assert_eq!(signed_in(&world.payer, &world.url(path)).status, 200, "{path}");
        assert_eq!(told(&world), listed(), "{path}");
    }
    let stranger = Payer::new(&KEYS[3]);
    assert_eq!(signed_in(&stranger, &world.url("/paid/ok")).status, 402);
    assert_eq!((world.origin.runs(""), world.paid()), (2, 0));
}

#[test]
fn g_069_who_does_not_pay_costs_no_facilitator_a_call() {
    let chain = crate::kit::start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    let facilitator = Facilitator::start(chain.rpc_url());
    facilitator.at_verify(Act::Status(500));
    let options = GateOptions {
        routes: ROUTES,
        facilitator: format!("urls: [\"{}\"]", facilitator.url()),
        more: "default_action: passthrough".to_owned(),
        ..GateOptions::direct()
    };
    let world = World::on(chain, &options);
    for path in ["/free/ok", "/other/ok"] {
        assert_eq!(get(&world.url(path), &[]).status, 200, "{path}");
        assert_eq!(told(&world), [None, None], "{path}");
    }
    assert_eq!(signed_in(&world.payer, &world.url("/paid/ok")).status, 200);
    assert_eq!(told(&world), listed());
    assert_eq!((facilitator.asked("/verify"), facilitator.asked("/settle")), (0, 0));
}

#[test]
fn g_x01_a_name_in_a_header_opens_nothing() {
    let world = world(ROUTES, EVERYWHERE);
    for path in ["/paid/ok", "/club/ok", "/dear/ok"] {
        for name in ["X-Pay-Agent", "x_pay_agent", "X-Pay-From", "X-Agent"] {
            assert_eq!(get(&world.url(path), &[(name, PAYER.address)]).status, 402, "{path} {name}");
        }
    }
    // Nor does a proof that somebody else has signed in his name.
    let answer = get(&world.url("/paid/ok"), &[]);
    let other = Payer::new(&KEYS[3]);
    let mut forged = protocol::x402::decode_header(proof(&other, &answer).as_bytes()).unwrap();
    forged["address"] = PAYER.address.into();
    let forged = protocol::x402::encode_header(&forged);
    let answer = get(&world.url("/paid/ok"), &[("sign-in-with-x", &forged)]);
    assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_siwx_signature"));
    assert_eq!(world.origin.runs(""), 0);
}
