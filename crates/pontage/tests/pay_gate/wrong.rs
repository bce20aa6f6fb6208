//! pay-gate's faults, each shown not to be ours: G-X01 to G-X17.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Gate, GateOptions, PRICE, Payer, Raw, World, get};
use crate::world;
use xtask::chain::ChainOptions;

#[test]
fn g_x02_no_trust_word_of_a_caller_reaches_the_upstream() {
    let world = world("  - { path: /free/*, free: true }\n", "default_action: passthrough");
    for path in ["/free/ok", "/other/ok"] {
        for name in [
            "X-Pay-Verified",
            "X-Pay-From",
            "X-Pay-Amount",
            "X-Pay-Settlement",
            "X-Pay-Tab",
            "x_pay_verified",
            "X-Pay-Signature",
        ] {
            assert_eq!(get(&world.url(path), &[(name, "forged")]).status, 200, "{path} {name}");
            let seen = world.origin.last();
            assert!(
                seen.headers.iter().all(|(name, _)| !name.replace('_', "-").starts_with("x-pay")),
                "{path}: {seen:?}"
            );
        }
    }
}

#[test]
fn g_x04_one_payment_one_run() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let (header, _) = world.payer.payment(&Payer::offer(&url));
    let pay = || get(&url, &[("payment-signature", &header)]);
    let first = pay();
    assert_eq!(first.status, 200);
    for _ in 0..3 {
        let again = pay();
        assert_eq!((again.status, again.error().as_str()), (409, "already_served"));
    }
    world.settled(&first);
    assert_eq!((world.origin.runs("/paid/"), world.paid()), (1, PRICE));
}

#[test]
fn g_x08_no_spelling_gets_past_a_priced_route() {
    let world = world("  - { path: /api/v1/premium/*, price: \"0.01\" }\n", "default_action: passthrough");
    for (path, status) in [
        ("/api/v1/premium%2fx", 400),
        ("/api//v1/premium/x", 402),
        ("/API/v1/premium/x", 402),
        ("/api/v1/./premium/x", 402),
    ] {
        let mut caller = Raw::get(world.gate.url(), path, &[]);
        assert_eq!(caller.answer().map(|answer| answer.status), Some(status), "{path}");
    }
    assert_eq!(world.origin.runs(""), 0);
}

#[test]
fn g_x09_timeout_is_kept() {
    let world = World::with(ChainOptions::default(), &GateOptions { timeout: "1s", ..GateOptions::direct() });
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/hang")));
    let started = Instant::now();
    let free = get(&world.url("/free/hang"), &[]);
    let paid = get(&world.url("/paid/hang"), &[("payment-signature", &header)]);
    assert_eq!((free.status, paid.status, paid.money().as_str()), (504, 504, "untouched"));
    let took = started.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?} for two calls of one second");
    assert_eq!(world.paid(), 0);
}

/// The second event is written when the first was read, and not before.
#[test]
fn g_x10_nothing_is_buffered() {
    let world = World::new();
    let (read, was_read) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // One piece is all of so short a request.
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
        was_read.recv_timeout(Duration::from_secs(30)).unwrap();
        stream.write_all(b"data: 2\n\n").unwrap();
    });
    let gate = Gate::start(world.chain.rpc_url(), &url, &GateOptions::direct());
    let mut caller = Raw::get(gate.url(), "/free/events", &[]);
    assert!(caller.read_until("data: 1\n\n").contains("data: 1\n\n"));
    read.send(()).unwrap();
    assert!(caller.read_until("data: 2\n\n").contains("data: 2\n\n"));
}

/// What arrives at an `https://` upstream is a greeting of TLS, and nothing of the call before it is trusted.
#[test]
fn g_x11_an_upstream_by_https_is_spoken_to_in_tls() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap_or(0);
            // The test may have seen enough.
            drop(told.send(bytes[..count].to_vec()));
        }
    });
    let gate = Gate::start(world.chain.rpc_url(), &url, &GateOptions::direct());
    let answer = get(&format!("{}/free/ok?q=a-secret", gate.url()), &[]);
    assert_eq!((answer.status, answer.error().as_str()), (502, "bad_gateway"));
    let bytes = heard.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(bytes[..2], [22, 3], "a handshake record");
    assert!(!String::from_utf8_lossy(&bytes).contains("a-secret"));
}

#[test]
fn g_x14_one_version_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    for args in ["version", "--version"] {
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_pontage")).arg(args).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), format!("pontage {version}\n"));
    }
}
