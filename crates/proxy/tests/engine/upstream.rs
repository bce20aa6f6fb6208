//! The upstream pool against a raw upstream.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use proxy::{UpstreamFaultKind, UpstreamLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use crate::harness::{Broken, Raw, RawUpstream, fed, get, local, text};

const OK_HI: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

fn limits() -> UpstreamLimits {
    UpstreamLimits::default()
}

/// A request whose length hyper cannot know.
fn streamed(method: Method, body: crate::harness::Fed) -> Request<crate::harness::Fed> {
    Request::builder().method(method).uri("/s").body(body).unwrap()
}

#[test]
fn a_connection_is_reused_after_a_complete_answer() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let played = spawn_local(async move {
            let mut raw = server.accept().await;
            let mut heads = Vec::new();
            for answer in [
                OK_HI,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
                OK_HI,
            ] {
                heads.push(raw.head().await);
                raw.say(answer).await;
            }
            (heads, server.address())
        });
        for expected in ["hi", "hi", "", "hi"] {
            let sent = Cell::new(0);
            let answer = pool.send(get("/a?b"), || sent.set(sent.get() + 1)).await.unwrap();
            assert_eq!(sent.get(), 1);
            assert_eq!(answer.headers().get("transfer-encoding"), None);
            assert_eq!(text(answer.into_body()).await, expected);
        }
        let (heads, address) = played.await.unwrap();
        for head in heads {
            assert_eq!(head, format!("GET /a?b HTTP/1.1\r\nhost: {address}\r\n\r\n"));
        }
    });
}

#[test]
fn a_stale_pooled_connection_costs_no_call() {
    // The upstream closes right after its first answer, orderly or not; the second request must go out on a second connection.
    for reset in [false, true] {
        local(async move {
            let server = RawUpstream::start().await;
            let pool = server.pool(limits());
            let first = async {
                let mut raw = server.accept().await;
                raw.head().await;
                raw.say(OK_HI).await;
                raw
            };
            let (answer, raw) = tokio::join!(pool.send(get("/1"), || {}), first);
            assert_eq!(text(answer.unwrap().into_body()).await, "hi");
            // No turn of the runtime between the close and the next send: tokio cannot have heard of it.
            match reset {
                true => raw.reset(),
                false => drop(raw),
            }
            let sent = Cell::new(0);
            let second = async {
                let mut raw = server.accept().await;
                let head = raw.head().await;
                raw.say(OK_HI).await;
                head
            };
            let (answer, head) = tokio::join!(pool.send(get("/2"), || sent.set(sent.get() + 1)), second);
            assert_eq!(text(answer.unwrap().into_body()).await, "hi");
            assert!(head.starts_with("GET /2 "));
            assert_eq!(sent.get(), 1);
        });
    }
}

#[test]
fn a_request_that_left_is_never_sent_again() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let played = async {
            let mut raw = server.accept().await;
            raw.head().await;
            raw.say(OK_HI).await;
            raw.head().await;
            drop(raw);
        };
        let calls = async {
            let answer = pool.send(get("/1"), || {}).await.unwrap();
            assert_eq!(text(answer.into_body()).await, "hi");
            pool.send(get("/2"), || {}).await.unwrap_err()
        };
        let ((), fault) = tokio::join!(played, calls);
        assert_eq!((fault.sent, fault.kind), (true, UpstreamFaultKind::Reset));
        let again = tokio::select! {
            biased;
            _ = server.accept() => true,
            () = tokio::task::yield_now() => false,
        };
        assert!(!again, "no second connection was opened");
    });
}

#[test]
fn nobody_listens() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        drop(server);
        let sent = Cell::new(false);
        let fault = pool.send(get("/"), || sent.set(true)).await.unwrap_err();
        assert_eq!((fault.sent, fault.kind), (false, UpstreamFaultKind::Connect));
        assert!(!sent.get());
        assert!(fault.to_string().starts_with("upstream connect (not sent): "), "{fault}");
    });
}

#[test]
fn requests_that_cannot_be_sent() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        for (method, uri) in [(Method::CONNECT, "a:1"), (Method::OPTIONS, "*"), (Method::GET, "a")] {
            let request = Request::builder().method(method).uri(uri);
            let request = request.body(Full::<Bytes>::default()).unwrap();
            let fault = pool.send(request, || {}).await.unwrap_err();
            assert_eq!((fault.sent, fault.kind), (false, UpstreamFaultKind::Protocol), "{uri}");
        }
    });
}

/// Sends one GET and plays the upstream; returns the fault of the head or of the body.
async fn fault_of<F: Future<Output = ()>>(
    limits: UpstreamLimits,
    play: impl FnOnce(Raw) -> F,
) -> (bool, UpstreamFaultKind) {
    let server = RawUpstream::start().await;
    let pool = server.pool(limits);
    let played = async {
        let mut raw = server.accept().await;
        raw.head().await;
        play(raw).await;
    };
    let call = async {
        match pool.send(get("/"), || {}).await {
            Err(fault) => fault,
            Ok(answer) => answer.into_body().collect().await.unwrap_err(),
        }
    };
    let ((), fault) = tokio::join!(played, call);
    (fault.sent, fault.kind)
}

#[test]
fn faults_after_the_request_left() {
    use UpstreamFaultKind::{Protocol, Reset};
    let rows = [
        ("", Reset),
        ("HTTP/1.1 200 O", Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", Protocol),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", Protocol),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Protocol),
        ("hello\r\n\r\n", Protocol),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", Protocol),
    ];
    for (answer, kind) in rows {
        let fault = local(fault_of(limits(), async |mut raw: Raw| raw.say(answer).await));
        assert_eq!(fault, (true, kind), "{answer:?}");
    }
    let oversized = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(70_000));
    let fault = local(fault_of(limits(), async |mut raw: Raw| {
        raw.say(&oversized).await;
        // Open until the other side gives up.
        raw.hear_all().await;
    }));
    assert_eq!(fault, (true, Protocol));
    let reset = local(fault_of(limits(), async |mut raw: Raw| {
        raw.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await;
        raw.reset();
    }));
    assert_eq!(reset, (true, Reset));
}

#[test]
fn time_limits() {
    let short = UpstreamLimits { head_timeout_ms: 20, ..limits() };
    let head = local(fault_of(short, async |mut raw: Raw| {
        raw.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        raw.hear_all().await;
    }));
    assert_eq!(head, (true, UpstreamFaultKind::HeadTimeout));
    let short = UpstreamLimits { body_idle_timeout_ms: 20, ..limits() };
    let idle = local(fault_of(short, async |mut raw: Raw| {
        raw.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await;
        raw.hear_all().await;
    }));
    assert_eq!(idle, (true, UpstreamFaultKind::IdleTimeout));
}

#[test]
fn an_early_answer_passes_and_its_connection_is_not_reused() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let (feed, body) = fed();
        let played = async {
            let mut raw = server.accept().await;
            raw.head().await;
            raw.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
            raw
        };
        let (answer, mut raw) = tokio::join!(pool.send(streamed(Method::POST, body), || {}), played);
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(answer.into_body()).await, "no");
        assert_eq!(raw.hear_all().await, (String::new(), true), "closed");
        feed.closed().await;
    });
}

#[test]
fn an_early_answer_survives_a_closed_reading_side() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        // More than the socket buffers hold, so that writing fails while the answer is there to be read.
        let big = Request::post("/").body(Full::new(Bytes::from(vec![7; 16 << 20]))).unwrap();
        let played = async {
            let mut raw = server.accept().await;
            raw.head().await;
            raw.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        };
        let (answer, ()) = tokio::join!(pool.send(big, || {}), played);
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    });
}

#[test]
fn a_failing_request_body_aborts_the_request() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let (feed, body) = fed();
        let played = async {
            let mut raw = server.accept().await;
            raw.head().await;
            feed.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
            raw.hear_until("3\r\nabc\r\n").await;
            feed.send(Err(Broken)).await.unwrap();
            raw.hear_all().await
        };
        let (answer, heard) = tokio::join!(pool.send(streamed(Method::POST, body), || {}), played);
        let fault = answer.unwrap_err();
        assert_eq!((fault.sent, fault.kind), (true, UpstreamFaultKind::RequestBody));
        assert_eq!(heard.0, "", "no last chunk");
    });
}

/// Method, the caller's fields, the body (`None`: of unknown length), and the only field but `Host` that arrives.
type FramingRow = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>, &'static str);

const FRAMING: &[FramingRow] = &[
    ("GET", &[], Some(""), ""),
    ("GET", &[], Some("abc"), "content-length: 3\r\n"),
    ("GET", &[("content-length", "7")], Some(""), "content-length: 0\r\n"),
    ("POST", &[], Some(""), "content-length: 0\r\n"),
    ("POST", &[("content-length", "9")], Some("abc"), "content-length: 3\r\n"),
    ("POST", &[("transfer-encoding", "gzip")], Some("abc"), "content-length: 3\r\n"),
    ("DELETE", &[], Some("abc"), "content-length: 3\r\n"),
    ("POST", &[], None, "transfer-encoding: chunked\r\n"),
    ("GET", &[], None, "transfer-encoding: chunked\r\n"),
    ("POST", &[("content-length", "3")], None, "content-length: 3\r\n"),
    ("POST", &[("expect", "100-continue"), ("connection", "x-a"), ("x-a", "1")], Some("abc"), "content-length: 3\r\n"),
];

#[test]
fn framing_of_requests() {
    for (method, fields, body, framing) in FRAMING {
        local(async move {
            let server = RawUpstream::start().await;
            let pool = server.pool(limits());
            let mut request = Request::builder().method(*method).uri("http://elsewhere/p?q");
            for (name, value) in *fields {
                request = request.header(*name, *value);
            }
            let body = match body {
                Some(known) => Full::new(Bytes::from_static(known.as_bytes())).map_err(|e| match e {}).boxed_unsync(),
                None => {
                    let (feed, fed) = fed();
                    feed.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
                    fed.boxed_unsync()
                }
            };
            let played = async {
                let mut raw = server.accept().await;
                let head = raw.head().await;
                if framing.contains("chunked") {
                    assert_eq!(raw.hear_until("0\r\n\r\n").await, "3\r\nabc\r\n0\r\n\r\n");
                } else if framing.contains('3') {
                    raw.hear_until("abc").await;
                }
                raw.say(OK_HI).await;
                // The pool must keep this connection, whatever the framing was.
                assert!(raw.head().await.starts_with("GET /again "));
                raw.say(OK_HI).await;
                head
            };
            let calls = async {
                let answer = pool.send(request.body(body).unwrap(), || {}).await.unwrap();
                assert_eq!(text(answer.into_body()).await, "hi");
                let again = pool.send(get("/again"), || {}).await.unwrap();
                assert_eq!(text(again.into_body()).await, "hi");
            };
            let (head, ()) = tokio::join!(played, calls);
            let start = format!("{method} /p?q HTTP/1.1\r\n");
            let mut lines: Vec<&str> = head.strip_prefix(&start).unwrap().lines().collect();
            lines.retain(|line| !line.starts_with("host: ") && !line.is_empty());
            assert_eq!(lines.join(""), framing.trim_end(), "{method} {fields:?}");
        });
    }
}

#[test]
fn a_body_longer_than_declared_is_a_fault() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from_static(b"abcd"))).await.unwrap();
        let request = Request::post("/").header("content-length", "3").body(body).unwrap();
        let fault = pool.send(request, || {}).await.unwrap_err();
        assert_eq!(fault.kind, UpstreamFaultKind::RequestBody);
    });
}

#[test]
fn head_answers_have_no_body_and_keep_their_length() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let played = async {
            let mut raw = server.accept().await;
            assert!(raw.head().await.starts_with("HEAD "));
            raw.say("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: x-a\r\nx-a: 1\r\nkeep-alive: timeout=1\r\n\r\n").await;
            raw.head().await;
            raw.say(OK_HI).await;
        };
        let calls = async {
            let head = Request::head("/").body(Full::<Bytes>::default()).unwrap();
            let answer = pool.send(head, || {}).await.unwrap();
            assert!(answer.body().is_end_stream());
            let names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
            assert_eq!(names, ["content-length"]);
            // The connection is free although nobody polled the empty body.
            let again = pool.send(get("/"), || {}).await.unwrap();
            assert_eq!(text(again.into_body()).await, "hi");
        };
        tokio::join!(played, calls);
    });
}

#[test]
fn a_dropped_body_closes_its_connection() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let played = async {
            let mut raw = server.accept().await;
            raw.head().await;
            raw.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await;
            raw.hear_all().await.0
        };
        let call = async { drop(pool.send(get("/"), || {}).await.unwrap()) };
        let (heard, ()) = tokio::join!(played, call);
        assert_eq!(heard, "");
    });
}

#[test]
fn streams_both_ways_at_once() {
    const MIB: usize = 1 << 20;
    const COUNT: usize = 64;
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(limits());
        let (feed, body) = fed();
        let produced = Rc::new(Cell::new(0_usize));
        let counted = Rc::clone(&produced);
        spawn_local(async move {
            for _ in 0..COUNT {
                feed.send(Ok(Bytes::from(vec![b'x'; MIB]))).await.unwrap();
                counted.set(counted.get() + MIB);
            }
        });
        // An echo with one small buffer: what was not read back cannot have been taken from the producer.
        let echo = spawn_local(async move {
            let mut raw = server.accept().await;
            raw.head().await;
            raw.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let rest = raw.rest();
            let (mut reader, mut writer) = raw.tcp.split();
            writer.write_all(&rest).await.unwrap();
            tokio::io::copy(&mut reader, &mut writer).await.ok();
        });
        let answer = pool.send(streamed(Method::PUT, body), || {}).await.unwrap();
        let mut body = answer.into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.unwrap().into_data().unwrap().len();
            let between = produced.get().saturating_sub(received);
            assert!(between < 24 * MIB, "{between} bytes are held somewhere");
        }
        assert_eq!((received, produced.get()), (COUNT * MIB, COUNT * MIB));
        drop(body);
        drop(pool);
        echo.await.unwrap();
    });
}

#[test]
fn idle_connections_are_bounded_and_swept() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(UpstreamLimits { idle_connections_max: 1, idle_timeout_ms: 20, ..limits() });
        let played = async {
            let (mut one, mut two) = (server.accept().await, server.accept().await);
            for raw in [&mut one, &mut two] {
                raw.head().await;
                raw.say(OK_HI).await;
            }
            // Both are closed without another request: one at once, the other by the sweep.
            let mut scrap = Vec::new();
            one.tcp.read_to_end(&mut scrap).await.unwrap();
            two.tcp.read_to_end(&mut scrap).await.unwrap();
        };
        let call = async || {
            let answer = pool.send(get("/"), || {}).await.unwrap();
            assert_eq!(text(answer.into_body()).await, "hi");
        };
        tokio::join!(played, call(), call());
    });
}
