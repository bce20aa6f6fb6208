//! What is passed on, what comes back, and what is refused: G-055 to G-073.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::x402::{decode_header, encode_header};

use crate::kit::{Gate, GateOptions, PAYER, PRICE, Payer, World, get, request};
use crate::world;

#[test]
fn g_058_neither_payment_nor_host_is_forwarded() {
    let world = World::new();
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    assert_eq!(get(&world.url("/paid/ok"), &[("payment-signature", &header), ("x-kept", "yes")]).status, 200);
    let seen = world.origin.last();
    assert!(seen.headers.iter().all(|(name, value)| name != "payment-signature" && *value != header), "{seen:?}");
    let host = seen.headers.iter().find(|(name, _)| name == "host").map(|(_, host)| format!("http://{host}"));
    assert_eq!(host, Some(world.origin.url()), "the upstream is called by its own name");
    assert!(seen.headers.contains(&("x-kept".to_owned(), "yes".to_owned())), "{seen:?}");
}

#[test]
fn g_059_the_receipt() {
    let world = World::new();
    let answer = world.payer.buy(&world.url("/paid/ok"));
    let receipt = answer.receipt();
    assert_eq!((&receipt["success"], &receipt["network"]), (&true.into(), &"eip155:84532".into()));
    assert!(receipt["payer"].as_str().is_some_and(|payer| payer.eq_ignore_ascii_case(PAYER.address)), "{receipt}");
    world.settled(&answer);
}

#[test]
fn g_060_status_and_body_pass_through() {
    let world = World::new();
    for (path, status) in [("/paid/500", 500), ("/paid/404", 404), ("/paid/201", 201), ("/free/503", 503)] {
        let answer =
            if path.starts_with("/free") { get(&world.url(path), &[]) } else { world.payer.buy(&world.url(path)) };
        assert_eq!((answer.status, answer.text().as_str()), (status, "not served"), "{path}");
    }
    world.rest();
    assert_eq!(world.paid(), PRICE, "what failed is not charged");
}

/// The standard has 400 where pay-gate has 402.
#[test]
fn g_062_what_is_no_base64_or_no_json() {
    let world = World::new();
    for (header, error) in [("%%%", "invalid_base64"), (&STANDARD.encode("{nope"), "invalid_json")] {
        let answer = get(&world.url("/paid/ok"), &[("payment-signature", header)]);
        assert_eq!((answer.status, answer.error().as_str(), answer.money().as_str()), (400, error, "untouched"));
    }
    assert_eq!((world.origin.runs(""), world.paid()), (0, 0));
}

#[test]
fn g_063_another_network() {
    let world = World::new();
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let mut payment = decode_header(header.as_bytes()).unwrap();
    payment["accepted"]["network"] = "eip155:8453".into();
    let answer = get(&world.url("/paid/ok"), &[("payment-signature", &encode_header(&payment))]);
    assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_network_mismatch"));
    assert_eq!((world.origin.runs(""), world.paid()), (0, 0));
}

#[test]
fn g_066_what_no_route_covers_is_forbidden() {
    let world = World::new();
    let answer = get(&world.url("/other"), &[]);
    let said = (answer.status, answer.error(), answer.json()["message"].as_str().map(str::to_owned));
    assert_eq!(said, (403, "forbidden".to_owned(), Some("This endpoint is not available.".to_owned())));
    assert_eq!(world.origin.runs(""), 0);
}

#[test]
fn g_068_an_upstream_out_of_reach() {
    let world = World::new();
    // A port that was free a moment ago and that this test holds without listening.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let gate = Gate::start(world.chain.rpc_url(), &format!("http://{address}"), &GateOptions::direct());
    let answer = get(&format!("{}/free/ok", gate.url()), &[]);
    assert_eq!((answer.status, answer.error().as_str()), (502, "bad_gateway"));
}

#[test]
fn g_073_block_serves_paid_and_free_routes() {
    let world =
        world("  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\" }\n", "default_action: block");
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    assert_eq!(request("POST", &world.url("/other"), &[], b"x").status, 403);
}
