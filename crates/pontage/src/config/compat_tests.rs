//! What pay-gate's users write, by the lines of its behaviour that each test is named for.

use gate::Rate;
use ledger::Rail;
use protocol::Network;

use super::price::FixedPrice;
use super::tests::{FREE, HEAD, PAYEE, good, one, read_with};
use super::*;

const BASE: Network = Network { chain_id: 8453 };

/// The smallest file of its README, with an address filled in.
pub(super) const MINIMAL: &str = r#"version: 1
provider_address: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
proxy:
  target: "http://localhost:8080"
routes:
  - path: "/api/v1/*"
    price: "0.01"
"#;

/// The full one, with addresses filled in and the two keys of its Worker.
pub(super) const FULL: &str = r#"version: 1
provider_address: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
proxy:
  target: "http://localhost:8080"
  timeout: "30s"
routes:
  - path: "/api/v1/premium/*"
    price: "0.01"
  - path: "/api/v1/report"
    method: "POST"
    price: "5.00"
    settlement: "direct"
  - path: "/api/v1/generate/*"
    price_endpoint: "http://localhost:8080/internal/pricing"
  - path: "/api/v1/forecast"
    price: "0.02"
    proxy_rewrite: "/v1/forecast.json"
    proxy_params: { key: "${PRICE}", days: "3" }
  - path: "/api/v1/health"
    free: true
  - path: "/api/v1/admin/*"
    free: true
    allowlist: ["0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
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

fn due(route: &RouteConfig) -> &DueConfig {
    match &route.price {
        PriceConfig::Due(due) => due,
        PriceConfig::Free => panic!("the route of line {} is free", route.line),
    }
}

/// The only route of a file, which has these lines.
fn route(lines: &str) -> RouteConfig {
    good(&format!("{HEAD}routes:\n- {}\n", lines.replace('\n', "\n  "))).routes.remove(0)
}

#[test]
fn g_041_the_minimal_file_is_valid_on_base_and_on_base_sepolia() {
    for network in [BASE, Network::BASE_SEPOLIA] {
        let config = read_with(MINIMAL, &|_| None, network).unwrap();
        assert_eq!(config.networks.iter().map(|network| network.network).collect::<Vec<_>>(), [network]);
        assert!(config.networks[0].rpc_urls.is_empty() && config.signers.is_empty());
        assert_eq!(config.default_action, DefaultAction::Block);
        let accept = &due(&config.routes[0]).accepts[0];
        assert_eq!((accept.token.asset.network, accept.payee.to_string()), (network, PAYEE.to_owned()));
        assert_eq!(accept.price, Some(FixedPrice { atomic: 10_000, micros: 10_000 }));
        assert_eq!(due(&config.routes[0]).rail, Some(Rail::Tab));
    }
    // A file that sells nothing needs no network.
    assert_eq!(good(&MINIMAL.replace("price: \"0.01\"", "free: true")).networks, []);
    assert_eq!(good(&format!("{MINIMAL}networks: {{}}\n")).networks.len(), 1);
}

#[test]
fn g_042_the_full_file_is_valid() {
    let config = good(FULL);
    assert_eq!(config.default_action, DefaultAction::Passthrough);
    assert_eq!(due(&config.routes[1]).rail, Some(Rail::Direct));
    let priced = due(&config.routes[2]);
    assert_eq!((priced.rail, &priced.accepts[0].price), (None, &None));
    let endpoint = priced.endpoint.as_ref().unwrap();
    assert_eq!(endpoint.url, "http://localhost:8080/internal/pricing");
    assert_eq!((endpoint.timeout_ms, endpoint.cache_s, endpoint.quote_s), (3_000, 0, 60));
    let admin = &config.routes[5];
    assert_eq!((admin.price == PriceConfig::Free, admin.allowlist.len()), (true, 1));
    assert_eq!(config.rates, RatesConfig::default());
    assert_eq!(config.log, LogConfig { level: LogLevel::Info, format: Some(LogFormat::Json), access: true });
    assert_eq!(config.public_url.as_deref(), Some("https://api.example.com"));
    assert_eq!(config.discovery.keywords, ["keyword1", "keyword2"]);
}

#[test]
fn g_x03_no_key_of_its_readme_is_unknown_or_missing() {
    let config = good(FULL);
    assert_eq!(config.routes[3].rewrite.as_deref(), Some("/v1/forecast.json"));
    let params = [("key", "0.25"), ("days", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(config.routes[3].params, params);
    assert!(read_with(MINIMAL, &|_| None, BASE).is_ok());
}

#[test]
fn g_022_g_031_allowlists_are_lists_of_addresses() {
    let config = good(&format!("{HEAD}{FREE}global_allowlist: [\"{PAYEE}\", \"{}\"]\n", PAYEE.to_ascii_lowercase()));
    assert_eq!(config.global_allowlist.iter().map(ToString::to_string).collect::<Vec<_>>(), [PAYEE, PAYEE]);
    let route = route(&format!("path: /a\nprice: 1\nallowlist: [\"{PAYEE}\"]\nreentry_s: 60"));
    assert_eq!((route.allowlist.len(), route.reentry_s), (1, 60));
}

#[test]
fn g_023_g_024_a_price_may_come_from_an_endpoint() {
    let own = "{ url: \"https://a/b\", timeout_ms: 10, cache_s: 20, quote_s: 30 }";
    for (lines, rail, fixed) in [
        ("price_endpoint: http://a/p", None, None),
        ("price_endpoint: http://a/p\nprice: 0.5", None, Some(500_000)),
        ("price_endpoint: http://a/p\nprice: 0.5\nsettlement: tab", Some(Rail::Tab), Some(500_000)),
        ("price_endpoint: http://a/p\nsettle_first: true", Some(Rail::Direct), None),
        ("price: 0.5\nsettle_first: true", Some(Rail::Direct), Some(500_000)),
        ("price: 0.5\nsettle_first: false", Some(Rail::Tab), Some(500_000)),
    ] {
        let route = route(&format!("path: /a\n{lines}"));
        let due = due(&route);
        assert_eq!((due.rail, due.accepts[0].price.as_ref().map(|price| price.atomic)), (rail, fixed), "{lines}");
        assert_eq!(due.settle_first, lines.contains("settle_first: true"), "{lines}");
    }
    let route = route(&format!("path: /a\nprice_endpoint: {own}"));
    let endpoint = due(&route).endpoint.clone().unwrap();
    assert_eq!((endpoint.timeout_ms, endpoint.cache_s, endpoint.quote_s), (10, 20, 30));
}

#[test]
fn g_025_the_offer_says_what_is_sold() {
    let route = route("path: /a\nprice: 1\ndescription: Weather – today\nmime_type: application/json; charset=utf-8");
    assert_eq!(route.description.as_deref(), Some("Weather – today"));
    assert_eq!(route.mime_type.as_deref(), Some("application/json; charset=utf-8"));
}

#[test]
fn g_026_info_table() {
    for (input, path, word) in [
        ("{ type: http, method: GET }", "", ""),
        ("{ type: http, method: delete, queryParams: { q: { type: string, required: true } } }", "", ""),
        ("{ type: http, method: POST, bodyType: json, body: { a: { type: string } } }", "", ""),
        ("{ type: http, method: PUT, bodyType: form-data, body: {} }", "", ""),
        ("{ type: mcp, tool: t, inputSchema: { type: object } }", "", ""),
        ("{ type: http, method: POST, body: {} }", ".input.bodyType", "needed with POST"),
        ("{ type: http, method: PATCH, bodyType: xml, body: {} }", ".input.bodyType", "json, form-data or text"),
        ("{ type: http, method: POST, bodyType: json }", ".input.body", "needed with POST"),
        ("{ type: http, method: TRACE }", ".input.method", "one of GET"),
        ("{ type: mcp, inputSchema: {} }", ".input.tool", "needed with mcp"),
        ("{ type: mcp, tool: t }", ".input.inputSchema", "needed with mcp"),
        ("{ type: grpc }", ".input.type", "http or mcp"),
        ("{}", ".input.type", "http or mcp"),
        ("text", ".input", "a map"),
    ] {
        let text = format!("{HEAD}routes:\n- path: /a\n  price: 1\n  info: {{ input: {input} }}\n");
        match word {
            "" => assert!(good(&text).routes[0].info.is_some()),
            word => one(&text, &format!("routes[0].info{path}"), 10, word),
        }
    }
    let info = "input: { type: http, method: GET, example: { n: 1, f: 1.5, t: true, z: ~, l: [a, \"${PRICE}\"] } }";
    let info = route(&format!("path: /a\nprice: 1\ninfo:\n  {info}")).info.unwrap();
    assert_eq!(
        info["input"]["example"],
        serde_json::json!({ "n": 1, "f": 1.5, "t": true, "z": null, "l": ["a", "0.25"] })
    );
    let long = format!("input: {{ type: http, method: GET, a: [{}] }}", "abcdefgh, ".repeat(2 * 1024));
    one(&format!("{HEAD}routes:\n- path: /a\n  price: 1\n  info: {{ {long} }}\n"), "routes[0].info", 10, "16 KiB");
    one(&format!("{HEAD}routes:\n- path: /a\n  price: 1\n  info: x\n"), "routes[0].info", 10, "must be a map");
}

#[test]
fn g_027_a_template_is_what_matches() {
    for lines in ["path: /other\nroute_template: /users/:id", "route_template: /users/:id"] {
        let route = route(&format!("{lines}\nprice: 1"));
        assert_eq!((route.path.as_str(), route.template.as_deref()), ("/users/:id", Some("/users/:id")));
        assert!(route.path.matches("/users/7") && !route.path.matches("/other"));
    }
    for bad in ["users/:id", "/a/../b", "/a..b", "/%2e%2e/b", "/%2E./b", "/.%2e/b", "/http://x"] {
        let text = format!("{HEAD}routes:\n- route_template: {bad}\n  price: 1\n");
        one(&text, "routes[0].route_template", 8, "is not a");
    }
}

#[test]
fn g_032_g_033_g_034_g_035_limits_table() {
    let config = good(&format!("{HEAD}{FREE}fail_mode: open\n"));
    assert!(config.fail_open);
    for (text, want) in [
        ("10/s", Some(Rate::new(10, 1_000))),
        ("10/sec", Some(Rate::new(10, 1_000))),
        ("10/second", Some(Rate::new(10, 1_000))),
        ("\"10/m\"", Some(Rate::new(10, 60_000))),
        ("10/min", Some(Rate::new(10, 60_000))),
        ("1000000/minute", Some(Rate::new(1_000_000, 60_000))),
        ("off", None),
    ] {
        let rates = good(&format!("{HEAD}{FREE}rate_limits: {{ per_agent: {text} }}\n")).rates;
        assert_eq!((rates.anonymous, rates.payer, rates.trusted), (want, want, want), "{text}");
        assert_eq!(rates.verification, Some(Rate::new(100, 1_000)));
        assert_eq!(route(&format!("path: /a\nprice: 1\nrate_limit: {text}")).rate_limit, want);
        let rates = good(&format!("{HEAD}{FREE}rate_limits: {{ verification: {text} }}\n")).rates;
        assert_eq!(rates, RatesConfig { verification: want, ..RatesConfig::default() });
    }
    assert_eq!(good(&format!("{HEAD}{FREE}limits: tiers\n")).rates, RatesConfig::tiers());
    let both = good(&format!("{HEAD}{FREE}limits: tiers\nrate_limits: {{ verification: off }}\n"));
    assert_eq!(both.rates, RatesConfig { verification: None, ..RatesConfig::tiers() });
}

#[test]
fn g_x06_a_price_below_the_tokens_unit_is_refused() {
    let text = MINIMAL.replace("0.01", "0.0000001");
    one(&text, "routes[0].price", 7, "more decimal places than USDC on eip155:84532, which has 6");
}

#[test]
fn g_x09_a_rate_that_is_none_is_refused() {
    for (text, word) in [
        ("banana", "no slash"),
        ("10", "no slash"),
        ("10/h", "neither for a second nor for a minute"),
        ("0/s", "whole number"),
        ("/s", "whole number"),
        ("+1/s", "whole number"),
        ("1.5/s", "whole number"),
        ("1000001/s", "whole number"),
        ("99999999999/s", "whole number"),
        ("10 / s", "neither"),
    ] {
        one(&format!("{HEAD}{FREE}rate_limits: {{ per_agent: {text} }}\n"), "rate_limits.per_agent", 8, word);
    }
}

#[test]
fn g_040_variables_go_before_the_file() {
    let names = ["PROVIDER_ADDRESS", "PROXY_TARGET", "DEFAULT_ACTION", "FAIL_MODE", "LOG_LEVEL"];
    let other = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let theirs = [other, "http://127.0.0.1:9", "passthrough", "open", "debug"];
    let ours = [PAYEE, "http://127.0.0.1:10", "block", "closed", "error"];
    let env = |prefix: &'static str, values: [&'static str; 5]| {
        move |name: &str| {
            let at = names.iter().position(|known| name.strip_prefix(prefix) == Some(known))?;
            Some(values[at].to_owned())
        }
    };
    let (pay_gate, pontage) = (env("PAY_GATE_", theirs), env("PONTAGE_", ours));
    let seen = |env: &dyn Fn(&str) -> Option<String>, text: &str| {
        let env = |name: &str| env(name).or_else(|| (name == "PRICE").then(|| "1".to_owned()));
        let config = read_with(text, &env, BASE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let target = config.target.map(|target| target.port());
        (config.payee.to_string(), target, config.default_action, config.fail_open, config.log.level)
    };
    let want = (other.to_owned(), Some(9), DefaultAction::Passthrough, true, LogLevel::Debug);
    assert_eq!(seen(&pay_gate, MINIMAL), want);
    assert_eq!(seen(&pay_gate, FULL), want);
    // A file that leaves all of it to the environment.
    assert_eq!(seen(&pay_gate, "version: 1\nroutes: [{ path: /, free: true }]\n"), want);
    let both = |name: &str| pontage(name).or_else(|| pay_gate(name));
    let want = (PAYEE.to_owned(), Some(10), DefaultAction::Block, false, LogLevel::Error);
    assert_eq!(seen(&both, FULL), want);
    // An empty one is none.
    assert_eq!(seen(&|name| name.starts_with("PAY_GATE_").then(String::new), MINIMAL).1, Some(8080));
    let listen = read_with(MINIMAL, &|name| (name == "PONTAGE_LISTEN").then(|| "0.0.0.0:80".to_owned()), BASE).unwrap();
    assert_eq!(listen.listen.to_string(), "0.0.0.0:80");
}

#[test]
fn g_040_mistakes_name_the_variable_and_not_what_it_holds() {
    for (name, path) in [
        ("PAY_GATE_PROVIDER_ADDRESS", "provider_address"),
        ("PONTAGE_PROXY_TARGET", "proxy.target"),
        ("PAY_GATE_DEFAULT_ACTION", "default_action"),
        ("PONTAGE_FAIL_MODE", "fail_mode"),
        ("PAY_GATE_LOG_LEVEL", "log.level"),
        ("PONTAGE_LISTEN", "listen"),
    ] {
        // Neither a variable nor a dollar is looked for in it.
        let env = |asked: &str| (asked == name).then(|| "${held}".to_owned());
        let mistakes =
            read_with(FULL, &|asked| env(asked).or_else(|| (asked == "PRICE").then(|| "1".to_owned())), BASE)
                .expect_err(name);
        let list = mistakes.list();
        assert_eq!((list.len(), list[0].path.as_str(), list[0].line), (1, path, None), "{mistakes}");
        assert!(list[0].what.contains(&format!("the value of {name}")), "{mistakes}");
        assert!(!mistakes.to_string().contains("held"), "{mistakes}");
    }
}
