//! Several endpoints, each of which says what a test wants.

use std::collections::BTreeMap;
use std::sync::Mutex;

use alloy_primitives::address;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const ACCOUNT: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");
const CHAIN_TX: B256 = B256::repeat_byte(7);

/// What an endpoint says.
#[derive(Default)]
struct Says {
    head: u64,
    chain_id: u64,
    genesis: u8,
    /// Which branch its newest blocks are of.
    branch: u8,
    /// It takes requests and answers none.
    hangs: bool,
    /// It breaks every connection.
    breaks: bool,
    /// It is asked too often.
    limited: bool,
    /// By method; an error where there is nothing.
    results: BTreeMap<&'static str, Value>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Fake {
    url: String,
    says: Arc<Mutex<Says>>,
}

impl Fake {
    async fn at(head: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(Says { head, chain_id: 1, ..Says::default() }));
        let shared = Arc::clone(&says);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, says }
    }

    fn says<T>(&self, change: impl FnOnce(&mut Says) -> T) -> T {
        change(&mut self.says.lock().unwrap())
    }

    /// Answers this method so.
    fn result(&self, method: &'static str, result: Value) {
        self.says(|says| says.results.insert(method, result));
    }

    fn forget(&self) {
        self.says(|says| says.asked.clear());
    }

    /// How often it was asked for something since the last look at this.
    fn asked(&self, method: &str) -> usize {
        self.says(|says| std::mem::take(&mut says.asked)).iter().filter(|asked| *asked == method).count()
    }
}

async fn serve(mut stream: TcpStream, says: Arc<Mutex<Says>>) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some(calls) = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
        else {
            continue;
        };
        bytes.clear();
        let body = {
            let mut says = says.lock().unwrap();
            if says.breaks {
                return;
            }
            Value::Array(calls.as_array().unwrap().iter().map(|call| says.answer(call)).collect()).to_string()
        };
        if says.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

impl Says {
    fn answer(&mut self, call: &Value) -> Value {
        let method = call["method"].as_str().unwrap();
        self.asked.push(method.to_owned());
        if self.limited {
            return json!({"id": call["id"], "error": {"code": -32005, "message": "limit exceeded"}});
        }
        let block = |number: u64| {
            let byte = if number == 0 { self.genesis } else { 1 + self.branch };
            json!({"number": format!("{number:#x}"), "hash": B256::repeat_byte(byte), "timestamp": "0x1"})
        };
        let result = match method {
            "eth_chainId" => json!(format!("{:#x}", self.chain_id)),
            "eth_blockNumber" => json!(format!("{:#x}", self.head)),
            "eth_getBlockByNumber" => match call["params"][0].as_str().unwrap() {
                "latest" => block(self.head),
                number => {
                    let number = u64::from_str_radix(number.trim_start_matches("0x"), 16).unwrap();
                    if number <= self.head { block(number) } else { Value::Null }
                }
            },
            method => match self.results.get(method) {
                Some(result) => result.clone(),
                None => return json!({"id": call["id"], "error": {"code": -32000, "message": "none of that"}}),
            },
        };
        json!({"id": call["id"], "result": result})
    }
}

/// Endpoints at these heights, identified and trusted.
async fn nodes(heads: &[u64], agree: usize) -> (Nodes, Vec<Fake>) {
    let fakes = join_all(heads.iter().map(|head| Fake::at(*head))).await;
    let urls: Vec<_> = fakes.iter().map(|fake| fake.url.clone()).collect();
    let nodes = Nodes::new(&urls, NodesTerms { chain_id: 1, timeout_ms: 3_000, lag_blocks: 3, agree }).unwrap();
    assert!(nodes.identify().await.iter().all(Result::is_ok));
    nodes.trust(B256::ZERO);
    nodes.look().await;
    fakes.iter().for_each(Fake::forget);
    (nodes, fakes)
}

fn disagreements(nodes: &Nodes) -> Vec<u64> {
    nodes.health().iter().map(|health| health.disagreements).collect()
}

const COUNT: &str = "eth_getTransactionCount";

#[tokio::test]
async fn the_next_is_asked_when_one_fails_and_the_first_again_when_it_is_back() {
    let (nodes, fakes) = nodes(&[9, 9], 1).await;
    fakes[0].result(COUNT, json!("0x5"));
    fakes[1].result(COUNT, json!("0x6"));
    let ask = async || nodes.sequence(ACCOUNT, BlockAt::Number(9)).await;
    assert_eq!((ask().await, fakes[1].asked(COUNT)), (Ok(5), 0));
    fakes[0].says(|says| says.breaks = true);
    for _ in 0..5 {
        assert_eq!(ask().await, Ok(6));
    }
    let [first, second] = [0, 1].map(|at| nodes.health()[at]);
    assert!(!first.up && first.faults == 5 && second.up && second.faults == 0, "{first:?} {second:?}");
    // It is left alone now, and is the last resort all the same.
    fakes[0].says(|says| says.breaks = false);
    fakes[0].forget();
    assert_eq!((ask().await, fakes[0].asked(COUNT)), (Ok(6), 0));
    fakes[1].says(|says| says.breaks = true);
    assert_eq!(ask().await, Ok(5));
    assert!(nodes.health()[0].up);
    fakes[0].says(|says| says.breaks = true);
    assert_eq!(ask().await, Err(NodeFault));
}

#[tokio::test]
async fn one_that_is_over_its_limit_is_down_as_well() {
    let (nodes, fakes) = nodes(&[9, 9], 1).await;
    fakes[0].says(|says| says.limited = true);
    fakes[1].result(COUNT, json!("0x6"));
    for _ in 0..5 {
        assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Number(9)).await, Ok(6));
    }
    assert!(!nodes.health()[0].up);
    fakes[0].forget();
    assert_eq!((nodes.sequence(ACCOUNT, BlockAt::Number(9)).await, fakes[0].asked(COUNT)), (Ok(6), 0));
}

#[tokio::test]
async fn one_that_hangs_takes_its_share_of_the_time_and_no_more() {
    let (nodes, fakes) = nodes(&[9, 9], 1).await;
    fakes[0].says(|says| says.hangs = true);
    fakes[1].result(COUNT, json!("0x6"));
    let start = Instant::now();
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Number(9)).await, Ok(6));
    assert!((1_400..3_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    fakes[1].says(|says| says.hangs = true);
    let start = Instant::now();
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Number(9)).await, Err(NodeFault));
    assert!(start.elapsed().as_millis() < 4_000, "{:?}", start.elapsed());
}

#[tokio::test]
async fn one_that_lags_is_not_read_from_until_it_has_caught_up() {
    let (nodes, fakes) = nodes(&[10, 20], 1).await;
    for (fake, count) in fakes.iter().zip(["0x5", "0x6"]) {
        fake.result(COUNT, json!(count));
        fake.result("eth_getBalance", json!(count));
    }
    assert_eq!(nodes.health().iter().map(|health| health.lag_blocks).collect::<Vec<_>>(), [10, 0]);
    assert_eq!(nodes.block(BlockAt::Latest).await.map(|block| block.number), Ok(20));
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Latest).await, Ok(6));
    assert_eq!(nodes.native_balance(ACCOUNT).await, Ok(U256::from(6)));
    assert_eq!((fakes[0].asked(COUNT), nodes.answer()), (0, true));
    // Without the other it is no stand-in either: it would say what was.
    fakes[1].says(|says| says.breaks = true);
    assert_eq!(nodes.block(BlockAt::Latest).await, Err(NodeFault));
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Latest).await, Err(NodeFault));
    assert_eq!(fakes[0].asked(COUNT), 0);
    fakes[0].says(|says| says.head = 17);
    assert_eq!(nodes.block(BlockAt::Latest).await.map(|block| block.number), Ok(17));
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Latest).await, Ok(5));
}

#[tokio::test]
async fn a_question_about_a_block_goes_to_one_that_has_it() {
    // Both keep up; the first does not have block 12 yet, and would answer as of what it has.
    let (nodes, fakes) = nodes(&[11, 12], 1).await;
    for (fake, count) in fakes.iter().zip(["0x5", "0x6"]) {
        fake.result(COUNT, json!(count));
        fake.result("eth_getLogs", json!([]));
    }
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Number(12)).await, Ok(6));
    assert_eq!((fakes[0].asked(COUNT), nodes.sequence(ACCOUNT, BlockAt::Number(11)).await), (0, Ok(5)));
    // What was seen of block 12 is not unseen: "no logs" counts of one that has it.
    fakes[0].says(|says| says.breaks = true);
    assert_eq!(nodes.block(BlockAt::Latest).await.map(|block| block.number), Ok(12));
    fakes[0].says(|says| says.breaks = false);
    assert_eq!(nodes.logs(ACCOUNT, &[], 3, place(12, 1)).await, Ok(Vec::new()));
    assert_eq!((fakes[0].asked("eth_getLogs"), fakes[1].asked("eth_getLogs")), (0, 1));
    fakes[1].says(|says| says.breaks = true);
    assert_eq!(nodes.logs(ACCOUNT, &[], 3, place(12, 1)).await, Err(NodeFault));
    assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Number(12)).await, Err(NodeFault));
    fakes[0].says(|says| says.head = 12);
    assert_eq!(nodes.logs(ACCOUNT, &[], 3, place(12, 1)).await, Ok(Vec::new()));
}

fn place(number: u64, byte: u8) -> BlockRef {
    BlockRef { number, hash: B256::repeat_byte(byte) }
}

/// Endpoints hear of a reorg one after the other. What belongs together is of one branch, and where nobody has that, nobody says it.
#[tokio::test]
async fn a_question_about_a_branch_is_answered_by_one_that_is_on_it() {
    let (nodes, fakes) = nodes(&[9, 9], 1).await;
    fakes.iter().for_each(|fake| fake.result("eth_getLogs", json!([])));
    fakes[1].says(|says| says.branch = 1);
    for (byte, there) in [(1, true), (2, true), (3, false)] {
        let head = place(9, byte);
        assert_eq!(nodes.logs(ACCOUNT, &[], 3, head).await.is_ok(), there, "{byte}");
        let want = if there { Ok(head.hash) } else { Err(NodeFault) };
        assert_eq!(nodes.under(head, 8).await.map(|block| block.hash), want, "{byte}");
        assert_eq!(nodes.block(BlockAt::Of(head)).await.map(|block| block.hash), want, "{byte}");
    }
    // Two that must agree, and are on two branches, do not.
    let (nodes, fakes) = self::nodes(&[9, 9], 2).await;
    fakes[1].says(|says| says.branch = 1);
    assert_eq!(nodes.under(place(9, 1), 8).await, Err(NodeFault));
    assert_eq!(nodes.block(BlockAt::Latest).await, Err(NodeFault));
}

#[tokio::test]
async fn as_many_as_must_agree_say_the_same() {
    const NO: Option<&str> = None;
    // What each says, how many must agree, what comes of it, and whose answers are held against them.
    for (says, agree, want, differ) in [
        (vec![Some("0x5"), Some("0x6")], 1, Ok(5), vec![0, 0]),
        (vec![Some("0x5"), Some("0x5")], 2, Ok(5), vec![0, 0]),
        (vec![Some("0x5"), Some("0x05")], 2, Ok(5), vec![0, 0]),
        (vec![Some("0x5"), Some("0x6")], 2, Err(NodeFault), vec![1, 1]),
        (vec![Some("0x5"), NO], 2, Err(NodeFault), vec![0, 0]),
        (vec![Some("0x5"), Some("0x6"), Some("0x5")], 2, Ok(5), vec![0, 1, 0]),
        (vec![Some("0x5"), Some("0x6"), Some("0x6")], 2, Ok(6), vec![1, 0, 0]),
        (vec![Some("0x5"), Some("0x6"), Some("0x7")], 2, Err(NodeFault), vec![1, 1, 1]),
        (vec![Some("0x5"), NO, Some("0x5")], 2, Ok(5), vec![0, 0, 0]),
        (vec![Some("0x5"), Some("0x5"), Some("0x6")], 3, Err(NodeFault), vec![1, 1, 1]),
        (vec![Some("0x5"), Some("0x5"), Some("0x5")], 3, Ok(5), vec![0, 0, 0]),
        (vec![NO, NO, NO], 2, Err(NodeFault), vec![0, 0, 0]),
    ] {
        let (nodes, fakes) = nodes(&vec![9; says.len()], agree).await;
        for (fake, count) in fakes.iter().zip(&says) {
            if let Some(count) = count {
                fake.result(COUNT, json!(count));
            }
        }
        let got = nodes.sequence(ACCOUNT, BlockAt::Number(9)).await;
        assert_eq!((got, disagreements(&nodes)), (want, differ), "{says:?} {agree}");
        // The newest block is resolved to one number first, and then it is the same question.
        assert_eq!(nodes.sequence(ACCOUNT, BlockAt::Latest).await, want, "{says:?} {agree}");
    }
}

#[tokio::test]
async fn the_newest_block_is_one_that_enough_have() {
    for (heads, agree, want) in [
        (vec![9, 12], 1, Ok(9)),
        (vec![9, 13], 1, Ok(13)),
        (vec![12, 10], 2, Ok(10)),
        (vec![12, 10, 11], 2, Ok(10)),
        // One of two is far behind, or far ahead: nobody can say who is right.
        (vec![12, 2], 2, Err(NodeFault)),
        // One of three is.
        (vec![2, 12, 11], 2, Ok(11)),
        (vec![900, 12, 11], 2, Ok(12)),
        (vec![900, 12, 11], 3, Err(NodeFault)),
    ] {
        let (nodes, _fakes) = nodes(&heads, agree).await;
        let got = nodes.block(BlockAt::Latest).await.map(|block| block.number);
        assert_eq!(got, want, "{heads:?} {agree}");
    }
    // They have it, and it is not the same.
    let (nodes, fakes) = nodes(&[9, 9], 2).await;
    fakes[1].says(|says| says.genesis = 5);
    assert_eq!(nodes.block(BlockAt::Number(0)).await, Err(NodeFault));
    assert_eq!(disagreements(&nodes), [1, 1]);
}

fn receipt(block: u64, success: bool, fee: &str) -> Value {
    json!({
        "blockNumber": format!("{block:#x}"), "blockHash": B256::repeat_byte(9), "status": if success { "0x1" } else { "0x0" }, "from": ACCOUNT, "logs": [],
        "transactionHash": CHAIN_TX, "gasUsed": fee, "effectiveGasPrice": "0x1",
    })
}

#[tokio::test]
async fn receipts_of_several() {
    let (none, good, bad) = (|| Value::Null, || receipt(9, true, "0x9"), || receipt(9, false, "0x9"));
    for (what, heads, says, agree, want, differ) in [
        ("any has it", [9, 9], [none(), good()], 1, "success, fee 9", [0, 0]),
        ("nobody has it", [9, 9], [none(), none()], 1, "none", [0, 0]),
        ("both have it", [9, 9], [good(), good()], 2, "success, fee 9", [0, 0]),
        ("neither has it", [9, 9], [none(), none()], 2, "none", [0, 0]),
        ("one denies it", [9, 9], [good(), none()], 2, "fault", [1, 1]),
        ("one is behind", [9, 8], [good(), none()], 2, "fault", [0, 0]),
        ("success and not", [9, 9], [good(), bad()], 2, "fault", [1, 1]),
        ("another block", [9, 9], [good(), receipt(8, true, "0x9")], 2, "fault", [1, 1]),
        ("another fee", [9, 9], [good(), receipt(9, true, "0x8")], 2, "success, no fee", [0, 0]),
        ("above the head", [9, 9], [receipt(10, true, "0x9"), none()], 1, "none", [0, 0]),
        ("above both heads", [9, 9], [receipt(10, true, "0x9"), receipt(10, true, "0x9")], 2, "fault", [0, 0]),
    ] {
        let (nodes, fakes) = nodes(&heads, agree).await;
        for (fake, says) in fakes.iter().zip(says) {
            fake.result("eth_getTransactionReceipt", says);
        }
        let got = match nodes.receipt(CHAIN_TX).await {
            Ok(None) => "none",
            Ok(Some(ChainReceipt { success: true, fee_wei: Some(9), .. })) => "success, fee 9",
            Ok(Some(ChainReceipt { success: true, fee_wei: None, .. })) => "success, no fee",
            Ok(Some(other)) => panic!("{what}: {other:?}"),
            Err(NodeFault) => "fault",
        };
        assert_eq!((got, disagreements(&nodes)), (want, differ.to_vec()), "{what}");
    }
}

/// A third decides, also for "there is none".
#[tokio::test]
async fn the_receipt_of_one_against_two() {
    for (says, want, differ) in [
        ([receipt(9, true, "0x9"), Value::Null, Value::Null], Ok(None), [1, 0, 0]),
        ([Value::Null, receipt(9, true, "0x9"), receipt(9, true, "0x9")], Ok(Some(true)), [1, 0, 0]),
        ([receipt(9, true, "0x9"), receipt(9, false, "0x9"), receipt(9, false, "0x9")], Ok(Some(false)), [1, 0, 0]),
        ([receipt(9, true, "0x9"), receipt(9, false, "0x9"), Value::Null], Err(NodeFault), [1, 1, 1]),
    ] {
        let (nodes, fakes) = nodes(&[9, 9, 9], 2).await;
        for (fake, says) in fakes.iter().zip(&says) {
            fake.result("eth_getTransactionReceipt", says.clone());
        }
        let got = nodes.receipt(CHAIN_TX).await.map(|receipt| receipt.map(|receipt| receipt.success));
        assert_eq!((got, disagreements(&nodes)), (want, differ.to_vec()), "{says:?}");
    }
}

#[tokio::test]
async fn what_is_sent_goes_to_all_and_is_taken_when_one_takes_it() {
    let (nodes, fakes) = nodes(&[9, 9, 9], 1).await;
    let send = async || nodes.send(&[Bytes::from_static(&[2])]).await;
    assert_eq!(send().await, Ok(vec![Sent::NotAccepted]));
    fakes[1].result("eth_sendRawTransaction", json!(CHAIN_TX));
    fakes.iter().for_each(Fake::forget);
    assert_eq!(send().await, Ok(vec![Sent::Accepted]));
    assert!(fakes.iter().all(|fake| fake.asked("eth_sendRawTransaction") == 1));
    // One that hangs holds nobody up.
    fakes[2].says(|says| says.hangs = true);
    let start = Instant::now();
    assert_eq!(send().await, Ok(vec![Sent::Accepted]));
    assert!(start.elapsed().as_millis() < 1_000, "{:?}", start.elapsed());
    for fake in &fakes {
        fake.says(|says| (says.hangs, says.breaks) = (false, true));
    }
    assert_eq!(send().await, Err(NodeFault));
}

#[tokio::test]
async fn one_on_another_chain_is_never_asked() {
    let fakes = join_all([9, 9].map(Fake::at)).await;
    fakes[0].says(|says| says.breaks = true);
    let urls: Vec<_> = fakes.iter().map(|fake| fake.url.clone()).collect();
    let terms = NodesTerms { chain_id: 1, timeout_ms: 3_000, lag_blocks: 3, agree: 1 };
    let nodes = Nodes::new(&urls, terms).unwrap();
    // Nobody is asked before his chain is known and trusted.
    assert_eq!(nodes.block(BlockAt::Latest).await, Err(NodeFault));
    let identity = Identity { chain_id: 1, genesis: B256::ZERO };
    assert_eq!(nodes.identify().await, [Err(NodeFault), Ok(identity)]);
    nodes.trust(identity.genesis);
    for (chain_id, genesis) in [(2, 0), (1, 5)] {
        fakes[0].says(|says| (says.breaks, says.chain_id, says.genesis, says.head) = (false, chain_id, genesis, 500));
        nodes.look().await;
        assert_eq!(nodes.block(BlockAt::Latest).await.map(|block| block.number), Ok(9));
        assert!(!nodes.health()[0].up && nodes.answer());
    }
    // What one says of its own is no secret's place.
    assert_eq!(format!("{nodes:?}"), "Nodes(2)");
}
