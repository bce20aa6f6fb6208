//! The chain as a client sees it: over HTTP, from mint to receipt.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "http/kit.rs"]
mod kit;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall as _;
use devnet::{ACCOUNTS, Mining, Options, USDC};
use kit::{Net, aggregate, aggregate3Call, mintCall, multicall, quantity, sign};
use serde_json::{Value, json};

const FEES: (u128, u128) = (1, 3);
const PAYEE: Address = Address::repeat_byte(0x99);

fn net(mining: Mining) -> Net {
    let net = Net::start(Options { mining, ..Options::default() });
    net.devnet.mint(ACCOUNTS[2], 1_000_000).unwrap();
    net
}

#[test]
fn a_payment_by_authorization() {
    let net = net(Mining::AtOnce);
    let hash = net.send(&sign(1, 0, FEES, USDC, &net.transfer(PAYEE, 10_000, 1)));
    let receipt = net.receipt(&hash);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!((receipt["from"].clone(), receipt["to"].clone()), (json!(ACCOUNTS[1]), json!(USDC)));
    assert_eq!((quantity(&receipt["effectiveGasPrice"]), &receipt["type"]), (2_000_000_000, &json!("0x2")));
    assert_eq!(net.devnet.asset_balance(PAYEE), Some(U256::from(10_000)));
    assert_eq!(net.balance(ACCOUNTS[2], &json!("latest")), 990_000);
    let paid = quantity(&receipt["gasUsed"]) * 2_000_000_000;
    let left = net.call("eth_getBalance", json!([ACCOUNTS[1], "latest"])).as_str().unwrap().parse::<U256>().unwrap();
    assert_eq!(left + U256::from(paid), U256::from(10_000) * U256::from(10).pow(U256::from(18)));

    // Bytes that are zero are cheaper, and the contract tries v of 27 before 28: transfers that differ in neither cost the same,
    // to the unit. The first one to a payee writes a new slot.
    let kind = |nonce: u8| {
        let data = net.transfer(PAYEE, 10_000, nonce);
        (data.iter().filter(|byte| **byte == 0).count(), data[data.len() - 32])
    };
    let mut alike = (2..=u8::MAX).filter(|nonce| kind(*nonce) == kind(1));
    let mut gas = |sequence: u64| {
        let data = net.transfer(PAYEE, 10_000, alike.next().unwrap());
        quantity(&net.receipt(&net.send(&sign(1, sequence, FEES, USDC, &data)))["gasUsed"])
    };
    let (first, second, third) = (quantity(&receipt["gasUsed"]), gas(1), gas(2));
    assert_eq!(second, third);
    // 20,000 for a slot that was zero, 2,900 for one that was not (EIP-2200, EIP-2929).
    assert_eq!(first - second, 17_100);
}

#[test]
fn members_of_a_multicall_fail_alone() {
    let net = net(Mining::AtOnce);
    let good = [net.transfer(PAYEE, 1, 1), net.transfer(PAYEE, 2, 2)];
    let members = [good[0].clone(), good[0].clone(), good[1].clone()];
    let asked =
        net.call("eth_call", json!([{"from": ACCOUNTS[1], "to": multicall(), "input": aggregate(&members)}, "latest"]));
    let asked: Bytes = asked.as_str().unwrap().parse().unwrap();
    let told: Vec<bool> = aggregate3Call::abi_decode_returns(&asked).unwrap().iter().map(|one| one.success).collect();
    assert_eq!(told, [true, false, true]);

    let receipt = net.receipt(&net.send(&sign(1, 0, FEES, multicall(), &aggregate(&members))));
    assert_eq!((&receipt["status"], net.balance(PAYEE, &json!("latest"))), (&json!("0x1"), 3));
    // Each transfer logs its nonce's use and the transfer.
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 4);
    let places: Vec<u64> = receipt["logs"].as_array().unwrap().iter().map(|log| quantity(&log["logIndex"])).collect();
    assert_eq!(places, [0, 1, 2, 3]);
}

#[test]
fn a_revert_says_why() {
    let net = net(Mining::AtOnce);
    let call = net.transfer(PAYEE, 2_000_000, 1);
    let answer = net.answer("eth_call", json!([{"to": USDC, "data": call}, "latest"]));
    let error = &answer["error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!(3), &json!("execution reverted: TestUsdc: balance is too small"))
    );
    assert!(error["data"].as_str().unwrap().starts_with("0x08c379a0"));
    assert_eq!(net.refusal("eth_estimateGas", json!([{"to": USDC, "data": call}])).0, 3);
    // It is mined all the same, and moves nothing.
    let receipt = net.receipt(&net.send(&sign(1, 0, FEES, USDC, &call)));
    assert_eq!((&receipt["status"], &receipt["logs"]), (&json!("0x0"), &json!([])));
    assert_eq!(net.number("eth_getTransactionCount", json!([ACCOUNTS[1], "latest"])), 1);
    let empty = net.answer("eth_call", json!([{"to": USDC, "data": "0x12345678"}, "latest"]));
    assert_eq!(empty["error"], json!({"code": 3, "message": "execution reverted", "data": "0x"}));
}

#[test]
fn gaps_and_replacements() {
    let net = net(Mining::ByHand);
    let sent = |sequence, fees| sign(0, sequence, fees, PAYEE, &Bytes::new());
    let second = net.send(&sent(1, (1, 3)));
    let counts = || ["latest", "pending"].map(|at| net.number("eth_getTransactionCount", json!([ACCOUNTS[0], at])));
    assert_eq!(counts(), [0, 0]);
    assert_eq!(net.call("txpool_status", json!([])), json!({"pending": "0x0", "queued": "0x1"}));
    let first = net.send(&sent(0, (10, 30)));
    assert_eq!(counts(), [0, 2]);
    assert_eq!(net.call("eth_getTransactionByHash", json!([first]))["blockHash"], Value::Null);
    assert_eq!(net.receipt(&first), Value::Null);

    let refused = |raw: &Bytes| net.refusal("eth_sendRawTransaction", json!([raw]));
    assert_eq!(refused(&sent(0, (10, 30))), (-32003, "already known".to_owned()));
    for fees in [(10, 40), (11, 32), (9, 60)] {
        assert_eq!(refused(&sent(0, fees)), (-32003, "replacement transaction underpriced".to_owned()), "{fees:?}");
    }
    let outbid = net.send(&sent(0, (11, 33)));
    net.call("evm_mine", json!([]));
    assert_eq!(net.call("eth_getBlockByNumber", json!(["latest", false]))["transactions"], json!([outbid, second]));
    assert_eq!((net.receipt(&first), counts()), (Value::Null, [2, 2]));
    assert_eq!(refused(&sent(0, (99, 99))), (-32003, "nonce too low: next nonce 2, tx nonce 0".to_owned()));

    let dropped = net.send(&sent(2, FEES));
    assert_eq!(net.call("anvil_dropTransaction", json!([dropped])), dropped);
    assert_eq!(net.call("anvil_dropTransaction", json!([dropped])), Value::Null);
    assert_eq!(counts(), [2, 2]);
}

#[test]
fn mining_by_hand_by_the_clock_and_at_once() {
    let net = net(Mining::ByHand);
    let number = || net.number("eth_blockNumber", json!([]));
    let waiting = net.send(&sign(0, 0, FEES, PAYEE, &Bytes::new()));
    let before = number();
    assert_eq!(net.call("anvil_getAutomine", json!([])), json!(false));
    net.call("evm_setIntervalMining", json!([1]));
    net.until("two blocks by the clock", || number() >= before + 2);
    assert_eq!(net.receipt(&waiting)["status"], "0x1");
    // Turning automine off does not stop an interval.
    net.call("evm_setAutomine", json!([false]));
    let before = number();
    net.until("a third", || number() > before);
    net.call("evm_setIntervalMining", json!([0]));
    let before = number();
    let waiting = net.send(&sign(0, 1, FEES, PAYEE, &Bytes::new()));
    assert_eq!((net.receipt(&waiting), number()), (Value::Null, before));
    net.call("evm_setAutomine", json!([true]));
    assert_eq!((&net.receipt(&waiting)["status"], number()), (&json!("0x1"), before + 1));
    net.call("anvil_mine", json!(["0x3"]));
    assert_eq!(number(), before + 4);
}

#[test]
fn an_interval_from_the_start() {
    let net = Net::start(Options { mining: Mining::EverySeconds(1), ..Options::default() });
    net.until("a block", || net.number("eth_blockNumber", json!([])) > 0);
    let hash = net.send(&sign(0, 0, FEES, PAYEE, &Bytes::new()));
    net.until("its block", || !net.receipt(&hash).is_null());
}

#[test]
fn logs_are_found_by_address_topic_and_block() {
    let net = net(Mining::AtOnce);
    for (nonce, value) in [(1, 5), (2, 6)] {
        net.send(&sign(1, nonce - 1, FEES, USDC, &net.transfer(PAYEE, value, u8::try_from(nonce).unwrap())));
    }
    let transfer = keccak256("Transfer(address,address,uint256)");
    let used = keccak256("AuthorizationUsed(address,bytes32)");
    let count = |filter: Value| net.call("eth_getLogs", json!([filter])).as_array().unwrap().len();
    let all = |more: Value| {
        let mut filter = json!({"fromBlock": "0x0", "toBlock": "latest"});
        filter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        count(filter)
    };
    let payee = PAYEE.into_word();
    assert_eq!(all(json!({})), 5);
    assert_eq!(all(json!({"address": USDC, "topics": [transfer]})), 3);
    assert_eq!(all(json!({"topics": [[transfer, used]]})), 5);
    assert_eq!(all(json!({"topics": [transfer, null, payee]})), 2);
    assert_eq!(all(json!({"topics": [used, null, B256::repeat_byte(2)]})), 1);
    assert_eq!(all(json!({"topics": [null, null, null, null]})), 0);
    assert_eq!(all(json!({"address": [PAYEE, USDC], "topics": []})), 5);
    assert_eq!(all(json!({"address": PAYEE})), 0);
    assert_eq!(count(json!({"topics": [transfer]})), 1, "the latest block alone when none is named");
    assert_eq!(count(json!({"fromBlock": "0x1", "toBlock": "0x2"})), 3);
    assert_eq!(count(json!({"fromBlock": "0x99", "toBlock": "0xff"})), 0);
    let block = net.call("eth_getBlockByNumber", json!(["0x2", true]));
    assert_eq!(count(json!({"blockHash": block["hash"]})), 2);
    assert_eq!(net.refusal("eth_getLogs", json!([{"fromBlock": "0x2", "toBlock": "0x1"}])).0, -32602);

    let found = &net.call("eth_getLogs", json!([{"fromBlock": "0x3", "topics": [transfer]}]))[0];
    assert_eq!(found["data"], json!(B256::from(U256::from(6))));
    assert_eq!(
        (&found["logIndex"], &found["blockNumber"], &found["removed"]),
        (&json!("0x1"), &json!("0x3"), &json!(false))
    );
    let receipts = net.call("eth_getBlockReceipts", json!(["0x3"]));
    assert_eq!(receipts[0]["logs"][1], *found);
}

#[test]
fn the_past_can_be_asked() {
    let net = net(Mining::AtOnce);
    let at = |number: u64| json!(format!("{number:#x}"));
    for sequence in 0..5_u64 {
        let data = mintCall { to: PAYEE, value: U256::from(10) }.abi_encode().into();
        net.send(&sign(0, sequence, FEES, USDC, &data));
    }
    for number in 1..=6 {
        assert_eq!(net.balance(PAYEE, &at(number)), (number - 1) * 10, "{number}");
        assert_eq!(net.number("eth_getTransactionCount", json!([ACCOUNTS[0], at(number)])), number - 1);
        let hash = &net.call("eth_getBlockByNumber", json!([at(number), false]))["hash"];
        assert_eq!(net.balance(PAYEE, hash), (number - 1) * 10);
        assert_eq!(net.balance(PAYEE, &json!({"blockHash": hash})), (number - 1) * 10);
    }
    assert_eq!(net.refusal("eth_call", json!([{"to": USDC}, "0x99"])).0, -32000);
}

#[test]
fn decrees() {
    let net = net(Mining::AtOnce);
    let one = Address::repeat_byte(1);
    net.call("anvil_setBalance", json!([one, "0xde0b6b3a7640000"]));
    assert_eq!(net.number("eth_getBalance", json!([one])), 1_000_000_000_000_000_000);
    net.call("anvil_setCode", json!([one, "0x60005460005260206000f3"]));
    assert_eq!(net.call("eth_getCode", json!([one, "latest"])), "0x60005460005260206000f3");
    let word = B256::from(U256::from(7));
    net.call("anvil_setStorageAt", json!([one, "0x0", word]));
    assert_eq!(net.call("eth_getStorageAt", json!([one, "0x0", "latest"])), json!(word));
    assert_eq!(net.call("eth_call", json!([{"to": one}])), json!(word));
    net.call("anvil_impersonateAccount", json!([one]));
    let hash = net.call("eth_sendTransaction", json!([{"from": one, "to": PAYEE, "value": "0x5", "gas": "0x5208"}]));
    assert_eq!(net.receipt(&hash)["status"], "0x1");
    assert_eq!(net.number("eth_getBalance", json!([PAYEE, "latest"])), 5);

    let before = net.call("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(net.call("evm_increaseTime", json!([1000])), json!(1000));
    assert_eq!(net.call("eth_getBlockByNumber", json!(["latest", false])), before);
    net.devnet.mine();
    let after = net.call("eth_getBlockByNumber", json!(["latest", false]));
    assert!((1000..1030).contains(&(quantity(&after["timestamp"]) - quantity(&before["timestamp"]))));
    assert_eq!(after["parentHash"], before["hash"]);
    assert_eq!(net.call("eth_getBlockByHash", json!([after["hash"], false])), after);
}

#[test]
fn what_clients_ask_first() {
    let net = net(Mining::AtOnce);
    assert_eq!(net.call("eth_chainId", json!([])), "0x14a34");
    assert_eq!(net.call("net_version", json!([])), "84532");
    assert_eq!(net.call("eth_gasPrice", json!([])), "0x77359400");
    assert_eq!(net.call("eth_maxPriorityFeePerGas", json!([])), "0x3b9aca00");
    assert_eq!(net.call("eth_accounts", json!([])), json!(ACCOUNTS));
    let history = net.call("eth_feeHistory", json!(["0x5", "latest", [25, 75]]));
    assert_eq!((&history["oldestBlock"], history["baseFeePerGas"].as_array().unwrap().len()), (&json!("0x0"), 3));
    assert_eq!(history["reward"], json!([["0x3b9aca00", "0x3b9aca00"], ["0x3b9aca00", "0x3b9aca00"]]));
    let gas =
        net.number("eth_estimateGas", json!([{"from": ACCOUNTS[1], "to": USDC, "data": net.transfer(PAYEE, 1, 1)}]));
    let receipt = net.receipt(&net.send(&sign(1, 0, FEES, USDC, &net.transfer(PAYEE, 1, 1))));
    assert!(gas >= quantity(&receipt["gasUsed"]) && gas < 2 * quantity(&receipt["gasUsed"]));
    let block = net.call("eth_getBlockByNumber", json!(["latest", true]));
    let chain_tx = &block["transactions"][0];
    assert_eq!(*chain_tx, net.call("eth_getTransactionByHash", json!([receipt["transactionHash"]])));
    assert_eq!((&chain_tx["maxFeePerGas"], &chain_tx["gasPrice"]), (&json!("0xb2d05e00"), &json!("0x77359400")));
    assert_eq!((&chain_tx["blockHash"], &chain_tx["transactionIndex"]), (&block["hash"], &json!("0x0")));
}

#[test]
fn garbage_is_answered_and_nothing_ends() {
    let net = net(Mining::AtOnce);
    let (status, body) = net.post(b"\xff\x00{");
    assert_eq!((status, String::from_utf8_lossy(&body).contains("-32700")), (200, true));
    let (status, _) = net.post(&vec![b' '; 10 * 1024 * 1024 + 1]);
    assert_eq!(status, 413);
    let (status, _) = net.post(&vec![b'['; 10 * 1024 * 1024]);
    assert_eq!(status, 200);
    assert_eq!(net.http.get(net.devnet.rpc_url()).call().unwrap().status(), 405);
    assert_eq!(net.refusal("debug_traceTransaction", json!([])).0, -32601);
    let calls: Vec<Value> = (0..1000).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "eth_chainId"})).collect();
    let (_, body) = net.post(json!(calls).to_string().as_bytes());
    let answers: Vec<Value> = serde_json::from_slice(&body).unwrap();
    assert!(answers.len() == 1000 && answers.iter().all(|answer| answer["result"] == "0x14a34"));
}

#[test]
fn it_ends_when_it_is_dropped() {
    let net = net(Mining::EverySeconds(3600));
    let address = net.devnet.address();
    // A connection that is kept open does not keep it alive.
    let open = std::net::TcpStream::connect(address).unwrap();
    drop(net);
    assert!(std::net::TcpStream::connect(address).is_err());
    drop(open);
}
