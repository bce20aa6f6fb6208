//! Several nodes of one network: one that is away, one that lags, one that lies. Each looked at in the books and on the chain.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "nodes/away.rs"]
mod away;
#[path = "nodes/behind.rs"]
mod behind;
#[path = "kit/kit.rs"]
mod kit;
#[path = "nodes/lies.rs"]
mod lies;

use std::thread;

use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use serde_json::{Value, json};
use xtask::chain::{Chain, ChainOptions, USDC};

use kit::{
    Answer, Bent, FUNDS, Facilitator, Gate, GateOptions, Link, Origin, PAYEE, PAYER, PRICE, Payer, SETTLER, Way, World,
    get, land, start_chain, until,
};

/// A chain with a payer who has funds.
fn chain(options: ChainOptions) -> Chain {
    let chain = start_chain(options);
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    chain
}

/// A gate on these nodes of one chain, the first is the best.
fn world(chain: Chain, nodes: &[&str], options: GateOptions) -> World {
    let (first, others) = nodes.split_first().unwrap();
    let options = GateOptions {
        nodes: others.iter().map(|url| (*url).to_owned()).collect(),
        more: format!("admin: {{ listen: \"127.0.0.1:0\" }}\n{}", options.more),
        ..options
    };
    let origin = Origin::start();
    let gate = Gate::start(first, &origin.url(), &options);
    World { gate, origin, chain, payer: Payer::new(PAYER) }
}

/// Two nodes must say the same.
fn two_agree() -> GateOptions {
    GateOptions { network: "rpc_agree: 2", ..GateOptions::direct() }
}

/// A signed payment that was not sent yet.
struct Paying {
    offer: Offer,
    fields: Fields,
    header: String,
}

impl Paying {
    fn new(world: &World) -> Self {
        let offer = Payer::offer(&world.url("/paid/ok"));
        let fields = world.payer.fields(&offer);
        let header = world.payer.sign(Version::V2, &offer, &fields);
        Self { offer, fields, header }
    }

    fn get(&self, world: &World) -> Answer {
        get(&world.url("/paid/ok"), &[("payment-signature", &self.header)])
    }
}

/// Where metrics and health are told.
fn admin(world: &World) -> String {
    let mut admin = String::new();
    until("the admin listener is named", || {
        let log = world.gate.log();
        let line = log.lines().find(|line| line.contains("the admin listener"));
        let line = line.and_then(|line| serde_json::from_str::<Value>(line).ok());
        admin = line.and_then(|line| line["address"].as_str().map(str::to_owned)).unwrap_or_default();
        !admin.is_empty()
    });
    admin
}

/// One figure of one endpoint.
fn figure(world: &World, name: &str, endpoint: usize) -> u64 {
    let page = get(&format!("http://{}/metrics", admin(world)), &[]).text();
    let series = format!("{name}{{network=\"eip155:84532\",endpoint=\"{endpoint}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{series}\n{page}"));
    line.parse().unwrap()
}

fn served(world: &World, answer: &Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
    world.settled(answer);
}

/// Ours to say, and no reason to pay again.
fn chain_unavailable(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (503, "chain_unavailable"), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
}

/// No address of a node is anywhere in the log.
fn keeps_secrets(world: &World, urls: &[&str]) {
    let log = world.gate.log();
    for url in urls {
        let address = url.trim_start_matches("http://");
        assert!(!log.contains(address), "{address} is in the log:\n{log}");
    }
    assert!(!log.contains("KEY-OF-A-NODE"), "{log}");
}
