//! Methods, and headers that stand for another method.

use super::{Game, Ground};

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "Get", "gEt", "head",
    "post", "options", "connect", "PROPFIND", "PURGE", "QUERY", "X", "GET_", "G-E-T", "!", "PRI",
];

/// Two lines are one request with a bad name, so these are none.
const BAD: &[&str] = &["", "GE T", "GET\0", "G\u{e9}T", "GET,", "\"GET\"", "GET:", "GET/"];

const OVERRIDES: &[&str] = &[
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-HTTP-Method",
    "x-http-method-override",
    "X_HTTP_Method_Override",
    "X_Method_Override",
];

pub(crate) fn games() -> Vec<Game> {
    let mut games = methods();
    games.extend(overrides());
    games
}

fn methods() -> Vec<Game> {
    let mut games = Vec::new();
    for target in ["/paid/ok", "/users/7/report"] {
        games.extend(METHODS.iter().map(|method| Game::call(method, target, "")));
    }
    // GET alone is priced, and HEAD goes with it.
    games.extend(["HEAD", "get", "head", "GeT"].map(|method| Game::call(method, "/get-only", "")));
    games.extend(BAD.iter().map(|method| Game::call(method, "/paid/ok", "")));
    for target in ["*", "/", "paid:80", "http://localhost/paid/ok"] {
        games.extend(["OPTIONS", "CONNECT", "TRACE"].map(|method| Game::call(method, target, "")));
    }
    games.push(Game::call("CONNECT", "/free/ok", ""));
    games.push(Game::call("CONNECT", "localhost:80", "proxy-authorization: Basic eA==\r\n"));
    games.push(Game::call("OPTIONS", "/paid/ok", "origin: http://x\r\naccess-control-request-method: GET\r\n"));
    games.push(Game::call("TRACE", "/paid/ok", "max-forwards: 0\r\n"));
    games.push(Game::call("OPTIONS", "/paid/ok", "max-forwards: 0\r\n"));
    games
}

fn overrides() -> Vec<Game> {
    let mut games = Vec::new();
    for name in OVERRIDES {
        for method in ["GET", "get"] {
            games.push(Game::call("POST", "/get-only", &format!("{name}: {method}\r\n")));
        }
        games.push(Game::call("GET", "/get-only", &format!("{name}: POST\r\n")));
        games.push(Game::call("POST", "/paid/ok", &format!("{name}: OPTIONS\r\n")));
    }
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 11\r\n\r\n_method=GET";
    games.push(Game::new(format!("POST /paid/ok HTTP/1.1\r\nhost: localhost\r\n{form}")));
    games.push(Game::call("GET", "/get-only?_method=OPTIONS", ""));
    games.push(Game::call("OPTIONS", "/paid/ok?_method=GET", ""));
    games
}

#[test]
fn no_method() {
    Ground::new().play(&methods());
}

#[test]
fn no_header_that_stands_for_a_method() {
    Ground::new().play(&overrides());
}
