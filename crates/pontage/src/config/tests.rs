//! What a good file becomes, what is never printed, and where the limits lie. The mistakes have a file of their own.

use std::path::Path;

use gate::Rate;
use ledger::Rail;
use protocol::{AssetInfo, Network};

use super::keys::{KEYS, Key, nearest};
use super::secret::SecretFault;
use super::*;

pub(super) const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
pub(super) const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Six lines, so that what a row adds starts on line 7.
pub(super) const HEAD: &str = "version: 1
provider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"
proxy:
  target: http://127.0.0.1:3000
networks:
  eip155:84532: { rpc_urls: [\"http://127.0.0.1:8545\"] }
";
pub(super) const FREE: &str = "routes: [{ path: /health, free: true }]\n";

fn env(name: &str) -> Option<String> {
    let value = match name {
        "SET" => "/from/env",
        "EMPTY" => "",
        "PRICE" => "0.25",
        "PORT" => "9000",
        "YES" => "true",
        "BREAK" => "block\nlisten: 1",
        "KEY" => KEY,
        "LONG" => return Some("x".repeat(9_000)),
        _ => return None,
    };
    Some(value.to_owned())
}

pub(super) fn read(text: &str) -> Result<Config, Mistakes> {
    parse(text, "pontage.yaml", Path::new("/etc/pontage"), &env)
}

pub(super) fn read_with(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    network: Network,
) -> Result<Config, Mistakes> {
    super::read(text, "pontage.yaml", Path::new("/etc/pontage"), (&Env::new(env), Notes::default()), network)
}

pub(super) fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

fn price_of(text: &str) -> String {
    match &good(&format!("{HEAD}routes:\n- path: /a\n  price: {text}\n")).routes[0].price {
        PriceConfig::Due(due) => due.accepts[0].price.as_ref().unwrap().atomic.to_string(),
        PriceConfig::Free => "free".to_owned(),
    }
}

/// Asserts that `text` has exactly one mistake.
pub(super) fn one(text: &str, path: &str, line: usize, word: &str) {
    let mistakes = read(text).expect_err(text);
    let list = mistakes.list();
    assert_eq!(list.len(), 1, "{mistakes}\n{text}");
    assert_eq!((list[0].path.as_str(), list[0].line), (path, Some(line)), "{mistakes}\n{text}");
    assert!(list[0].what.contains(word), "{word}: {mistakes}\n{text}");
    assert!(!list[0].fix.is_empty(), "{mistakes}");
}

#[test]
fn defaults() {
    let config = good(&format!("{HEAD}{FREE}"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8402");
    assert_eq!(config.timeout_ms, 30_000);
    assert_eq!(config.payee.to_string(), PAYEE);
    assert_eq!(config.default_action, DefaultAction::Block);
    assert!(config.signers.is_empty());
    assert_eq!(config.store_path, Path::new("/etc/pontage/pontage.db"));
    assert_eq!(config.replay, ReplayConfig::default());
    assert_eq!(config.tab, TabConfig::default());
    assert_eq!(config.routes[0].line, 7);
    let usdc = AssetInfo::usdc(Network::BASE_SEPOLIA).expect("Base Sepolia has a USDC");
    assert_eq!(config.networks[0].tokens, [usdc]);
}

#[test]
fn values_table() {
    for (text, want) in [
        ("0.01", "10000"),
        ("\"0.01\"", "10000"),
        ("$0.01", "10000"),
        ("'$1.50'", "1500000"),
        ("5", "5000000"),
        ("0.010", "10000"),
        ("0.100000000", "100000"),
        ("${PRICE}", "250000"),
        ("\"$${PRICE}\"", ""),
        ("${NONE:-0.5}", "500000"),
        ("${EMPTY:-0.5}", "500000"),
        ("$${NONE:-0.5}", ""),
        ("$$0.5", "500000"),
    ] {
        if want.is_empty() {
            let file = format!("{HEAD}routes:\n- path: /a\n  price: {text}\n");
            one(&file, "routes[0].price", 9, "is not a price");
        } else {
            assert_eq!(price_of(text), want, "{text}");
        }
    }
    for (text, want) in [("1ms", 1), ("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("10m", 600_000)] {
        let file = HEAD.replace("networks", &format!("  timeout: {text}\nnetworks"));
        assert_eq!(good(&format!("{file}{FREE}")).timeout_ms, want, "{text}");
    }
    for (text, want) in [
        ("0", "127.0.0.1:0"),
        ("9000", "127.0.0.1:9000"),
        ("${PORT}", "127.0.0.1:9000"),
        ("localhost:80", "127.0.0.1:80"),
        ("0.0.0.0:8402", "0.0.0.0:8402"),
        ("\"[::1]:8402\"", "[::1]:8402"),
        ("127.0.0.1:${PORT}", "127.0.0.1:9000"),
    ] {
        let config = good(&format!("{HEAD}{FREE}listen: {text}\n"));
        assert_eq!(config.listen.to_string(), want, "{text}");
    }
    for (text, want) in [
        ("get", Some(http::Method::GET)),
        ("POST", Some(http::Method::POST)),
        ("\"${NONE:-Delete}\"", Some(http::Method::DELETE)),
    ] {
        let config = good(&format!("{HEAD}routes: [{{ path: /, method: {text}, free: \"${{YES}}\" }}]\n"));
        assert_eq!(config.routes[0].method, want, "{text}");
    }
    for (text, want) in [
        ("books.db", "/etc/pontage/books.db"),
        ("/var/books.db", "/var/books.db"),
        ("${SET}/books.db", "/from/env/books.db"),
        ("a$$b", "/etc/pontage/a$b"),
        ("a$b", "/etc/pontage/a$b"),
    ] {
        let config = good(&format!("{HEAD}{FREE}store: {{ path: \"{text}\" }}\n"));
        assert_eq!(config.store_path, Path::new(want), "{text}");
    }
    for (text, want) in [
        ("{ env: SIGNER }", SecretSource::Env("SIGNER".to_owned())),
        ("{ file: key }", SecretSource::File("/etc/pontage/key".into())),
        ("{ file: /run/key }", SecretSource::File("/run/key".into())),
    ] {
        let config = good(&format!("{HEAD}{FREE}facilitator: {{ signer: {text} }}\n"));
        assert_eq!(config.signers, [SignerSource::Key(want)]);
    }
}

#[test]
fn keys_and_gas() {
    let text = "facilitator:\n  signers: [{ env: A }, { keystore: k.json, password: { file: p } }]\n  \
                fees: { max_fee_gwei: 0.05, max_tip_gwei: \"1.000000001\" }\n  gas: { alarm_payments: 7 }\n";
    let config = good(&format!("{HEAD}{FREE}{text}"));
    let file = |name: &str| SecretSource::File(Path::new("/etc/pontage").join(name));
    let keystore = SignerSource::Keystore { file: file("k.json"), password: file("p") };
    assert_eq!(config.signers, [SignerSource::Key(SecretSource::Env("A".to_owned())), keystore]);
    let caps = config.gas.caps;
    assert_eq!((caps.fee_max, caps.tip_max, caps.payment_max), (50_000_000, 1_000_000_001, u128::MAX));
    assert_eq!(config.gas.alarm_payments, 7);
    assert_eq!(good(&format!("{HEAD}{FREE}")).gas, GasConfig::default());
}

#[test]
fn rails_table() {
    const CENT: &str = "exposure: { per_payer: 0.01 }\n";
    for (price, more, want) in [
        ("0.01", "", Rail::Tab),
        ("1.00", "", Rail::Tab),
        ("1.000001", "", Rail::Direct),
        ("0.01\n  settlement: direct", "", Rail::Direct),
        ("0.02\n  settlement: tab", "", Rail::Tab),
        ("0.01", CENT, Rail::Tab),
        ("0.02", CENT, Rail::Direct),
        ("1.50\n  settlement: tab", "exposure: { per_payer: \"$2\" }\n", Rail::Tab),
    ] {
        let config = good(&format!("{HEAD}routes:\n- path: /a\n  price: {price}\n{more}"));
        let PriceConfig::Due(due) = &config.routes[0].price else { panic!("{price} is free") };
        assert_eq!(due.rail, Some(want), "{price} {more}");
    }
    let text = "tab: { batch_max: 7, settle_age_s: 60, verify: local }\nexposure: { per_source: 0.5, per_gate: 9 }\n";
    let tab = good(&format!("{HEAD}{FREE}{text}")).tab;
    let caps = ledger::Exposure { payer_micros: 1_000_000, source_micros: 500_000, gate_micros: 9_000_000 };
    assert_eq!(tab, TabConfig { batch_max: 7, settle_age_s: 60, verify_local: true, caps });
}

#[test]
fn tokens_are_read() {
    let file = format!(
        "{HEAD}  eip155:31337:
    rpc_urls: [http://127.0.0.1:8546/v1/key?x=1]
    assets:
    - address: \"0x036CbD53842c5426634e7929541eC2318f3dCF7e\"
      name: Own
      version: 1.0
      decimals: 18
{FREE}"
    );
    let config = good(&file);
    assert_eq!(config.networks.len(), 2);
    let token = &config.networks[1].tokens[0];
    assert_eq!((token.name.as_str(), token.version.as_str(), token.decimals), ("Own", "1.0", 18));
    assert_eq!(token.asset.network, Network { chain_id: 31337 });
}

#[test]
fn how_deep_a_payment_must_be() {
    use facilitator::engine::{FinalAt, Finality};
    let url = "rpc_urls: [http://a]";
    for (keys, confirmations, last) in [
        ("", 1, FinalAt::Blocks(12)),
        (", finality: {}", 1, FinalAt::Blocks(12)),
        (", finality: { final: safe }", 1, FinalAt::Safe),
        (", finality: { confirmations: 64, final: finalized }", 64, FinalAt::Finalized),
        (", finality: { confirmations: 3, final: 2 }", 3, FinalAt::Blocks(2)),
    ] {
        let config = good(&format!("{HEAD}  eip155:8453: {{ {url}{keys} }}\n{FREE}"));
        assert_eq!(config.networks[1].finality, Finality { confirmations, last }, "{keys}");
    }
}

#[test]
fn facilitators_of_others() {
    let config =
        good(&format!("{HEAD}{FREE}facilitator: {{ urls: [\"https://a.example/x402\", \"http://b:4021\"] }}\n"));
    let want = RemoteConfig {
        urls: vec!["https://a.example/x402".to_owned(), "http://b:4021".to_owned()],
        ..RemoteConfig::default()
    };
    assert_eq!((config.signers, config.remote), (Vec::new(), Some(want)));
    assert_eq!((RemoteConfig::default().verify_timeout_ms, RemoteConfig::default().settle_timeout_ms), (5_000, 15_000));
    let more =
        "urls: [\"https://a.example/KEY\"], bearer: { env: TOKEN }, verify_timeout_ms: 100, settle_timeout_ms: 1000";
    let config = good(&format!("{HEAD}{FREE}facilitator: {{ {more} }}\n"));
    let remote = config.remote.clone().expect("facilitators");
    assert_eq!(remote.bearer, Some(SecretSource::Env("TOKEN".to_owned())));
    assert_eq!((remote.verify_timeout_ms, remote.settle_timeout_ms), (100, 1_000));
    assert!(!format!("{config:?}").contains("KEY"), "{config:?}");
    // They settle where we have no node.
    let head = HEAD.replace("rpc_urls: [\"http://127.0.0.1:8545\"]", "");
    assert_ne!(head, HEAD);
    assert!(good(&format!("{head}{FREE}facilitator: {{ {more} }}\n")).networks[0].rpc_urls.is_empty());
}

#[test]
fn nodes_of_a_network() {
    let one = &good(&format!("{HEAD}{FREE}")).networks[0];
    assert_eq!((one.rpc_urls.len(), one.rpc_agree, one.rpc_lag_blocks), (1, 1, 3));
    let more = "rpc_urls: [\"http://a/KEY\", \"http://b\", \"http://c\"], rpc_agree: 3, rpc_lag_blocks: 0";
    let config = good(&format!("{HEAD}{FREE}").replace("rpc_urls: [\"http://127.0.0.1:8545\"]", more));
    let several = &config.networks[0];
    assert_eq!(several.rpc_urls, ["http://a/KEY", "http://b", "http://c"]);
    assert_eq!((several.rpc_agree, several.rpc_lag_blocks), (3, 0));
    assert!(!format!("{config:?}").contains("KEY"), "{config:?}");
}

#[test]
fn tokens_of_a_route_table() {
    let own = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
    let other = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let head = format!(
        "{HEAD}  eip155:8453:\n    rpc_urls: [http://a]\n    assets: [usdc, {{ address: \"{PAYEE}\", name: A, version: 1, decimals: 18 }}]\n"
    );
    for (lines, want) in [
        ("price: 0.5", "84532 usdc 500000 me; 8453 usdc 500000 me; 8453 A 500000000000000000 me"),
        (
            "price: 0.5\n  pay_to: OTHER",
            "84532 usdc 500000 other; 8453 usdc 500000 other; 8453 A 500000000000000000 other",
        ),
        ("price: 0.5\n  accepts: [{ network: eip155:8453 }]", "8453 usdc 500000 me; 8453 A 500000000000000000 me"),
        (
            "price: 0.5\n  accepts: [{ network: eip155:8453, asset: USDC, price: $0.1 }, { network: eip155:84532, asset: OWN, pay_to: OTHER }]",
            "8453 usdc 100000 me; 84532 usdc 500000 other",
        ),
        (
            "accepts: [{ network: eip155:8453, asset: PAYEE, price: 0.0000001, pay_to: OTHER }]\n  pay_to: PAYEE",
            "8453 A 100000000000 other",
        ),
        ("price_endpoint: http://a\n  accepts: [{ network: eip155:84532 }]", "84532 usdc - me"),
        ("price_endpoint: http://a\n  accepts: [{ network: eip155:84532, price: 2 }]", "84532 usdc 2000000 me"),
    ] {
        let lines = lines
            .replace("OTHER", &format!("\"{other}\""))
            .replace("OWN", &format!("\"{own}\""))
            .replace("PAYEE", &format!("\"{PAYEE}\""));
        let config = good(&format!("{head}routes:\n- path: /a\n  {lines}\n"));
        let PriceConfig::Due(due) = &config.routes[0].price else { panic!("{lines} is free") };
        let told = due.accepts.iter().map(|accept| {
            let name = if accept.token.name == "A" { "A" } else { "usdc" };
            let price = accept.price.as_ref().map_or("-".to_owned(), |price| price.atomic.to_string());
            let payee = if accept.payee.to_string() == PAYEE { "me" } else { "other" };
            format!("{} {name} {price} {payee}", accept.token.asset.network.chain_id)
        });
        assert_eq!(told.collect::<Vec<_>>().join("; "), want, "{lines}");
    }
}

#[test]
fn what_operators_set() {
    let defaults = good(&format!("{HEAD}{FREE}"));
    assert_eq!(defaults.in_flight, InFlightConfig::default());
    assert_eq!(defaults.rates, RatesConfig::default());
    assert_eq!((&defaults.log, &defaults.operation), (&LogConfig::default(), &OperationConfig::default()));
    assert_eq!((&defaults.discovery, &defaults.public_url), (&DiscoveryConfig::default(), &None));
    assert_eq!((defaults.cors_origins, defaults.trusted_proxies, defaults.fail_open), (vec!["*".to_owned()], 0, false));
    assert_eq!((defaults.trust_secret, defaults.offer_signer, defaults.receipts), (None, None, None));
    assert_eq!(defaults.refunds, RefundsConfig { signer: None, daily_cap_micros: 50_000_000 });
    assert_eq!(good(&format!("version: 1\nprovider_address: \"{PAYEE}\"\n{FREE}")).target, None);
    let text = format!(
        "{}{FREE}
trusted_proxies: 16
in_flight: {{ max: 1, queue_max: 0, queue_wait_ms: 0 }}
cors: {{ origins: [\"https://App.example/\", \"http://localhost:3000\"] }}
log: {{ level: warn, format: text, access: false }}
admin: {{ listen: 0 }}
telemetry: {{ otlp_url: \"http://127.0.0.1:4318/v1/traces\" }}
discovery: {{ discoverable: false, base_url: \"https://U:p@API.example:8443/v1?x=1\" }}
extensions: {{ offer_signer: {{ file: key }}, payment_identifier: required }}
refunds: {{ signer: {{ env: REFUNDS }}, daily_cap_usd: \"$0.5\" }}
receipts: {{ format: jws, ttl_s: 60, lookups_per_min: 3 }}
",
        HEAD.replace("networks", "  trust_secret: { env: TRUST }\nnetworks")
    );
    let config = good(&text);
    assert_eq!(config.trusted_proxies, 16);
    assert_eq!(config.in_flight, InFlightConfig { max: 1, queue_max: 0, queue_wait_ms: 0 });
    assert_eq!(config.cors_origins, ["https://app.example", "http://localhost:3000"]);
    assert_eq!(config.log, LogConfig { level: LogLevel::Warn, format: Some(LogFormat::Text), access: false });
    assert_eq!(config.operation.admin_listen.unwrap().to_string(), "127.0.0.1:0");
    assert_eq!(config.operation.otlp_url.as_deref(), Some("http://127.0.0.1:4318/v1/traces"));
    assert!(!config.discovery.discoverable);
    assert_eq!(config.public_url.as_deref(), Some("https://api.example:8443"));
    assert_eq!(config.trust_secret, Some(SecretSource::Env("TRUST".to_owned())));
    assert_eq!(config.offer_signer, Some(SecretSource::File("/etc/pontage/key".into())));
    assert_eq!(config.payment_identifier, IdentifierConfig::Required);
    let signer = Some(SecretSource::Env("REFUNDS".to_owned()));
    assert_eq!(config.refunds, RefundsConfig { signer, daily_cap_micros: 500_000 });
    let receipts = config.receipts.unwrap();
    assert_eq!((receipts.ttl_s, receipts.format, receipts.lookups), (60, ReceiptFormat::Jws, Rate::new(3, 60_000)));
    assert_eq!(receipts.signer, SecretSource::File("/etc/pontage/key".into()), "one key signs offers and receipts");
    let receipts = good(&format!("{HEAD}{FREE}receipts: {{ signer: {{ env: KEY }} }}\n")).receipts.unwrap();
    assert_eq!(
        (receipts.ttl_s, receipts.format, receipts.lookups),
        (86_400, ReceiptFormat::Eip712, Rate::new(10, 60_000))
    );
    let named = good(&format!("{text}public_url: https://pay.example/\n"));
    assert_eq!(named.public_url.as_deref(), Some("https://pay.example"));
}

#[test]
fn a_key_in_the_file_is_refused_and_never_repeated() {
    let bare = KEY.trim_start_matches("0x");
    for signer in [
        KEY.to_owned(),
        bare.to_owned(),
        format!("\"{KEY}\""),
        format!("\"{}\"", &KEY[..40]),
        format!("{{ env: {KEY} }}"),
        format!("{{ env: {bare} }}"),
        format!("{{ file: {KEY} }}"),
        "{ file: \"${KEY}\" }".to_owned(),
        "{ env: \"${KEY}\" }".to_owned(),
        format!("{{ key: {KEY} }}"),
        format!("{{ {KEY}: env }}"),
        format!("[{KEY}]"),
        "legal winner thank year wave sausage worth useful legal winner thank yellow".to_owned(),
    ] {
        let text = format!("{HEAD}{FREE}facilitator: {{ signer: {signer} }}\n");
        let mistakes = read(&text).expect_err(&signer);
        let printed = format!("{mistakes} {mistakes:?}");
        assert!(printed.contains("facilitator.signer"), "{printed}");
        assert!(!printed.contains(&bare[1..9]), "{printed}");
        assert!(!printed.contains("legal winner"), "{printed}");
    }
    for elsewhere in [format!("listen: {KEY}"), format!("{KEY}: 1"), format!("listen: [{KEY}")] {
        let mistakes = read(&format!("{HEAD}{FREE}{elsewhere}\n")).expect_err(&elsewhere);
        assert!(!format!("{mistakes:?}").contains(&bare[1..9]), "{mistakes}");
    }
    let config = good(&format!("{}{FREE}", HEAD.replace(":8545", "/SECRET")));
    assert!(!format!("{config:?}").contains("SECRET"), "{config:?}");
    let route = "- path: /a\n  price_endpoint: http://a/SECRET\n  proxy_params: { key: SECRET }\n";
    let config = good(&format!("{HEAD}routes:\n{route}"));
    assert_eq!(config.routes[0].params[0].1, "SECRET");
    assert!(!format!("{config:?}").contains("SECRET"), "{config:?}");
    let broken = route.replace("http://a/", "ftp://a/").replace("key: SECRET", "key: [SECRET]");
    let mistakes = read(&format!("{HEAD}routes:\n{broken}")).expect_err("ftp, and a list");
    assert_eq!(mistakes.list().len(), 2);
    assert!(!format!("{mistakes:?}").contains("SECRET"), "{mistakes}");
    let rpc = HEAD.replace("http://127.0.0.1:8545", "wss://node.example/SECRET");
    let mistakes = read(&format!("{rpc}{FREE}")).expect_err("wss");
    assert!(!format!("{mistakes:?}").contains("SECRET"), "{mistakes}");
}

#[test]
fn a_value_from_the_environment_is_not_repeated() {
    let mistakes = read(&format!("{HEAD}{FREE}listen: ${{SET}}\n")).expect_err("a path is no address");
    assert!(mistakes.to_string().contains("the value of \"${SET}\" is not"), "{mistakes}");
    assert!(!mistakes.to_string().contains("/from/env"), "{mistakes}");
}

#[test]
fn secrets_are_read_and_print_as_stars() {
    let folder = std::env::temp_dir().join(format!("pontage-config-secret-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        SecretSource::File(folder.join(name))
    };
    let secret = file("key", format!("{KEY}\n").as_bytes()).read().unwrap();
    assert_eq!(secret.expose(), KEY);
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    let large = vec![b'a'; 64 * 1024 + 1];
    assert!(matches!(file("blank", b" \n").read(), Err(SecretFault::Empty(_))));
    assert!(matches!(file("bytes", &[0xff]).read(), Err(SecretFault::NotText(_))));
    assert!(matches!(file("large", &large).read(), Err(SecretFault::TooLarge(_))));
    let missing = SecretSource::File(folder.join("none")).read();
    assert!(matches!(missing, Err(SecretFault::Unreadable { .. })));
    let unset = SecretSource::Env("PONTAGE_TEST_NEVER_SET".to_owned()).read();
    assert!(matches!(unset, Err(SecretFault::Unset(_))));
    assert!(SecretSource::Env("PATH".to_owned()).read().is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn files_are_read_within_limits() {
    let folder = std::env::temp_dir().join(format!("pontage-config-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("pontage.yaml");
    let load_bytes = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        load(&path, &env, Network::BASE_SEPOLIA)
    };
    let whole = format!("{HEAD}{FREE}");
    assert_eq!(load_bytes(whole.as_bytes()).unwrap().store_path, folder.join("pontage.db"));
    assert!(load_bytes(whole.replace('\n', "\r\n").as_bytes()).is_ok());
    assert!(load_bytes(format!("\u{feff}{whole}").as_bytes()).is_ok());
    let padded = format!("{whole}#{}", "x".repeat(1024 * 1024));
    let printed = load_bytes(padded.as_bytes()).unwrap_err().to_string();
    assert!(printed.starts_with("pontage.yaml\n    the file is larger"), "{printed}");
    let not_text = load_bytes(b"version: 1\n\xff\n").unwrap_err();
    assert_eq!(not_text.list()[0].line, Some(2));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(load(&path, &env, Network::BASE_SEPOLIA).unwrap_err().to_string().contains("cannot be read"));
    assert!(load(Path::new("/"), &env, Network::BASE_SEPOLIA).is_err());
}

#[test]
fn deep_and_wide_files_are_refused() {
    let deep = [
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        "[".repeat(500_000),
        "[a: ".repeat(250) + &"]".repeat(250),
        format!("{}{}{}", "? - ".repeat(16), "{a: ".repeat(250), "}".repeat(250)),
        "? [".repeat(100) + &"]".repeat(100),
        (0..64).map(|n| format!("{}- a:\n", " ".repeat(n))).collect(),
        (0..400).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
    ];
    for text in deep {
        let mistakes = read(&text).expect_err("too deep");
        assert_eq!(mistakes.list().len(), 1);
    }
    assert!(read(&"- a\n".repeat(200_000)).is_err());
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
        d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert!(read(laughs).is_err());
    let repeated = format!("{HEAD}{FREE}{}", "listen: 1\n".repeat(40));
    assert!(read(&repeated).is_err());
    let unknown: String = (0..5_000).map(|n| format!("k{n}: 1\n")).collect();
    let mistakes = read(&unknown).expect_err("unknown keys");
    assert_eq!(mistakes.list().len(), 1_000);
    assert!(mistakes.to_string().ends_with("more"), "the rest is counted");
}

#[test]
fn near_words() {
    let known = ["proxy", "routes", "provider_address", "replay"];
    for (written, want) in [
        ("prxoy", Some("proxy")),
        ("route", Some("routes")),
        ("provider-address", Some("provider_address")),
        ("providerAddress", Some("provider_address")),
        ("relay", Some("replay")),
        ("upstream", None),
        ("", None),
    ] {
        assert_eq!(nearest(written, &known), want, "{written}");
    }
}

#[test]
fn the_template_has_one_thing_to_fill_in() {
    let line = TEMPLATE.lines().position(|line| line.starts_with("provider_address")).unwrap() + 1;
    one(TEMPLATE, "provider_address", line, "zero address");
    let filled = TEMPLATE.replace("0x0000000000000000000000000000000000000000", PAYEE);
    let config = good(&filled);
    assert_eq!(config.routes.len(), 2);
    assert!(!config.signers.is_empty());
}

#[test]
fn the_examples_of_the_docs_have_every_key_and_parse() {
    let docs = include_str!("../../../../docs/config.md");
    let examples: Vec<_> = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 4);
    for example in &examples {
        good(example);
    }
    for Key { path, .. } in KEYS {
        let name = path.rsplit('.').next().unwrap_or(path);
        assert!(examples.concat().contains(&format!("{name}:")) || name.ends_with([']', '>']), "{path}");
    }
}
