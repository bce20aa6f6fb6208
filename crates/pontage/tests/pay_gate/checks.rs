//! What the origin and other proxies are told: G-057, G-077, G-078, G-X07, G-X16.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use xtask::chain::ChainOptions;

use crate::challenge;
use crate::kit::{Answer, GateOptions, PAYER, PRICE, Payer, TRUST_SECRET, World, get, request, root};
use crate::stub::Stub;

const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }
  - { path: /made/*, method: POST, price: \"0.02\", settlement: direct }
";
const SECRET: &str = "trust_secret: { env: PONTAGE_TRUST_SECRET }";
const WORDS: [&str; 5] = ["verified", "from", "amount", "settlement", "tab"];

fn signing(arguments: &'static [&'static str], routes: &'static str, more: &str) -> World {
    let more = format!("{more}\ntab: {{ settle_age_s: 600 }}");
    let options = GateOptions { routes, proxy: SECRET, arguments, more, ..GateOptions::direct() };
    World::with(ChainOptions::default(), &options)
}

fn sidecar() -> World {
    signing(&["--sidecar"], ROUTES, "")
}

/// The signature is that of the rule in docs: over time, method, target, and the five words.
fn is_signed(read: impl Fn(&str) -> String, method: &str, target: &str) {
    let signature = read("x-pay-signature");
    let t = signature.trim_start_matches("t=").split(',').next().unwrap().to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(t.parse().unwrap()) < 60, "{signature}");
    let words = WORDS.map(|name| read(&format!("x-pay-{name}")));
    let message = [t.as_str(), method, target].into_iter().chain(words.iter().map(String::as_str));
    let message = message.collect::<Vec<_>>().join("\n");
    let mac = Hmac::<Sha256>::new_from_slice(TRUST_SECRET.as_bytes()).unwrap().chain_update(message).finalize();
    let hex: String = mac.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signature, format!("t={t},v1={hex}"));
}

fn words(answer: &Answer) -> Vec<&str> {
    let word = |name| answer.headers.get(&format!("x-pay-{name}")).map_or("", String::as_str);
    WORDS.iter().map(word).collect()
}

#[test]
fn g_057_the_origin_is_told_and_can_check_it() {
    let world = signing(&[], ROUTES, "");
    for (path, settlement) in [("/paid/ok?a=1&b=%20", "direct"), ("/tab/ok", "tab")] {
        let (header, _) = world.payer.payment(&Payer::offer(&world.url(path)));
        let forged = [("payment-signature", header.as_str()), ("x-pay-amount", "1"), ("x_pay_from", "0xvictim")];
        assert_eq!(get(&world.url(path), &forged).status, 200);
        let seen = world.origin.last();
        let read = |name: &str| {
            let values: Vec<_> = seen.headers.iter().filter(|(known, _)| known == name).collect();
            assert!(values.len() <= 1, "{values:?}");
            values.first().map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let tab = if settlement == "tab" { world.books().claims().last().unwrap().id.clone() } else { String::new() };
        let want = ["true".to_owned(), PAYER.address.to_owned(), PRICE.to_string(), settlement.to_owned(), tab];
        assert_eq!(WORDS.map(|name| read(&format!("x-pay-{name}"))), want, "{path}");
        is_signed(read, "GET", path);
        assert!(seen.headers.iter().all(|(name, _)| name != "x_pay_from"), "{seen:?}");
    }
}

#[test]
fn g_077_where_a_check_is_asked_and_what_about() {
    let world = sidecar();
    // The first that is there counts: X-Original-URI, X-Forwarded-Uri, what follows the path.
    let asked = |headers: &[(&str, &str)], beneath: &str| {
        let answer = get(&world.url(&format!("/__pay/check{beneath}")), headers);
        match answer.status {
            402 => challenge(&answer)["resource"]["url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned(),
            status => format!("{status} {}", words(&answer)[0]),
        }
    };
    let (original, forwarded) = (("x-original-uri", "/paid/a?x=1"), ("x-forwarded-uri", "/paid/b"));
    assert_eq!(asked(&[original, forwarded], "/free/ok"), "paid/a?x=1");
    assert_eq!(asked(&[forwarded], "/free/ok"), "paid/b");
    assert_eq!(asked(&[], "/paid/c?y=%20"), "paid/c?y=%20");
    assert_eq!(asked(&[("x-original-uri", "")], "/paid/c"), "paid/c", "an empty one is none");
    assert_eq!(asked(&[], "/free/ok"), "200 free");
    assert_eq!(asked(&[], ""), "403 ");
    // The same for the method, which is GET where nobody says.
    let method = |headers: &[(&str, &str)]| get(&world.url("/__pay/check/made/ok"), headers).status;
    assert_eq!(method(&[]), 403);
    assert_eq!(method(&[("x-forwarded-method", "POST")]), 402);
    assert_eq!(method(&[("x-original-method", "GET"), ("x-forwarded-method", "POST")]), 403);
    assert_eq!(request("POST", &world.url("/__pay/check/made/ok"), &[], b"").status, 403, "not the check's own method");
    assert_eq!(request("POST", &world.url("/__pay/check/paid/ok"), &[], b"").status, 402);
    assert_eq!(world.origin.runs(""), 0);
}

#[test]
fn g_078_what_a_check_answers() {
    let world = sidecar();
    let check = |path: &str, headers: &[(&str, &str)]| get(&world.url(&format!("/__pay/check{path}")), headers);
    for (path, settlement) in [("/paid/ok?a=1", "direct"), ("/tab/ok", "tab")] {
        let offer = Payer::offer(&world.url(&format!("/__pay/check{path}")));
        let (header, _) = world.payer.payment(&offer);
        let answer = check(path, &[("payment-signature", &header)]);
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.text());
        let amount = PRICE.to_string();
        assert_eq!(words(&answer)[..4], ["true", PAYER.address, &amount, settlement]);
        is_signed(|name| answer.headers.get(name).cloned().unwrap_or_default(), "GET", path);
        assert_eq!(answer.receipt()["success"], true);
        let hold = answer.headers["x-pay-hold"].clone();
        assert_eq!(hold.split_once('.').unwrap().0, world.books().claims().last().unwrap().id);
    }
    let free = check("/free/ok", &[]);
    assert_eq!((free.status, words(&free)[0], free.headers.contains_key("x-pay-from")), (200, "free", false));
    let unpaid = check("/paid/ok", &[("payment-signature", "")]);
    assert_eq!((unpaid.status, unpaid.error().as_str()), (402, "payment_required"));
    assert_eq!(check("/other", &[]).status, 403);
    let through = signing(&["--sidecar"], ROUTES, "default_action: passthrough");
    let passed = get(&through.url("/__pay/check/other"), &[]);
    assert_eq!((passed.status, words(&passed)), (200, vec![""; 5]));
    assert_eq!(world.paid(), PRICE);
}

/// Of what `info` says, a check can see the query.
#[test]
fn g_071_a_check_does_not_charge_for_a_query_that_would_be_refused() {
    let route = "  - path: /find/*
    price: \"0.01\"
    settlement: direct
    info: { input: { type: http, method: GET, queryParams: { q: { type: string, required: true } } } }
";
    let world = signing(&["--sidecar"], route, "");
    let pay = |path: &str| {
        let url = world.url(&format!("/__pay/check{path}"));
        let (header, _) = world.payer.payment(&Payer::offer(&url));
        get(&url, &[("payment-signature", &header)])
    };
    let answer = pay("/find/ok?r=1");
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{}", answer.text());
    assert_eq!((world.paid(), world.books().claims().len()), (0, 0));
    assert_eq!((pay("/find/ok?q=1").status, world.paid()), (200, PRICE));
}

/// Every success is leave to pass the call on, so OPTIONS of what is sold has none, a browser's question neither.
#[test]
fn g_072_a_check_lets_no_options_of_a_priced_path_pass() {
    let world = signing(&["--sidecar"], ROUTES, "default_action: passthrough");
    let browser = [("origin", "https://page.example"), ("access-control-request-method", "GET")];
    for (path, status) in [("/paid/ok", 402), ("/tab/ok", 402), ("/made/ok", 403), ("/free/ok", 200), ("/other", 200)] {
        for more in [&[][..], &browser] {
            let asked = [&[("x-original-uri", path), ("x-original-method", "OPTIONS")], more].concat();
            assert_eq!(get(&world.url("/__pay/check"), &asked).status, status, "{path} {more:?}");
        }
    }
    assert_eq!(world.paid(), 0);
}

#[test]
fn g_078_a_check_that_nobody_can_answer_is_503() {
    let stub = Stub::start(500, "no");
    let route = format!("  - {{ path: /paid/*, price_endpoint: \"{}\" }}\n", stub.url());
    let world = signing(&["--sidecar"], route.leak(), "");
    let answer = get(&world.url("/__pay/check/paid/ok"), &[]);
    assert_eq!((answer.status, answer.money().as_str()), (503, "untouched"));
    assert!(answer.headers.contains_key("retry-after"));
}

#[test]
fn g_x07_a_sidecar_sells_at_the_price_of_the_endpoint() {
    let stub = Stub::start(200, "{\"price\": \"0.05\"}");
    let route = format!("  - {{ path: /paid/*, settlement: direct, price_endpoint: \"{}\" }}\n", stub.url());
    let world = signing(&["--sidecar"], route.leak(), "");
    let url = world.url("/__pay/check/paid/ok");
    let offer = Payer::offer(&url);
    assert_eq!(offer.amount_atomic, 50_000);
    // Neither nothing nor less than that pays.
    let mut cheap = offer.clone();
    for amount in [0, 1, 49_999] {
        cheap.amount_atomic = amount;
        let (header, _) = world.payer.payment(&cheap);
        assert_eq!(get(&url, &[("payment-signature", &header)]).status, 402, "{amount}");
    }
    assert_eq!(world.paid(), 0);
    let (header, _) = world.payer.payment(&offer);
    let answer = get(&url, &[("payment-signature", &header)]);
    assert_eq!((answer.status, words(&answer)[2]), (200, "50000"));
    assert_eq!(world.paid(), 50_000);
}

/// What the examples hand to the origin under the gate's names is what the gate said, and never what the caller did. Each is also run
/// by its own proxy, with every one of these names forged: suite `sidecar`.
#[test]
fn g_x16_no_example_forwards_the_callers_own_words() {
    let folder = root().join("examples/sidecar");
    for proxy in ["nginx", "nginx-njs", "nginx-lua"] {
        for entry in std::fs::read_dir(folder.join(proxy)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(!text.contains("$http_x_pay_"), "{} hands on what the caller sent", path.display());
        }
    }
}
