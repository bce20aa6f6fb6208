//! A facilitator of somebody else that settles for real, and fails as a test says.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::chain::USDC;

use super::{SETTLER, land_json};

/// What it says whenever it fails. None of it may ever reach a caller.
pub(crate) const WORDS: &str = "words-of-another-system";
/// A token that it may be shown.
pub(crate) const TOKEN: &str = "a-token-that-nobody-may-read";

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// As it should.
    Well,
    /// A status with an HTML page.
    Status(u16),
    /// 200 with what is no JSON.
    Garbage,
    /// 200 without a body.
    Empty,
    /// 200 with more than anybody should read.
    Huge,
    /// Breaks the connection off.
    Reset,
    /// Says nothing.
    Hang,
    /// Moves the money, then breaks the connection off.
    Lost,
    /// Moves the money, then says nothing.
    LostHang,
    /// Moves the money, then says 500.
    Lost500,
    /// Moves the money, and says that it is pending.
    Pending,
    /// Says that it is pending, and does nothing.
    NeverMined,
    /// Says that it has moved it, with a hash that it made up.
    MadeUp,
    /// Says yes without a hash.
    Hashless,
    /// Says no, for this reason.
    Refuse(&'static str),
}

#[derive(Default)]
struct State {
    verify: Option<Act>,
    settle: Option<Act>,
    /// Before the lasting one.
    settle_first: VecDeque<Act>,
    /// Path, headers in lower case, body.
    seen: Vec<(String, String, Value)>,
    /// By nonce: a good facilitator answers a repeated settlement with the same chain_tx.
    settled: BTreeMap<String, String>,
    open: Vec<TcpStream>,
    dead: bool,
}

/// A running facilitator. It goes with the test's process.
pub(crate) struct Facilitator {
    url: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Facilitator {
    /// One that settles on the chain behind this node.
    pub(crate) fn start(rpc_url: &str) -> Self {
        Self::speaking(rpc_url, 2, "eip155:84532")
    }

    /// One that supports this version and network alone.
    pub(crate) fn speaking(rpc_url: &str, version: u8, network: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let (shared, rpc_url) = (Arc::clone(&state), rpc_url.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut now = shared.0.lock().unwrap();
                if now.dead {
                    return;
                }
                now.open.push(stream.try_clone().expect("a socket"));
                let (shared, rpc_url) = (Arc::clone(&shared), rpc_url.clone());
                let kinds = json!({"kinds": [{"x402Version": version, "scheme": "exact", "network": network}]});
                thread::spawn(move || serve(&stream, &shared, &rpc_url, &kinds));
            }
        });
        Self { url, state }
    }

    /// The address of one that is not there.
    pub(crate) fn nowhere() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("an address"))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it does with every `/verify` from now on.
    pub(crate) fn at_verify(&self, act: Act) {
        self.state.0.lock().unwrap().verify = Some(act);
    }

    /// What it does with every `/settle` from now on. Whatever hangs is let go.
    pub(crate) fn at_settle(&self, act: Act) {
        self.state.0.lock().unwrap().settle = Some(act);
        self.state.1.notify_all();
    }

    /// What it does with the next `/settle`, before that.
    pub(crate) fn first_at_settle(&self, act: Act) {
        self.state.0.lock().unwrap().settle_first.push_back(act);
    }

    /// Ends it: nothing listens on its port any more.
    pub(crate) fn die(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.dead = true;
        for stream in state.open.drain(..) {
            // It may be gone already.
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(state);
        // So that it looks up from its listener.
        drop(TcpStream::connect(self.url.trim_start_matches("http://")));
    }

    /// How many requests came for a path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.state.0.lock().unwrap().seen.iter().filter(|(seen, _, _)| seen == path).count()
    }

    /// Headers and body of every request for a path.
    pub(crate) fn requests(&self, path: &str) -> Vec<(String, Value)> {
        let state = self.state.0.lock().unwrap();
        let seen = state.seen.iter().filter(|(seen, _, _)| seen == path);
        seen.map(|(_, headers, body)| (headers.clone(), body.clone())).collect()
    }
}

fn serve(mut stream: &TcpStream, state: &(Mutex<State>, Condvar), rpc_url: &str, kinds: &Value) {
    stream.set_nodelay(true).expect("a socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while let Some((path, headers, body)) = read(&mut reader) {
        let act = {
            let mut now = state.0.lock().unwrap();
            now.seen.push((path.clone(), headers, body.clone()));
            match path.as_str() {
                "/verify" => now.verify.unwrap_or(Act::Well),
                "/settle" => now.settle_first.pop_front().or(now.settle).unwrap_or(Act::Well),
                _ => Act::Well,
            }
        };
        let answer = match path.as_str() {
            "/supported" => Some((200, kinds.to_string())),
            "/verify" | "/settle" => answer(act, &path, &body, state, rpc_url),
            _ => Some((404, WORDS.to_owned())),
        };
        let Some((status, text)) = answer else {
            // The caller may have gone.
            drop(stream.shutdown(Shutdown::Both));
            return;
        };
        let head = format!(
            "HTTP/1.1 {status} {WORDS}\r\ncontent-type: application/json\r\nx-words: {WORDS}\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if stream.write_all(format!("{head}{text}").as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(act: Act, path: &str, body: &Value, state: &(Mutex<State>, Condvar), rpc_url: &str) -> Option<(u16, String)> {
    let hang = || {
        let asked = state.0.lock().unwrap();
        let still = |now: &mut State| !now.dead && now.settle == Some(act) || now.verify == Some(act);
        drop(state.1.wait_timeout_while(asked, Duration::from_secs(60), still));
    };
    let moved = |success: bool, reason: Value| {
        let (chain_tx, network) = (settle(state, rpc_url, body)?, &body["paymentRequirements"]["network"]);
        let (payer, transaction) = (&body["paymentPayload"]["payload"]["authorization"]["from"], chain_tx);
        Some(
            json!({"success": success, "errorReason": reason, "transaction": transaction, "network": network, "payer": payer}),
        )
    };
    let no = |reason: &str, chain_tx: &str| {
        json!({"isValid": false, "invalidReason": reason, "invalidMessage": WORDS,
               "success": false, "errorReason": reason, "errorMessage": WORDS, "transaction": chain_tx})
    };
    let made_up = format!("0x{}", "5e".repeat(32));
    let said = match act {
        Act::Well if path == "/verify" => json!({"isValid": true, "payer": "0x0"}),
        Act::Well => moved(true, Value::Null).unwrap_or_else(|| no("invalid_exact_evm_nonce_already_used", "")),
        Act::Status(status) => return Some((status, format!("<html>{WORDS}</html>"))),
        Act::Garbage => return Some((200, format!("{{\"isValid\": true {WORDS}"))),
        Act::Empty => return Some((200, String::new())),
        Act::Huge => json!({"isValid": true, "success": true, "transaction": made_up, "more": WORDS.repeat(10_000)}),
        Act::Reset => return None,
        Act::Hang => {
            hang();
            return None;
        }
        Act::Lost => {
            moved(true, Value::Null)?;
            return None;
        }
        Act::LostHang => {
            moved(true, Value::Null)?;
            hang();
            return None;
        }
        Act::Lost500 => {
            moved(true, Value::Null)?;
            return Some((500, no("unexpected_settle_error", "").to_string()));
        }
        Act::Pending => moved(false, "settlement_pending".into())?,
        Act::NeverMined => no("settlement_pending", &made_up),
        Act::MadeUp => json!({"isValid": true, "success": true, "transaction": made_up}),
        Act::Hashless => json!({"isValid": true, "success": true, "transaction": ""}),
        Act::Refuse(reason) => no(reason, ""),
    };
    Some((200, said.to_string()))
}

/// Moves the money, once for each nonce. `None` where somebody else has.
fn settle(state: &(Mutex<State>, Condvar), rpc_url: &str, body: &Value) -> Option<String> {
    let payload = &body["paymentPayload"]["payload"];
    let nonce = payload["authorization"]["nonce"].as_str()?.to_owned();
    // Held throughout: it takes one settlement at a time.
    let mut now = state.0.lock().unwrap();
    if let Some(chain_tx) = now.settled.get(&nonce) {
        return Some(chain_tx.clone());
    }
    let data = land_json(payload)?;
    let request = json!({"from": SETTLER.address, "to": USDC, "data": data, "gas": "0xf4240"});
    rpc(rpc_url, "eth_call", json!([request, "latest"]))?;
    rpc(rpc_url, "anvil_impersonateAccount", json!([SETTLER.address]))?;
    let chain_tx = rpc(rpc_url, "eth_sendTransaction", json!([request]))?.as_str()?.to_owned();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let receipt = rpc(rpc_url, "eth_getTransactionReceipt", json!([chain_tx])).unwrap_or_default();
        if !receipt.is_null() {
            if receipt["status"] != "0x1" {
                return None;
            }
            now.settled.insert(nonce, chain_tx.clone());
            return Some(chain_tx);
        }
        assert!(Instant::now() < end, "the chain did not mine {chain_tx}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn rpc(url: &str, method: &str, params: Value) -> Option<Value> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut answer = ureq::post(url).send_json(&request).ok()?;
    let mut answer: Value = answer.body_mut().read_json().ok()?;
    answer.get("error").is_none().then(|| answer["result"].take())
}

/// Path, headers and body of a request.
pub(super) fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        headers.push_str(&header.to_ascii_lowercase());
    }
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((path, headers, serde_json::from_slice(&body).unwrap_or_default()))
}
