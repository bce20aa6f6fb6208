//! What is printed, read back.

use std::collections::BTreeMap;

use protocol::{Amount, Network};

use super::*;

fn call(route: Option<&'static str>, outcome: MoneyOutcome, amount: Option<Amount>) -> Finished<'static> {
    Finished {
        method: "GET",
        path: "/a",
        route,
        caller: None,
        status: 200,
        outcome,
        payer: None,
        amount,
        hold: None,
        reason: None,
        limited: None,
        source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        latency_us: 700,
        upstream_us: Some(600),
        upstream_status: Some(200),
        settlement_us: None,
    }
}

fn samples(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap()).collect()
}

fn metrics() -> (Metrics, Asset) {
    let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
    let wide = AssetInfo {
        decimals: 18,
        name: "Wide \"coin\"\\".to_owned(),
        asset: Asset::native(Network::BASE_SEPOLIA),
        ..token.clone()
    };
    let metrics = Metrics::new([token.clone(), wide], Arc::default());
    metrics.follow(["* /paid/*", "GET /free"]);
    (metrics, token.asset)
}

#[test]
fn calls_count_by_route_and_outcome() {
    let (metrics, asset) = metrics();
    let amount = Some(Amount::new(10_000, asset));
    for _ in 0..3 {
        metrics.finished(&call(Some("* /paid/*"), MoneyOutcome::Offered, amount));
    }
    metrics.finished(&call(Some("* /paid/*"), MoneyOutcome::ServedTab, amount));
    metrics.finished(&call(Some("GET /free"), MoneyOutcome::Free, None));
    for made_up in ["GET /made/up/1", "GET /made/up/2"] {
        metrics.finished(&call(Some(made_up), MoneyOutcome::Blocked, None));
    }
    let limited = Finished { limited: Some(Limit::Payer), status: 429, ..call(None, MoneyOutcome::RateLimited, None) };
    metrics.finished(&limited);
    metrics.finished(&Finished { reason: Some("invalid_signature"), ..call(None, MoneyOutcome::Refused, None) });
    metrics.finished(&Finished { reason: Some("chain_unavailable"), ..call(None, MoneyOutcome::Fault, None) });
    let page = metrics.print(&Now::default());
    let samples = samples(&page);
    for (name, want) in [
        ("pontage_calls_total{route=\"* /paid/*\",outcome=\"offered\"}", "3"),
        ("pontage_calls_total{route=\"* /paid/*\",outcome=\"served_tab\"}", "1"),
        ("pontage_calls_total{route=\"GET /free\",outcome=\"free\"}", "1"),
        ("pontage_calls_total{route=\"other\",outcome=\"blocked\"}", "2"),
        ("pontage_answers_total{class=\"2xx\"}", "9"),
        ("pontage_answers_total{class=\"4xx\"}", "1"),
        ("pontage_rate_limited_total{limit=\"payer\"}", "1"),
        ("pontage_refusals_total{code=\"invalid_signature\"}", "1"),
        ("pontage_faults_total{code=\"chain_unavailable\"}", "1"),
        ("pontage_call_seconds_bucket{le=\"0.0005\"}", "0"),
        ("pontage_call_seconds_bucket{le=\"0.001\"}", "10"),
        ("pontage_call_seconds_bucket{le=\"+Inf\"}", "10"),
        ("pontage_call_seconds_sum", "0.007"),
        ("pontage_call_seconds_count", "10"),
    ] {
        assert_eq!(samples.get(name).map(String::as_str), Some(want), "{name}\n{page}");
    }
    assert!(!page.contains("made"), "a caller made a series");
    let usdc = "network=\"eip155:84532\",asset=\"0x036CbD53842c5426634e7929541eC2318f3dCF7e\",name=\"USDC\"";
    for (flow, want) in [("offered", "30000"), ("paid", "10000"), ("served", "10000")] {
        assert_eq!(samples[&format!("pontage_amount_atomic_total{{flow=\"{flow}\",{usdc}}}")], want);
    }
}

#[test]
fn an_amount_of_a_token_with_18_decimals_does_not_wrap() {
    let (metrics, _) = metrics();
    let amount = Some(Amount::new(20_000_000_000_000_000_000, Asset::native(Network::BASE_SEPOLIA)));
    for _ in 0..3 {
        metrics.finished(&call(None, MoneyOutcome::ServedSettled, amount));
    }
    let page = metrics.print(&Now::default());
    assert!(page.contains("name=\"Wide \\\"coin\\\"\\\\\"} 60000000000000000000\n"), "{page}");
}

#[test]
fn a_route_that_is_gone_leaves_its_counts() {
    let (metrics, _) = metrics();
    metrics.finished(&call(Some("GET /free"), MoneyOutcome::Free, None));
    metrics.finished(&call(Some("* /paid/*"), MoneyOutcome::Offered, None));
    metrics.follow(["* /paid/*", "GET /new"]);
    metrics.finished(&call(Some("GET /free"), MoneyOutcome::Free, None));
    let samples = samples(&metrics.print(&Now::default()));
    assert_eq!(samples["pontage_calls_total{route=\"* /paid/*\",outcome=\"offered\"}"], "1");
    assert_eq!(samples["pontage_calls_total{route=\"other\",outcome=\"free\"}"], "2");
}

#[test]
fn gauges_go_down_again() {
    let (metrics, _) = metrics();
    let (first, waiting) = (metrics.in_flight(), metrics.queued());
    let second = metrics.in_flight();
    let page = metrics.print(&Now::default());
    assert!(page.contains("\npontage_calls_in_flight 2\n") && page.contains("\npontage_calls_queued 1\n"));
    drop((first, second, waiting));
    let page = metrics.print(&Now::default());
    assert!(page.contains("\npontage_calls_in_flight 0\n") && page.contains("\npontage_calls_queued 0\n"));
}

#[test]
fn every_family_is_declared_once_and_no_series_comes_twice() {
    let (metrics, _) = metrics();
    metrics.finished(&call(Some("* /paid/*"), MoneyOutcome::Offered, None));
    let way = Way {
        network: "eip155:84532".to_owned(),
        facilitator: "embedded".to_owned(),
        up: true,
        nodes: vec![NodeHealth { up: true, lag_blocks: 7, faults: 8, disagreements: 9 }; 2],
        keys: ["0xa", "0xb"]
            .map(|signer| KeyGas { signer: signer.to_owned(), wei: U256::MAX, payments: Some(U256::ONE) })
            .into(),
        too_dear: true,
    };
    let page = metrics.print(&Now { ways: vec![way], books: Some(BookMetrics::default()) });
    let mut declared: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: Vec<_> =
        page.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let (families, series) = (declared.len(), names.len());
    declared.sort_unstable();
    declared.dedup();
    assert_eq!((declared.len(), samples(&page).len()), (families, series), "{page}");
    let nodes = [("up", "1"), ("lag_blocks", "7"), ("faults_total", "8"), ("disagreements_total", "9")];
    for (name, value) in nodes {
        let series = format!("pontage_rpc_{name}{{network=\"eip155:84532\",endpoint=\"1\"}}");
        assert_eq!(samples(&page).get(&series).map(String::as_str), Some(value), "{page}");
    }
}
