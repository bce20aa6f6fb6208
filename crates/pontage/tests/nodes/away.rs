//! Nodes that are not there, or on another chain.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::*;

#[test]
fn the_first_node_is_down_at_start() {
    let chain = chain(ChainOptions::default());
    let (nowhere, url) = (Facilitator::nowhere(), chain.rpc_url().to_owned());
    let mut world = world(chain, &[&nowhere, &url], GateOptions::default());
    for _ in 0..3 {
        served(&world, &Paying::new(&world).get(&world));
    }
    assert_eq!((figure(&world, "pontage_rpc_up", 0), figure(&world, "pontage_rpc_up", 1)), (0, 1));
    assert_eq!(get(&format!("http://{}/readyz", admin(&world)), &[]).status, 200);
    assert!(world.gate.log().contains("rpc_urls[0]"), "{}", world.gate.log());
    keeps_secrets(&world, &[&nowhere, &url]);
    world.agree();
    assert_eq!(world.paid(), 3 * PRICE);

    // The audit asks the same nodes.
    assert!(world.gate.stop().success());
    let folder = world.gate.journal().parent().unwrap().to_owned();
    let audit = pontage(&["ledger", "audit"], &folder);
    assert_eq!(audit.0, Some(0), "{}", audit.1);
    assert!(audit.1.contains("3 payments: 3 matched"), "{}", audit.1);
}

#[test]
fn the_first_node_goes_down_under_load_and_comes_back() {
    const CALLERS: u64 = 4;
    const CALLS: u64 = 15;
    let chain = chain(ChainOptions::default());
    let (link, url) = (Link::to(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[link.url(), &url], GateOptions::uncapped());
    let payers: Vec<_> = (0..CALLERS).map(|caller| Payer::numbered(0x6e6f_6465 + caller)).collect();
    for payer in &payers {
        world.chain.mint(&payer.address(), FUNDS).unwrap();
    }
    thread::scope(|scope| {
        for (caller, payer) in payers.iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                for call in 0..CALLS {
                    let answer = payer.buy(&world.url(&format!("/paid/ok?{caller}-{call}")));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        let half = usize::try_from(CALLERS * CALLS / 2).unwrap();
        until("half of the calls ran", || world.origin.runs("/paid/ok?") >= half);
        link.cut();
    });
    assert!(figure(&world, "pontage_rpc_faults_total", 0) > 0);
    assert_eq!((world.origin.runs("/paid/ok?"), world.origin.most_runs("/paid/ok?")), (60, 1));
    world.agree();
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (60 * PRICE, FUNDS));
    until("it is known to be down", || figure(&world, "pontage_rpc_up", 0) == 0);
    link.mend();
    until("it is back", || figure(&world, "pontage_rpc_up", 0) == 1);
    served(&world, &Paying::new(&world).get(&world));
    world.agree();
}

/// It takes connections, and says nothing.
#[test]
fn a_node_that_hangs_holds_nobody_up_for_long() {
    let chain = chain(ChainOptions::default());
    let (link, url) = (Link::to(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[link.url(), &url], GateOptions::direct());
    link.hold("jsonrpc", "\u{0}");
    let start = Instant::now();
    served(&world, &Paying::new(&world).get(&world));
    until("it is known to be down", || figure(&world, "pontage_rpc_up", 0) == 0);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let start = Instant::now();
    served(&world, &Paying::new(&world).get(&world));
    assert!(start.elapsed().as_millis() < 2_000, "{:?}", start.elapsed());
    link.let_go("jsonrpc");
    world.agree();
    assert_eq!(world.paid(), 2 * PRICE);
}

#[test]
fn without_any_node_it_is_a_fault_and_never_a_402() {
    let chain = chain(ChainOptions::default());
    let (first, second) = (Link::to(chain.rpc_url()), Link::to(chain.rpc_url()));
    let world = world(chain, &[first.url(), second.url()], GateOptions::default());
    let payment = Paying::new(&world);
    first.cut();
    second.cut();
    for _ in 0..3 {
        chain_unavailable(&payment.get(&world));
    }
    until("it is not ready", || get(&format!("http://{}/readyz", admin(&world)), &[]).status == 503);
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (0, 0));
    second.mend();
    served(&world, &payment.get(&world));
    world.agree();
    assert_eq!(world.paid(), PRICE);
}

#[test]
fn a_node_on_another_chain_is_named_by_its_place() {
    let chain = chain(ChainOptions::default());
    let other = start_chain(ChainOptions { chain_id: 31337, ..ChainOptions::default() });
    let said = refuses(&[chain.rpc_url(), other.rpc_url()]);
    assert!(said.contains("networks.eip155:84532.rpc_urls[1]: this node is on eip155:31337"), "{said}");
    assert!(!said.contains(other.rpc_url().trim_start_matches("http://")), "{said}");

    // The same id, and another first block: anvil stamps it with the second in which it starts.
    let first = |chain: &Chain| chain.rpc("eth_getBlockByNumber", json!(["0x0", false])).unwrap()["hash"].take();
    let mut twin = None;
    until("a chain with another first block", || {
        let other = start_chain(ChainOptions::default());
        let differs = first(&other) != first(&chain);
        twin = Some(other);
        differs
    });
    let twin = twin.unwrap();
    let said = refuses(&[chain.rpc_url(), twin.rpc_url()]);
    assert!(said.contains("networks.eip155:84532.rpc_urls[1]: this node is on another chain"), "{said}");

    // One that was down at start is found out when it comes, and never asked.
    let link = Link::to(twin.rpc_url());
    link.cut();
    let url = chain.rpc_url().to_owned();
    let world = world(chain, &[link.url(), &url], GateOptions::default());
    link.mend();
    until("it is found out", || world.gate.log().contains("a chain node is on another chain"));
    served(&world, &Paying::new(&world).get(&world));
    assert_eq!(figure(&world, "pontage_rpc_up", 0), 0);
    let sent = twin.rpc("eth_getTransactionCount", json!([SETTLER.address, "latest"])).unwrap();
    assert_eq!(sent, "0x0");
    world.agree();
}

/// A command on the configuration of a folder: its exit code and what it said.
fn pontage(words: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(words).arg("--config").arg(folder.join("pontage.yaml")).env("PONTAGE_SIGNER_KEY", SETTLER.secret);
    let ran = command.output().unwrap();
    (ran.status.code(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

/// A start on these nodes, which must be refused.
fn refuses(nodes: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"http://127.0.0.1:9\" }}\n\
         routes: [{{ path: /paid, price: \"0.01\" }}]\nnetworks:\n  eip155:84532: {{ rpc_urls: {} }}\n\
         facilitator: {{ signer: {{ env: PONTAGE_SIGNER_KEY }} }}\n",
        json!(nodes)
    );
    std::fs::write(folder.path().join("pontage.yaml"), text).unwrap();
    let (code, said) = pontage(&["start"], folder.path());
    assert_eq!(code, Some(1), "{said}");
    said
}
