//! Messages cut in every place, and the ambiguous ones.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;

use super::body::number;
use super::*;

/// An inbox that holds `text`, as one read of it would.
fn inbox(text: &[u8]) -> Inbox {
    let mut inbox = Inbox::default();
    feed(&mut inbox, text);
    inbox
}

fn feed(inbox: &mut Inbox, mut text: &[u8]) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while !text.is_empty() {
        assert!(inbox.poll_fill(&mut text, &mut cx).is_ready());
    }
}

/// Reads whole messages from pieces of `cut` bytes: the request lines, and what their bodies held.
fn read(text: &str, cut: usize) -> Result<Vec<(String, String)>, HeadFault> {
    let (mut inbox, mut heads, mut messages) = (Inbox::default(), HeadReader::default(), Vec::new());
    let mut body: Option<Decoder> = None;
    for piece in text.as_bytes().chunks(cut) {
        feed(&mut inbox, piece);
        loop {
            let Some(decoder) = &mut body else {
                let Some(head) = heads.read(&mut inbox, 64 * 1024)? else { break };
                messages.push((format!("{} {}", head.method, head.uri), String::new()));
                body = Some(Decoder::new(head.length));
                continue;
            };
            match decoder.decode(&mut inbox).expect("a good body") {
                Decoded::Data(data) => messages.last_mut().unwrap().1.push_str(std::str::from_utf8(&data).unwrap()),
                Decoded::More => break,
                Decoded::Over => body = None,
            }
        }
    }
    assert!(inbox.is_empty(), "{text} in {cut}");
    Ok(messages)
}

#[test]
fn messages_are_the_same_however_they_are_cut() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[("GET /", "")]),
        ("\r\n\r\nGET /?q HTTP/1.1\r\nHost: a\r\n\r\n", &[("GET /?q", "")]),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na\nbGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &[("POST /", "a\nb"), ("GET /2", "")],
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\na\nb\r\n0\r\nT: v\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &[("POST /", "a\nb"), ("GET /2", "")],
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &[("POST /", ""), ("GET /2", "")],
        ),
    ];
    for (text, expected) in rows {
        for cut in 1..text.len() {
            let got = read(text, cut).unwrap();
            let got: Vec<_> = got.iter().map(|(line, body)| (line.as_str(), body.as_str())).collect();
            assert_eq!(got, *expected, "{text} in {cut}");
        }
    }
}

#[test]
fn ambiguous_heads() {
    let rows = [
        "Host: b\r\n\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "Content-Length: 1, 1\r\n\r\n",
        "Content-Length: +1\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x1\r\n\r\n",
        "Content-Length: \r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length : 1\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n",
        "Transfer-Encoding:\x0bchunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "A: b\r\n c\r\n\r\n",
        "A: b\r\n\tc\r\n\r\n",
        // At once, before the head has ended.
        "A: b\n",
        "A: b\r\n\n",
    ];
    for row in rows {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{row}");
        for cut in [1, 7, text.len()] {
            assert_eq!(read(&text, cut), Err(HeadFault::Malformed), "{row:?} in {cut}");
        }
    }
    for host in ["", "Host: a b\r\n", "Host: a/b\r\n", "Host: a@b\r\n", "Host: a, b\r\n"] {
        assert_eq!(read(&format!("GET / HTTP/1.1\r\n{host}\r\n"), 99), Err(HeadFault::Malformed), "{host:?}");
    }
    assert!(read("GET / HTTP/1.0\r\n\r\n", 99).is_ok() && read("GET / HTTP/1.1\r\nHost:\r\n\r\n", 99).is_ok());
    assert_eq!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 99), Err(HeadFault::Malformed));
}

#[test]
fn ambiguous_bodies() {
    let long = format!("1;{}\r\na\r\n", "x".repeat(2_000));
    let trailers = format!("0\r\n{}", "A: b\r\n".repeat(4_000));
    let rows = [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "1\nab",
        "1\r\nabc\r\n",
        "1\r\na\n",
        "ffffffffffffffff1\r\n",
        "0\r\n\n",
        "1;a\rb\r\na\r\n",
        "1;\0\r\na\r\n",
        "1\x0c\r\na\r\n",
        &long,
        &trailers,
    ];
    for row in rows {
        let (mut inbox, mut decoder) = (inbox(row.as_bytes()), Decoder::new(Length::Chunked));
        let end = loop {
            match decoder.decode(&mut inbox) {
                Ok(Decoded::Data(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_err(), "{row:?}: {end:?}");
    }
}

#[test]
fn answers() {
    type Row = (&'static str, &'static str, Result<(u16, Length, bool), HeadFault>);
    let rows: &[Row] = &[
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Ok((200, Length::Known(2), true))),
        ("GET", "HTTP/1.1 200\nContent-Length: 2\n\n", Ok((200, Length::Known(2), true))),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", Ok((200, Length::Known(2), true))),
        ("GET", "HTTP/1.1 200 OK\r\n\r\n", Ok((200, Length::UntilEnd, false))),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n",
            Ok((200, Length::Known(2), false)),
        ),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Ok((200, Length::Known(2), false))),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n",
            Ok((200, Length::Known(2), true)),
        ),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Ok((200, Length::Chunked, true))),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", Ok((200, Length::UntilEnd, false))),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
            Ok((200, Length::Chunked, false)),
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Ok((200, Length::Known(0), true))),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", Ok((204, Length::Known(0), true))),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", Ok((204, Length::Known(0), false))),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", Ok((304, Length::Known(0), true))),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Err(HeadFault::Malformed)),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Err(HeadFault::Malformed)),
        ("GET", "HTTP/2 200 OK\r\n\r\n", Err(HeadFault::Malformed)),
    ];
    for (method, text, expected) in rows {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let got = answer_head(&mut inbox(text.as_bytes()), &method, 64 * 1024);
        let got =
            got.map(|head| head.expect("whole")).map(|head| (head.status.as_u16(), head.length, head.keeps_alive));
        assert_eq!(got, *expected, "{method} {text:?}");
    }
    let text = b"HTTP/1.1 200 Fine\r\nConnection: x-a, close\r\nx-a: 1\r\nte: x\r\nx-b: 2\r\n\r\n";
    let head = answer_head(&mut inbox(text), &Method::GET, 1_000).unwrap().unwrap();
    assert_eq!(head.reason.as_deref(), Some(&b"Fine"[..]));
    let names: Vec<&str> = head.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-b"]);
}

#[test]
fn heads_have_limits() {
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let fields = |count: usize| format!("Host: a\r\n{}", fields(count - 1));
    let heads =
        |text: &str, max| HeadReader::default().read(&mut inbox(text.as_bytes()), max).map(|head| head.is_some());
    assert_eq!(heads(&format!("GET / HTTP/1.1\r\n{}\r\n", fields(HEADERS_MAX)), 64 * 1024), Ok(true));
    assert_eq!(
        heads(&format!("GET / HTTP/1.1\r\n{}\r\n", fields(HEADERS_MAX + 1)), 64 * 1024),
        Err(HeadFault::TooLarge)
    );
    assert_eq!(heads("GET / HTTP/1.0\r\n\r\n", 18), Ok(true));
    assert_eq!(heads("GET / HTTP/1.0\r\n\r\n", 17), Err(HeadFault::TooLarge));
    assert_eq!(heads("GET / HTTP/1.1\r\n", 17), Ok(false));
    assert_eq!(heads("GET / HTTP/1.1\r\nA", 17), Err(HeadFault::TooLarge));
    let answer = |text: &str| answer_head(&mut inbox(text.as_bytes()), &Method::GET, 20).map(|head| head.is_some());
    assert_eq!(answer("HTTP/1.1 200 OK\r\n"), Ok(false));
    assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\n"), Ok(true));
    assert_eq!(answer("HTTP/1.1 200 OK\r\nA: b"), Err(HeadFault::TooLarge));
}

#[test]
fn numbers_are_digits() {
    assert_eq!(number(b"10", 10), Some(10));
    assert_eq!(number(b"fF", 16), Some(255));
    for bad in [&b""[..], b"+1", b"-1", b"1 ", b"\xff", b"1_0", b"99999999999999999999"] {
        assert_eq!(number(bad, 10), None, "{bad:?}");
    }
}

proptest::proptest! {
    /// Whatever comes, reading ends, and takes no more than there is.
    #[test]
    fn hostile_bytes(bytes in proptest::collection::vec(proptest::sample::select(ALPHABET.to_vec()), 0..200)) {
        HeadReader::default().read(&mut inbox(&bytes), 100).ok();
        answer_head(&mut inbox(&bytes), &Method::GET, 100).ok();
        for length in [Length::Chunked, Length::Known(7), Length::UntilEnd] {
            let (mut inbox, mut decoder) = (inbox(&bytes), Decoder::new(length));
            let mut taken = 0;
            while let Ok(Decoded::Data(data)) = decoder.decode(&mut inbox) {
                assert!(!data.is_empty());
                taken += data.len();
            }
            assert!(taken <= bytes.len());
        }
    }
}

/// What framing is made of.
const ALPHABET: &[u8] = b"\r\n\r\n\r\n\r\n01afG: ;,\0\t\xff/HTTP/1.1chunkedContent-Length";

/// A stream takes what it likes, and then nothing for a while: nothing may be lost at any seam.
#[test]
fn a_message_is_whole_however_it_is_taken() {
    let pieces = [9_000_usize, 10_000, 5, 8_193, 1];
    let chunk = |size: &usize| format!("{size:X}\r\n{}\r\n", "x".repeat(*size));
    let expected = format!("head\r\n\r\n{}0\r\n\r\n", pieces.iter().map(chunk).collect::<String>());
    for take in (1..40).chain(8_990..9_020).chain([40_000]) {
        let body = Frames(pieces.iter().map(|size| Bytes::from("x".repeat(*size))).collect());
        let (mut head, mut taken, mut takes) = (Out::new(), Vec::new(), false);
        head.0.extend_from_slice(b"head\r\n\r\n");
        let (mut message, mut body) = (Transmit::new(head, Coding::Chunked), std::pin::pin!(body));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            let write = |_: &mut Context<'_>, pieces: &[std::io::IoSlice<'_>]| {
                takes = !takes;
                if !takes {
                    return Poll::Pending;
                }
                let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                let count = take.min(all.len());
                taken.extend_from_slice(&all[..count]);
                Poll::Ready(Ok(count))
            };
            match message.poll(&mut cx, body.as_mut(), write).unwrap() {
                Progress::Over => break,
                Progress::Blocked => {}
                Progress::Waits => panic!("all of the body is there"),
            }
        }
        assert!(taken == expected.as_bytes(), "{take} at a time");
    }
}

/// A body that is all there, piece by piece.
struct Frames(std::collections::VecDeque<Bytes>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|data| Ok(http_body::Frame::data(data))))
    }
}
