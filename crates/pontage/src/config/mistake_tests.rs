//! One row per mistake: what is written, then the path, the line and a word of what is said about it.

use super::tests::{FREE, HEAD, KEY, PAYEE, good, one, read};

/// A whole file and its only mistake.
#[rustfmt::skip]
const FILES: &[(&str, &str, usize, &str)] = &[
    ("", "", 1, "empty"),
    ("# nothing\n", "", 1, "empty"),
    ("--- ~\n", "", 1, "no value"),
    ("hello", "", 1, "single value"),
    ("- a\n- b\n", "", 1, "list"),
    ("a: [1\nb: 2", "", 2, "not YAML"),
    ("a: 1\n b: 2", "", 2, "not YAML"),
    ("a: *x", "", 1, "anchor"),
];

/// A text of a good file, and what stands there instead.
#[rustfmt::skip]
const REPLACED: &[(&str, &str, &str, usize, &str)] = &[
    ("version: 1\n", "", "version", 1, "missing"),
    ("version: 1\n", "version: 2\n", "version", 1, "not a version"),
    ("version: 1\n", "version: ~\n", "version", 1, "no value"),
    ("version: 1\n", "version: !!int 1\n", "version", 1, "tags"),
    ("version: 1\n", "version: &v 1\n", "version", 1, "anchors"),
    ("version: 1\n", "&v version: 1\n", "", 1, "anchors"),
    ("version: 1\n", "version: 1\nversion: 1\n", "version", 2, "twice (first on line 1)"),
    ("version: 1\n", "version: 1\n\"version\": 1\n", "version", 2, "twice"),
    ("version: 1\n", "vresion: 1\n", "vresion", 1, "no key vresion"),
    ("version: 1\n", "version: 1\n? [a, b]\n: c\n", "\"[a, b\"", 2, "no key"),
    (PAYEE, "0x209693Bc6afc0C5328bA36FaF03C514EF312287c", "provider_address", 2, "checksum"),
    (PAYEE, "me", "provider_address", 2, "\"me\" is not an address"),
    (PAYEE, KEY, "provider_address", 2, "*** is not an address"),
    (PAYEE, "0x0000000000000000000000000000000000000000", "provider_address", 2, "zero address"),
    ("\"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"", "0x0000000000000000000000000000000000000000", "provider_address", 2, "zero address"),
    ("proxy:\n  target: http://127.0.0.1:3000\n", "proxy:\n", "proxy", 3, "no value"),
    ("http://127.0.0.1:3000", "ftp://127.0.0.1", "proxy.target", 4, "scheme"),
    ("http://127.0.0.1:3000", "http://u:secret@127.0.0.1", "proxy.target", 4, "*** is not a target"),
    ("http://127.0.0.1:3000", "[a]", "proxy.target", 4, "list"),
    ("networks", "  timeout: 30\nnetworks", "proxy.timeout", 5, "no unit"),
    ("networks", "  timeout: 11m\nnetworks", "proxy.timeout", 5, "out of range"),
    ("networks", "  timeout: 0s\nnetworks", "proxy.timeout", 5, "out of range"),
    ("networks", "  timeout: 1.5s\nnetworks", "proxy.timeout", 5, "length of time"),
    ("networks", "  timeout: s\nnetworks", "proxy.timeout", 5, "length of time"),
    ("networks", "  timeout: 99999999999999999999m\nnetworks", "proxy.timeout", 5, "out of range"),
    ("networks", "  timeot: 1s\nnetworks", "proxy.timeot", 5, "no key timeot"),
    (FREE, "", "routes", 1, "missing"),
    (FREE, "routes: [{ path: /health, free: true, cache_s: 5 }]\n", "routes[0].cache_s", 7, "calls of API keys"),
    (FREE, "routes: []\n", "routes", 7, "no route"),
    (FREE, "routes: { a: 1 }\n", "routes", 7, "mapping"),
    (FREE, "routes: [{ path: /, free: true }]\n---\na: 1\n", "", 9, "second YAML document"),
];

/// Line 8 of a good file.
#[rustfmt::skip]
const ADDED: &[(&str, &str, &str)] = &[
    ("listen: example.org:80", "listen", "address"),
    ("listen: 70000", "listen", "address"),
    ("listen: \":80\"", "listen", "address"),
    ("listen: \"localhost:\"", "listen", "address"),
    ("listen: \"localhost:0.0.0.0:80\"", "listen", "address"),
    ("default_action: allow", "default_action", "not an action"),
    ("default_action: ${BREAK}", "default_action", "not an action"),
    ("target: http://127.0.0.1", "target", "no key target"),
    ("facilitator: { url: https://x }", "facilitator.url", "no key url"),
    ("facilitator: { signer: { env: 1X } }", "facilitator.signer.env", "not the name"),
    ("facilitator: { signer: { env: A, file: b } }", "facilitator.signer", "both"),
    ("facilitator: { signer: {} }", "facilitator.signer", "neither"),
    ("facilitator: { signer: { file: '' } }", "facilitator.signer.file", "path"),
    ("facilitator: { signer: \"${SIGNER}\" }", "facilitator.signer", "does not belong"),
    ("facilitator: { signer: { env: A }, urls: [\"https://a\"] }", "facilitator", "not clear who settles"),
    ("facilitator: { signer: { keystore: a } }", "facilitator.signer", "only one"),
    ("facilitator: { signer: { password: { env: A } } }", "facilitator.signer", "only one"),
    ("facilitator: { signer: { keystore: a, password: b } }", "facilitator.signer.password", "does not belong"),
    ("facilitator: { signer: { keystore: '', password: { env: A } } }", "facilitator.signer.keystore", "path"),
    ("facilitator: { signer: { env: A, keystore: a, password: { env: A } } }", "facilitator.signer", "both"),
    ("facilitator: { signer: { socket: a, env: A } }", "facilitator.signer", "both"),
    ("facilitator: { signer: { socket: '' } }", "facilitator.signer.socket", "path"),
    ("facilitator: { bearer: { keystore: a } }", "facilitator.bearer.keystore", "no key"),
    ("facilitator: { signers: [] }", "facilitator.signers", "1 to 8"),
    ("facilitator: { signers: { env: A } }", "facilitator.signers", "list"),
    ("facilitator: { signers: [{ env: A }, { env: A }] }", "facilitator.signers[1]", "already"),
    ("facilitator: { signers: [{ env: A }, { env: 1X }] }", "facilitator.signers[1].env", "not the name"),
    ("facilitator: { signer: { env: A }, signers: [{ env: B }] }", "facilitator.signers", "signer and signers"),
    ("facilitator: { signers: [{ env: A }], urls: [\"https://a\"] }", "facilitator", "not clear who settles"),
    ("facilitator: { fees: { max_fee_gwei: 0 } }", "facilitator.fees.max_fee_gwei", "gwei"),
    ("facilitator: { fees: { max_fee_gwei: -1 } }", "facilitator.fees.max_fee_gwei", "gwei"),
    ("facilitator: { fees: { max_tip_gwei: 0.0000000001 } }", "facilitator.fees.max_tip_gwei", "gwei"),
    ("facilitator: { fees: { max_per_payment_gwei: 1000000001 } }", "facilitator.fees.max_per_payment_gwei", "gwei"),
    ("facilitator: { gas: { alarm_payments: many } }", "facilitator.gas.alarm_payments", "whole number"),
    ("facilitator: { urls: [] }", "facilitator.urls", "no address"),
    ("facilitator: { urls: \"https://a\" }", "facilitator.urls", "list"),
    ("facilitator: { urls: [\"ftp://a\"] }", "facilitator.urls[0]", "http"),
    ("facilitator: { urls: [\"https://a?key=1\"] }", "facilitator.urls[0]", "query"),
    ("facilitator: { urls: [\"https://a\"], bearer: secret-token }", "facilitator.bearer", "does not belong"),
    ("facilitator: { urls: [\"https://a\"], settle_timeout_ms: 15001 }", "facilitator.settle_timeout_ms", "out of range"),
    ("facilitator: { urls: [\"https://a\"], verify_timeout_ms: 99 }", "facilitator.verify_timeout_ms", "out of range"),
    ("facilitator: { bearer: { env: A } }", "facilitator.bearer", "no urls"),
    ("tab: { batch_max: 0 }", "tab.batch_max", "out of range"),
    ("tab: { batch_max: 101 }", "tab.batch_max", "out of range"),
    ("accounts: { budgets: { scope: key } }", "accounts.budgets", "list"),
    ("accounts: { budgets: [{ per: day, calls: 1 }] }", "accounts.budgets[0].scope", "is missing"),
    ("accounts: { budgets: [{ scope: route, per: day, calls: 1 }] }", "accounts.budgets[0].scope", "not whose calls"),
    ("accounts: { budgets: [{ scope: key, per: year, calls: 1 }] }", "accounts.budgets[0].per", "not a span"),
    ("accounts: { budgets: [{ scope: key, per: day }] }", "accounts.budgets[0]", "calls or dollars"),
    ("accounts: { budgets: [{ scope: key, per: day, calls: 1, usd: 1 }] }", "accounts.budgets[0]", "calls or dollars"),
    ("accounts: { budgets: [{ scope: key, per: day, calls: NaN }] }", "accounts.budgets[0].calls", "not a whole number"),
    ("accounts: { budgets: [{ scope: key, per: day, calls: 1000000001 }] }", "accounts.budgets[0].calls", "out of range"),
    ("accounts: { budgets: [{ scope: key, per: day, usd: .inf }] }", "accounts.budgets[0].usd", "not an amount"),
    ("accounts: { budgets: [{ scope: key, per: day, calls: 1, action: stop }] }", "accounts.budgets[0].action", "not what a budget does"),
    ("accounts: { budgets: [{ scope: key, per: day, calls: 1, throttle_s: 5 }] }", "accounts.budgets[0].throttle_s", "throttles nobody"),
    ("accounts: { budgets: [{ scope: key, per: day, calls: 1, burst_percent: 1001 }] }", "accounts.budgets[0].burst_percent", "out of range"),
    ("accounts: { rate_per_key: 10 }", "accounts.rate_per_key", "not a rate"),
    ("accounts: { in_flight_per_key: 0 }", "accounts.in_flight_per_key", "out of range"),
    ("accounts: { cache_hits: cheap }", "accounts.cache_hits", "not what an answer"),
    ("tab: { settle_age_s: 2701 }", "tab.settle_age_s", "out of range"),
    ("tab: { settle_age_s: 5m }", "tab.settle_age_s", "not a whole number"),
    ("tab: { verify: never }", "tab.verify", "not a way to check"),
    ("exposure: { per_payer: -1 }", "exposure.per_payer", "not an amount"),
    ("exposure: { per_source: 0.0000001 }", "exposure.per_source", "not an amount"),
    ("exposure: { per_gate: 1000000001 }", "exposure.per_gate", "not an amount"),
    ("exposure: { per_key: 1 }", "exposure.per_key", "no key per_key"),
    ("store: { path: ':memory:' }", "store.path", "not the path"),
    ("store: { path: '' }", "store.path", "not the path"),
    ("store: { path: 'dir/' }", "store.path", "not the path"),
    ("store: { path: '${NONE}' }", "store.path", "NONE is not set"),
    ("store: { path: '${LONG}' }", "store.path", "longer"),
    ("store: { path: '${A' }", "store.path", "closing brace"),
    ("store: { path: '${A B}' }", "store.path", "name of an environment variable"),
    ("store: { path: '${A:-${B}}' }", "store.path", "another variable"),
    ("replay: { wait_ms: 60001 }", "replay.wait_ms", "out of range"),
    ("replay: { wait_ms: -1 }", "replay.wait_ms", "whole number"),
    ("replay: { wait_ms: 1.5 }", "replay.wait_ms", "whole number"),
    ("replay: { answer_max_bytes: 67108865 }", "replay.answer_max_bytes", "out of range"),
    ("replay: { answers_max_bytes: 1099511627777 }", "replay.answers_max_bytes", "out of range"),
    ("replay: { answers_max_bytes: 1048576 }", "replay", "no room"),
    ("replay: { answers_keep_s: 1h }", "replay.answers_keep_s", "whole number"),
    ("replay: { wait: 1 }", "replay.wait", "no key wait"),
    ("replay: [1]", "replay", "list"),
    ("listen: 3000", "proxy.target", "pontage itself listens there"),
    ("listen: 0.0.0.0:3000", "proxy.target", "pontage itself listens there"),
    ("port: 8402", "port", "no key port"),
    ("facilitator_url: https://x", "facilitator_url", "no key"),
    ("public_url: api.example", "public_url", "http"),
    ("public_url: https://api.example/v1", "public_url", "more than an origin"),
    ("public_url: https://u@api.example", "public_url", "more than an origin"),
    ("trusted_proxies: 17", "trusted_proxies", "out of range"),
    ("fail_mode: maybe", "fail_mode", "neither closed nor open"),
    ("global_allowlist: [me]", "global_allowlist[0]", "\"me\" is not an address"),
    ("global_allowlist: [0x0000000000000000000000000000000000000000]", "global_allowlist[0]", "zero address"),
    ("global_allowlist: me", "global_allowlist", "single value"),
    ("rate_limits: { per_payer: 1/s }", "rate_limits.per_payer", "no key per_payer"),
    ("limits: some", "limits", "no set of limits"),
    ("in_flight: { max: 0 }", "in_flight.max", "out of range"),
    ("in_flight: { queue_wait_ms: 60001 }", "in_flight.queue_wait_ms", "out of range"),
    ("cors: { origins: ['*', 'https://a'] }", "cors.origins[0]", "any origin"),
    ("cors: { origins: [a.example] }", "cors.origins[0]", "not an origin"),
    ("cors: { origins: ['https://a/b'] }", "cors.origins[0]", "not an origin"),
    ("log: { level: trace }", "log.level", "not a level"),
    ("log: { format: xml }", "log.format", "not a form"),
    ("log: { access: sometimes }", "log.access", "neither true nor false"),
    ("admin: { listen: here }", "admin.listen", "address"),
    ("admin: { listen: 8402 }", "admin.listen", "callers come in there"),
    ("telemetry: { otlp_url: 'grpc://a' }", "telemetry.otlp_url", "http"),
    ("discovery: { base_url: a }", "discovery.base_url", "http"),
    ("discovery: { website: 'http://a' }", "discovery.website", "https"),
    ("discovery: { name: '' }", "discovery.name", "empty"),
    ("discovery: { keywords: [1,2,3,4,5,6,7,8,9,10,11] }", "discovery.keywords", "11 keywords"),
    ("discovery: { keywords: [abcdefghijabcdefghijabcdefghijk] }", "discovery.keywords[0]", "31 characters"),
    ("discovery: { heartbeat_url: 'http://a' }", "discovery.heartbeat_url", "no base_url"),
    ("extensions: { offer_signer: abc }", "extensions.offer_signer", "does not belong"),
    ("extensions: { payment_identifier: never }", "extensions.payment_identifier", "neither optional nor required"),
    ("extensions: { receipts: true }", "extensions.receipts", "no key receipts"),
    ("receipts: { ttl_s: 60 }", "receipts", "nobody signs"),
    ("receipts: { signer: { env: A } }\nextensions: { offer_signer: { env: B } }", "receipts", "two keys"),
    ("receipts: { signer: abc }", "receipts.signer", "does not belong"),
    ("receipts: { signer: { env: A }, ttl_s: 59 }", "receipts.ttl_s", "out of range"),
    ("receipts: { signer: { env: A }, format: pdf }", "receipts.format", "no form"),
    ("receipts: { signer: { env: A }, lookups_per_min: 0 }", "receipts.lookups_per_min", "out of range"),
];

/// The routes of a file, from line 8 on.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, usize, &str)] = &[
    ("price: 1", "routes[0].path", 8, "missing"),
    ("path: health\n  free: true", "routes[0].path", 8, "start with /"),
    ("path: /a", "routes[0]", 8, "neither"),
    ("path: /a\n  price: 1\n  free: true", "routes[0]", 8, "and is free"),
    ("path: /a\n  free: false", "routes[0]", 8, "no price"),
    ("path: /a\n  free: maybe", "routes[0].free", 9, "neither true nor false"),
    ("path: /a\n  price:", "routes[0].price", 9, "no value"),
    ("path: /a\n  price: 0", "routes[0].price", 9, "\"0\" is not a price: zero is not free."),
    ("path: /a\n  price: $0.00", "routes[0].price", 9, "zero is not free"),
    ("path: /a\n  price: -1", "routes[0].price", 9, "negative"),
    ("path: /a\n  price: free", "routes[0].price", 9, "decimal number"),
    ("path: /a\n  price: 1e-2", "routes[0].price", 9, "\"1e-2\" is not a price"),
    ("path: /a\n  price: .5", "routes[0].price", 9, "decimal number"),
    ("path: /a\n  price: 007", "routes[0].price", 9, "leading zero"),
    ("path: /a\n  price: $$$1", "routes[0].price", 9, "decimal number"),
    ("path: /a\n  price: 0x10", "routes[0].price", 9, "decimal number"),
    ("path: /a\n  price: .nan", "routes[0].price", 9, "decimal number"),
    ("path: /a\n  price: 999999999999999999999", "routes[0].price", 9, "too large"),
    ("path: /a\n  price: 0.0000001", "routes[0].price", 9, "than USDC on eip155:84532, which has 6"),
    ("path: /a\n  price: 0.0000000000000000001", "routes[0].price", 9, "than USDC"),
    ("path: /a\n  prise: 1", "routes[0].prise", 9, "no key prise"),
    ("path: /a\n  price: 1\n  price: 2", "routes[0].price", 10, "twice (first on line 9)"),
    ("path: /a\n  free: true\n  method: HEAD", "routes[0].method", 10, "goes with GET"),
    ("path: /a\n  free: true\n  method: GTE", "routes[0].method", 10, "not a method"),
    ("path: /a\n  free: true\n  settlement: tab", "routes[0].settlement", 10, "nothing is settled"),
    ("path: /a\n  price: 1\n  settlement: soon", "routes[0].settlement", 10, "kind of settlement"),
    ("path: /a\n  price: 1.000001\n  settlement: tab", "routes[0].settlement", 10, "above a cap"),
    ("path: /a\n  free: true\n  rpc_urls: []", "routes[0].rpc_urls", 10, "no key rpc_urls"),
    ("path: /a\n  price: 1\n- path: /a\n  price: 2", "routes[1]", 10, "never reached: routes[0] (line 8)"),
    ("path: /a\n  price: 1\n  method: GET\n- path: /a\n  price: 2\n  method: get", "routes[1]", 11, "never reached"),
];

/// The only route of a file, from line 8 on: a path, and these lines from line 9 on.
#[rustfmt::skip]
const ROUTE_KEYS: &[(&str, &str, usize, &str)] = &[
    ("price: 1\n  pay_to: 0x0000000000000000000000000000000000000000", "pay_to", 10, "zero address"),
    ("price: 1\n  pay_to: me", "pay_to", 10, "not an address"),
    ("price: 1\n  settle_first: yes", "settle_first", 10, "neither true nor false"),
    ("price: 1\n  settlement: tab\n  settle_first: true", "settlement", 10, "settled first"),
    ("price: 1\n  reentry_s: 2592001", "reentry_s", 10, "out of range"),
    ("price: 1\n  description: ''", "description", 10, "empty"),
    ("price: 1\n  description: \"a\\nb\"", "description", 10, "control"),
    ("price: 1\n  mime_type: json", "mime_type", 10, "not a media type"),
    ("price: 1\n  mime_type: a/b/c", "mime_type", 10, "not a media type"),
    ("price: 1\n  proxy_rewrite: v1", "proxy_rewrite", 10, "start with /"),
    ("price: 1\n  proxy_rewrite: /v1/*", "proxy_rewrite", 10, "holds *"),
    ("price: 1\n  proxy_rewrite: /v1/:id", "proxy_rewrite", 10, ":name"),
    ("price: 1\n  proxy_rewrite: /v1?a=b", "proxy_rewrite", 10, "character"),
    ("price: 1\n  proxy_rewrite: /v1/../x", "proxy_rewrite", 10, "segment"),
    ("price: 1\n  proxy_params: [a]", "proxy_params", 10, "list"),
    ("price: 1\n  proxy_params: { a: [b] }", "proxy_params.a", 10, "list"),
    ("price: 1\n  proxy_params: { a: '${NONE}' }", "proxy_params.a", 10, "NONE is not set"),
    ("price: 1\n  rate_limit: banana", "rate_limit", 10, "no slash"),
    ("price_endpoint: ftp://a", "price_endpoint", 9, "http"),
    ("price_endpoint: { timeout_ms: 1 }", "price_endpoint.url", 9, "missing"),
    ("price_endpoint: { url: http://a, timeout_ms: 60001 }", "price_endpoint.timeout_ms", 9, "out of range"),
    ("price_endpoint: { url: http://a, quote_s: 0 }", "price_endpoint.quote_s", 9, "out of range"),
    ("free: true\n  pay_to: me", "pay_to", 10, "nothing is settled"),
    ("free: true\n  settle_first: true", "settle_first", 10, "nothing is settled"),
    ("free: true\n  reentry_s: 1", "reentry_s", 10, "nothing is settled"),
    ("free: true\n  accepts: []", "accepts", 10, "nothing is settled"),
    ("free: true\n  price_endpoint: http://a", "", 8, "and is free"),
    ("accepts: []", "accepts", 9, "no token"),
    ("accepts: [{ network: eip155:84532 }]", "accepts[0]", 9, "has no price"),
    ("price: 1\n  accepts: [{ asset: usdc }]", "accepts[0].network", 10, "missing"),
    ("price: 1\n  accepts: [{ network: eip155:1 }]", "accepts[0].network", 10, "not a network of this file"),
    ("price: 1\n  accepts: [{ network: base }]", "accepts[0].network", 10, "not a network of this file"),
    ("price: 1\n  accepts: [{ network: eip155:84532, asset: dai }]", "accepts[0].asset", 10, "not a token of this network"),
    ("price: 1\n  accepts: [{ network: eip155:84532, asset: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C' }]", "accepts[0].asset", 10, "not a token of this network"),
    ("price: 1\n  accepts: [{ network: eip155:84532 }, { network: eip155:84532, asset: usdc }]", "accepts[1]", 10, "listed twice"),
    ("price: 1\n  accepts: [{ network: eip155:84532, price: 0.0000001 }]", "accepts[0].price", 10, "than USDC"),
    ("price: 1\n  accepts: [{ network: eip155:84532, price: 0 }]", "accepts[0].price", 10, "zero is not free"),
    ("price: 1\n  accepts: [{ network: eip155:84532, amount: 1 }]", "accepts[0].amount", 10, "no key amount"),
    ("price: 0.01\n  settlement: tab\n  accepts: [{ network: eip155:84532, price: 2 }]", "settlement", 10, "above a cap"),
];

/// What stands from line 5 on, before a priced route. `URL` and `TOKEN` are good ones; the token lacks its decimals.
#[rustfmt::skip]
const NETWORKS: &[(&str, &str, usize, &str)] = &[
    ("network:\n  eip155:1: {}\n", "network", 5, "no key network"),
    ("networks:\n  base: { URL }\n", "networks.base", 6, "CAIP-2"),
    ("networks:\n  84532: { URL }\n", "networks.84532", 6, "CAIP-2"),
    ("networks:\n  eip155:1: { URL }\n  eip155:1: { URL }\n", "networks.eip155:1", 7, "twice"),
    ("networks:\n  eip155:1: {}\n", "networks.eip155:1.rpc_urls", 6, "missing"),
    ("networks:\n  eip155:1: { rpc_urls: [] }\n", "networks.eip155:1.rpc_urls", 6, "no address"),
    ("networks:\n  eip155:1: { rpc_urls: http://a }\n", "networks.eip155:1.rpc_urls", 6, "where a list is read"),
    ("networks:\n  eip155:1: { rpc_urls: [ws://a/SECRET] }\n", "networks.eip155:1.rpc_urls[0]", 6, "http://"),
    ("networks:\n  eip155:1: { rpc_urls: ['http://'] }\n", "networks.eip155:1.rpc_urls[0]", 6, "URL"),
    ("networks:\n  eip155:1: { rpc_urls: ['http://a:99999'] }\n", "networks.eip155:1.rpc_urls[0]", 6, "port"),
    ("networks:\n  eip155:1:\n    rpc_urls:\n    - http://a/\n    - http://b\n    - http://a\n", "networks.eip155:1.rpc_urls[2]", 10, "twice"),
    ("networks:\n  eip155:1: { rpc_urls: [http://a, http://b, http://c, http://d, http://e, http://f, http://g, http://h, http://i] }\n", "networks.eip155:1.rpc_urls", 6, "9 nodes"),
    ("networks:\n  eip155:1: { URL, rpc_agree: 2 }\n", "networks.eip155:1.rpc_agree", 6, "2 nodes cannot agree"),
    ("networks:\n  eip155:1: { URL, rpc_agree: 0 }\n", "networks.eip155:1.rpc_agree", 6, "out of range"),
    ("networks:\n  eip155:1: { rpc_urls: [http://a, http://b, http://c, http://d], rpc_agree: 4 }\n", "networks.eip155:1.rpc_agree", 6, "out of range"),
    ("networks:\n  eip155:1: { URL, rpc_lag_blocks: 1001 }\n", "networks.eip155:1.rpc_lag_blocks", 6, "out of range"),
    ("networks:\n  eip155:1: { URL, finality: 3 }\n", "networks.eip155:1.finality", 6, "where"),
    ("networks:\n  eip155:1: { URL, finality: { final: soon } }\n", "networks.eip155:1.finality.final", 6, "neither"),
    ("networks:\n  eip155:1: { URL, finality: { final: 0 } }\n", "networks.eip155:1.finality.final", 6, "out of range"),
    ("networks:\n  eip155:1: { URL, finality: { confirmations: 65 } }\n", "networks.eip155:1.finality.confirmations", 6, "out of range"),
    ("networks:\n  eip155:1: { URL, finality: { confirmations: 4, final: 2 } }\n", "networks.eip155:1.finality", 6, "final before"),
    ("networks:\n  eip155:31337: { URL }\n", "networks.eip155:31337.assets", 6, "knows no USDC"),
    ("networks:\n  eip155:31337: { URL, assets: [usdc] }\n", "networks.eip155:31337.assets[0]", 6, "knows no USDC"),
    ("networks:\n  eip155:1: { URL, assets: [] }\n", "networks.eip155:1.assets", 6, "no token"),
    ("networks:\n  eip155:1: { URL, assets: [dai] }\n", "networks.eip155:1.assets[0]", 6, "\"dai\""),
    ("networks:\n  eip155:1: { URL, assets: [usdc, USDC] }\n", "networks.eip155:1.assets[1]", 6, "listed twice"),
    ("networks:\n  eip155:1: { URL, assets: [{ TOKEN }] }\n", "networks.eip155:1.assets[0].decimals", 6, "missing"),
    ("networks:\n  eip155:1: { URL, assets: [{ TOKEN, decimals: 37 }] }\n", "networks.eip155:1.assets[0].decimals", 6, "out of range"),
    ("networks:\n  eip155:1: { URL, assets: [{ TOKEN, decimals: 1 }] }\n", "routes[0].price", 7, "than A on eip155:1, which has 1"),
];

#[test]
fn mistakes_on_top_table() {
    for (text, path, line, word) in FILES {
        one(text, path, *line, word);
    }
    let whole = format!("{HEAD}{FREE}");
    for (from, to, path, line, word) in REPLACED {
        one(&whole.replacen(from, to, 1), path, *line, word);
    }
    for (added, path, word) in ADDED {
        let line = if *path == "proxy.target" { 4 } else { 8 };
        one(&format!("{whole}{added}\n"), path, line, word);
    }
}

#[test]
fn mistakes_in_routes_table() {
    for (route, path, line, word) in ROUTES {
        one(&format!("{HEAD}routes:\n- {route}\n"), path, *line, word);
    }
    for (lines, key, line, word) in ROUTE_KEYS {
        let path = ["routes[0]", key].join(if key.is_empty() { "" } else { "." });
        one(&format!("{HEAD}routes:\n- path: /a\n  {lines}\n"), &path, *line, word);
    }
    let many = "- { path: /a, free: true }\n".repeat(1_001);
    one(&format!("{HEAD}routes:\n{many}"), "routes", 7, "1001 routes");
    one(
        &format!("{HEAD}{FREE}limits: tiers\nrate_limits: {{ per_agent: 1/s }}\n"),
        "rate_limits.per_agent",
        9,
        "limits: tiers",
    );
    // One method of a path and the rest of it are two routes.
    good(&format!("{HEAD}routes:\n- path: /a\n  price: 1\n  method: GET\n- path: /a\n  price: 2\n"));
}

#[test]
fn mistakes_in_networks_table() {
    let head = HEAD.split("networks").next().unwrap_or_default();
    let url = "rpc_urls: [http://127.0.0.1:8545]";
    let token = format!("address: \"{PAYEE}\", name: A, version: 1");
    for (networks, path, line, word) in NETWORKS {
        let networks = networks.replace("URL", url).replace("TOKEN", &token);
        let text = format!("{head}{networks}routes: [{{ path: /a, price: 0.01 }}]\n");
        one(&text, path, *line, word);
    }
    assert_eq!(good(&format!("{head}{FREE}")).networks, []);
    let named = format!("{head}{FREE}networks: {{ base: {{ {url} }} }}\n");
    let mistakes = read(&named).expect_err("base is a name of x402 v1");
    assert_eq!(mistakes.list()[0].fix, "write eip155:8453.");
    // A mistake in a network does not hide the prices that its token cannot hold.
    let both = format!("{HEAD}routes: [{{ path: /a, price: 0.0000001 }}]\n").replace("http://127.0.0.1:8545", "x");
    let mistakes = read(&both).expect_err("two mistakes");
    assert_eq!(mistakes.list().len(), 2, "{mistakes}");
    // Each network is within its own bound, all together are not.
    let token = |at: usize| format!("{{ address: \"0x{at:040x}\", name: A, version: \"1\", decimals: 6 }}");
    let tokens: Vec<_> = (1..=13).map(token).collect();
    let network = |id: usize| {
        format!("  eip155:{id}: {{ rpc_urls: [\"http://127.0.0.1:1\"], assets: [{}] }}\n", tokens.join(", "))
    };
    one(&format!("{head}{FREE}networks:\n{}{}", network(1), network(2)), "networks", 6, "26 tokens");
}

#[test]
fn six_mistakes_come_at_once_in_order_of_line() {
    let text = "version: 1
provider_address: me
prxy: { target: http://127.0.0.1:3000 }
routes:
- path: /health
  free: true
- path: /paid/*
  price: 0
  price: 1
- path: paid
  price: 0.01
default_action: open
";
    let mistakes = read(text).expect_err("six mistakes");
    let list = mistakes.list().iter();
    let got: Vec<_> = list.map(|m| (m.line, m.path.as_str())).collect();
    let want = [
        (Some(2), "provider_address"),
        (Some(3), "prxy"),
        (Some(8), "routes[1].price"),
        (Some(9), "routes[1].price"),
        (Some(10), "routes[2].path"),
        (Some(12), "default_action"),
    ];
    assert_eq!(got, want, "{mistakes}");
    let printed = mistakes.to_string();
    let block = "pontage.yaml:8  routes[1].price
    \"0\" is not a price: zero is not free.
    Fix: write `free: true`, or a price such as \"0.01\".
";
    assert!(printed.contains(block), "{printed}");
    assert!(printed.contains("did you mean `proxy`?"), "{printed}");
}
