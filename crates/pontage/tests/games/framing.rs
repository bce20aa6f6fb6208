//! One message behind another: smuggled, pipelined, or left half way.

use super::{Game, Ground};

const INNER: &str = "GET /paid/ok HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Framing lines under which two readers may see a body of different lengths.
const FRAMINGS: &[&str] = &[
    "content-length: 4\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 4",
    "content-length: 0\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunkedx",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: 'chunked'",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding : chunked",
    "transfer-encoding\t: chunked",
    " transfer-encoding: chunked",
    "x: y\r\n transfer-encoding: chunked",
    "transfer-encoding:\r\n chunked",
    "transfer-encoding: \u{b}chunked",
    "transfer-encoding: chunked\u{b}",
    "transfer-encoding: \0chunked",
    "transfer-encoding: chunked\0",
    "transfer-encoding:",
    "transfer-encoding",
    "transfer_encoding: chunked\r\ncontent-length: 0",
    "x: y\rtransfer-encoding: chunked",
    "x: y\ntransfer-encoding: chunked",
    "content-length: 0\r\ncontent-length: 44",
    "content-length: 44\r\ncontent-length: 0",
    "content-length: 0\r\ncontent-length: 0",
    "content-length: 0, 0",
    "content-length: 0, 44",
    "content-length: +0",
    "content-length: -0",
    "content-length: -1",
    "content-length: 0x0",
    "content-length: 0.0",
    "content-length: 1e1",
    "content-length: 1 0",
    "content-length: 0\u{b}",
    "content-length: \u{b}0",
    "content-length:",
    "content-length : 0",
    " content-length: 0",
    "x: y\r\n content-length: 0",
    "content-length:\r\n 0",
    "content-length: 18446744073709551616",
    "content-length: 99999999999999999999999999",
    "content_length: 44",
    "connection: content-length\r\ncontent-length: 0",
    "connection: transfer-encoding\r\ntransfer-encoding: chunked",
];

/// Chunked bodies, each behind a head of its own, and in front of a paid call.
const CHUNKS: &[&str] = &[
    "0\r\n\r\n",
    "00\r\n\r\n",
    "0;x=y\r\n\r\n",
    "1 ;x\r\na\r\n0\r\n\r\n",
    "00000000000000000001\r\na\r\n0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "0\r\ncontent-length: 44\r\n\r\n",
    "0\r\ntransfer-encoding: chunked\r\nx-pay-verified: true\r\n\r\n",
];

/// Chunks that are none. The call has begun, so all that is left is to break the connection off.
const BAD_CHUNKS: &[&str] = &[
    "1;x=\"\r\n\"\r\na\r\n0\r\n\r\n",
    "1;\nx\r\na\r\n0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    "+1\r\na\r\n0\r\n\r\n",
    "-1\r\na\r\n0\r\n\r\n",
    "g\r\na\r\n0\r\n\r\n",
    "\r\na\r\n0\r\n\r\n",
    "1\na\r\n0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\naX0\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "2\r\na\r\n0\r\n\r\n",
    "10000000000000000\r\na\r\n0\r\n\r\n",
    "1_0\r\na\r\n0\r\n\r\n",
    "0\r\n\n",
    "0\n\r\n",
    "0\n\n",
];

fn post(target: &str, framing: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n{body}")
}

pub(crate) fn games() -> Vec<Game> {
    let mut games = smuggled();
    games.extend(chunked());
    games.extend(pipelined());
    games.extend(left());
    games
}

fn smuggled() -> Vec<Game> {
    let body = format!("0\r\n\r\n{INNER}");
    FRAMINGS
        .iter()
        .flat_map(|framing| ["/free/ok", "/paid/ok"].map(|target| post(target, framing, &body)))
        .map(Game::new)
        .collect()
}

fn chunked() -> Vec<Game> {
    let behind = |body: &&str| post("/free/ok", "transfer-encoding: chunked", &format!("{body}{INNER}"));
    let whole = CHUNKS.iter().map(behind).map(Game::new);
    whole.chain(BAD_CHUNKS.iter().map(behind).map(Game::broken)).collect()
}

/// Bodies that hold a paid call, and paid calls behind free ones.
fn pipelined() -> Vec<Game> {
    let free = "GET /free/ok HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let length = INNER.len();
    [
        format!("{free}{INNER}"),
        format!("{free}{free}{free}{INNER}"),
        format!("{INNER}{free}{INNER}"),
        format!("{free}\r\n{INNER}"),
        format!("{free}\n{INNER}"),
        format!("{free} {INNER}"),
        format!("{free}x{INNER}"),
        post("/free/ok", &format!("content-length: {length}"), INNER),
        post("/free/ok", &format!("content-length: {length}"), &format!("{INNER}{INNER}")),
        post("/free/ok", &format!("content-length: 00{length}"), INNER),
        post("/paid/ok", &format!("content-length: {length}"), INNER),
        post("/paid/ok", &format!("content-length: {length}"), &format!("{INNER}{INNER}")),
        post("/other", &format!("content-length: {length}"), &format!("{INNER}{INNER}")),
        post("/free/ok", "transfer-encoding: chunked", &format!("{length:x}\r\n{INNER}\r\n0\r\n\r\n{INNER}")),
        post("/free/ok", "Transfer-Encoding: CHUNKED", &format!("{length:X}\r\n{INNER}\r\n0\r\n\r\n{INNER}")),
        post("/paid/ok", "transfer-encoding: chunked", &format!("{length:x}\r\n{INNER}\r\n0\r\n\r\n{INNER}")),
        post("/free/ok", &format!("content-length: {length}\r\nexpect: 100-continue"), &format!("{INNER}{INNER}")),
        post("/paid/ok", &format!("content-length: {length}\r\nexpect: 100-continue"), &format!("{INNER}{INNER}")),
        post("/free/ok", "content-length: 0\r\nexpect: 100-continue", INNER),
        format!("GET /free/ok HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{INNER}"),
        format!("GET /free/ok HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{INNER}\r\n0\r\n\r\n"),
        format!("HEAD /free/ok HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{INNER}"),
        format!("OPTIONS /free/ok HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{INNER}"),
        format!("GET /free/ok HTTP/1.0\r\nconnection: keep-alive\r\n\r\n{INNER}"),
        format!("POST /free/ok HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{INNER}"),
        format!("POST /free/ok HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: {length}\r\n\r\n{INNER}{INNER}"),
        format!("GET /free/ok HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n{INNER}"),
        format!("GET /free/ok HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n{INNER}"),
        format!("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n{INNER}"),
        "GET /free/ok HTTP/1.1\nhost: localhost\n\nGET /paid/ok HTTP/1.1\nhost: localhost\n\n".to_owned(),
        "GET /free/ok HTTP/1.1\rhost: localhost\r\rGET /paid/ok HTTP/1.1\r\r".to_owned(),
        format!("GET /free/ok HTTP/1.1\r\nhost: localhost\n\r\n{INNER}"),
        format!("GET /free/ok HTTP/1.1\r\nhost: localhost\r\nx: y\r\n z: w\r\n\r\n{INNER}"),
        format!("GET /free/ok HTTP/1.1\r\n host: localhost\r\n\r\n{INNER}"),
    ]
    .map(Game::new)
    .into()
}

/// Callers who leave in the middle.
fn left() -> Vec<Game> {
    let more = INNER.len() + 1;
    [
        post("/free/ok", &format!("content-length: {more}"), INNER),
        post("/paid/ok", &format!("content-length: {more}"), INNER),
        post("/free/ok", "content-length: 9223372036854775807", INNER),
        post("/free/ok", "transfer-encoding: chunked", &format!("ffffffffffffffff\r\n{INNER}")),
        post("/free/ok", "transfer-encoding: chunked", &format!("ffff\r\n{INNER}")),
        post("/free/ok", "transfer-encoding: chunked", &format!("{:x}\r\n{INNER}\r\n", INNER.len())),
        post("/free/ok", "transfer-encoding: chunked", "0\r\n"),
        post("/paid/ok", "transfer-encoding: chunked", "0"),
        post("/free/ok", &format!("content-length: {more}\r\nexpect: 100-continue"), ""),
        post("/paid/ok", &format!("content-length: {more}\r\nexpect: 100-continue"), ""),
    ]
    .map(Game::dangling)
    .into()
}

#[test]
fn nothing_that_is_smuggled() {
    Ground::new().play(&smuggled());
}

#[test]
fn nothing_in_or_behind_chunks() {
    Ground::new().play(&chunked());
}

#[test]
fn nothing_that_is_pipelined() {
    Ground::new().play(&pipelined());
}

#[test]
fn nothing_that_is_left_half_way() {
    Ground::new().play(&left());
}
