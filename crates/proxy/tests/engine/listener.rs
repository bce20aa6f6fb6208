//! The listener against raw callers.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use proxy::{Incoming, ListenerLimits, UpstreamLimits, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};

use crate::harness::{Broken, Fed, Raw, RawUpstream, drop_guard, fed, local, start};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

fn limits() -> ListenerLimits {
    ListenerLimits::default()
}

async fn hello(_: Request<Incoming>, _: proxy::Peer) -> Response<Full<Bytes>> {
    Response::new(Full::from("hello"))
}

/// Takes a value that a `Fn` service may use once.
fn once<T>(value: T) -> Rc<RefCell<Option<T>>> {
    Rc::new(RefCell::new(Some(value)))
}

#[test]
fn calls_share_a_connection_and_know_their_peer() {
    local(async {
        let served = start(limits(), async |_: Request<Incoming>, peer: proxy::Peer| {
            Response::new(Full::<Bytes>::from(peer.address.to_string()))
        });
        let mut raw = Raw::connect(served.address).await;
        let own = raw.tcp.local_addr().unwrap().to_string();
        for _ in 0..2 {
            raw.say(GET).await;
            assert!(raw.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
            assert_eq!(raw.hear_until(&own).await, own);
        }
    });
}

#[test]
fn a_hang_up_drops_the_service_future() {
    // Fully closed, half closed, and with a body that was read before.
    for (request, half) in
        [(GET, false), (GET, true), ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", true)]
    {
        local(async move {
            let (guard, dropped) = drop_guard();
            let (running, runs) = oneshot::channel();
            let once = once((guard, running));
            let served = start(limits(), move |request: Request<Incoming>, _| {
                let (guard, running) = once.borrow_mut().take().unwrap();
                async move {
                    let _guard = guard;
                    request.into_body().collect().await.unwrap();
                    running.send(()).unwrap();
                    pending::<Response<Full<Bytes>>>().await
                }
            });
            let mut raw = Raw::connect(served.address).await;
            raw.say(request).await;
            runs.await.unwrap();
            let kept = match half {
                true => {
                    raw.tcp.shutdown().await.unwrap();
                    Some(raw)
                }
                false => {
                    drop(raw);
                    None
                }
            };
            dropped.await.unwrap();
            drop(kept);
        });
    }
}

#[test]
fn a_hang_up_drops_the_answers_body() {
    local(async {
        let (feed, body) = fed();
        let once = once(body);
        let served = start(limits(), move |_: Request<Incoming>, _| {
            let body = once.borrow_mut().take().unwrap();
            async move { Response::new(body) }
        });
        let mut raw = Raw::connect(served.address).await;
        raw.say(GET).await;
        feed.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
        raw.hear_until("abc\r\n").await;
        drop(raw);
        feed.closed().await;
    });
}

/// Serves one answer whose body yields `abc` and then fails once the caller has heard it.
async fn aborted(request: &str, length: Option<&'static str>) -> (String, bool) {
    let (feed, body) = fed();
    let once: Rc<RefCell<Option<Fed>>> = once(body);
    let served = start(limits(), move |_: Request<Incoming>, _| {
        let body = once.borrow_mut().take().unwrap();
        async move {
            let mut answer = Response::builder();
            if let Some(length) = length {
                answer = answer.header("content-length", length);
            }
            answer.body(body).unwrap()
        }
    });
    let mut raw = Raw::connect(served.address).await;
    raw.say(request).await;
    feed.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
    raw.hear_until("abc").await;
    feed.send(Err(Broken)).await.unwrap();
    raw.hear_all().await
}

#[test]
fn a_failing_body_is_seen_as_truncated() {
    // Chunked: no last chunk. With a length: too few bytes. HTTP/1.0 without a length: only a reset tells.
    assert_eq!(local(aborted(GET, None)), ("\r\n".to_owned(), true));
    assert_eq!(local(aborted(GET, Some("9"))), (String::new(), true));
    assert_eq!(local(aborted("GET / HTTP/1.0\r\n\r\n", None)), (String::new(), false));
}

#[test]
fn oversized_heads_get_431() {
    let fields: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let rows = [
        format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(64 * 1024)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "b".repeat(200 * 1024)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "b".repeat(66 * 1024)),
        format!("GET / HTTP/1.1\r\n{fields}\r\n"),
    ];
    for row in rows {
        let (heard, orderly) = local(async {
            let served = start(limits(), hello);
            let mut raw = Raw::connect(served.address).await;
            raw.say(&row).await;
            raw.hear_all().await
        });
        assert!(heard.starts_with("HTTP/1.1 431 "), "{} bytes: {heard:?}", row.len());
        assert!(orderly, "{} bytes", row.len());
    }
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nA: {}\r\n\r\n", "b".repeat(60 * 1024));
    let heard = local(async {
        let served = start(limits(), hello);
        let mut raw = Raw::connect(served.address).await;
        raw.say(&fits).await;
        raw.hear_all().await.0
    });
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard:?}");
}

#[test]
fn slow_heads_are_cut_off() {
    local(async {
        let served = start(ListenerLimits { head_timeout_ms: 20, ..limits() }, hello);
        let mut raw = Raw::connect(served.address).await;
        raw.say("GET / HT").await;
        assert_eq!(raw.hear_all().await.0, "");
    });
}

#[test]
fn an_answer_before_the_body_was_read_arrives() {
    local(async {
        let served = start(limits(), hello);
        let mut raw = Raw::connect(served.address).await;
        raw.say(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000))).await;
        let (heard, orderly) = raw.hear_all().await;
        assert!(heard.ends_with("\r\n\r\nhello"), "{heard:?}");
        assert!(orderly, "the answer is not followed by a reset");
    });
}

#[test]
fn a_small_body_that_nobody_reads_costs_no_connection() {
    local(async {
        let served = start(limits(), hello);
        let mut raw = Raw::connect(served.address).await;
        for (framing, body) in [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")] {
            raw.say(&format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await;
            let head = raw.head().await;
            assert!(!head.contains("connection: close"), "{head:?}");
            raw.hear_until("hello").await;
            // The body comes after the answer.
            raw.say(body).await;
            raw.say(GET).await;
            raw.hear_until("hello").await;
        }
        // What is too large to be skipped, and what may never come, ends the connection, and the answer says so.
        for field in ["Content-Length: 99999999\r\n", "Content-Length: 3\r\nExpect: 100-continue\r\n"] {
            let mut raw = Raw::connect(served.address).await;
            raw.say(&format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n")).await;
            let (heard, orderly) = raw.hear_all().await;
            assert!(heard.contains("connection: close\r\n") && heard.ends_with("hello") && orderly, "{heard:?}");
        }
    });
}

#[test]
fn a_caller_who_reads_steadily_is_not_cut_off() {
    local(async {
        let once = once(Full::<Bytes>::from(vec![7; 24 << 20]));
        let short = ListenerLimits { write_idle_timeout_ms: 200, ..limits() };
        let served = start(short, move |_: Request<Incoming>, _| {
            let body = once.borrow_mut().take().unwrap();
            async move { Response::new(body) }
        });
        let mut raw = Raw::connect(served.address).await;
        raw.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        // Slower than the limit in all, never for so long at once.
        let (mut read, mut piece) = (0, vec![0; 1 << 20]);
        loop {
            match raw.tcp.read(&mut piece).await.unwrap() {
                0 => break,
                count => read += count,
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(read > 24 << 20, "{read}");
    });
}

#[test]
fn a_caller_who_does_not_read_is_cut_off() {
    local(async {
        let (guard, dropped) = drop_guard();
        let once = once((guard, Full::<Bytes>::from(vec![7; 64 << 20])));
        let short = ListenerLimits { write_idle_timeout_ms: 20, ..limits() };
        let served = start(short, move |_: Request<Incoming>, _| {
            let (guard, body) = once.borrow_mut().take().unwrap();
            async move {
                Response::new(body.map_frame(move |frame| {
                    let _held = &guard;
                    frame
                }))
            }
        });
        let mut raw = Raw::connect(served.address).await;
        raw.say(GET).await;
        dropped.await.unwrap();
    });
}

#[test]
fn two_listeners_share_one_address() {
    local(async {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let second = bind(address).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
        let (one, two) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for (listener, count) in [(first, &one), (second, &two)] {
            let count = Rc::clone(count);
            let service = move |_: Request<Incoming>, _| {
                count.set(count.get() + 1);
                async { Response::new(Full::<Bytes>::from("hello")) }
            };
            tokio::task::spawn_local(proxy::serve(listener, limits(), service, pending()));
        }
        // The kernel spreads connections by their ports: sooner or later both have had one.
        while one.get() == 0 || two.get() == 0 {
            let mut raw = Raw::connect(address).await;
            raw.say(GET).await;
            raw.hear_until("hello").await;
            assert!(one.get() + two.get() < 1_000, "one listener gets everything");
        }
    });
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    local(async {
        let served = start(ListenerLimits { connections_max: 1, ..limits() }, hello);
        let mut first = Raw::connect(served.address).await;
        first.say(GET).await;
        first.hear_until("hello").await;
        let mut second = Raw::connect(served.address).await;
        assert_eq!(second.hear_all().await.0, "");
        first.say(GET).await;
        first.hear_until("hello").await;
    });
}

#[test]
fn stop_lets_calls_in_flight_end_and_closes_idle_connections() {
    local(async {
        let (running, runs) = oneshot::channel();
        let go = Rc::new(Notify::new());
        let (gone, once) = (Rc::clone(&go), once(running));
        let served = start(limits(), move |request: Request<Incoming>, _| {
            let (go, once) = (Rc::clone(&gone), Rc::clone(&once));
            async move {
                if request.uri() == "/slow" {
                    once.borrow_mut().take().unwrap().send(()).unwrap();
                    go.notified().await;
                }
                Response::new(Full::<Bytes>::from("hello"))
            }
        });
        let mut idle = Raw::connect(served.address).await;
        idle.say(GET).await;
        idle.hear_until("hello").await;
        let mut busy = Raw::connect(served.address).await;
        busy.say("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        runs.await.unwrap();
        served.stop.send(()).unwrap();
        assert_eq!(idle.hear_all().await, (String::new(), true));
        assert!(!served.ended.is_finished());
        let refused = tokio::net::TcpStream::connect(served.address).await;
        assert!(refused.is_err(), "still accepting");
        go.notify_one();
        let (heard, orderly) = busy.hear_all().await;
        assert!(heard.contains("connection: close\r\n") && heard.ends_with("hello"), "{heard:?}");
        assert!(orderly);
        served.ended.await.unwrap().unwrap();
    });
}

#[test]
fn the_drain_time_ends_calls_in_flight() {
    local(async {
        let (guard, dropped) = drop_guard();
        let (running, runs) = oneshot::channel();
        let once = once((guard, running));
        let served = start(ListenerLimits { drain_ms: 10, ..limits() }, move |_: Request<Incoming>, _| {
            let (guard, running) = once.borrow_mut().take().unwrap();
            async move {
                let _guard = guard;
                running.send(()).unwrap();
                pending::<Response<Full<Bytes>>>().await
            }
        });
        let mut raw = Raw::connect(served.address).await;
        raw.say(GET).await;
        runs.await.unwrap();
        served.stop.send(()).unwrap();
        served.ended.await.unwrap().unwrap();
        dropped.await.unwrap();
    });
}

#[test]
fn a_panicking_service_takes_only_its_connection() {
    local(async {
        let served = start(limits(), |request: Request<Incoming>, _| async move {
            assert_ne!(request.uri(), "/panic", "on purpose");
            Response::new(Full::<Bytes>::from("hello"))
        });
        let mut other = Raw::connect(served.address).await;
        let mut raw = Raw::connect(served.address).await;
        raw.say("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.hear_all().await.0, "");
        other.say(GET).await;
        other.hear_until("hello").await;
    });
}

/// Method, framing fields, body, the body upstream, the upstream's answer, and the end of what the caller hears.
const PROXIED: &[[&str; 6]] = &[
    ["GET", "", "", "", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi"],
    ["HEAD", "", "", "", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "content-length: 2\r\n"],
    ["POST", "content-length: 3\r\n", "abc", "abc", "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nhi", "hi"],
    [
        "PUT",
        "transfer-encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "2\r\nhi\r\n0\r\n\r\n",
    ],
    [
        "GET",
        "transfer-encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
        "304 Not Modified\r\n",
    ],
    [
        "POST",
        "expect: 100-continue\r\ncontent-length: 3\r\n",
        "abc",
        "abc",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "204 No Content\r\n",
    ],
];

/// Listener and pool together: what arrives is what left, both ways, for every framing.
#[test]
fn a_whole_proxy() {
    local(async {
        let server = RawUpstream::start().await;
        let pool = server.pool(UpstreamLimits::default());
        let served = start(limits(), move |request: Request<Incoming>, _| {
            let pool = pool.clone();
            async move {
                match pool.send(request, || {}).await {
                    Ok(answer) => answer.map(Either::Left),
                    Err(fault) => {
                        let text = Full::from(fault.kind.code());
                        Response::builder().status(502).body(Either::Right(text)).unwrap()
                    }
                }
            }
        });
        let mut caller = Raw::connect(served.address).await;
        let mut upstream = None;
        for [method, fields, body, forwarded, answer, heard] in PROXIED {
            caller.say(&format!("{method} /p?q HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")).await;
            let mut raw = match upstream.take() {
                Some(raw) => raw,
                None => server.accept().await,
            };
            let head = raw.head().await;
            assert!(head.starts_with(&format!("{method} /p?q HTTP/1.1\r\n")), "{head:?}");
            raw.hear_until(forwarded).await;
            raw.say(answer).await;
            caller.hear_until(heard).await;
            upstream = Some(raw);
        }
        // Cut off in the middle upstream: the caller sees no orderly end either.
        caller.say(GET).await;
        let mut raw = upstream.unwrap();
        raw.head().await;
        raw.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
        caller.hear_until("2\r\nhi\r\n").await;
        drop(raw);
        let mut rest = Vec::new();
        caller.tcp.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
}
