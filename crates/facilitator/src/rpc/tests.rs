//! The adapter against a listener that says whatever a node, or what stands before one, may say.

use alloy_primitives::address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const ACCOUNT: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");

/// Answers one request with these bytes and gives back its body; an empty answer leaves the request waiting.
async fn answer(listener: TcpListener, head: String, body: Vec<u8>) -> Value {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let asked = loop {
        let mut chunk = [0; 4_096];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the request ends early");
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((_, sent)) = text.split_once("\r\n\r\n")
            && let Ok(asked) = serde_json::from_str(sent)
        {
            break asked;
        }
    };
    if head.is_empty() {
        std::future::pending::<()>().await;
    }
    stream.write_all(head.as_bytes()).await.unwrap();
    // A client that has had enough hangs up.
    stream.write_all(&body).await.ok();
    asked
}

/// Two `eth_call`s against an answer with this status and body.
async fn two_calls(status: &str, body: &str) -> Result<Vec<CallResult>, NodeFault> {
    let call = EthCall { from: Address::ZERO, to: ACCOUNT, data: Bytes::from_static(&[1]), gas_max: None };
    with(status, body, async |node| node.calls(&[call.clone(), call.clone()], BlockAt::Number(255)).await).await.0
}

/// Runs `ask` against one answer; also what was asked.
async fn with<T>(status: &str, body: &str, ask: impl AsyncFnOnce(HttpNode) -> T) -> (T, Value) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    with_bytes(head, body.as_bytes().to_vec(), ask).await
}

async fn with_bytes<T>(head: String, body: Vec<u8>, ask: impl AsyncFnOnce(HttpNode) -> T) -> (T, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = HttpNode::new(&format!("http://{}", listener.local_addr().unwrap()), 60_000).unwrap();
    tokio::join!(ask(node), answer(listener, head, body))
}

fn word(results: &Result<Vec<CallResult>, NodeFault>) -> String {
    let one = |result: &CallResult| match result {
        CallResult::Returned(bytes) => hex::encode_prefixed(bytes),
        CallResult::Reverted => "reverted".to_owned(),
    };
    match results {
        Ok(results) => results.iter().map(one).collect::<Vec<_>>().join(" "),
        Err(NodeFault) => "fault".to_owned(),
    }
}

#[tokio::test]
async fn what_a_batch_may_be_answered_with() {
    for (body, want) in [
        (r#"[{"id":0,"result":"0x01"},{"id":1,"result":"0x02"}]"#, "0x01 0x02"),
        (r#"[{"id":1,"result":"0x02"},{"id":0,"result":"0x01"}]"#, "0x01 0x02"),
        (r#"[{"id":0,"result":"0x","error":null},{"id":1,"result":"0x02"}]"#, "0x 0x02"),
        // A revert, by its code or in words.
        (r#"[{"id":0,"error":{"code":3,"message":""}},{"id":1,"result":"0x"}]"#, "reverted 0x"),
        (r#"[{"id":0,"error":{"code":-32000,"message":"execution reverted"}},{"id":1,"result":"0x"}]"#, "reverted 0x"),
        (
            r#"[{"id":0,"error":{"code":-32015,"message":"VM Exception: Revert"}},{"id":1,"result":"0x"}]"#,
            "reverted 0x",
        ),
        // The contract came to another end that is no answer; nodes say that in words alone.
        (r#"[{"id":0,"error":{"code":-32000,"message":"out of gas"}},{"id":1,"result":"0x"}]"#, "reverted 0x"),
        (r#"[{"id":0,"error":{"code":-32603,"message":"EVM error: OutOfGas"}},{"id":1,"result":"0x"}]"#, "reverted 0x"),
        (
            r#"[{"id":0,"error":{"code":-32000,"message":"invalid opcode: INVALID"}},{"id":1,"result":"0x"}]"#,
            "reverted 0x",
        ),
        (
            r#"[{"id":0,"error":{"code":-32000,"message":"invalid jump destination"}},{"id":1,"result":"0x"}]"#,
            "reverted 0x",
        ),
        (
            r#"[{"id":0,"error":{"code":-32000,"message":"Stack Underflow (0 <=> 2)"}},{"id":1,"result":"0x"}]"#,
            "reverted 0x",
        ),
        (
            r#"[{"id":0,"error":{"code":-32000,"message":"stack limit reached 1024 (1023)"}},{"id":1,"result":"0x"}]"#,
            "reverted 0x",
        ),
        (r#"[{"id":0,"error":{"code":-32000,"message":"write protection"}},{"id":1,"result":"0x"}]"#, "reverted 0x"),
        // Anything else that went wrong is the node's.
        (
            r#"[{"id":0,"error":{"code":-32000,"message":"insufficient funds for gas"}},{"id":1,"result":"0x"}]"#,
            "fault",
        ),
        (
            r#"[{"id":0,"error":{"code":-32000,"message":"execution aborted (timeout)"}},{"id":1,"result":"0x"}]"#,
            "fault",
        ),
        (r#"[{"id":0,"error":{"code":-32000,"message":"header not found"}},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"error":{"code":-32005,"message":"limit exceeded"}},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"error":{}},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"error":"no"},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"result":null},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"result":1},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x1"},{"id":1,"result":"0x"}]"#, "fault"),
        (r#"[{"id":0,"result":"zz"},{"id":1,"result":"0x"}]"#, "fault"),
        // Ids.
        (r#"[{"id":0,"result":"0x01"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x01"},{"id":0,"result":"0x02"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x01"},{"id":2,"result":"0x02"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x01"},{"id":null,"result":"0x02"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x01"},{"id":"1","result":"0x02"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x01"},{"id":-1,"result":"0x02"}]"#, "fault"),
        (r#"[{"id":0,"result":"0x01"},7]"#, "fault"),
        // Not a batch.
        ("[]", "fault"),
        ("{}", "fault"),
        (r#"{"id":null,"error":{"code":-32600,"message":"batch too large"}}"#, "fault"),
        ("null", "fault"),
        ("", "fault"),
        ("<html>", "fault"),
        (r#"[{"id":0,"result":"0x01"},"#, "fault"),
    ] {
        assert_eq!(word(&two_calls("200 OK", body).await), want, "{body}");
    }
}

#[tokio::test]
async fn a_status_other_than_success_is_a_fault_whatever_the_body_says() {
    let body = r#"[{"id":0,"result":"0x01"},{"id":1,"result":"0x02"}]"#;
    for (status, want) in [
        ("200 OK", "0x01 0x02"),
        ("301 Moved\r\nlocation: http://127.0.0.1:1/", "fault"),
        ("400 Bad Request", "fault"),
        ("401 Unauthorized", "fault"),
        ("429 Too Many Requests", "fault"),
        ("500 Internal Server Error", "fault"),
        ("503 Service Unavailable", "fault"),
    ] {
        assert_eq!(word(&two_calls(status, body).await), want, "{status}");
    }
}

#[tokio::test]
async fn answers_that_end_early_or_never() {
    let good = br#"[{"id":0,"result":"0x1"}]"#.to_vec();
    let spaces = |count: usize| [good.clone(), vec![b' '; count - good.len()]].concat();
    for (what, length, body, want) in [
        ("whole", good.len(), good.clone(), Ok(1)),
        ("cut", good.len() + 1, good.clone(), Err(NodeFault)),
        ("largest", ANSWER_MAX_BYTES, spaces(ANSWER_MAX_BYTES), Ok(1)),
        ("too large", ANSWER_MAX_BYTES + 1, spaces(ANSWER_MAX_BYTES + 1), Err(NodeFault)),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        assert_eq!(with_bytes(head, body, async |node| node.chain_id().await).await.0, want, "{what}");
    }
}

/// The clock stands still and jumps when nothing else is left to do: no time is waited for.
#[tokio::test(start_paused = true)]
async fn a_node_that_never_answers_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = HttpNode::new(&format!("http://{}", listener.local_addr().unwrap()), 5_000).unwrap();
    let silent = answer(listener, String::new(), Vec::new());
    let started = tokio::time::Instant::now();
    tokio::select! {
        answered = node.chain_id() => assert_eq!(answered, Err(NodeFault)),
        _ = silent => unreachable!("the listener waits for ever"),
    }
    assert!(started.elapsed().as_millis() >= 5_000);
}

#[tokio::test]
async fn a_node_that_is_not_there_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = HttpNode::new(&format!("http://{}", listener.local_addr().unwrap()), 60_000).unwrap();
    drop(listener);
    assert_eq!(node.chain_id().await, Err(NodeFault));
}

#[tokio::test]
async fn what_is_asked() {
    let (_, asked) = with("200 OK", "[]", async |node| {
        let call = EthCall { from: Address::ZERO, to: ACCOUNT, data: Bytes::from_static(&[1, 2]), gas_max: None };
        node.calls(&[call], BlockAt::Number(255)).await
    })
    .await;
    let to = ACCOUNT.to_string().to_ascii_lowercase();
    let from = format!("{:?}", Address::ZERO);
    let call = json!([{"from": from, "to": to, "data": "0x0102"}, "0xff"]);
    assert_eq!(asked, json!([{"jsonrpc": "2.0", "id": 0, "method": "eth_call", "params": call}]));

    // The gas of a trial, where there is a bound on it.
    let (_, asked) = with("200 OK", "[]", async |node| {
        let call = EthCall { from: Address::ZERO, to: ACCOUNT, data: Bytes::new(), gas_max: Some(200_000) };
        node.calls(&[EthCall { gas_max: None, ..call.clone() }, call], BlockAt::Latest).await
    })
    .await;
    let bare = json!({"from": from, "to": to, "data": "0x"});
    let bound = json!({"from": from, "to": to, "data": "0x", "gas": "0x30d40"});
    assert_eq!((&asked[0]["params"], &asked[1]["params"]), (&json!([bare, "latest"]), &json!([bound, "latest"])));

    // How many chain_txs are in blocks up to one.
    let here = BlockRef { number: 255, hash: B256::repeat_byte(9) };
    for (at, tag) in [
        (BlockAt::Number(255), json!("0xff")),
        (BlockAt::Latest, json!("latest")),
        (BlockAt::Of(here), json!({"blockHash": here.hash, "requireCanonical": true})),
    ] {
        let (_, asked) = with("200 OK", "[]", async |node| node.sequence(ACCOUNT, at).await).await;
        assert_eq!((&asked[0]["method"], &asked[0]["params"]), (&json!("eth_getTransactionCount"), &json!([to, tag])));
    }

    let topic = B256::repeat_byte(1);
    let topics = [vec![topic, B256::ZERO], vec![topic]];
    let (_, asked) = with("200 OK", "[]", async |node| node.logs(ACCOUNT, &topics, 101, here).await).await;
    let filter = json!([{"address": to, "topics": topics, "fromBlock": "0x65", "toBlock": "0xff"}]);
    assert_eq!((&asked[1]["method"], &asked[1]["params"]), (&json!("eth_getLogs"), &filter));
    let (_, asked_under) = with("200 OK", "[]", async |node| node.under(here, 16).await).await;
    assert_eq!(asked_under[1]["params"], json!(["0x10", false]));
    for look in [&asked[0], &asked[2], &asked_under[0], &asked_under[2]] {
        assert_eq!((&look["method"], &look["params"]), (&json!("eth_getBlockByNumber"), &json!(["0xff", false])));
    }
}

/// What can be asked by height alone counts where the same endpoint had the block before and after it.
#[tokio::test]
async fn what_is_said_between_two_looks_at_a_block() {
    let (here, other) = (B256::repeat_byte(9), B256::repeat_byte(8));
    let head = BlockRef { number: 0x68, hash: here };
    let block = |number: &str, hash: B256| json!({"number": number, "hash": hash, "timestamp": "0x1"});
    let is = |hash: B256| block("0x68", hash);
    for (before, after, fine) in [
        (is(here), is(here), true),
        (is(other), is(here), false),
        (is(here), is(other), false),
        (is(other), is(other), false),
        (Value::Null, is(here), false),
        (is(here), Value::Null, false),
    ] {
        let around = |result: Value| {
            json!([{"id": 0, "result": before}, {"id": 1, "result": result}, {"id": 2, "result": after}]).to_string()
        };
        let logs = around(json!([]));
        let got = with("200 OK", &logs, async |node| node.logs(ACCOUNT, &[], 1, head).await).await.0;
        assert_eq!(got.is_ok(), fine, "{logs}");
        for (number, right) in [("0x60", true), ("0x61", false)] {
            let under = around(block(number, other));
            let got = with("200 OK", &under, async |node| node.under(head, 0x60).await).await.0;
            assert_eq!(got.map(|block| block.hash), if fine && right { Ok(other) } else { Err(NodeFault) }, "{under}");
        }
    }
    let refused =
        json!([{"id": 0, "result": is(here)}, {"id": 1, "error": {"code": -32005}}, {"id": 2, "result": is(here)}]);
    let got = with("200 OK", &refused.to_string(), async |node| node.logs(ACCOUNT, &[], 1, head).await).await.0;
    assert_eq!(got, Err(NodeFault));
}

#[tokio::test]
async fn receipts() {
    let receipt = json!({
        "blockNumber": "0x68", "blockHash": B256::repeat_byte(9), "status": "0x1", "from": ACCOUNT, "logs": [{
            "address": ACCOUNT, "topics": [B256::ZERO], "data": "0x07", "transactionHash": B256::ZERO, "blockNumber": "0x68",
            "blockHash": B256::repeat_byte(9),
        }],
    });
    let bent = |name: &str, value: Value| {
        let mut receipt = receipt.clone();
        receipt[name] = value;
        receipt
    };
    for (result, want) in [
        (receipt.clone(), "success with 1 log"),
        (bent("status", json!("0x0")), "revert with 1 log"),
        (bent("status", json!("0x2")), "revert with 1 log"),
        (bent("logs", json!([])), "success with 0 log"),
        // Known, and in no block yet.
        (bent("blockNumber", Value::Null), "none"),
        (Value::Null, "none"),
        // A receipt that cannot be read is neither a success nor a revert.
        (bent("status", Value::Null), "fault"),
        (bent("blockHash", Value::Null), "fault"),
        (bent("status", json!(1)), "fault"),
        (bent("logs", Value::Null), "fault"),
        (bent("logs", json!([{}])), "fault"),
        (bent("from", json!("0x")), "fault"),
        (json!("0x"), "none"),
    ] {
        let body = json!([{"id": 0, "result": result}]).to_string();
        let got = with("200 OK", &body, async |node| node.receipt(B256::ZERO).await).await.0;
        let got = match got {
            Ok(None) => "none".to_owned(),
            Ok(Some(ChainReceipt { success: true, block: 104, logs, .. })) => {
                format!("success with {} log", logs.len())
            }
            Ok(Some(ChainReceipt { success: false, block: 104, logs, .. })) => {
                format!("revert with {} log", logs.len())
            }
            Ok(Some(other)) => panic!("{other:?}"),
            Err(NodeFault) => "fault".to_owned(),
        };
        assert_eq!(got, want, "{body}");
    }
}

/// Where a receipt's logs, or the logs of a search, are of something else, nothing of it is believed.
#[tokio::test]
async fn what_does_not_belong_together() {
    let (other, topic) = (B256::repeat_byte(9), B256::repeat_byte(1));
    let log = json!({
        "address": ACCOUNT, "topics": [topic, other], "data": "0x", "transactionHash": B256::ZERO, "blockNumber": "0x68",
        "blockHash": other,
    });
    let bent = |name: &str, value: Value| {
        let mut log = log.clone();
        log[name] = value;
        log
    };
    let receipt = |name: &str, log: &Value| json!({"transactionHash": name, "blockNumber": "0x68", "blockHash": B256::repeat_byte(9), "status": "0x1", "from": ACCOUNT, "logs": [log]});
    let zero = B256::ZERO.to_string();
    for (name, log, fine) in [
        (&zero, log.clone(), true),
        (&other.to_string(), log.clone(), false),
        (&zero, bent("transactionHash", json!(other)), false),
        (&zero, bent("blockNumber", json!("0x67")), false),
        (&zero, bent("blockHash", json!(topic)), false),
        (&zero, bent("blockHash", Value::Null), false),
    ] {
        let body = json!([{"id": 0, "result": receipt(name, &log)}]).to_string();
        let got = with("200 OK", &body, async |node| node.receipt(B256::ZERO).await).await.0;
        assert_eq!(got.is_ok(), fine, "{body}");
    }
    for (log, fine) in [
        (log.clone(), true),
        (bent("address", json!(Address::ZERO)), false),
        (bent("blockNumber", json!("0x66")), false),
        (bent("blockNumber", json!("0x69")), false),
        (bent("topics", json!([other, other])), false),
        (bent("topics", json!([topic, topic])), true),
        (bent("topics", json!([])), false),
    ] {
        let body = json!([{"id": 0, "result": [log]}]).to_string();
        let topics = [vec![topic, B256::ZERO], vec![]];
        let got = with("200 OK", &body, async |node| node.logs_between(ACCOUNT, &topics, 0x67, 0x68).await).await.0;
        assert_eq!(got.is_ok(), fine, "{body}");
    }
    let block = r#"[{"id":0,"result":{"number":"0x68","hash":"HASH","timestamp":"0x1"}}]"#.replace("HASH", &zero);
    let of = |number, hash| BlockAt::Of(BlockRef { number, hash });
    for (at, fine) in [
        (BlockAt::Number(0x68), true),
        (BlockAt::Number(0x69), false),
        (of(0x68, B256::ZERO), true),
        (of(0x69, B256::ZERO), false),
        (of(0x68, other), false),
    ] {
        let (got, asked) = with("200 OK", &block, async |node| node.block(at).await).await;
        assert_eq!(got.is_ok(), fine, "{at:?}");
        assert!(asked[0]["params"][0].is_string(), "{asked}");
    }
}

#[tokio::test]
async fn what_a_node_says_to_a_chain_tx() {
    use Sent::{Accepted, Known, NotAccepted, SequenceUsed, Underpriced};
    let error = |message: &str| json!({"code": -32000, "message": message});
    for (answer, want) in [
        (json!({"id": 0, "result": B256::ZERO}), Accepted),
        (json!({"id": 0, "error": error("already known")}), Known),
        (json!({"id": 0, "error": error("Transaction ALREADY imported")}), Known),
        (json!({"id": 0, "error": error("nonce too low")}), SequenceUsed),
        (json!({"id": 0, "error": error("INTERNAL_ERROR: nonce too low: next nonce 5, tx nonce 4")}), SequenceUsed),
        (json!({"id": 0, "error": error("OldNonce, Current nonce: 5, nonce of rejected tx: 4")}), SequenceUsed),
        (json!({"id": 0, "error": error("transaction underpriced")}), NotAccepted),
        (json!({"id": 0, "error": error("insufficient funds for gas")}), NotAccepted),
        (json!({"id": 0, "error": error("replacement transaction underpriced")}), Underpriced),
    ] {
        let body = json!([answer]).to_string();
        let got = with("200 OK", &body, async |node| node.send(&[Bytes::from_static(&[2])]).await).await.0;
        assert_eq!(got, Ok(vec![want]), "{body}");
    }
}

#[tokio::test]
async fn fees() {
    let block = r#"{"id":0,"result":{"baseFeePerGas":"0x7"}}"#;
    for (first, second, want) in [
        (block, r#"{"id":1,"result":"0x5"}"#, Ok((7, 5))),
        (block, r#"{"id":1,"error":{"code":-32601,"message":"the method does not exist"}}"#, Ok((7, 1_000_000_000))),
        (block, r#"{"id":1,"result":null}"#, Err(NodeFault)),
        (r#"{"id":0,"result":{}}"#, r#"{"id":1,"result":"0x5"}"#, Err(NodeFault)),
        (r#"{"id":0,"result":null}"#, r#"{"id":1,"result":"0x5"}"#, Err(NodeFault)),
        (r#"{"id":0,"error":{"code":-32005,"message":"limit"}}"#, r#"{"id":1,"result":"0x5"}"#, Err(NodeFault)),
        // A node that is busy knows the method: a gwei would be a thousand times what such a chain takes.
        (block, r#"{"id":1,"error":{"code":-32005,"message":"limit exceeded"}}"#, Err(NodeFault)),
    ] {
        let body = format!("[{first},{second}]");
        let got = with("200 OK", &body, async |node| node.fees().await).await.0;
        assert_eq!(got.map(|fees| (fees.base, fees.tip)), want, "{body}");
    }
}

/// Gas used, its price, a rollup's fee for the data; what the sender paid. Without it the receipt counts all the same.
#[tokio::test]
async fn what_a_chain_tx_has_cost() {
    let max = format!("{:#x}", u128::MAX);
    let null = Value::Null;
    let not_said = || json!("absent");
    for (gas, price, data, want) in [
        (json!("0x5208"), json!("0x3b9aca00"), not_said(), Some(21_000_000_000_000)),
        (json!("0x5208"), json!("0x0"), not_said(), Some(0)),
        (json!("0x2"), json!("0x3"), null.clone(), Some(6)),
        // The OP stack.
        (json!("0x2"), json!("0x3"), json!("0x0"), Some(6)),
        (json!("0x2"), json!("0x3"), json!("0x4"), Some(10)),
        (json!("0x1"), json!(max), not_said(), Some(u128::MAX)),
        (json!("0x1"), json!(max), json!("0x0"), Some(u128::MAX)),
        // Not said, or nothing that can be read: it is not guessed.
        (not_said(), json!("0x3"), not_said(), None),
        (json!("0x2"), not_said(), not_said(), None),
        (json!("0x2"), null.clone(), not_said(), None),
        (null, json!("0x3"), not_said(), None),
        (json!(2), json!("0x3"), not_said(), None),
        (json!("0x2"), json!("zz"), not_said(), None),
        (json!("0x2"), json!("0x3"), json!(4), None),
        (json!("0x2"), json!("0x3"), json!("zz"), None),
        // More than any number here holds.
        (json!("0x2"), json!(max), not_said(), None),
        (json!("0x1"), json!(max), json!("0x1"), None),
        (json!("0x1"), json!(format!("{max}0")), not_said(), None),
    ] {
        let hash = B256::repeat_byte(9);
        let mut receipt =
            json!({"blockNumber": "0x68", "blockHash": hash, "status": "0x1", "from": ACCOUNT, "logs": []});
        for (name, value) in [("gasUsed", gas), ("effectiveGasPrice", price), ("l1Fee", data)] {
            if value != not_said() {
                receipt[name] = value;
            }
        }
        let body = json!([{"id": 0, "result": receipt}]).to_string();
        let got = with("200 OK", &body, async |node| node.receipt(B256::ZERO).await).await.0;
        assert_eq!(got.unwrap().unwrap().fee_wei, want, "{body}");
    }
}
