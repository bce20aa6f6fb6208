//! Request smuggling over a raw socket: every row is refused before the service sees anything of it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proxy::{Incoming, ListenerLimits};

use crate::harness::{Raw, local, start};

/// What the service saw: method and path, and whether the body came whole.
type Seen = Rc<RefCell<Vec<(String, bool)>>>;

async fn play(request: &str) -> (String, Vec<(String, bool)>) {
    let seen: Seen = Rc::default();
    let noted = Rc::clone(&seen);
    let served = start(ListenerLimits::default(), move |request: Request<Incoming>, _| {
        let noted = Rc::clone(&noted);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let whole = request.into_body().collect().await.is_ok();
            noted.borrow_mut().push((line, whole));
            Response::new(Full::<Bytes>::from("ok").map_err(|e: Infallible| match e {}))
        }
    });
    let mut raw = Raw::connect(served.address).await;
    raw.say(request).await;
    let (heard, _) = raw.hear_all().await;
    let seen = seen.borrow().clone();
    (heard, seen)
}

#[test]
fn ambiguous_heads_get_400_and_reach_no_service() {
    let rows = [
        // Refused by our own scanner; hyper alone would take these.
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: a\n\r\n",
        "X: a\r\n\n",
        "X: a\nContent-Length: 2\r\n\r\nab",
        // Refused by hyper too.
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "Content-Length: 2, 2\r\n\r\nab",
        "Content-Length: +2\r\n\r\nab",
        "Content-Length: two\r\n\r\nab",
        "Content-Length: 2 \x0b\r\n\r\nab",
        "Content-Length : 2\r\n\r\nab",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding\r\n\r\n",
        "X: a\r\n b\r\n\r\n",
        "X: a\r\n\tb\r\n\r\n",
        " X: a\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "X\0: a\r\n\r\n",
        ": a\r\n\r\n",
    ];
    for row in rows {
        let request = format!("POST /s HTTP/1.1\r\nHost: a\r\n{row}");
        let (heard, seen) = local(play(&request));
        assert!(heard.starts_with("HTTP/1.1 400 "), "{row:?}: {heard:?}");
        assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{row:?}: {heard:?}");
        assert_eq!(seen, [], "{row:?}");
    }
    let lines = [
        "GET /s HTTP/1.1\nHost: a\r\n\r\n",
        "GET  /s HTTP/1.1\r\n\r\n",
        "GET /s HTTP/1.1 \r\n\r\n",
        "GET /s\r\n\r\n",
        "GET /s HTTP/2.0\r\n\r\n",
        "GET /s p HTTP/1.1\r\n\r\n",
        "G(T /s HTTP/1.1\r\n\r\n",
        "\n\nGET /s HTTP/1.1\r\n\r\n",
        "POST /s HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "hello\r\n\r\n",
    ];
    for request in lines {
        let (heard, seen) = local(play(request));
        assert!(heard.starts_with("HTTP/1.1 400 ") || heard.starts_with("HTTP/1.0 400 "), "{request:?}: {heard:?}");
        assert_eq!(seen, [], "{request:?}");
    }
}

#[test]
fn ambiguous_bodies_fail_and_what_follows_is_not_a_request() {
    let rows = [
        "2\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "2;x\ny\r\nab\r\n0\r\n\r\n",
        "1ffffffffffffffff\r\nab\r\n0\r\n\r\n",
        "\r\nab\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nX: y\n\r\n",
    ];
    for row in rows {
        let request = format!(
            "POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{row}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let (heard, seen) = local(play(&request));
        assert!(heard.matches("HTTP/1.1").count() <= 1, "{row:?}: {heard:?}");
        assert!(seen.iter().all(|seen| *seen == ("POST /s".to_owned(), false)), "{row:?}: {seen:?}");
    }
}

#[test]
fn good_requests_pass_also_pipelined() {
    let request = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na\nb\
        POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\na\nb\r\n0\r\nT: v\r\n\r\n\
        \r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (heard, seen) = local(play(request));
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 3, "{heard:?}");
    let seen: Vec<_> = seen.iter().map(|(line, whole)| (line.as_str(), *whole)).collect();
    assert_eq!(seen, [("POST /1", true), ("POST /2", true), ("GET /3", true)]);
}
