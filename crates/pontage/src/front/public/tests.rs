//! What is told, and what is never told.

use std::path::Path;

use http::header::HeaderName;
use protocol::{Network, Payer};

use super::*;
use crate::config::{self, DiscoveryConfig, EndpointConfig, PriceConfig};
use crate::plan::Plan;

const SECRETS: [&str; 6] = [
    "upstream.internal",
    "node-key-4711",
    "params-key-4712",
    "price-key-4713",
    "0x9999999999999999999999999999999999999999",
    "TRUST_NAME",
];

fn config() -> Config {
    let text = "version: 1
provider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"
default_action: passthrough
proxy: { target: \"http://upstream.internal:3000\" }
networks:
  eip155:8453: { rpc_urls: [\"https://rpc.example/node-key-4711\"] }
  eip155:84532: { rpc_urls: [\"https://rpc.example/node-key-4711\"] }
routes:
  - { path: /health, free: true }
  - { path: \"/users/:id\", method: GET, price: \"0.01\" }
  - { path: /v1/img-*, price: \"2.50\" }
  - { path: /dear/*, price: \"5\" }
  - { path: /club, free: true }
";
    let mut config = config::parse(text, "pontage.yaml", Path::new("/etc/pontage"), &|_| None).unwrap();
    let info = json!({ "input": { "type": "http", "method": "GET", "queryParams": { "unit": "c", "days": 3 },
        "pathParams": { "id": "7" } }, "output": { "example": { "ok": true } } });
    let user = &mut config.routes[1];
    user.description = Some("One user".to_owned());
    user.mime_type = Some("application/json".to_owned());
    user.info = Some(info);
    user.template = Some("/users/:id".to_owned());
    user.params = vec![("key".to_owned(), "params-key-4712".to_owned())];
    user.rewrite = Some("/upstream.internal".to_owned());
    let stranger = Payer(SECRETS[4].parse().unwrap());
    config.routes[4].allowlist = vec![stranger];
    config.global_allowlist = vec![stranger];
    config.trust_secret = Some(config::SecretSource::Env("TRUST_NAME".to_owned()));
    let PriceConfig::Due(due) = &mut config.routes[3].price else { panic!("a price") };
    let url = "http://upstream.internal/price?key=price-key-4713".to_owned();
    due.endpoint = Some(EndpointConfig { url, timeout_ms: 1, cache_s: 0, quote_s: 60 });
    config.public_url = Some("https://api.example".to_owned());
    config.discovery = DiscoveryConfig { name: Some("Weather".to_owned()), ..DiscoveryConfig::default() };
    config
}

fn public(config: &Config) -> Public {
    Public::render(config, &Plan::compile(config).snapshot)
}

fn text(endpoint: Endpoint) -> Value {
    let public = public(&config());
    serde_json::from_slice(&public.document(endpoint).unwrap().body).unwrap()
}

#[test]
fn no_secret_is_ever_told() {
    for endpoint in [Endpoint::Manifest, Endpoint::WellKnown, Endpoint::OpenApi] {
        let told = text(endpoint).to_string().to_lowercase();
        for secret in SECRETS {
            assert!(!told.contains(&secret.to_lowercase()), "{endpoint:?} tells {secret}: {told}");
        }
    }
}

#[test]
fn g_075_manifest() {
    let manifest = text(Endpoint::Manifest);
    let routes = manifest["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 5);
    assert_eq!(routes[0], json!({ "path": "/health", "method": "*", "free": true }));
    assert_eq!((&routes[1]["price"], &routes[1]["settlement"]), (&json!("0.01"), &json!("tab")));
    assert_eq!(routes[1]["accepts"][1]["network"], "eip155:84532");
    assert_eq!((&routes[3]["dynamic"], &routes[4]["restricted"]), (&json!(true), &json!(true)));
    assert_eq!(manifest["default_action"], "passthrough");
    assert_eq!(manifest["discovery"]["name"], "Weather");
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"), "g_x14");
    let hidden = DiscoveryConfig { discoverable: false, ..config().discovery };
    assert_eq!(describe::discovery(&hidden), json!({ "discoverable": false }));
}

#[test]
fn g_076_well_known() {
    let told = text(Endpoint::WellKnown);
    assert_eq!(told["x402Version"], 2);
    assert_eq!(told["payTo"], "0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    assert_eq!((&told["network"], &told["networks"]), (&json!("eip155:8453"), &json!(["eip155:8453", "eip155:84532"])));
    assert_eq!(told["asset"], "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
    let endpoints = told["endpoints"].as_array().unwrap();
    let paths: Vec<_> = endpoints.iter().map(|endpoint| endpoint["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/users/:id", "/v1/img-*"], "paid, and at a price that is known");
    let want = json!({ "scheme": "exact", "network": "eip155:8453", "amount": "10000",
        "asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
        "maxTimeoutSeconds": 3_600, "extra": { "name": "USD Coin", "version": "2", "settlement": "tab" } });
    assert_eq!(endpoints[0]["paymentRequirements"], want);
    assert_eq!((&endpoints[0]["method"], &endpoints[0]["description"]), (&json!("GET"), &json!("One user")));
    assert_eq!(
        (&endpoints[0]["mimeType"], &endpoints[0]["routeTemplate"]),
        (&json!("application/json"), &json!("/users/:id"))
    );
    assert_eq!(endpoints[0]["info"]["input"]["type"], "http");
    assert_eq!(
        (&endpoints[1]["paymentRequirements"]["maxTimeoutSeconds"], endpoints[1].get("info")),
        (&json!(90), None)
    );
}

#[test]
fn openapi_describes_routes_and_prices() {
    let told = text(Endpoint::OpenApi);
    assert_eq!((&told["openapi"], &told["servers"][0]["url"]), (&json!("3.1.0"), &json!("https://api.example")));
    let user = &told["paths"]["/users/{id}"]["get"];
    assert_eq!(user["x-payment-info"]["price"], json!({ "mode": "fixed", "currency": "USD", "amount": "0.01" }));
    assert_eq!(user["x-payment-info"]["protocols"][0]["x402"]["network"], "eip155:8453");
    assert_eq!(user["responses"]["402"]["$ref"], "#/components/responses/PaymentRequired");
    assert_eq!(user["responses"]["200"]["content"]["application/json"]["example"], json!({ "ok": true }));
    let names: Vec<_> =
        user["parameters"].as_array().unwrap().iter().map(|one| (&one["name"], &one["schema"]["type"])).collect();
    assert_eq!(
        names,
        [(&json!("id"), &json!("string")), (&json!("days"), &json!("integer")), (&json!("unit"), &json!("string"))]
    );
    assert!(told["paths"]["/v1/img-{part}"]["post"].is_object());
    let dear = &told["paths"]["/dear/{rest}"]["get"]["x-payment-info"]["price"];
    assert_eq!(dear["mode"], "dynamic");
    assert!(told["paths"]["/health"]["get"].get("x-payment-info").is_none());
    assert_eq!(told["paths"]["/club"]["get"]["responses"]["403"]["$ref"], "#/components/responses/Forbidden");
    assert!(told["paths"]["/__pay/health"]["get"].is_object());
    let mut ids: Vec<_> = told["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "every operation has a name of its own");
}

#[test]
fn an_upstreams_own_openapi_is_not_hidden() {
    let mut config = config();
    config.routes[0].path = gate::Pattern::parse("/openapi.json").unwrap();
    assert!(public(&config).document(Endpoint::OpenApi).is_none());
}

#[test]
fn documents_are_kept_by_readers() {
    let documents = public(&config());
    let document = documents.document(Endpoint::Manifest).unwrap();
    let first = document.answer(&Method::GET, &HeaderMap::new());
    let etag = first.headers()[ETAG].clone();
    assert_eq!(
        (first.status(), first.headers()[CACHE_CONTROL].to_str().unwrap()),
        (StatusCode::OK, "public, max-age=60")
    );
    for (tag, status) in [
        (etag.to_str().unwrap().to_owned(), 304),
        (format!("W/{}", etag.to_str().unwrap()), 304),
        ("\"x\", ".to_owned() + etag.to_str().unwrap(), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        let request = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::try_from(&tag).unwrap())]);
        assert_eq!(document.answer(&Method::GET, &request).status(), status, "{tag}");
    }
    let refused = document.answer(&Method::POST, &HeaderMap::new());
    assert_eq!(
        (refused.status(), refused.headers()[ALLOW].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
    );
    let mut other = config();
    other.payee = protocol::Payee("0x1111111111111111111111111111111111111111".parse().unwrap());
    let other = public(&other);
    assert_ne!(other.document(Endpoint::Manifest).unwrap().etag, etag);
}

#[test]
fn endpoint_table() {
    for (path, want) in [
        ("/__pay/health", Some(Endpoint::Health)),
        ("/__PAY/Health/", Some(Endpoint::Health)),
        ("/.well-known/x402", Some(Endpoint::WellKnown)),
        ("/openapi.json", Some(Endpoint::OpenApi)),
        ("/livez", Some(Endpoint::Livez)),
        ("/readyz", Some(Endpoint::Readyz)),
        ("/__pay/status", Some(Endpoint::Status)),
        ("/__pay/healthy", None),
        ("/", None),
    ] {
        assert_eq!(Endpoint::of(path), want, "{path}");
    }
}

#[test]
fn g_074_health_and_readiness() {
    let base = Network { chain_id: 8453 };
    for (reachable, network, want) in [
        (
            true,
            Some(base),
            json!({ "status": "ok", "facilitator": "reachable", "network": "mainnet", "chain_id": 8453 }),
        ),
        (
            false,
            Some(Network::BASE_SEPOLIA),
            json!({ "status": "degraded", "facilitator": "unreachable", "network": "testnet", "chain_id": 84532 }),
        ),
        (true, None, json!({ "status": "ok", "facilitator": "reachable", "network": null, "chain_id": null })),
    ] {
        let response = Health { facilitator_reachable: reachable, network, uptime_s: 7 }.answer();
        assert_eq!(response.headers()[HeaderName::from_static("cache-control")], "no-store");
        let mut body: Value = serde_json::from_slice(response.body()).unwrap();
        let more = body.as_object_mut().unwrap();
        assert_eq!(
            (more.remove("uptime"), more.remove("version")),
            (Some(7.into()), Some(env!("CARGO_PKG_VERSION").into()))
        );
        assert_eq!(body, want);
    }
    for (stopping, journal, settlement, status) in
        [(false, true, true, 200), (true, true, true, 503), (false, false, true, 503), (false, true, false, 503)]
    {
        assert_eq!(Readiness { stopping, journal, settlement }.answer().status(), status);
    }
    assert_eq!(health::livez().status(), 200);
}
