//! A facilitator for the servers of others that dies.

use alloy_primitives::eip191_hash_message;
use protocol::Key;
use serde_json::{Value, json};
use xtask::chain::KEYS;

use super::kit::{Answer, FUNDS, PAYEE, PAYER, PRICE, Payer, Service, fresh, get, try_post, until};
use super::stage::chain;

fn total(service: &Service) -> Value {
    get(&format!("{}/discovery/resources", service.url()), &[]).json()["pagination"]["total"].clone()
}

/// Asks until there is an answer that says what became of the money.
fn settle(service: &Service, body: &Value) -> Answer {
    let mut answer = service.settle(body);
    until("the settlement is known", || {
        answer = service.settle(body);
        answer.status == 200 && answer.json()["success"] == true
    });
    answer
}

pub(crate) fn settles(point: &str) {
    let chain = chain();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let mut service = Service::start(chain.rpc_url());
    let mut body = fresh(&Payer::new(PAYER));
    body["paymentPayload"]["resource"] = json!({ "url": "https://api.example.com/rain" });
    body["paymentPayload"]["extensions"] =
        json!({ "bazaar": { "info": { "input": { "type": "http", "method": "GET" } } } });
    service.restart_to_die(point);
    let first = try_post(service.url(), "/settle", &body);
    service.died_and_restart(point);
    let again = settle(&service, &body).json();
    if let Some(first) = first.map(|first| first.json()) {
        assert_eq!((&first["success"], &first["transaction"]), (&true.into(), &again["transaction"]), "{first}");
    }
    let moved = chain.transfers_to(PAYEE).unwrap();
    assert_eq!((moved.len(), chain.balance(PAYEE).unwrap()), (1, PRICE), "it moved once");
    assert_eq!(again["transaction"], moved[0].chain_tx);
    let books = service.books();
    assert_eq!((books.holds("posted"), books.unfinished(), books.unbalanced()), (1, 0, 0));
    assert_eq!(books.posted_chain_txs(), [moved[0].chain_tx.clone()]);
}

pub(crate) fn forgets(point: &str) {
    let chain = chain();
    let mut service = Service::start(chain.rpc_url());
    let seller = &KEYS[5];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let say = |listing: Value| {
        let text = listing.to_string();
        let signature = Key::from_hex(seller.secret).unwrap().sign_now(eip191_hash_message(&text)).unwrap();
        json!({ "listing": text, "signature": format!("{signature:?}") })
    };
    let add = say(json!({
        "resource": "https://rain.example.com/hourly", "issuedAt": now - 10, "description": "Rain, by the hour",
        "accepts": [{
            "scheme": "exact", "network": "eip155:84532", "amount": "10000", "payTo": seller.address, "maxTimeoutSeconds": 60,
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "extra": { "name": "USDC", "version": "2" },
        }],
    }));
    // The newest word of a payee counts.
    let gone = |at: u64| say(json!({ "resource": "https://rain.example.com/hourly", "issuedAt": at, "remove": true }));
    assert_eq!(try_post(service.url(), "/discovery/resources", &add).unwrap().status, 200);
    service.restart_to_die(point);
    assert!(try_post(service.url(), "/discovery/resources", &gone(now - 5)).is_none());
    service.died_and_restart(point);
    assert_eq!(total(&service), u8::from(point.starts_with("before")), "as durable as it was");
    assert_eq!(try_post(service.url(), "/discovery/resources", &gone(now)).unwrap().status, 200);
    assert_eq!(total(&service), 0);
}
