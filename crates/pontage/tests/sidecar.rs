//! The configurations of `examples/sidecar`, each run by its own proxy in front of `pontage start --sidecar`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "sidecar/checks.rs"]
mod checks;
#[path = "kit/kit.rs"]
mod kit;
#[path = "sidecar/proxy.rs"]
mod proxy;
#[path = "sidecar/tap.rs"]
mod tap;

use xtask::chain::{Chain, ChainOptions};

use kit::{Answer, Books, FUNDS, Gate, GateOptions, Link, Origin, PAYER, Payer, request, start_chain};
use proxy::{Kind, Proxy};
use tap::Tap;

const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }
";

/// A proxy, the gate that it asks, an origin, and a chain whose wire can be cut.
struct World {
    kind: Kind,
    payer: Payer,
    proxy: Proxy,
    gate: Gate,
    tap: Tap,
    origin: Origin,
    link: Link,
    chain: Chain,
}

impl World {
    fn new(kind: Kind) -> Self {
        let chain = start_chain(ChainOptions::default());
        chain.plant_token().expect("the token is planted");
        chain.plant_multicall().expect("Multicall3 is planted");
        chain.mint(PAYER.address, FUNDS).expect("the payer is funded");
        let (link, origin) = (Link::to(chain.rpc_url()), Origin::start());
        let options = GateOptions {
            routes: ROUTES,
            arguments: &["--sidecar"],
            proxy: "trust_secret: { env: PONTAGE_TRUST_SECRET }",
            // Nothing settles while the test looks at the tab.
            more: "tab: { settle_age_s: 600 }".to_owned(),
            pinned: true,
            ..GateOptions::default()
        };
        let gate = Gate::start(link.url(), &origin.url(), &options);
        let tap = Tap::on(gate.url());
        let port = origin.url().rsplit(':').next().unwrap().parse().expect("a port");
        let proxy = Proxy::start(&kind, tap.port, port);
        Self { kind, payer: Payer::new(PAYER), proxy, gate, tap, origin, link, chain }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.proxy.url())
    }

    /// A fresh payment for a path.
    fn payment(&self, path: &str) -> String {
        self.payer.payment(&Payer::offer(&self.url(path))).0
    }

    /// Pays for a call and makes it, with further headers.
    fn buy(&self, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
        let payment = self.payment(path);
        let headers = [more, &[("payment-signature", payment.as_str())]].concat();
        request(method, &self.url(path), &headers, body)
    }

    /// What the origin saw last under a name, empty when it saw nothing.
    fn seen(&self, name: &str) -> String {
        let seen = self.origin.last();
        let values: Vec<_> = seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().map(|value| (*value).clone()).unwrap_or_default()
    }

    fn books(&self) -> Books {
        Books::open(self.gate.journal())
    }
}

#[test]
fn nginx() {
    checks::all(Kind { folder: "nginx", receipt: true, outcome: true, no_answer: true, faults: true });
}

#[test]
fn nginx_njs() {
    checks::all(Kind { folder: "nginx-njs", receipt: true, outcome: true, no_answer: true, faults: true });
}

#[test]
fn nginx_lua() {
    checks::all(Kind { folder: "nginx-lua", receipt: true, outcome: true, no_answer: true, faults: true });
}

#[test]
fn caddy() {
    checks::all(Kind { folder: "caddy", receipt: true, outcome: false, no_answer: false, faults: true });
}

#[test]
fn haproxy() {
    checks::all(Kind { folder: "haproxy", receipt: true, outcome: true, no_answer: false, faults: true });
}

#[test]
fn envoy() {
    checks::all(Kind { folder: "envoy", receipt: true, outcome: true, no_answer: true, faults: false });
}

#[test]
fn traefik() {
    checks::all(Kind { folder: "traefik", receipt: false, outcome: false, no_answer: false, faults: true });
}
