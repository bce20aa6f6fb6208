//! The catalogue: what was settled, what servers say of themselves with their key, and what hostile words become.

use alloy_primitives::eip191_hash_message;
use protocol::Key;
use serde_json::{Value, json};
use xtask::chain::{ChainOptions, KEYS, TestKey};

use crate::kit::{FUNDS, PAYEE, PAYER, Payer, Service, fresh, get, request, start_chain, until};

const SELLER: &TestKey = &KEYS[5];

fn listed(service: &Service, query: &str) -> Value {
    let answer = get(&format!("{}/discovery/{query}", service.url()), &[]);
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A registration, signed by a key.
fn register(service: &Service, key: &TestKey, listing: &Value) -> crate::kit::Answer {
    let text = listing.to_string();
    let signature = Key::from_hex(key.secret).unwrap().sign_now(eip191_hash_message(&text)).unwrap();
    let body = json!({ "listing": text, "signature": format!("{signature:?}") }).to_string();
    request("POST", &format!("{}/discovery/resources", service.url()), &[], body.as_bytes())
}

fn listing(resource: &str, payee: &str) -> Value {
    json!({
        "resource": resource, "issuedAt": now(), "description": "Rain, by the hour", "serviceName": "Weather", "tags": ["rain"],
        "accepts": [{
            "scheme": "exact", "network": "eip155:84532", "amount": "10000", "payTo": payee, "maxTimeoutSeconds": 60,
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "extra": { "name": "USDC", "version": "2" },
        }],
    })
}

#[test]
fn what_was_settled_is_listed_and_hostile_words_are_not() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let mut service = Service::start(chain.rpc_url());
    let payer = Payer::new(PAYER);
    let settle = |service: &Service, resource: Value, bazaar: Value| {
        let mut body = fresh(&payer);
        body["paymentPayload"]["resource"] = resource;
        body["paymentPayload"]["extensions"] = json!({ "bazaar": bazaar });
        assert_eq!(service.settle(&body).json()["success"], true);
        body
    };
    let info = json!({ "info": { "input": { "type": "http", "method": "GET" } }, "schema": { "evil": true } });
    let good = json!({
        "url": "https://Api.Example.com:443/weather?key=SECRET#top", "description": "Weather\u{202e}\n now", "mimeType": "application/json",
        "serviceName": "Weather", "tags": ["a", "b\u{0}", "c"], "iconUrl": "https://api.example.com/i.png",
    });
    let body = settle(&service, good, info.clone());
    // A repeat settles nothing, and counts for nothing.
    service.settle(&body);
    // Its server has not asked for it.
    settle(&service, json!({ "url": "https://quiet.example.com/user/SECRET" }), Value::Null);
    // None of these is a public URL.
    for url in [
        "http://127.0.0.1/x",
        "http://0x7f.1/x",
        "http://2130706433/x",
        "http://[::1]/x",
        "http://localhost/x",
        "http://%6c%6f%63alhost/x",
        "https://user@api.example.com/",
        "ftp://api.example.com/",
        "javascript:alert(1)",
        "https://router.lan/",
        "//api.example.com/",
        "https://intranet/",
        "https://a.localhost./",
        "https://\u{ff11}\u{ff12}7.0.0.1/",
    ] {
        settle(&service, json!({ "url": url }), info.clone());
    }
    let odd = json!({ "url": "https://odd.example.com/", "serviceName": "x".repeat(33), "tags": [7, "ok"], "iconUrl": "http://10.0.0.1/i",
                      "description": 7 });
    settle(
        &service,
        odd,
        json!({ "info": { "input": { "type": "http", "method": "GET" } }, "routeTemplate": "//../x" }),
    );
    settle(
        &service,
        json!({ "url": "https://shell.example.com/" }),
        json!({ "info": { "input": { "type": "shell" } } }),
    );
    until("both are listed", || listed(&service, "resources")["pagination"]["total"] == 2);
    for _ in 0..2 {
        let items = listed(&service, "resources?type=http&limit=100");
        let find =
            |url: &str| items["items"].as_array().unwrap().iter().find(|item| item["resource"] == url).unwrap().clone();
        let good = find("https://api.example.com/weather");
        assert_eq!(
            (&good["description"], &good["serviceName"], &good["tags"]),
            (&"Weather  now".into(), &"Weather".into(), &json!(["a", "c"]))
        );
        assert_eq!(
            (&good["settled"], &good["signedByPayee"], &good["x402Version"]),
            (&json!(1), &json!(false), &json!(2))
        );
        assert_eq!(good["accepts"][0]["payTo"], PAYEE);
        assert_eq!(good["extensions"]["bazaar"]["info"]["input"]["method"], "GET");
        assert!(good["extensions"]["bazaar"]["schema"].get("evil").is_none(), "{good}");
        assert!(good["lastUpdated"].as_u64().is_some_and(|at| at.abs_diff(now()) < 60));
        let odd = find("https://odd.example.com/");
        for name in ["serviceName", "iconUrl", "description"] {
            assert!(odd.get(name).is_none(), "{name}: {odd}");
        }
        assert_eq!(odd["tags"], json!(["ok"]));
        assert!(odd["extensions"]["bazaar"].get("routeTemplate").is_none(), "{odd}");
        // It is the same after a restart.
        service.kill_and_restart();
    }
}

#[test]
fn a_server_lists_itself_with_the_key_that_is_paid() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    let service = Service::start(chain.rpc_url());
    let url = "https://rain.example.com/hourly";
    let ours = listing(url, SELLER.address);
    let answer = register(&service, SELLER, &ours);
    assert_eq!((answer.status, &answer.json()["signedByPayee"]), (200, &json!(true)), "{}", answer.text());
    let change = |name: &str, value: Value| {
        let mut changed = ours.clone();
        changed[name] = value;
        changed
    };
    for (key, listing, why) in [
        (&KEYS[6], ours.clone(), "not signed by the address"),
        (SELLER, listing(url, PAYEE), "not signed by the address"),
        (SELLER, change("issuedAt", json!(now() - 400)), "issuedAt"),
        (SELLER, change("issuedAt", json!(now() + 400)), "issuedAt"),
        (SELLER, change("resource", json!("http://127.0.0.1/")), "resource"),
        (SELLER, change("accepts", json!([])), "accepts"),
        (SELLER, change("accepts", json!([{ "scheme": "exact" }])), "accepts"),
    ] {
        let answer = register(&service, key, &listing);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_listing"));
        assert!(answer.json()["message"].as_str().unwrap().contains(why), "{why}: {}", answer.text());
    }
    // What was signed once is not taken twice, nor what was signed before something newer.
    for listing in [ours.clone(), change("issuedAt", json!(now() - 60))] {
        let answer = register(&service, SELLER, &listing);
        assert!(answer.json()["message"].as_str().unwrap().contains("not later"), "{}", answer.text());
    }
    for body in ["", "{}", "{\"listing\": {}, \"signature\": \"0x\"}", "{\"listing\": \"{}\", \"signature\": \"0x00\"}"]
    {
        let answer =
            request("POST", &format!("{}/discovery/resources", service.url()), &[], format!("{body} ").as_bytes());
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    register(&service, &KEYS[7], &listing("https://other.example.com/snow", KEYS[7].address));
    for (query, total) in [
        ("", 2),
        (&format!("?payTo={}", SELLER.address.to_lowercase()), 1),
        ("?network=eip155:8453", 0),
        ("?scheme=exact&type=http", 2),
        ("?type=mcp", 0),
        ("?extensions=bazaar", 0),
    ] {
        assert_eq!(listed(&service, &format!("resources{query}"))["pagination"]["total"], total, "{query}");
    }
    let found = listed(&service, "search?query=hourly+RAIN&limit=1");
    assert_eq!((&found["resources"][0]["resource"], &found["pagination"]["cursor"]), (&url.into(), &"1".into()));
    let rest = listed(&service, "search?query=hourly+RAIN&limit=1&cursor=1");
    assert_eq!((rest["resources"].as_array().unwrap().len(), &rest["pagination"]["cursor"]), (1, &Value::Null));
    for query in ["resources?limit=0", "resources?limit=101", "resources?offset=x", "search?limit=-1"] {
        let answer = get(&format!("{}/discovery/{query}", service.url()), &[]);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_query"), "{query}");
    }
    let remove = json!({ "resource": url, "issuedAt": now() + 2, "remove": true });
    assert_eq!(register(&service, &KEYS[6], &remove).status, 200);
    assert_eq!(listed(&service, "resources")["pagination"]["total"], 2, "another's key removes another's");
    assert_eq!(register(&service, SELLER, &remove).status, 200);
    assert_eq!(listed(&service, "resources")["pagination"]["total"], 1);
    assert!(register(&service, SELLER, &ours).json()["message"].as_str().unwrap().contains("not later"));
    let quiet = Service::with(chain.rpc_url(), "open: true, discovery: false", "");
    assert_eq!(get(&format!("{}/discovery/resources", quiet.url()), &[]).status, 404);
    assert_eq!(register(&quiet, SELLER, &ours).status, 404);
    let supported = get(&format!("{}/supported", service.url()), &[]).json();
    assert_eq!(supported["extensions"], json!(["bazaar"]));
    let kinds = json!([{ "x402Version": 2, "scheme": "exact", "network": "eip155:84532" },
                       { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" }]);
    assert_eq!(supported["kinds"], kinds);
    assert_eq!(
        supported["signers"]["eip155:*"][0].as_str().map(str::to_lowercase),
        Some(KEYS[1].address.to_lowercase())
    );
}
