//! How a gate is started, on pay-gate's own files as well: G-002 to G-005, G-040 to G-042, G-X03, G-X09, G-X15.

use protocol::x402::Version;
use xtask::chain::ChainOptions;

use crate::challenge;
use crate::kit::{Act, Facilitator, Origin, PAYEE, PAYER, PRICE, Payer, get, start_chain, until};
use crate::started::Started;

/// The five lines of pay-gate's README, with the addresses filled in.
const MINIMAL: &str = r#"version: 1
provider_address: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
proxy:
  target: "ORIGIN"
routes:
  - path: "/api/v1/*"
    price: "0.01"
"#;

/// Its full one, with the two keys of its Worker.
const FULL: &str = r#"version: 1
provider_address: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
proxy:
  target: "ORIGIN"
  timeout: "30s"
routes:
  - path: "/api/v1/premium/*"
    price: "0.01"
  - path: "/api/v1/report"
    method: "POST"
    price: "5.00"
    settlement: "direct"
  - path: "/api/v1/generate/*"
    price_endpoint: "ORIGIN/internal/echo"
  - path: "/api/v1/forecast"
    price: "0.02"
    proxy_rewrite: "/v1/ok"
    proxy_params: { key: "${UPSTREAM_API_KEY:-none}", days: "3" }
  - path: "/api/v1/health"
    free: true
  - path: "/api/v1/admin/*"
    free: true
    allowlist: ["0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"]
default_action: "passthrough"
global_allowlist: []
fail_mode: "closed"
rate_limits:
  per_agent: "1000/min"
  verification: "100/s"
log:
  level: "info"
  format: "json"
discovery:
  discoverable: true
  base_url: "https://api.example.com"
  name: "My API"
  description: "Short description"
  keywords: ["keyword1", "keyword2"]
  category: "data"
  docs_url: "https://api.example.com/docs"
"#;

fn on(config: &str, origin: &Origin) -> String {
    config.replace("ORIGIN", &origin.url())
}

/// Someone who settles on Base: nothing is moved by these tests there.
fn base() -> Facilitator {
    Facilitator::speaking("http://127.0.0.1:9", 2, "eip155:8453")
}

/// A payment for what a gate asks, whoever checks it.
fn payment(gate: &Started, path: &str) -> String {
    Payer::new(PAYER).payment(&Payer::offer(&gate.url(path))).0
}

#[test]
fn g_041_the_minimal_file_of_the_readme_starts_and_sells() {
    let (origin, facilitator) = (Origin::start(), base());
    let gate = Started::new(&["start", "--facilitator-url", facilitator.url()], &[], &on(MINIMAL, &origin));
    let challenge = challenge(&gate.get("/api/v1/ok"));
    assert_eq!(challenge["accepts"][0]["network"], "eip155:8453");
    assert_eq!(challenge["accepts"][0]["asset"], "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
    let header = payment(&gate, "/api/v1/ok");
    let answer = get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
    assert_eq!((facilitator.asked("/verify"), origin.runs("/api/v1/ok")), (1, 1));
    assert_eq!(gate.get("/other").status, 403, "what no route names is not given away");
}

#[test]
fn g_042_the_full_file_of_the_readme_starts_and_sells() {
    let (origin, facilitator) = (Origin::start(), base());
    let gate = Started::new(&["start", "--facilitator-url", facilitator.url()], &[], &on(FULL, &origin));
    for (path, amount) in [("/api/v1/premium/ok", "10000"), ("/api/v1/forecast", "20000")] {
        assert_eq!(challenge(&gate.get(path))["accepts"][0]["amount"], amount, "{path}");
    }
    for (path, status) in [("/api/v1/health", 200), ("/other/ok", 200), ("/api/v1/admin/ok", 402)] {
        assert_eq!(gate.get(path).status, status, "{path}");
    }
    assert_eq!(gate.get("/api/v1/report").status, 200, "another method falls to what no route names");
    // That endpoint answers with what it was asked, in which no price is.
    assert_eq!(gate.get("/api/v1/generate/ok").status, 503);
    let header = payment(&gate, "/api/v1/forecast");
    assert_eq!(get(&gate.url("/api/v1/forecast"), &[("payment-signature", &header)]).status, 200);
    assert!(origin.last().line.starts_with("GET /v1/ok?key=none&days=3 "), "{}", origin.last().line);
    assert_eq!(gate.get("/__pay/manifest").json()["discovery"]["name"], "My API");
}

#[test]
fn g_x03_neither_file_of_the_readme_is_refused() {
    for config in [MINIMAL, FULL] {
        crate::commands::taken(&config.replace("ORIGIN", "http://127.0.0.1:3000"));
    }
}

#[test]
fn g_002_dev_settles_on_base_sepolia_at_a_facilitator() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, 10 * PRICE).unwrap();
    let (origin, facilitator) = (Origin::start(), Facilitator::start(chain.rpc_url()));
    let config = on(MINIMAL, &origin).replace("price: \"0.01\"", "price: \"0.01\"\n    settlement: direct");
    let gate = Started::new(&["dev", "--facilitator-url", facilitator.url()], &[], &config);
    let header = payment(&gate, "/api/v1/ok");
    let answer = get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]);
    assert_eq!((answer.status, chain.balance(PAYEE).unwrap()), (200, PRICE), "{}", answer.text());
    assert_eq!(answer.receipt()["network"], "eip155:84532");
    assert!(gate.log().contains("TESTNET MODE") && !gate.log().starts_with('{'), "{}", gate.log());
}

#[test]
fn g_003_mock_takes_every_payment_header() {
    let origin = Origin::start();
    let facilitator = Facilitator::start("http://127.0.0.1:9");
    let gate = Started::new(&["mock", "--facilitator-url", facilitator.url()], &[], &on(MINIMAL, &origin));
    assert_eq!(gate.get("/api/v1/ok").status, 402);
    for header in ["anything", "e30=", payment(&gate, "/api/v1/ok").as_str()] {
        for _ in 0..2 {
            let answer = get(&gate.url("/api/v1/ok"), &[("payment-signature", header)]);
            assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{header}");
            assert_eq!((&answer.receipt()["payer"], &answer.receipt()["transaction"]), (&"0xmock".into(), &"".into()));
            assert_eq!(answer.receipt()["extra"]["state"], "mock");
        }
    }
    let headers = origin.last().headers;
    assert!(headers.contains(&("x-pay-from".to_owned(), "0xmock".to_owned())), "{headers:?}");
    assert_eq!((facilitator.asked("/verify"), facilitator.asked("/settle")), (0, 0), "nobody is asked");
    assert_eq!(gate.get("/other").status, 403);
}

#[test]
fn g_004_the_facilitator_may_be_in_the_environment() {
    let origin = Origin::start();
    for name in ["PAY_GATE_FACILITATOR_URL", "PONTAGE_FACILITATOR_URL"] {
        for command in ["start", "dev"] {
            let network = if command == "dev" { "eip155:84532" } else { "eip155:8453" };
            let facilitator = Facilitator::speaking("http://127.0.0.1:9", 2, network);
            let gate = Started::new(&[command], &[(name, facilitator.url())], &on(MINIMAL, &origin));
            let header = payment(&gate, "/api/v1/ok");
            let answer = get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]);
            assert_eq!((answer.status, facilitator.asked("/verify")), (200, 1), "{name} {command}: {}", answer.text());
        }
    }
    // A flag goes before it, and mock takes it and asks nobody.
    let (named, flag) = (base(), base());
    let env = [("PAY_GATE_FACILITATOR_URL", named.url())];
    let gate = Started::new(&["start", "--facilitator-url", flag.url()], &env, &on(MINIMAL, &origin));
    let header = payment(&gate, "/api/v1/ok");
    get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]);
    assert_eq!((named.asked("/verify"), flag.asked("/verify")), (0, 1));
    let gate = Started::new(&["mock"], &env, &on(MINIMAL, &origin));
    assert_eq!(get(&gate.url("/api/v1/ok"), &[("payment-signature", "x")]).status, 200);
    assert_eq!(named.asked("/verify"), 0);
}

#[test]
fn g_x15_the_variable_of_others_is_named_and_not_read() {
    let (origin, facilitator, other) = (Origin::start(), base(), base());
    let env = [("FACILITATOR_URL", other.url()), ("PAY_GATE_FACILITATOR_URL", facilitator.url())];
    let gate = Started::new(&["start"], &env, &on(MINIMAL, &origin));
    let header = payment(&gate, "/api/v1/ok");
    get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]);
    assert_eq!((facilitator.asked("/verify"), other.asked("/verify"), other.asked("/supported")), (1, 0, 0));
    // The chart's probes go to the gate itself, also where every other path is refused.
    for path in ["/livez", "/readyz", "/__pay/health"] {
        assert_eq!(gate.get(path).status, 200, "{path}");
    }
    assert_eq!(gate.get("/health").status, 403);
}

#[test]
fn g_005_a_sidecar_answers_and_forwards_nothing() {
    let facilitator = base();
    // It needs no API, and listens on loopback.
    let config = MINIMAL.replace("proxy:\n  target: \"ORIGIN\"\n", "");
    let gate = Started::new(&["start", "--sidecar", "--facilitator-url", facilitator.url()], &[], &config);
    assert!(gate.url("").starts_with("http://127.0.0.1:"), "{}", gate.url(""));
    assert_eq!(gate.get("/__pay/check/api/v1/ok").status, 402);
    for path in ["/api/v1/ok", "/", "/other"] {
        assert_eq!(gate.get(path).status, 404, "{path}");
    }
}

#[test]
fn g_040_variables_go_before_the_file() {
    let (origin, other) = (Origin::start(), Origin::start());
    let facilitator = base();
    let (target, payee) = (other.url(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    let env = [
        ("PAY_GATE_PROVIDER_ADDRESS", payee),
        ("PAY_GATE_PROXY_TARGET", target.as_str()),
        ("PAY_GATE_DEFAULT_ACTION", "passthrough"),
        ("PAY_GATE_FAIL_MODE", "open"),
        ("PAY_GATE_LOG_LEVEL", "error"),
        ("PAY_GATE_FACILITATOR_URL", facilitator.url()),
    ];
    let gate = Started::new(&["start"], &env, &on(MINIMAL, &origin));
    assert_eq!(challenge(&gate.get("/api/v1/ok"))["accepts"][0]["payTo"], payee);
    assert_eq!(gate.get("/other/ok").status, 200);
    assert_eq!((origin.runs(""), other.runs("/other/ok")), (0, 1));
    facilitator.at_verify(Act::Status(500));
    let header = payment(&gate, "/api/v1/ok");
    assert_eq!(get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]).status, 200);
    assert_eq!(gate.log(), "", "only errors are logged");
    // pontage's own name goes before pay-gate's.
    let both = [("PONTAGE_DEFAULT_ACTION", "block"), ("PAY_GATE_DEFAULT_ACTION", "passthrough"), env[5]];
    let gate = Started::new(&["start"], &both, &on(MINIMAL, &origin));
    assert_eq!(gate.get("/other/ok").status, 403);
}

/// What is written is what runs: no key is read and forgotten.
#[test]
fn g_x09_rates_logs_and_the_address_are_kept() {
    let (origin, facilitator) = (Origin::start(), base());
    let url = facilitator.url();
    let limited = format!("{}rate_limits: {{ per_agent: 30/min, verification: 1/min }}\n", on(MINIMAL, &origin));
    let gate = Started::new(&["start", "--facilitator-url", url], &[], &limited);
    assert!(gate.url("").starts_with("http://127.0.0.1:"), "not every interface: {}", gate.url(""));
    let offer = Payer::offer(&gate.url("/api/v1/ok"));
    let payer = Payer::new(PAYER);
    let pay = || {
        let header = payer.sign(Version::V2, &offer, &payer.fields(&offer));
        get(&gate.url("/api/v1/ok"), &[("payment-signature", &header)]).status
    };
    assert_eq!([pay(), pay()], [200, 429]);
    let said = crate::config::changed("version: 1", "version: 1\nrate_limits: { per_agent: banana }");
    assert!(said.contains("rate_limits.per_agent"), "{said}");
    for (log, line) in [("{ format: text }", "200 free"), ("{ format: json }", "\"outcome\":\"free\"")] {
        let config = format!("{}  - {{ path: /free/*, free: true }}\nlog: {log}\n", on(MINIMAL, &origin));
        let gate = Started::new(&["start", "--facilitator-url", url], &[], &config);
        assert_eq!(gate.get("/free/ok").status, 200);
        until("the call is in the log", || gate.log().contains(line));
    }
    let config = format!("{}log: {{ level: error }}\n", on(MINIMAL, &origin));
    let gate = Started::new(&["start", "--facilitator-url", url], &[], &config);
    assert_eq!((gate.get("/api/v1/ok").status, gate.log().as_str()), (402, ""));
}
