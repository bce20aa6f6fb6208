use alloy_primitives::{Address, hex};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Options;

const START_S: u64 = 1_800_000_000;

fn chain() -> Chain {
    Chain::new(&Options::default(), START_S)
}

fn ask(chain: &mut Chain, body: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(&answer(chain, START_S, body.as_ref())).unwrap()
}

fn call(chain: &mut Chain, method: &str, params: &Value) -> Value {
    ask(chain, json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
}

#[test]
fn what_is_no_request() {
    let too_many = format!("[{}]", vec!["1"; BATCH_MAX + 1].join(","));
    let deep = "[".repeat(100_000);
    let cases: [(&str, i64, &str); 12] = [
        ("", -32700, "parse error: the body is not JSON"),
        ("{", -32700, "parse error: the body is not JSON"),
        (&deep, -32700, "parse error: the body is not JSON"),
        ("[]", -32600, "invalid request: the batch is empty"),
        (&too_many, -32600, "invalid request: a batch may have 1000 calls, not 1001"),
        ("1", -32600, "invalid request: a call is an object"),
        ("{}", -32600, "invalid request: `jsonrpc` is \"2.0\" and `method` is there"),
        (
            r#"{"jsonrpc":"1.0","method":"eth_chainId","id":1}"#,
            -32600,
            "invalid request: `jsonrpc` is \"2.0\" and `method` is there",
        ),
        (r#"{"jsonrpc":"2.0","method":7,"id":1}"#, -32600, "invalid request: `method` is a string"),
        (
            r#"{"jsonrpc":"2.0","method":"eth_chainId","id":{}}"#,
            -32600,
            "invalid request: `id` is a string, a number or null",
        ),
        (r#"{"jsonrpc":"2.0","method":"eth_chain","id":1}"#, -32601, "the method eth_chain does not exist"),
        (
            r#"{"jsonrpc":"2.0","method":"eth_chainId","params":{},"id":1}"#,
            -32602,
            "invalid params: `params` is a list",
        ),
    ];
    for (body, code, words) in cases {
        let error = &ask(&mut chain(), body)["error"];
        assert_eq!((error["code"].as_i64(), error["message"].as_str()), (Some(code), Some(words)), "{body:.80}");
    }
}

#[test]
fn a_batch_is_answered_call_by_call() {
    let chain = &mut chain();
    let answers = ask(
        chain,
        r#"[{"jsonrpc":"2.0","id":"a","method":"eth_chainId"},7,{"jsonrpc":"2.0","method":"evm_mine"},{"jsonrpc":"2.0","id":null,"method":"eth_blockNumber"}]"#,
    );
    assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": "a", "result": "0x14a34"}));
    assert_eq!(answers[1]["error"]["code"], -32600);
    // The one without an id is run and not answered.
    assert_eq!(answers[2], json!({"jsonrpc": "2.0", "id": null, "result": "0x1"}));
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert!(answer(chain, START_S, br#"{"jsonrpc":"2.0","method":"evm_mine"}"#).is_empty());
}

#[test]
fn the_parameter_that_is_wrong_is_named() {
    let account = Address::ZERO;
    let cases = [
        ("eth_getBalance", json!([]), "parameter 1 is an address of 20 bytes in 0x hex"),
        (
            "eth_getBalance",
            json!(["0x0x11111111111111111111111111111111111111"]),
            "parameter 1 is an address of 20 bytes in 0x hex",
        ),
        ("eth_getBalance", json!([account, "newest"]), "parameter 2 is a quantity of at most 32 bytes in 0x hex"),
        (
            "eth_getBalance",
            json!([account, "0x10000000000000000"]),
            "parameter 2 is a quantity of at most 8 bytes in 0x hex",
        ),
        ("eth_call", json!([7]), "parameter 1 is an object"),
        ("eth_call", json!([{"data": "0x1"}]), "parameter 1 `data` is bytes in 0x hex"),
        ("eth_call", json!([{"data": "0x12", "input": "0x13"}]), "parameter 1 `data` is not `input`"),
        ("eth_call", json!([{}, "latest", {}]), "parameter 3 is for state overrides, which are not supported"),
        ("eth_sendTransaction", json!([{}]), "parameter 1 `from` is missing"),
        (
            "eth_sendRawTransaction",
            json!(["0x03"]),
            "parameter 1 is refused: blob transactions (EIP-4844, type 3) are not supported",
        ),
        ("eth_getLogs", json!([{"topics": [1]}]), "parameter 1 `topics` is 32 bytes in 0x hex"),
        (
            "eth_getLogs",
            json!([{"fromBlock": "0x0", "blockHash": alloy_primitives::B256::ZERO}]),
            "parameter 1 `blockHash` excludes `fromBlock` and `toBlock`",
        ),
        ("evm_setAutomine", json!(["yes"]), "parameter 1 is true or false"),
        ("anvil_mine", json!(["0xffffffff"]), "parameter 1 is 10000 blocks at most"),
        ("evm_increaseTime", json!([u64::MAX]), "parameter 1 is a century of seconds at most"),
    ];
    for (method, params, words) in cases {
        let error = &call(&mut chain(), method, &params)["error"];
        assert_eq!(error["message"], format!("invalid params: {words}"), "{method} {params}");
        assert_eq!(error["code"], -32602);
    }
}

#[test]
fn a_call_that_cannot_begin_says_why() {
    let chain = &mut chain();
    let poor = Address::repeat_byte(3);
    let cases = [
        (json!({"from": poor, "to": poor, "value": "0x5"}), "insufficient funds for gas * price + value"),
        (json!({"to": poor, "gas": "0x100"}), "intrinsic gas too low: gas 256, minimum needed 21000"),
        (json!({"to": crate::USDC, "data": "0x12345678", "gas": "0x5300"}), "out of gas"),
    ];
    for (params, words) in cases {
        let error = call(chain, "eth_call", &json!([params]))["error"].clone();
        assert!(error["code"] == -32000 && error["message"].as_str().unwrap().starts_with(words), "{error}");
    }
}

#[test]
fn the_pending_block_has_the_time_to_come() {
    let chain = &mut chain();
    call(chain, "evm_increaseTime", &json!([1000]));
    // Multicall3's getCurrentBlockTimestamp and getBlockNumber.
    for (tag, ahead_s, number) in [("latest", 0, 0), ("pending", 1000, 1)] {
        let ask = |data: &str| json!([{"to": crate::MULTICALL3, "data": data}, tag]);
        let [time, block] =
            ["0x0f28c97d", "0x42cbb15c"].map(|data| call(chain, "eth_call", &ask(data))["result"].clone());
        assert_eq!(time, format!("{:#066x}", START_S + ahead_s));
        assert_eq!(block, format!("{number:#066x}"));
    }
}

#[test]
fn reasons_of_reverts() {
    let error = hex!(
        "08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000026e6f000000000000000000000000000000000000000000000000000000000000"
    );
    assert_eq!(reason(&error), Some("no".to_owned()));
    for cut in 0..70 {
        assert_eq!(reason(&error[..cut]), None, "{cut}");
    }
    let mut huge = error;
    huge[4..].fill(0xff);
    assert_eq!(reason(&huge), None);
    let panic = hex!("4e487b710000000000000000000000000000000000000000000000000000000000000011");
    assert_eq!(reason(&panic), Some("panic code 0x11".to_owned()));
}

#[test]
fn old_states_are_a_clear_refusal() {
    let chain = &mut chain();
    call(chain, "anvil_mine", &json!([130]));
    assert_eq!(call(chain, "eth_getBalance", &json!([Address::ZERO, "0x2"]))["result"], "0x0");
    let error = call(chain, "eth_getBalance", &json!([Address::ZERO, "0x1"]));
    assert_eq!(error["error"]["message"], "the state of block 1 is not kept any more; the oldest that is kept is 2");
    assert_eq!(error["error"]["code"], -32000);
    let error = call(chain, "eth_getBalance", &json!([Address::ZERO, "0x83"]));
    assert_eq!(error["error"]["message"], "header not found: the block does not exist");
}

/// Anything that JSON can say.
fn garbage() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "0x[0-9a-f]{0,130}".prop_map(Value::from),
        "0x([0-9a-f]{40}|[0-9a-f]{64})".prop_map(Value::from),
        prop::sample::select(vec!["latest", "pending", "earliest", "0x0", "0x", "2.0", "é"]).prop_map(Value::from),
        Just(json!(crate::USDC)),
        Just(json!(crate::ACCOUNTS[0])),
        ".{0,8}".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "from",
        "to",
        "data",
        "input",
        "value",
        "gas",
        "gasPrice",
        "nonce",
        "maxFeePerGas",
        "maxPriorityFeePerGas",
        "address",
        "topics",
        "fromBlock",
        "toBlock",
        "blockHash",
        "blockNumber",
        "x",
    ]);
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const METHODS: [&str; 38] = [
    "web3_clientVersion",
    "web3_sha3",
    "net_version",
    "eth_chainId",
    "eth_accounts",
    "eth_syncing",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_feeHistory",
    "eth_blockNumber",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBalance",
    "eth_getCode",
    "eth_getTransactionCount",
    "eth_getStorageAt",
    "eth_call",
    "eth_estimateGas",
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_getTransactionByHash",
    "eth_getTransactionReceipt",
    "eth_getBlockReceipts",
    "eth_getLogs",
    "evm_mine",
    "anvil_mine",
    "evm_setAutomine",
    "anvil_getAutomine",
    "evm_setIntervalMining",
    "evm_increaseTime",
    "anvil_setCode",
    "anvil_setBalance",
    "anvil_setStorageAt",
    "anvil_impersonateAccount",
    "anvil_stopImpersonatingAccount",
    "anvil_dropTransaction",
    "txpool_status",
    "rpc_modules",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The same chain hears many, so that what one call plants is there for the next.
    #[test]
    fn every_call_is_answered(
        calls in prop::collection::vec((prop::sample::select(METHODS.to_vec()), prop::collection::vec(garbage(), 0..4)), 1..40)
    ) {
        let mut chain = chain();
        for (method, params) in calls {
            let answer = call(&mut chain, method, &Value::from(params));
            prop_assert!(answer.get("result").is_some() != answer.get("error").is_some(), "{method} {answer}");
            prop_assert_ne!(answer["error"]["code"].as_i64(), Some(-32603));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, value in garbage()) {
        let mut chain = chain();
        ask(&mut chain, bytes);
        ask(&mut chain, value.to_string());
    }
}
