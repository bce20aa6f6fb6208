//! What operators and directories are told: G-036, G-037, G-080, G-X14, G-X17.

use serde_json::Value;

use crate::config::changed;
use crate::kit::{Gate, GateOptions, Payer, Raw, World, get, until};
use crate::started::Started;
use crate::stub::Stub;
use crate::world;

const FREE: &str = "version: 1
provider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"
proxy: { target: \"http://127.0.0.1:9\" }
routes: [{ path: /free, free: true }]
";

#[test]
fn g_036_levels_and_formats_of_the_log() {
    for (command, log, json) in [
        ("start", "{}", true),
        ("start", "{ format: text }", false),
        ("dev", "{}", false),
        ("dev", "{ format: json }", true),
    ] {
        let gate = Started::new(&[command], &[], &format!("{FREE}log: {log}\n"));
        until("it is in the log", || gate.log().contains("listening"));
        let log = gate.log();
        let lines = log.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
        assert_eq!(lines > 0, json, "{command}: {log}");
        assert!(!json || lines == log.lines().count(), "{command}: {log}");
    }
    for (level, words) in [("debug", true), ("info", true), ("warn", false), ("error", false)] {
        let gate = Started::new(&["start"], &[], &format!("{FREE}log: {{ level: {level} }}\n"));
        assert_eq!(gate.get("/livez").status, 200);
        if words {
            until("it is in the log", || gate.log().contains("listening"));
        }
        assert_eq!(gate.log().contains("\"INFO\""), words, "{level}: {}", gate.log());
    }
    for (log, key) in [("level: loud", "log.level"), ("format: xml", "log.format")] {
        assert!(changed("version: 1", &format!("version: 1\nlog: {{ {log} }}")).contains(key), "{log}");
    }
}

#[test]
fn g_037_the_limits_of_discovery() {
    let words = |count: usize| "x".repeat(count);
    let keywords = |count: usize| vec!["k"; count].join(", ");
    for (bad, key) in [
        (format!("name: {}", words(61)), "discovery.name"),
        (format!("description: {}", words(201)), "discovery.description"),
        (format!("keywords: [{}]", keywords(11)), "discovery.keywords"),
        (format!("keywords: [{}]", words(31)), "discovery.keywords"),
        ("website: \"http://example.com\"".to_owned(), "discovery.website"),
        ("base_url: example.com".to_owned(), "discovery.base_url"),
        ("discoverable: maybe".to_owned(), "discovery.discoverable"),
    ] {
        let said = changed("version: 1", &format!("version: 1\ndiscovery: {{ {bad} }}"));
        assert!(said.contains(key), "{bad}: {said}");
    }
    let most = format!(
        "discovery: {{ name: {}, description: {}, keywords: [{}, {}], category: data, website: \"https://example.com\" }}\n",
        words(60),
        words(200),
        words(30),
        keywords(9)
    );
    let gate = Started::new(&["start"], &[], &format!("{FREE}{most}"));
    let told = gate.get("/__pay/manifest").json()["discovery"].clone();
    assert_eq!((&told["discoverable"], &told["name"]), (&true.into(), &words(60).into()), "on unless it is said");
    let gate = Started::new(&["start"], &[], &format!("{FREE}discovery: {{ discoverable: false, name: secret }}\n"));
    assert!(!gate.get("/__pay/manifest").text().contains("secret"));
}

#[test]
fn g_080_the_heartbeat() {
    let directory = Stub::start(500, "no");
    let discovery = format!(
        "discovery: {{ base_url: \"https://api.example.com\", name: Weather, keywords: [rain], heartbeat_url: \"{}/beat?key=hidden\" }}\n",
        directory.url()
    );
    let gate = Started::new(&["start"], &[], &format!("{FREE}{discovery}"));
    // It comes three times, and whatever becomes of it, calls are served.
    assert_eq!(gate.get("/livez").status, 200);
    until("the first attempt", || directory.asked().len() == 1);
    directory.say(200, "{}");
    until("the second attempt", || directory.asked().len() == 2);
    let asked = &directory.asked()[1];
    assert!(asked.line.starts_with("POST /beat?key=hidden "), "{}", asked.line);
    let told: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&told["domain"], &told["base_url"]), (&"api.example.com".into(), &"https://api.example.com".into()));
    assert_eq!((&told["name"], &told["keywords"][0]), (&"Weather".into(), &"rain".into()));
    assert_eq!(told["gate_version"], env!("CARGO_PKG_VERSION"));
    for key in ["provider_address", "description", "category", "website", "docs_url", "routes", "settlement_mode"] {
        assert!(told.get(key).is_some(), "{key}: {told}");
    }
    assert!(!gate.log().contains("hidden"), "{}", gate.log());
    drop(gate);
    // Not in mock, and not unless somebody is named.
    let before = directory.asked().len();
    for (command, config) in [("mock", discovery.as_str()), ("dev", discovery.as_str()), ("start", "")] {
        let mut gate = Started::new(&[command], &[], &format!("{FREE}{config}"));
        assert_eq!(gate.get("/livez").status, 200);
        assert_eq!(gate.stop(), Some(0), "{command}");
    }
    assert_eq!(directory.asked().len(), before);
}

/// Everything that says a version says this one.
#[test]
fn g_x14_health_and_documents_say_the_version() {
    let world = World::new();
    let version = env!("CARGO_PKG_VERSION");
    for path in ["/__pay/health", "/__pay/manifest"] {
        assert_eq!(get(&world.url(path), &[]).json()["version"], version, "{path}");
    }
    until("the log says it", || world.gate.log().contains(&format!("\"version\":\"{version}\"")));
}

#[test]
fn g_x17_there_are_metrics() {
    let world = world(
        "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n",
        "admin: { listen: \"127.0.0.1:0\" }",
    );
    let log = world.gate.log();
    let line = log.lines().find(|line| line.contains("the admin listener")).expect("it says where it listens");
    let address = serde_json::from_str::<Value>(line).unwrap()["address"].as_str().unwrap().to_owned();
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    let mut metrics = String::new();
    until("the calls are counted", || {
        metrics = get(&format!("http://{address}/metrics"), &[]).text();
        metrics.contains("pontage_calls_total{route=\"* /paid/*\",outcome=\"served_settled\"} 1")
    });
    assert!(metrics.contains("pontage_calls_total{route=\"* /free/*\",outcome=\"free\"} 1"), "{metrics}");
    assert_eq!(get(&world.url("/metrics"), &[]).status, 403, "not where callers are");
}

#[test]
fn g_x17_there_are_traces_without_a_credential() {
    let collector = Stub::start(200, "");
    let world = world(
        "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n",
        format!("telemetry: {{ otlp_url: \"{}/v1/traces\" }}", collector.url()).leak(),
    );
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    let answer = get(&world.url("/paid/ok?q=a-secret"), &[("payment-signature", &header)]);
    assert_eq!(answer.status, 200);
    assert!(world.origin.last().headers.iter().any(|(name, _)| name == "traceparent"), "the upstream joins in");
    let sent =
        || -> String { collector.asked().iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect() };
    until("the spans are sent", || sent().contains("pontage"));
    let sent = sent();
    assert!(collector.asked()[0].line.starts_with("POST /v1/traces "));
    for secret in [header.as_str(), "a-secret", nonce.to_string().trim_start_matches("0x")] {
        assert!(!sent.contains(secret), "{secret}");
    }
}

/// Told to stop while a paid call runs, it ends that call first.
#[test]
fn g_x17_a_stop_is_graceful() {
    let mut world = World::new();
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/gate")));
    let mut caller = Raw::get(world.gate.url(), "/paid/gate", &[("payment-signature", &header)]);
    until("the call runs", || world.origin.runs("/paid/gate") == 1);
    world.gate.ask_to_stop();
    until("it is stopping", || world.gate.log().contains("stopping"));
    world.origin.let_go();
    let answer = caller.answer().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    assert!(world.gate.ended().success());
    world.gate.restart();
    world.agree();
}

/// Callers are spoken to in HTTP/1.1: whoever opens with HTTP/2 is refused, and an upgrade is not passed on. Neither costs anything.
#[test]
fn g_x17_what_is_not_there_is_refused() {
    let world = World::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let said = Raw::send(world.gate.url(), preface).read_all();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    let upgrade =
        [("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let mut caller = Raw::get(world.gate.url(), "/free/ok", &upgrade);
    let answer = caller.answer().expect("an answer");
    assert_ne!(answer.status, 101);
    if world.origin.runs("") > 0 {
        assert!(world.origin.last().headers.iter().all(|(name, _)| name != "upgrade"), "{:?}", world.origin.last());
    }
    let options = GateOptions::direct();
    let gate = Gate::start(world.chain.rpc_url(), &world.origin.url(), &options);
    assert_eq!(get(&format!("{}/free/ok", gate.url()), &[]).status, 200, "and the next caller is served");
}
