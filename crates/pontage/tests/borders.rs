//! What passes the gate and what is stripped, and the commands as a user sees them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use protocol::x402::Challenge;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use xtask::chain::{Chain, ChainOptions, USDC};

use kit::{
    Answer, Gate, GateOptions, PAYEE, PAYER, PRICE, Payer, Raw, SETTLER, World, get, request, start_chain, until,
};

/// One request as it is, on a connection of its own.
fn ask(world: &World, method: &str, target: &str, headers: &str) -> Answer {
    let text = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    Raw::send(world.gate.url(), text.as_bytes()).answer().unwrap_or_else(|| panic!("no answer to {method} {target}"))
}

/// An upstream of fixed words: one connection, one request, one answer after another.
fn canned(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    serve_canned(listener, answer);
    url
}

fn serve_canned(listener: TcpListener, answer: &'static str) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            // The gate may have gone, which ends the connection as well.
            stream.write_all(answer.as_bytes()).ok();
        }
    });
}

/// An address where nobody listens, and nobody else can: the socket is bound, and may be made to listen later.
fn closed() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// A gate before an upstream of fixed words.
fn before_canned(answer: &'static str) -> (World, Gate) {
    let world = World::new();
    let gate = Gate::start(world.chain.rpc_url(), &canned(answer), &GateOptions::default());
    (world, gate)
}

#[test]
fn no_spelling_of_a_path_gets_past_the_price() {
    let world = World::new();
    for (target, status, error) in [
        ("/paid/ok", 402, "payment_required"),
        ("/paid", 402, "payment_required"),
        ("/paid/", 402, "payment_required"),
        ("//paid/ok", 402, "payment_required"),
        ("/paid//ok", 402, "payment_required"),
        ("/./paid/ok", 402, "payment_required"),
        ("/%2e/paid/ok", 402, "payment_required"),
        ("/%70aid/ok", 402, "payment_required"),
        ("/%70%61%69%64/%6f%6b", 402, "payment_required"),
        ("/PAID/ok", 402, "payment_required"),
        ("/%50aid/ok", 402, "payment_required"),
        ("/paid/ok/", 402, "payment_required"),
        ("/paid/ok;x", 402, "payment_required"),
        ("/paid;x=1/ok", 402, "payment_required"),
        ("/paid%3bx/ok", 402, "payment_required"),
        ("/paid/ok?free", 402, "payment_required"),
        ("/paid/ok#/free", 402, "payment_required"),
        ("/paid/%00/../ok", 400, "path_control_byte"),
        ("/free/../paid/ok", 402, "payment_required"),
        ("/free/%2e%2e/paid/ok", 402, "payment_required"),
        ("/free/.%2E/paid/ok", 402, "payment_required"),
        ("/free/a/b/../../../paid/ok", 402, "payment_required"),
        ("/free/..//paid/ok", 402, "payment_required"),
        ("/free/..;/paid/ok", 400, "path_dot_parameter"),
        ("/free/..%3bx/paid/ok", 400, "path_dot_parameter"),
        ("/free/%2e%2e;/paid/ok", 400, "path_dot_parameter"),
        ("/free/..%2fpaid/ok", 400, "path_encoded_separator"),
        ("/free/..%5cpaid/ok", 400, "path_encoded_separator"),
        ("/paid%2fok", 400, "path_encoded_separator"),
        ("/%2fpaid/ok", 400, "path_encoded_separator"),
        ("/free/..\\paid\\ok", 400, "path_backslash"),
        ("/\\paid/ok", 400, "path_backslash"),
        ("/free/../../paid/ok", 400, "path_above_root"),
        ("/../paid/ok", 400, "path_above_root"),
        ("/free/%c0%ae%c0%ae/paid/ok", 400, "path_bad_escape"),
        ("/free/%u002e%u002e/paid/ok", 400, "path_bad_escape"),
        ("/free/%/paid", 400, "path_bad_escape"),
        ("*", 400, "path_not_origin_form"),
        ("http://elsewhere/paid/ok", 402, "payment_required"),
        ("HTTP://elsewhere:1/free/../paid/ok", 402, "payment_required"),
        ("http://user@elsewhere//paid/ok", 402, "payment_required"),
        ("http://elsewhere", 403, "forbidden"),
        ("/%2570aid/ok", 400, "path_double_escape"),
        // Decoded once, these are other paths, which no route covers.
        ("/paid%20/ok", 402, "payment_required"),
        ("/paid%09/ok", 400, "path_control_byte"),
        ("/paid/../free/..", 403, "forbidden"),
        ("/", 403, "forbidden"),
        ("/freely", 403, "forbidden"),
        ("/__pay/../paid/ok", 402, "payment_required"),
        ("/__pay/answers/00", 404, "not_found"),
    ] {
        for method in ["GET", "POST"] {
            let answer = ask(&world, method, target, "");
            assert_eq!((answer.status, answer.error().as_str()), (status, error), "{method} {target}");
            assert_eq!(answer.money(), "untouched", "{method} {target}");
            assert_eq!(answer.headers.contains_key("payment-required"), status == 402, "{method} {target}");
        }
    }
    // What HTTP itself does not allow gets no words of ours.
    for target in ["paid/ok", "\\paid\\ok", "", "/paid ok", "//", "http://", "/paid\u{1}"] {
        let answer = ask(&world, "GET", target, "");
        assert!((400..404).contains(&answer.status), "{target}: {}", answer.status);
    }
    assert_eq!(world.origin.runs(""), 0, "nothing of that reached the upstream");
    // What is forwarded is what was matched.
    for (target, line) in [
        ("/free/ok", "GET /free/ok HTTP/1.1"),
        ("//free//./x/../%6fk?a=/../paid", "GET /free/ok?a=/../paid HTTP/1.1"),
        ("/paid/../free/ok", "GET /free/ok HTTP/1.1"),
        ("http://elsewhere/free/ok", "GET /free/ok HTTP/1.1"),
        ("/free/ok#/../paid", "GET /free/ok HTTP/1.1"),
    ] {
        assert_eq!(ask(&world, "GET", target, "").status, 200, "{target}");
        assert_eq!(world.origin.last().line, line);
    }
}

#[test]
fn methods() {
    let world = World::new();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "X"] {
        let answer = ask(&world, method, "/paid/ok", "content-length: 0\r\n");
        assert_eq!((answer.status, answer.error().as_str()), (402, "payment_required"), "{method}");
    }
    assert_eq!(ask(&world, "OPTIONS", "/paid/ok", "content-length: 0\r\n").status, 204);
    assert!((400..500).contains(&ask(&world, "CONNECT", "paid:80", "").status));
    let head = ask(&world, "HEAD", "/paid/ok", "");
    assert_eq!((head.status, head.body.len()), (402, 0));
    assert_eq!(world.origin.runs(""), 0);

    let offer = &Challenge::parse_v2(head.headers["payment-required"].as_bytes()).unwrap().offers[0];
    let (header, _) = world.payer.payment(offer);
    let paid = ask(&world, "HEAD", "/paid/ok", &format!("payment-signature: {header}\r\n"));
    assert_eq!((paid.status, paid.body.len(), paid.receipt()["success"].as_bool()), (200, 0, Some(true)));
    world.settled(&paid);
    assert_eq!(paid.headers["content-length"], "6");
    assert_eq!(world.origin.last().line, "HEAD /paid/ok HTTP/1.1");
    assert_eq!((world.origin.runs(""), world.paid()), (1, PRICE));
    // One payment is for one request: HEAD does not open GET.
    let answer = get(&world.url("/paid/ok"), &[("payment-signature", &header)]);
    assert_eq!((answer.status, answer.error().as_str()), (409, "authorization_conflict"));
    assert_eq!((world.origin.runs(""), world.paid()), (1, PRICE));
}

#[test]
fn a_route_for_one_method_and_what_no_route_covers() {
    let routes = "  - { path: /one, method: GET, price: \"0.01\", settlement: direct }\n  - { path: /free/*, method: POST, free: true }\n";
    for (action, status, error) in [("block", 403, "forbidden"), ("passthrough", 200, "")] {
        let more = format!("default_action: {action}");
        let world = World::with(ChainOptions::default(), &GateOptions { routes, more, ..GateOptions::default() });
        for (method, target) in [("POST", "/one"), ("GET", "/free/ok"), ("GET", "/other"), ("OPTIONS", "/other")] {
            let runs = world.origin.runs("");
            let answer = ask(&world, method, target, "content-length: 0\r\n");
            assert_eq!((answer.status, answer.error().as_str()), (status, error), "{action}: {method} {target}");
            assert_eq!(world.origin.runs("") - runs, usize::from(status == 200), "{action}: {method} {target}");
        }
        for (method, target) in [("GET", "/one"), ("HEAD", "/one"), ("GET", "/x/../ONE/"), ("get", "/one")] {
            assert_eq!(ask(&world, method, target, "").status, 402, "{action}: {method} {target}");
        }
        world.settled(&world.payer.buy(&world.url("/one")));
        assert_eq!(world.paid(), PRICE, "{action}");
    }
}

/// Payment and trust words from outside, and fields of one connection.
const FORGED: &str = "x-pay-verified: yes\r\nX-Pay-Payer: me\r\nx-payment-response: e30=\r\nx-payment-status: paid\r\n\
     payment-response: e30=\r\nPayment-Receipt: e30=\r\npayment-required: e30=\r\nx-402-nonce: 1\r\nte: trailers\r\n\
     trailer: x\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic eA==\r\n\
     upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nx-secret: 1\r\nx-kept: yes\r\nauthorization: Bearer x\r\n";
const CONNECTION: &str = "connection: x-secret, x-pay-verified, payment-response, close, upgrade, te, host\r\n";

#[test]
fn what_the_upstream_never_sees() {
    let world = World::new();
    let offer = Payer::offer(&world.url("/paid/ok"));
    let (header, _) = world.payer.payment(&offer);
    for (target, payment) in [
        ("/free/ok", FORGED.to_owned()),
        ("/free/ok", format!("{FORGED}x-payment: {header}\r\npayment-signature: {header}\r\n")),
        ("/paid/ok", format!("{FORGED}payment-signature: {header}\r\n")),
    ] {
        let answer = ask(&world, "GET", target, &format!("{payment}{CONNECTION}"));
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let headers = world.origin.last().headers;
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.retain(|name| target != "/paid/ok" || !name.starts_with("x-pay-"));
        assert_eq!(names, ["authorization", "host", "x-kept"], "{target}");
        assert!(headers.iter().all(|(name, value)| name != "x-pay-verified" || value == "true"), "{headers:?}");
        let host = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| format!("http://{value}"));
        assert_eq!(host, Some(world.origin.url()), "the upstream is called by its own name");
    }
    world.rest();
    assert_eq!((world.paid(), world.books().holds("posted")), (PRICE, 1), "the free call cost nothing");
    // A payment that belongs to the connection is none for us, and does not pass either.
    let (header, nonce) = world.payer.payment(&offer);
    let answer =
        ask(&world, "GET", "/paid/ok", &format!("payment-signature: {header}\r\nconnection: payment-signature\r\n"));
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_required"));
    assert!(!world.chain.authorization_state(PAYER.address, &nonce.to_string()).unwrap());
    assert_eq!(world.origin.runs("/paid/"), 1);
}

/// CGI and its heirs read `x_pay_verified` as `X-Pay-Verified`, so it must not pass either.
#[test]
fn trust_words_with_underscores() {
    let world = World::new();
    for name in ["x_pay_verified", "X_Pay-Payer", "x-pay_payer", "payment_response", "x_payment", "X_402_Signature"] {
        assert_eq!(ask(&world, "GET", "/free/ok", &format!("{name}: forged\r\n")).status, 200, "{name}");
        let seen = world.origin.last().headers;
        assert!(seen.iter().all(|(_, value)| value != "forged"), "{name} reached the upstream");
    }
}

#[test]
fn a_free_route_ignores_a_payment() {
    let world = World::new();
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    for header in [header.as_str(), "rubbish", &"A".repeat(20_000)] {
        let answer = get(&world.url("/free/ok"), &[("payment-signature", header)]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
        assert!(!answer.headers.contains_key("payment-response") && !answer.headers.contains_key("cache-control"));
    }
    assert_eq!((world.paid(), world.books().claims().len()), (0, 0));
    assert!(!world.chain.authorization_state(PAYER.address, &nonce.to_string()).unwrap());
}

#[test]
fn what_the_caller_never_sees() {
    let world = World::new();
    // The upstream of the kit forges a receipt and a trust word in every answer.
    let free = get(&world.url("/free/ok"), &[]);
    let paid = world.payer.buy(&world.url("/paid/ok"));
    for (what, answer) in [("free", &free), ("paid", &paid)] {
        assert_eq!((answer.status, answer.headers["x-origin"].as_str()), (200, "yes"), "{what}");
        for name in ["x-pay-verified", "keep-alive", "connection"] {
            assert!(!answer.headers.contains_key(name), "{what}: {name}");
        }
        assert!(answer.headers.values().all(|value| value != "forged"), "{what}");
    }
    assert!(!free.headers.contains_key("payment-response"));
    assert_eq!(world.settled(&paid), world.chain.transfers_to(PAYEE).unwrap()[0].chain_tx);
    assert_eq!(paid.headers["cache-control"], "private");
    assert_eq!(get(&world.url("/paid/ok"), &[]).headers["cache-control"], "no-store");
}

#[test]
fn forgeries_before_within_and_after_the_answer() {
    let (world, gate) = before_canned(
        "HTTP/1.1 103 Early Hints\r\npayment-response: forged\r\n\r\nHTTP/1.1 200 OK\r\nconnection: x-hop, x-kept\r\nx-hop: forged\r\n\
         payment-required: forged\r\nPAYMENT-RESPONSE: forged\r\nx-payment-response: forged\r\npayment-response: forged\r\n\
         proxy-authenticate: forged\r\ncache-control: public, max-age=60\r\ntransfer-encoding: chunked\r\n\
         trailer: payment-response\r\n\r\n6\r\nserved\r\n0\r\npayment-response: forged\r\n\r\n",
    );
    let url = format!("{}/paid/x", gate.url());
    let (header, _) = world.payer.payment(&Payer::offer(&url));
    for (path, headers) in
        [("/free/x", vec![("te", "trailers")]), ("/paid/x", vec![("te", "trailers"), ("x-payment", &header)])]
    {
        let text = Raw::get(gate.url(), path, &headers).read_all();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("served"), "{text}");
        assert!(!text.contains("forged"), "{text}");
        let receipts = text.to_lowercase().matches("\r\npayment-response:").count();
        assert_eq!(receipts, usize::from(path == "/paid/x"), "{text}");
        let cache =
            if path == "/paid/x" { "cache-control: private, max-age=60" } else { "cache-control: public, max-age=60" };
        assert!(text.to_lowercase().contains(cache), "{text}");
    }
    gate.rest();
    assert_eq!(world.paid(), PRICE);
}

/// An upstream that writes `Cache-Control` in two lines means both.
#[test]
fn every_line_of_cache_control_counts() {
    let (world, gate) = before_canned(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=0\r\ncache-control: no-store\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let url = format!("{}/paid/x", gate.url());
    let (header, _) = world.payer.payment(&Payer::offer(&url));
    let text = Raw::get(gate.url(), "/paid/x", &[("x-payment", &header)]).read_all().to_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    for word in ["private", "max-age=0", "no-store"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
}

#[test]
fn queries_and_bodies_pass_byte_for_byte() {
    let world = World::new();
    let offer = Payer::offer(&world.url("/paid/ok"));
    let pay = || world.payer.payment(&offer).0;
    for query in ["", "?", "?a=%2F..%2f&b=%zz&&+=~!$'()*,;:@/?[]|^{}", "?q=%00%0d%0a", "?a=1?b=2", "?..%2f../"] {
        let answer = ask(&world, "GET", &format!("/paid/ok{query}"), &format!("x-payment: {}\r\n", pay()));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(world.origin.last().line, format!("GET /paid/ok{query} HTTP/1.1"));
    }
    let large: Vec<u8> = (0..1024 * 1024).map(|n: u32| n.to_be_bytes()[3] ^ n.to_be_bytes()[2]).collect();
    let answer = request("POST", &world.url("/paid/echo"), &[("x-payment", &pay())], &large);
    assert_eq!((answer.status, answer.body == large), (200, true));
    assert!(world.origin.last().body == large);

    let header = pay();
    let mut chunked =
        format!("POST /paid/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-payment: {header}\r\ntransfer-encoding: chunked\r\n\r\n")
            .into_bytes();
    for piece in large.chunks(100_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = Raw::send(world.gate.url(), &chunked).answer().unwrap();
    assert_eq!((answer.status, answer.body == large), (200, true));

    for url in ["/free/big", "/paid/big"] {
        let answer = get(&world.url(url), &[("x-payment", &pay())]);
        assert_eq!((answer.status, answer.body.len()), (200, 8 * 1024 * 1024), "{url}");
        assert!(answer.body.iter().all(|byte| *byte == b'x'), "{url}");
    }
    world.agree();
}

#[test]
fn an_upstream_that_is_down_and_comes_back() {
    let world = World::new();
    let (address, held) = closed();
    let gate = Gate::start(world.chain.rpc_url(), &format!("http://{address}"), &GateOptions::default());
    let (free, paid) = (format!("{}/free/ok", gate.url()), format!("{}/paid/ok", gate.url()));
    let books = kit::Books::open(gate.journal());
    let (header, nonce) = world.payer.payment(&Payer::offer(&paid));
    for (turn, url) in [&free, &paid, &paid].into_iter().enumerate() {
        let answer = get(url, &[("payment-signature", &header)]);
        let said = (answer.status, answer.error(), answer.money());
        assert_eq!(said, (502, "bad_gateway".to_owned(), "untouched".to_owned()), "{url}");
        assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
        assert_eq!((books.holds("released"), books.unfinished()), (turn, 0), "{url}");
    }
    assert!(!world.chain.authorization_state(PAYER.address, &nonce.to_string()).unwrap());
    assert_eq!(world.paid(), 0);

    held.listen(16).unwrap();
    serve_canned(held.into(), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nup");
    let answer = get(&paid, &[("payment-signature", &header)]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "up"), "the payment that was let go is good");
    gate.settled(&answer.receipt());
    assert_eq!((world.paid(), books.holds("posted"), books.holds("released")), (PRICE, 1, 2));
}

// ---- The commands.

/// What a command did.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A command that must end by itself; it is killed when the test gives up.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless the test gave up.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn read_all(mut pipe: impl std::io::Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

/// Runs `pontage` on a configuration, with a key or without.
fn pontage(command: &str, config: &Path, key: Option<&str>) -> Ran {
    let mut run = Command::new(env!("CARGO_BIN_EXE_pontage"));
    run.arg(command).arg("--config").arg(config).env_remove("PONTAGE_SIGNER_KEY");
    if let Some(key) = key {
        run.env("PONTAGE_SIGNER_KEY", key);
    }
    run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(run.spawn().unwrap());
    let (out, err) = (read_all(child.0.stdout.take().unwrap()), read_all(child.0.stderr.take().unwrap()));
    let mut code = None;
    until(&format!("`pontage {command}` ends"), || match child.0.try_wait().unwrap() {
        Some(status) => {
            code = status.code();
            true
        }
        None => false,
    });
    Ran { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// Starts on a configuration that must be refused, and returns what was said about it.
fn refuses(text: &str, key: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pontage.yaml");
    std::fs::write(&config, text).unwrap();
    let ran = pontage("start", &config, key);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{text}\n{}", ran.err);
    let complaint = ran.err.split_once("pontage: ").unwrap_or_else(|| panic!("{}", ran.err)).1;
    complaint.to_owned()
}

/// A configuration for a node, with further lines for its network and for the whole.
fn config(rpc_url: &str, network: &str, more: &str) -> String {
    format!(
        "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"http://127.0.0.1:9\" }}\n\
         routes:\n  - {{ path: /paid, price: \"0.01\" }}\nnetworks:\n  eip155:84532:\n    rpc_urls: [\"{rpc_url}\"]\n{network}{more}"
    )
}

const SIGNER: &str = "facilitator: { signer: { env: PONTAGE_SIGNER_KEY } }\n";

#[test]
fn init_and_validate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pontage.yaml");
    let ran = pontage("init", &path, None);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains("Wrote ") && ran.out.contains("provider_address"), "{}", ran.out);
    let written = std::fs::read_to_string(&path).unwrap();

    let ran = pontage("validate", &path, None);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.matches("Fix: ").count()), (Some(1), "", 1), "{}", ran.err);
    let line = 1 + written.lines().position(|line| line.starts_with("provider_address")).unwrap();
    assert!(ran.err.contains(&format!("pontage.yaml:{line}  provider_address\n")), "{}", ran.err);

    let filled = written.replace("0x0000000000000000000000000000000000000000", PAYEE);
    std::fs::write(&path, &filled).unwrap();
    let ran = pontage("validate", &path, None);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "Config is valid.\n", ""));

    let ran = pontage("init", &path, None);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("exists already and is not overwritten"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), filled);
}

#[test]
fn every_mistake_is_printed_with_its_line() {
    let good = config("http://127.0.0.1:9", "", SIGNER);
    let text = good.replace("version: 1", "version: 7").replace("0.01", "0").replace("listen", "listne");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pontage.yaml");
    std::fs::write(&path, &text).unwrap();
    for command in ["validate", "start", "dev"] {
        let ran = pontage(command, &path, Some(SETTLER.secret));
        assert_eq!((ran.code, ran.out.as_str(), ran.err.matches("Fix: ").count()), (Some(1), "", 3), "{}", ran.err);
        for place in ["pontage.yaml:1  version", "pontage.yaml:2  listne", "pontage.yaml:6  routes[0].price"] {
            assert!(ran.err.contains(place), "{place}\n{}", ran.err);
        }
    }
    let ran = pontage("validate", &folder.path().join("nowhere.yaml"), None);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.matches("Fix: ").count()), (Some(1), "", 1), "{}", ran.err);
}

#[test]
fn no_start_without_a_signer() {
    let text = config("http://127.0.0.1:9", "", "");
    let said = refuses(&text, Some(SETTLER.secret));
    assert!(said.contains("\nfacilitator:\n  signer: { env: PONTAGE_SIGNER_KEY }\n"), "{said}");
    // The two lines are the cure: then it is the variable, then its content, that is missed, then the node.
    let text = text + "facilitator:\n  signer: { env: PONTAGE_SIGNER_KEY }\n";
    for (key, words) in [
        (None, "facilitator.signer"),
        (Some(""), "facilitator.signer"),
        (Some("0xdecafbad"), "does not hold a private key"),
    ] {
        let said = refuses(&text, key);
        assert!(said.contains(words) && said.contains("PONTAGE_SIGNER_KEY"), "{said}");
        assert!(!said.contains("decafbad"), "{said}");
    }
    let said = refuses(&text, Some(SETTLER.secret));
    assert!(said.contains("rpc_urls[0]"), "{said}");
}

#[test]
fn no_start_against_what_the_chain_says() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    let asset = |address: &str, name: &str, version: &str, decimals: u8| {
        let network = format!(
            "    assets: [{{ address: \"{address}\", name: \"{name}\", version: \"{version}\", decimals: {decimals} }}]\n"
        );
        config(chain.rpc_url(), &network, SIGNER)
    };
    for (text, field) in [
        (asset(USDC, "USD Coin", "2", 6), "assets[0].name: the contract's name() is \"USDC\""),
        (asset(USDC, "USDC", "1", 6), "assets[0].version: the contract's version() is \"2\""),
        (asset(USDC, "USDC", "2", 18), "assets[0].decimals: the contract's decimals() is 6"),
        (asset(PAYEE, "USDC", "2", 6), "assets[0].address: there is no contract"),
    ] {
        let said = refuses(&text, Some(SETTLER.secret));
        assert!(said.contains(&format!("networks.eip155:84532.{field}")), "{field}\n{said}");
    }
    let other = start_chain(ChainOptions { chain_id: 31337, ..ChainOptions::default() });
    let said = refuses(&config(other.rpc_url(), "", SIGNER), Some(SETTLER.secret));
    assert!(said.contains("networks.eip155:84532.rpc_urls[0]") && said.contains("eip155:31337"), "{said}");
}

/// A node's address may hold an access key, and its words are not ours.
#[test]
fn a_node_that_is_out_of_reach_or_talks_nonsense() {
    let (closed, _held) = closed();
    let nodes = [
        format!("http://{closed}"),
        canned("HTTP/1.1 401 No\r\ncontent-length: 11\r\nconnection: close\r\n\r\nFOREIGN WORD"),
        canned("HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\nFOREIGN WORD"),
        canned(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n\
             {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"FOREIGN WORD\"}}",
        ),
    ];
    for node in nodes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pontage.yaml");
        std::fs::write(&path, config(&format!("{node}/v2/ACCESSKEY"), "", SIGNER)).unwrap();
        let ran = pontage("start", &path, Some(SETTLER.secret));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{node}: {}", ran.err);
        assert!(
            ran.err.contains(
                "networks.eip155:84532.rpc_urls[0] (the cause is in the log): the chain node does not answer"
            ),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("ACCESSKEY"), "the log holds the access key: {}", ran.err);
        let complaint = ran.err.split_once("pontage: ").unwrap().1;
        assert!(!complaint.contains("FOREIGN WORD"), "{complaint}");
    }
}

#[test]
fn one_process_and_one_chain_for_a_journal() {
    let mut world = World::new();
    let path = world.gate.journal().with_file_name("pontage.yaml");
    let ran = pontage("start", &path, Some(SETTLER.secret));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("store.path") && ran.err.contains("another pontage process"), "{}", ran.err);
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200, "the first one is not disturbed");
    world.gate.kill();

    // A fresh chain of the same id, whose first block differs: anvil stamps it with the second in which it starts.
    let first = |chain: &Chain| chain.rpc("eth_getBlockByNumber", json!(["0x0", false])).unwrap()["hash"].take();
    let mut fresh = None;
    until("a chain with another first block", || {
        let chain = start_chain(ChainOptions::default());
        let differs = first(&chain) != first(&world.chain);
        fresh = Some(chain);
        differs
    });
    let fresh = fresh.unwrap();
    fresh.plant_token().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(world.chain.rpc_url(), fresh.rpc_url())).unwrap();
    let ran = pontage("start", &path, Some(SETTLER.secret));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("store.path: this journal was written for another chain"), "{}", ran.err);

    // On its own chain it goes on.
    std::fs::write(&path, text).unwrap();
    world.gate.restart();
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    world.agree();
    assert_eq!(world.paid(), 2 * PRICE);
}
