//! A chain node that does not tell things as they are: it stands before a real one and bends what that one says.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::facilitator::read;

/// What it does.
#[derive(Clone, Debug, Default)]
pub(crate) enum Way {
    /// Passes everything on.
    #[default]
    Straight,
    /// Knows no block after this one.
    Behind(u64),
    /// Has no receipts.
    Blind,
    /// Has this receipt for every chain_tx, in its newest block.
    Forging(Value),
    /// Takes every chain_tx, and breaks the connection in the place of an answer.
    Losing,
    /// Says that no authorization was ever used, and finds no logs.
    Unused,
}

/// A node of ill will, or of bad health.
pub(crate) struct Bent {
    url: String,
    way: Arc<Mutex<Way>>,
}

impl Bent {
    /// One that tells the truth at first.
    pub(crate) fn before(rpc_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/KEY-OF-A-NODE", listener.local_addr().expect("an address"));
        let way = Arc::new(Mutex::new(Way::Straight));
        let (shared, rpc_url) = (Arc::clone(&way), rpc_url.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, rpc_url) = (Arc::clone(&shared), rpc_url.clone());
                thread::spawn(move || serve(stream, &shared, &rpc_url));
            }
        });
        Self { url, way }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn be(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

fn serve(mut stream: TcpStream, way: &Mutex<Way>, rpc_url: &str) {
    stream.set_nodelay(true).expect("a socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while let Some((_, _, calls)) = read(&mut reader) {
        let way = way.lock().unwrap().clone();
        let calls = calls.as_array().expect("a batch");
        let answers: Vec<_> = calls.iter().map(|call| bend(call, &way, rpc_url)).collect();
        let sends = calls.iter().any(|call| call["method"] == "eth_sendRawTransaction");
        if sends && matches!(way, Way::Losing) {
            return;
        }
        let body = Value::Array(answers).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

/// The answer to one call.
fn bend(call: &Value, way: &Way, rpc_url: &str) -> Value {
    let method = call["method"].as_str().expect("a method");
    let bent = match way {
        Way::Straight | Way::Losing => None,
        Way::Behind(block) => return behind(call, method, *block, rpc_url),
        Way::Blind => (method == "eth_getTransactionReceipt").then_some(Value::Null),
        Way::Forging(receipt) => (method == "eth_getTransactionReceipt").then(|| forged(call, receipt, rpc_url)),
        // authorizationState(address,bytes32)
        Way::Unused
            if method == "eth_call" && call["params"][0]["data"].as_str().unwrap().starts_with("0xe94a0102") =>
        {
            Some(json!(format!("0x{:064x}", 0)))
        }
        Way::Unused => (method == "eth_getLogs").then(|| json!([])),
    };
    match bent {
        Some(result) => answer(call, result),
        None => truth(call, rpc_url),
    }
}

fn answer(call: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

/// What the real node says.
fn truth(call: &Value, rpc_url: &str) -> Value {
    let sent = ureq::post(rpc_url).send_json(call).and_then(|mut answer| answer.body_mut().read_json());
    sent.unwrap_or_else(|_| json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": "away"}}))
}

/// As of an older block.
fn behind(call: &Value, method: &str, block: u64, rpc_url: &str) -> Value {
    let newer = |at: &Value| {
        let by_hash = at.get("blockHash").map(|hash| {
            let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByHash", "params": [hash, false]});
            truth(&asked, rpc_url)["result"]["number"].take()
        });
        let number = by_hash.as_ref().unwrap_or(at);
        let number = number.as_str().and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        number.is_some_and(|number| number > block)
    };
    let unknown =
        || json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": "header not found"}});
    let mut call = call.clone();
    let tag = match method {
        "eth_blockNumber" => return answer(&call, json!(format!("{block:#x}"))),
        "eth_getBlockByNumber" => Some(0),
        "eth_call" | "eth_getTransactionCount" | "eth_getBalance" => Some(1),
        _ => None,
    };
    if let Some(at) = tag {
        if newer(&call["params"][at]) {
            return if method == "eth_getBlockByNumber" { answer(&call, Value::Null) } else { unknown() };
        }
        if call["params"][at] == "latest" {
            call["params"][at] = json!(format!("{block:#x}"));
        }
    }
    if method == "eth_getLogs" {
        if newer(&call["params"][0]["fromBlock"]) {
            return answer(&call, json!([]));
        }
        call["params"][0]["toBlock"] = json!(format!("{block:#x}"));
    }
    let told = truth(&call, rpc_url);
    let hidden = method == "eth_getTransactionReceipt" && newer(&told["result"]["blockNumber"]);
    if hidden { answer(&call, Value::Null) } else { told }
}

/// The forged receipt, as if it were of the chain_tx that is asked for.
fn forged(call: &Value, receipt: &Value, rpc_url: &str) -> Value {
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", false]});
    let head = truth(&asked, rpc_url)["result"].take();
    let mut receipt = receipt.clone();
    receipt["blockNumber"] = head["number"].clone();
    receipt["blockHash"] = head["hash"].clone();
    receipt["transactionHash"] = call["params"][0].clone();
    for log in receipt["logs"].as_array_mut().expect("logs") {
        log["blockNumber"] = head["number"].clone();
        log["blockHash"] = head["hash"].clone();
        log["transactionHash"] = call["params"][0].clone();
    }
    receipt
}
