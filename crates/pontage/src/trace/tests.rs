//! A collector that keeps what it is sent.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use alloy_primitives::hex;
use http::HeaderValue;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn finished(hold: HoldId) -> Finished<'static> {
    Finished {
        method: "GET",
        path: "/paid/ok",
        route: Some("* /paid/*"),
        caller: None,
        status: 200,
        outcome: MoneyOutcome::ServedTab,
        payer: None,
        amount: None,
        hold: Some(hold),
        reason: None,
        limited: None,
        source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        latency_us: 1,
        upstream_us: None,
        upstream_status: None,
        settlement_us: None,
    }
}

/// Takes one export and gives its head and body.
fn collector() -> (String, thread::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let taken = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = stream.read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..count]);
            let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            let length: usize = length.parse().unwrap();
            if bytes.len() == end + 4 + length {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
                return (head, bytes[end + 4..].to_vec());
            }
        }
    });
    (url, taken)
}

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_call_arrives_at_the_collector_as_a_part_of_its_callers_trace() {
    let (url, taken) = collector();
    let traces = Traces::start(Some(&url)).unwrap();
    let hold = HoldId([9; 16]);
    let mut request = HeaderMap::new();
    request.insert("traceparent", HeaderValue::try_from(format!("00-{TRACE}-{PARENT}-01")).unwrap());
    request.insert("payment-signature", HeaderValue::from_static("a-credential"));
    request.insert("authorization", HeaderValue::from_static("Bearer a-credential"));
    let call = traces.call("GET", "/paid/ok", &request);
    drop(call.step("open"));
    call.payment(hold);
    let upstream = call.step("upstream");
    let mut forwarded = request.clone();
    upstream.propagate(&mut forwarded);
    drop(upstream);
    drop(call.step("settle"));
    call.finished(&finished(hold));
    traces.end();

    let told = forwarded["traceparent"].to_str().unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01") && !told.contains(PARENT), "{told}");
    let (head, body) = taken.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1") && head.contains("application/x-protobuf"), "{head}");
    for part in
        ["call", "open", "upstream", "settle", "pontage", "* /paid/*", "served_tab", "/paid/ok", &hold.to_string()]
    {
        assert!(has(&body, part.as_bytes()), "{part}");
    }
    assert!(has(&body, &hex::decode(TRACE).unwrap()) && has(&body, &hex::decode(PARENT).unwrap()));
    assert!(!has(&body, b"a-credential"), "a credential is in a span");
}

#[test]
fn nothing_is_made_without_a_collector() {
    let traces = Traces::start(None).unwrap();
    let mut request = HeaderMap::new();
    request.insert("traceparent", HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    let before = request.clone();
    let call = traces.call("GET", "/", &request);
    assert!(call.0.is_none());
    let step = call.step("upstream");
    step.propagate(&mut request);
    assert_eq!(request, before, "the caller's own goes on as it came");
    call.finished(&finished(HoldId([0; 16])));
    traces.end();
}

#[test]
fn a_collector_that_is_not_there_stops_nobody() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let traces = Traces::start(Some(&format!("http://{gone}/v1/traces"))).unwrap();
    for _ in 0..3 * WAITING_MAX {
        let call = traces.call("GET", "/", &HeaderMap::new());
        call.finished(&finished(HoldId([0; 16])));
    }
    traces.end();
}
