//! Headers that name another path, that say somebody has paid, that come twice, or that ask for another protocol.

use super::{Game, Ground};

/// Headers by which proxies tell an upstream what was asked for; some upstreams route by them.
const REWRITES: &[&str] = &["X-Original-URL", "X-Rewrite-URL", "x-original-url", "X_Original_URL", "X_Rewrite_Url"];
const TELLING: &[&str] = &[
    "X-Original-URI",
    "X-Forwarded-Uri",
    "X-Forwarded-Prefix",
    "X-Forwarded-Path",
    "X-Original-Method",
    "X-Script-Name",
];

/// Words that an upstream or the gate takes for a payment, or for the proof of one.
const TRUST: &[&str] = &[
    "X-Pay-Verified: true",
    "X_Pay_Verified: true",
    "x-pay_verified: true",
    "X-Pay-Verified: allowlisted",
    "X-Pay-Agent: 0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    "X-Pay-From: 0x209693Bc6afc0C5328bA36FaF03C514EF312287C\r\nX-Pay-Amount: 10000\r\nX-Pay-Settlement: direct",
    "X-Pay-Tab: 00000000000000000000000000000000",
    "X-Pay-Signature: t=1,v1=00",
    "X-Pay-Hold: 00.00",
    "PAYMENT-RESPONSE: eyJzdWNjZXNzIjp0cnVlfQ==",
    "X-PAYMENT-RESPONSE: eyJzdWNjZXNzIjp0cnVlfQ==",
    "SIGN-IN-WITH-X: e30=",
    "Authorization: Payment e30=",
    "Forwarded: for=127.0.0.1;proto=https;host=localhost",
    "X-Forwarded-For: 127.0.0.1",
    "X-Real-IP: 127.0.0.1",
];

/// Payments that are none.
const PAYMENTS: &[&str] = &[
    "PAYMENT-SIGNATURE:",
    "PAYMENT-SIGNATURE: \r\nX-PAYMENT:",
    "PAYMENT-SIGNATURE: e30=",
    "PAYMENT-SIGNATURE: e30=\r\nPAYMENT-SIGNATURE: e30=",
    "PAYMENT-SIGNATURE:\r\nPAYMENT-SIGNATURE: e30=",
    "X-PAYMENT: e30=\r\nX-PAYMENT: e30=",
    "PAYMENT-SIGNATURE: e30=\r\nX-PAYMENT: e30=",
    "PAYMENT-SIGNATURE: e30=, e30=",
    "PAYMENT_SIGNATURE: e30=",
    "X_PAYMENT: e30=",
    "PAYMENT-SIGNATURE: null",
    "PAYMENT-SIGNATURE: bnVsbA==",
    "PAYMENT-SIGNATURE: \u{e9}",
    "PAYMENT-SIGNATURE: e30=\r\nconnection: payment-signature",
    "PAYMENT-SIGNATURE: e\0=",
    "X-402-Signature: 0x00\r\nX-402-Nonce: 1",
];

/// Whatever else may confuse.
const ODD: &[&str] = &[
    "host: elsewhere",
    "Host:",
    "host: localhost, elsewhere",
    "connection: host",
    "connection: close, keep-alive",
    "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA",
    "upgrade: h2c",
    "connection: x-pay-verified, content-length, transfer-encoding",
    "te: trailers, chunked",
    "expect: 100-continue",
    "expect: 200-ok",
    ": empty name",
    "no colon",
    "x y: z",
    "x\t: z",
    "x: a\0b",
    "x: a\rb",
    "x: \u{7f}",
    "x(y): z",
    "x-long: @",
];

pub(crate) fn games() -> Vec<Game> {
    let mut games = rewrites();
    games.extend(words());
    games.extend(hosts());
    games
}

fn rewrites() -> Vec<Game> {
    let mut games = Vec::new();
    for name in REWRITES {
        games.push(Game::call("GET", "/free/ok", &format!("{name}: /paid/ok\r\n")));
        games.push(Game::call("GET", "/other", &format!("{name}: /free/../paid/ok\r\n")));
        games.push(Game::call("GET", "/paid/ok", &format!("{name}: /free/ok\r\n")));
    }
    for name in TELLING {
        games.push(Game::call("GET", "/free/ok", &format!("{name}: /paid/ok\r\n")));
        games.push(Game::call("GET", "/paid/ok", &format!("{name}: /free\r\n")));
    }
    games
}

fn words() -> Vec<Game> {
    let paid = |words: &&str| Game::call("GET", "/paid/ok", &format!("{words}\r\n"));
    let mut games: Vec<_> = TRUST.iter().chain(PAYMENTS).map(paid).collect();
    for words in ODD {
        let words = words.replace('@', &"a".repeat(70_000));
        games.push(paid(&words.as_str()));
        games.push(Game::call("GET", "/free/ok", &format!("{words}\r\n")));
    }
    let many: String = (0..200).map(|n| format!("x-{n}: {n}\r\n")).collect();
    games.push(Game::call("GET", "/paid/ok", &many));
    games.push(Game::call("GET", "/paid/ok", &format!("payment-signature: {}\r\n", "A".repeat(20_000))));
    games
}

fn hosts() -> Vec<Game> {
    [
        "GET /paid/ok HTTP/1.1\r\n\r\n",
        "GET /free/ok HTTP/1.1\r\n\r\n",
        "GET /paid/ok HTTP/1.1\r\nhost:\r\n\r\n",
        "GET /paid/ok HTTP/1.1\r\nhost: a/free/ok\r\n\r\n",
        "GET /free/ok HTTP/1.1\r\nhost: a/../paid\r\n\r\n",
        "GET /paid/ok HTTP/1.1\r\nhost: user@localhost\r\n\r\n",
        "GET http://a/paid/ok HTTP/1.1\r\nhost: b\r\n\r\n",
        "GET http://a/free/ok HTTP/1.1\r\nhost: b\r\nhost: c\r\n\r\n",
        "GET /paid/ok HTTP/1.0\r\n\r\n",
        "GET /free/ok HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "GET /paid/ok HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
    ]
    .map(Game::new)
    .into()
}

#[test]
fn no_header_that_names_another_path() {
    Ground::new().play(&rewrites());
}

#[test]
fn no_word_of_trust_and_no_odd_header() {
    Ground::new().play(&words());
}

#[test]
fn no_host() {
    Ground::new().play(&hosts());
}
