//! Reference servers have their payments settled by us, and reference clients pay them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use xtask::chain::ChainOptions;
use xtask::peers;

use crate::kit::{FUNDS, PAYEE, PAYER, PRICE, Service, TOKEN, root, start_chain, until};

/// A reference server. Killed when dropped.
struct Server {
    child: Child,
    url: String,
    runs: Arc<Mutex<usize>>,
}

impl Server {
    fn start(program: &Path, script: &str, facilitator: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(root().join("peers").join(script)).arg(facilitator).env("FACILITATOR_TOKEN", TOKEN);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let listens = lines.next().expect("the server speaks").expect("text");
        let address = listens.strip_prefix("Listening on ").unwrap_or_else(|| panic!("{listens}")).to_owned();
        let runs = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&runs);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *counted.lock().unwrap() += usize::from(line == "ran");
            }
        });
        Self { child, url: format!("http://{address}/paid"), runs }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn node() -> PathBuf {
    peers::servers(&root()).expect("the npm servers are installed");
    "node".into()
}

fn python() -> PathBuf {
    peers::python_servers(&root()).expect("the Python servers are installed")
}

/// Each of these clients buys once from a server, and everything agrees: client, server, facilitator and chain.
fn sells(program: &Path, script: &str, clients: &[&str]) {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().expect("the token is planted");
    chain.mint(PAYER.address, FUNDS).expect("the payer is funded");
    let service = Service::start(chain.rpc_url());
    let server = Server::start(program, script, service.url());
    for (at, client) in clients.iter().enumerate() {
        let program = match client.ends_with(".py") {
            true => peers::python(&root()).expect("the Python clients are installed"),
            false => {
                peers::npm(&root()).expect("the npm clients are installed");
                "node".into()
            }
        };
        let mut pay = Command::new(program);
        let output =
            pay.arg(root().join("peers").join(client)).arg(&server.url).env("PAYER_KEY", PAYER.secret).output();
        let output = output.expect("the client starts");
        assert!(output.status.success(), "{client}: {}\n{}", String::from_utf8_lossy(&output.stderr), service.log());
        let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
        assert_eq!(
            (&answer["status"], &answer["body"]),
            (&200.into(), &"served".into()),
            "{client}: {answer}\n{}",
            service.log()
        );
        assert_eq!(answer["receipt"]["success"], true, "{client}: {answer}");

        let transfers = chain.transfers_to(PAYEE).expect("the chain answers");
        assert_eq!(transfers.len(), at + 1, "{client}");
        let last = transfers.last().expect("a transfer");
        assert_eq!(answer["receipt"]["transaction"].as_str(), Some(last.chain_tx.as_str()), "{client}");
        until("the handler says that it ran", || *server.runs.lock().unwrap() == at + 1);
    }
    let count = u128::try_from(clients.len()).expect("few");
    assert_eq!(chain.balance(PAYEE).expect("the chain answers"), count * PRICE);
    let books = service.books();
    assert_eq!((books.holds("posted"), books.unfinished(), books.unbalanced()), (clients.len(), 0, 0));
}

const V2_CLIENTS: [&str; 4] = ["js/pay-fetch.mjs", "js/pay-axios.mjs", "python/pay_httpx.py", "python/pay_requests.py"];

#[test]
fn npm_x402_express() {
    sells(&node(), "servers/serve-express.mjs", &V2_CLIENTS);
}

#[test]
fn npm_x402_hono() {
    sells(&node(), "servers/serve-hono.mjs", &V2_CLIENTS);
}

#[test]
fn npm_x402_express_v1() {
    sells(&node(), "servers/serve-express-v1.mjs", &["js/pay-fetch-v1.mjs", "js/pay-fetch.mjs"]);
}

#[test]
fn pypi_x402_fastapi() {
    sells(&python(), "servers-python/serve_fastapi.py", &V2_CLIENTS);
}

#[test]
fn pypi_x402_flask() {
    sells(&python(), "servers-python/serve_flask.py", &V2_CLIENTS);
}
