//! The configurations of `examples/sidecar`, each run by its own proxy.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[path = "sidecar/proxy.rs"]
mod proxy;
#[path = "sidecar/stand_in.rs"]
mod stand_in;

use kit::{Answer, Origin, Raw, get, request, until};
use proxy::{Kind, Proxy};
use stand_in::StandIn;

/// All the headers that only the gate may set, as a caller would forge them, and two of them in another spelling.
const FORGED: [(&str, &str); 10] = [
    ("X-Pay-Verified", "forged"),
    ("X-Pay-From", "forged"),
    ("X-Pay-Amount", "forged"),
    ("X-Pay-Settlement", "forged"),
    ("X-Pay-Tab", "forged"),
    ("X-Pay-Signature", "forged"),
    ("X-Pay-Hold", "forged"),
    ("X_Pay_Verified", "forged"),
    ("X-Pay_From", "forged"),
    ("X-Forwarded-For", "203.0.113.7"),
];

struct World {
    kind: Kind,
    gate: StandIn,
    origin: Origin,
    proxy: Proxy,
}

impl World {
    fn new(kind: Kind) -> Self {
        let (gate, origin) = (StandIn::start(), Origin::start());
        let port = origin.url().rsplit(':').next().unwrap().parse().expect("a port");
        let proxy = Proxy::start(&kind, gate.port, port);
        Self { kind, gate, origin, proxy }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.proxy.url())
    }

    /// What the origin saw last under a name, empty when it saw nothing: two of the proxies cannot leave an empty header out.
    fn seen(&self, name: &str) -> String {
        let seen = self.origin.last();
        let values: Vec<_> = seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().map(|value| (*value).clone()).unwrap_or_default()
    }

    fn nothing_forged(&self) {
        for (name, value) in self.origin.last().headers {
            assert!(!value.contains("forged"), "{name}: {value}");
        }
        assert_eq!(self.seen("x-forwarded-for"), "127.0.0.1");
    }
}

fn is_challenge(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_required"), "{}", answer.text());
    assert_eq!(answer.headers["payment-required"].len(), 6_000);
    assert_eq!(answer.headers["cache-control"], "no-store");
}

/// One sentence of the README, on a world that all of them share.
type Check = fn(&mut World);

fn everything(kind: Kind) {
    let mut world = World::new(kind);
    let checks: [(&str, Check); 8] = [
        ("free calls pass", free),
        ("a challenge is whole", unpaid),
        ("no caller says what is priced", games),
        ("a paid call is run", paid),
        ("refusals and faults pass", refusals),
        ("long headers pass", long),
        ("the outcome is reported", outcome),
        ("no gate, no call", gate_down),
    ];
    for (name, check) in checks {
        eprintln!("--- {name}");
        check(&mut world);
    }
}

fn free(world: &mut World) {
    let answer = get(&world.url("/free/ok?x=%20&x=2&y=a%2Fb"), &FORGED);
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    assert_eq!(world.origin.last().line, "GET /free/ok?x=%20&x=2&y=a%2Fb HTTP/1.1".replace("1.1", &world.version()));
    assert_eq!(world.seen("x-pay-verified"), "free");
    world.nothing_forged();
    assert_eq!(world.gate.last_caller(), "127.0.0.1");
    for name in ["from", "amount", "settlement", "tab", "signature", "hold"] {
        assert_eq!(world.seen(&format!("x-pay-{name}")), "");
    }
    let body = vec![b'x'; 1 << 20];
    let answer = request("POST", &world.url("/free/echo"), &[], &body);
    assert!(answer.status == 200 && answer.body == body, "{}", answer.status);
    let head = request("HEAD", &world.url("/free/ok"), &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(world.origin.last().line.starts_with("HEAD "));
    assert_eq!(get(&world.url("/free/500"), &[]).status, 500);
}

impl World {
    /// nginx speaks 1.0 to an origin unless told otherwise.
    fn version(&self) -> String {
        if self.kind.folder.starts_with("nginx") { "1.0" } else { "1.1" }.to_owned()
    }
}

fn unpaid(world: &mut World) {
    let answer = get(&world.url("/paid/ok?x=1"), &FORGED);
    is_challenge(&answer);
    assert_eq!(answer.json()["uri"], "/paid/ok?x=1");
    let answer = request("DELETE", &world.url("/paid/ok?x=1"), &[], b"");
    is_challenge(&answer);
    assert_eq!(answer.json()["method"], "DELETE");
    let answer =
        request("POST", &world.url("/paid/ok"), &[("content-type", "text/plain")], b"a body that nobody reads");
    is_challenge(&answer);
    is_challenge(&get(&world.url("/paid/ok"), &[("payment-signature", "")]));
    // On one connection, so that a body where none may be would show.
    let twice = "HEAD /paid/ok HTTP/1.1\r\nhost: localhost\r\n\r\nGET /paid/ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let both = Raw::send(&world.proxy.url(), twice.as_bytes()).read_all();
    let heads: Vec<_> = both.match_indices("HTTP/1.1 402").map(|(at, _)| at).collect();
    assert_eq!(heads.len(), 2, "{both}");
    let first = both[..heads[1]].to_ascii_lowercase();
    assert!(first.contains("payment-required: ") && first.ends_with("\r\n\r\n"), "{first}");
    assert_eq!(world.origin.runs("paid"), 0);
}

fn games(world: &mut World) {
    for name in ["X-Original-URI", "X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL"] {
        is_challenge(&get(&world.url("/paid/ok"), &[(name, "/free/ok")]));
    }
    for name in ["X-Original-Method", "X-Forwarded-Method", "X-HTTP-Method-Override"] {
        let answer = request("POST", &world.url("/paid/ok"), &[(name, "GET")], b"x");
        is_challenge(&answer);
        assert_eq!(answer.json()["method"], "POST", "{name}");
    }
    // Whoever names a header here asks for it to be left out on the way.
    let named =
        "X-Original-URI, X-Original-Method, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-For, Payment-Signature";
    let answer = request("POST", &world.url("/paid/ok?x=1"), &[("connection", named), FORGED[9]], b"x");
    // Envoy does not go along with that.
    if answer.status != 400 {
        is_challenge(&answer);
        assert_eq!((&answer.json()["uri"], &answer.json()["method"]), (&"/paid/ok?x=1".into(), &"POST".into()));
        assert_eq!(world.gate.last_caller(), "127.0.0.1");
    }
    for path in [
        "/free/../paid/ok",
        "/free/%2e%2e/paid/ok",
        "/free/..%2fpaid/ok",
        "//paid/ok",
        "/free//../paid/ok",
        "/./paid/ok",
        "/%70aid/ok",
        "/PAID/ok",
        "/__pay/check",
        "/__pay/check/free/ok",
        "/__pay/outcome",
    ] {
        let before = world.origin.runs("");
        let answer = Raw::get(&world.proxy.url(), path, &[]).answer().expect("an answer");
        // What the origin would run must have been what was priced.
        let ran = world.origin.runs("") > before;
        assert!(!ran && answer.status >= 400, "{path}: {} {}", answer.status, answer.text());
    }
    assert_eq!(world.origin.runs("paid"), 0);
}

fn paid(world: &mut World) {
    let body = vec![b'x'; 1 << 20];
    let headers = [&FORGED[..], &[("payment-signature", "good")]].concat();
    let answer = request("POST", &world.url("/paid/echo?a=1"), &headers, &body);
    assert!(answer.status == 200 && answer.body == body, "{} {}", answer.status, answer.text().len());
    world.nothing_forged();
    assert!(world.origin.last().line.starts_with("POST /paid/echo?a=1 HTTP/"));
    for (name, value) in [
        ("verified", "true"),
        ("from", "0xPayer"),
        ("amount", "10000"),
        ("settlement", "tab"),
        ("tab", "0123"),
        ("signature", "t=1,v1=00"),
    ] {
        assert_eq!(world.seen(&format!("x-pay-{name}")), value);
    }
    assert_eq!(world.seen("payment-signature"), "");
    // The hold is a right to the money back: it goes to the origin only where the proxy cannot use it.
    assert_eq!(world.seen("x-pay-hold"), if world.kind.outcome { "" } else { "0123.4567" });
    if world.kind.receipt {
        assert_eq!(answer.headers["payment-response"], "receipt");
    }
    assert!(!answer.headers.contains_key("x-accel-redirect") && !answer.headers.contains_key("x-pay-hold"));
}

fn refusals(world: &mut World) {
    let runs = world.origin.runs("");
    for status in ["400", "403", "409", "429", "503"] {
        let answer = get(&world.url("/paid/ok"), &[("payment-signature", status)]);
        assert_eq!(answer.status.to_string(), status);
        let after: u32 = answer.headers["retry-after"].parse().expect("seconds");
        assert!(after >= 1);
        if status != "503" || world.kind.faults {
            assert_eq!((answer.error().as_str(), after, &*answer.headers["x-ratelimit-limit"]), (status, 7, "9"));
            assert_eq!(answer.headers["payment-response"], "failed");
        }
    }
    assert_eq!(get(&world.url("/else"), &[]).status, 403);
    assert_eq!(world.origin.runs(""), runs);
}

fn long(world: &mut World) {
    let answer = get(&world.url("/paid/ok"), &[("payment-signature", &"A".repeat(12_000))]);
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_base64"));
}

fn outcome(world: &mut World) {
    if !world.kind.outcome {
        assert_eq!(world.gate.outcomes(), [""; 0]);
        return;
    }
    for path in ["/paid/ok", "/paid/500"] {
        assert_eq!(
            get(&world.url(path), &[("payment-signature", "good")]).status,
            if path == "/paid/ok" { 200 } else { 500 }
        );
    }
    let wanted = ["{\"hold\": \"0123.4567\", \"status\": 200}", "{\"hold\": \"0123.4567\", \"status\": 500}"];
    until("both outcomes are heard", || wanted.iter().all(|wanted| world.gate.outcomes().iter().any(|o| o == wanted)));
    assert_eq!(get(&world.url("/free/500"), &[]).status, 500);
    let failed = get(&world.url("/paid/reset"), &[("payment-signature", "good")]).status;
    assert!(failed >= 500, "{failed}");
    if world.kind.no_answer {
        let wanted = format!("{{\"hold\": \"0123.4567\", \"status\": {failed}}}");
        until("the missing answer is heard", || world.gate.outcomes().contains(&wanted));
    }
    // One for each paid call, none for the free one.
    let heard = if world.kind.no_answer { 4 } else { 3 };
    assert_eq!(world.gate.outcomes().len(), heard);

    // A caller who leaves before the answer does not get his money back.
    let leaver = Raw::get(&world.proxy.url(), "/paid/gate", &[("payment-signature", "good")]);
    until("the origin runs", || world.origin.runs("/paid/gate") == 1);
    leaver.hang_up();
    world.origin.let_go();
    assert_eq!(get(&world.url("/paid/ok?last"), &[("payment-signature", "good")]).status, 200);
    until("the last outcome is heard", || world.gate.outcomes().len() > heard);
    let after = &world.gate.outcomes()[heard..];
    assert!(after.iter().all(|outcome| outcome.ends_with(" 200}")), "{after:?}");
}

fn gate_down(world: &mut World) {
    world.gate.kill();
    let runs = world.origin.runs("");
    for (path, payment) in [("/paid/ok", ""), ("/paid/ok", "good"), ("/free/ok", "")] {
        let answer = get(&world.url(path), &[("payment-signature", payment)]);
        assert!(answer.status >= 500, "{path}: {} {}", answer.status, answer.text());
    }
    assert_eq!(world.origin.runs(""), runs);
}

#[test]
fn nginx() {
    everything(Kind { folder: "nginx", receipt: true, outcome: true, no_answer: true, faults: true });
}

#[test]
fn nginx_njs() {
    everything(Kind { folder: "nginx-njs", receipt: true, outcome: true, no_answer: true, faults: true });
}

#[test]
fn nginx_lua() {
    everything(Kind { folder: "nginx-lua", receipt: true, outcome: true, no_answer: true, faults: true });
}

#[test]
fn caddy() {
    everything(Kind { folder: "caddy", receipt: true, outcome: false, no_answer: false, faults: true });
}

#[test]
fn haproxy() {
    everything(Kind { folder: "haproxy", receipt: true, outcome: true, no_answer: false, faults: true });
}

#[test]
fn envoy() {
    everything(Kind { folder: "envoy", receipt: true, outcome: true, no_answer: true, faults: false });
}

#[test]
fn traefik() {
    everything(Kind { folder: "traefik", receipt: false, outcome: false, no_answer: false, faults: true });
}
