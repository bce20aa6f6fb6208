//! Spellings of a path.

use super::{Game, Ground};

/// What names a paid route for some upstream, or tries to.
const TARGETS: &[&str] = &[
    "/paid/ok",
    "/paid",
    "/paid/",
    "/paid/ok/",
    "/paid/ok//",
    "/paid?",
    "/paid?x=/free/ok",
    "/users/7/report",
    "/users/7/report/",
    "/users/7/REPORT",
    "/Users/7/report",
    "/get-only",
    "/get-only/",
    "/Get-Only",
    // Percent.
    "/%70aid/ok",
    "/%50aid/ok",
    "/p%61id/ok",
    "/%70%61%69%64/%6f%6b",
    "/users/%37/%72eport",
    "/users/%20/report",
    "/get%2donly",
    "/get%2Donly",
    "/paid%",
    "/paid%2",
    "/paid%zz/ok",
    "/%/../paid/ok",
    "/%u0070aid/ok",
    "/free/%u002e%u002e/paid/ok",
    "/free/%u2216paid",
    // Dots.
    "/./paid/ok",
    "/free/../paid/ok",
    "/free/./../paid/ok",
    "/free/a/b/../../../paid/ok",
    "/free/..//paid/ok",
    "/free/../../paid/ok",
    "/../paid/ok",
    "/..",
    "/%2e/paid/ok",
    "/free/%2e%2e/paid/ok",
    "/free/.%2E/paid/ok",
    "/free/%2E./paid/ok",
    "/free/..%2fpaid/ok",
    "/free/%2e%2e%2fpaid/ok",
    "/free/.../paid/ok",
    "/paid/ok/..",
    "/paid/ok/.",
    "/paid/../free/../paid/ok",
    "/users/7/x/../report",
    "/users/7/8/%2e%2e/report",
    "/x/../get-only",
    // Slashes.
    "//paid/ok",
    "///paid///ok",
    "/paid//ok",
    "/users//7//report",
    "/users//report",
    "//get-only",
    "/free//..//paid/ok",
    "/paid%2fok",
    "/paid%2Fok",
    "/%2fpaid/ok",
    "/users/7%2freport",
    "/users%2f7/report",
    "/free/..%2f..%2fpaid%2fok",
    "/free%2f..%2fpaid",
    // Backslashes.
    "/\\paid/ok",
    "\\paid\\ok",
    "/paid\\ok",
    "/free\\..\\paid\\ok",
    "/free/..\\paid\\ok",
    "/free/..%5cpaid/ok",
    "/free/%5c../paid/ok",
    "/users/7\\report",
    // Case.
    "/PAID/ok",
    "/PaId/OK",
    "/%50%41%49%44/ok",
    "/USERS/7/REPORT",
    "/GET-ONLY",
    // Parameters.
    "/paid;x=1/ok",
    "/paid;/ok",
    "/paid%3bx/ok",
    "/;/paid/ok",
    "/;x=1/paid/ok",
    "/free/..;/paid/ok",
    "/free/..;x=1/paid/ok",
    "/free/..%3b/paid/ok",
    "/free/%2e%2e;/paid/ok",
    "/free/.;/../paid/ok",
    "/free;x/../paid/ok",
    "/users/7;x=1/report;y=2",
    "/users/;/report",
    "/get-only;jsessionid=1",
    "/get-only;/",
    // What is no UTF-8, or an overlong form of it.
    "/free/%c0%ae%c0%ae/paid/ok",
    "/free/..%c0%afpaid/ok",
    "/free/..%c1%9cpaid/ok",
    "/free/%e0%80%ae%e0%80%ae/paid/ok",
    "/free/..%e0%80%afpaid/ok",
    "/free/..%f0%80%80%afpaid/ok",
    "/%c1%b0aid/ok",
    "/paid%ff/ok",
    "/paid/%ff",
    "/users/%ff/report",
    "/users/%c3/report",
    "/paid%c3%28/ok",
    "/%ef%bb%bfpaid/ok",
    // Control bytes.
    "/paid%00",
    "/paid%00/ok",
    "/%00/paid/ok",
    "/free/%00/../paid/ok",
    "/paid\0/ok",
    "/get-only%00.html",
    "/paid%09/ok",
    "/paid%0a/ok",
    "/paid%0d%0a/ok",
    "/paid%7f/ok",
    "/free/ok%0d%0aGET%20/paid/ok",
    "/paid\t/ok",
    "/paid/ok\t",
    "\t/paid/ok",
    "/paid\u{b}/ok",
    "/paid\u{7f}/ok",
    // Fragments.
    "/paid/ok#",
    "/paid/ok#/free/ok",
    "/paid#/../free",
    "/free/ok#/../../paid/ok",
    "#/paid/ok",
    "/get-only#x",
    // Queries.
    "/free/ok?/../../paid/ok",
    "/free/ok?x=%00",
    "/free/ok?\\..\\..\\paid",
    "/get-only?_method=POST",
    // Other forms of a target.
    "http://localhost/paid/ok",
    "http://localhost//paid/ok",
    "HTTP://LOCALHOST/PAID/ok",
    "https://localhost/paid/ok",
    "ftp://localhost/paid/ok",
    "http://localhost:99/free/../paid/ok",
    "http://user@localhost/paid/ok",
    "http://user:secret@localhost/paid/ok",
    "http://localhost@paid/ok",
    "http://localhost/free/ok@/../../paid/ok",
    "http://localhost",
    "http://localhost?/paid/ok",
    "http://localhost\\paid/ok",
    "http:///paid/ok",
    "http:/paid/ok",
    "http:paid/ok",
    "http://[::1]/paid/ok",
    "http://[paid/ok",
    "paid:80",
    "paid",
    "paid/ok",
    "*",
    "/*",
    "**",
    "",
    "?",
    "/",
];

/// Decoded twice, as some upstreams do behind a framework that has decoded once, each of these is paid.
const TWICE: &[&str] = &[
    "/%2570aid/ok",
    "/%2550AID/ok",
    "/p%2561id/ok",
    "/free/%252e%252e/paid/ok",
    "/free/.%252e/paid/ok",
    "/free/..%252fpaid/ok",
    "/free/..%255cpaid/ok",
    "/free/%252e%252e%252fpaid%252fok",
    "/paid%252fok",
    "/users/7%252freport",
    "/users/7/%2572eport",
    "/%2567et-only",
    "/get-only%253bx",
    "/paid%2500/ok",
    "/free/%25252e%25252e/paid/ok",
    "/%25%37%30aid/ok",
    "/%2%3570aid/ok",
];

/// An upstream that parses what it has decoded, or trims it, ends these segments early.
const CUT: &[&str] = &[
    "/paid%20/ok",
    "/%20paid/ok",
    "/get-only%20",
    "/paid%3f/ok",
    "/paid%3fx",
    "/get-only%3fx",
    "/users/7/report%3fx=y",
    "/users/%3fx/report",
    "/users/%23/report",
    "/users/7%3f/report",
    "/paid%23/ok",
    "/get-only%23",
    "/free/..%23/paid",
];

fn games_of(targets: &[&str]) -> Vec<Game> {
    targets.iter().map(|target| Game::call("GET", target, "")).collect()
}

pub(crate) fn games() -> Vec<Game> {
    let mut games = games_of(TARGETS);
    games.extend(games_of(TWICE));
    games.extend(games_of(CUT));
    games.extend(odd_lines());
    games
}

/// Targets that are too long, and lines that are not even a request's.
fn odd_lines() -> Vec<Game> {
    let long = |prefix: &str, bytes: usize| format!("{prefix}{}", "a".repeat(bytes));
    let host = "\r\nhost: localhost\r\n\r\n";
    let mut games: Vec<_> = [
        long("/paid/", 20_000),
        long("/paid/", 70_000),
        format!("{}/paid/ok", "/.".repeat(9_000)),
        format!("/free/{}paid/ok", "../".repeat(3_000)),
        format!("/free/ok?{}", "a".repeat(20_000)),
    ]
    .iter()
    .map(|target| Game::call("GET", target, ""))
    .collect();
    for line in [
        "GET  /paid/ok HTTP/1.1",
        "GET /free/ok /paid/ok HTTP/1.1",
        "GET /paid /ok HTTP/1.1",
        "GET\t/paid/ok\tHTTP/1.1",
        "GET /paid/ok HTTP/1.1 ",
        " GET /paid/ok HTTP/1.1",
        "GET /paid/ok HTTP/1.2",
        "GET /paid/ok HTTP/2.0",
        "GET /paid/ok HTTP/0.9",
        "GET /paid/ok HTTP/11",
        "GET /paid/ok http/1.1",
        "GET /paid/ok HTTP/1.1\r",
        "GET /paid/ok\rHTTP/1.1",
        "\r\nGET /paid/ok HTTP/1.1",
        "\r\n\r\n\r\nGET /paid/ok HTTP/1.1",
        "\nGET /paid/ok HTTP/1.1",
    ] {
        games.push(Game::new(format!("{line}{host}")));
    }
    // Version 0.9 has a line and nothing else.
    games.push(Game::new("GET /paid/ok\r\n"));
    games.push(Game::new("GET /paid/ok\r\n\r\n"));
    games.push(Game::dangling("GET /paid/ok"));
    games.push(Game::dangling("GET /paid/ok HTTP/1.1\r\nhost: local"));
    games.push(Game::broken("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    games
}

#[test]
fn no_spelling_of_a_path() {
    Ground::new().play(&games_of(TARGETS));
}

#[test]
fn no_spelling_that_is_decoded_twice() {
    Ground::new().play(&games_of(TWICE));
}

#[test]
fn no_segment_that_ends_early() {
    Ground::new().play(&games_of(CUT));
}

#[test]
fn no_odd_request_line() {
    Ground::new().play(&odd_lines());
}
