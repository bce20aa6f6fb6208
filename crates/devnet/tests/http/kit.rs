//! A chain and a caller of it, with what both need to be told.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_rlp::{Encodable, Header};
use alloy_sol_types::{SolCall as _, sol};
use devnet::{ACCOUNTS, Devnet, MULTICALL3, Options, USDC};
use protocol::exact::Fields;
use protocol::{AssetInfo, Key, Network};
use serde_json::{Value, json};

sol! {
    function mint(address to, uint256 value);
    function balanceOf(address account) returns (uint256);
    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature
    );
    #[derive(Debug)]
    struct Call3 { address target; bool allowFailure; bytes callData; }
    #[derive(Debug)]
    struct Result3 { bool success; bytes returnData; }
    function aggregate3(Call3[] calls) returns (Result3[]);
}

/// The keys of the first three of `ACCOUNTS`.
const KEYS: [&str; 3] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

pub(crate) const GWEI: u128 = 1_000_000_000;

pub(crate) fn key(index: usize) -> Key {
    Key::from_hex(KEYS[index]).unwrap()
}

/// A chain and a connection to it.
pub(crate) struct Net {
    pub(crate) devnet: Devnet,
    pub(crate) http: ureq::Agent,
}

impl Net {
    pub(crate) fn start(options: Options) -> Self {
        let config = ureq::Agent::config_builder();
        let config = config.timeout_global(Some(Duration::from_secs(30))).proxy(None).http_status_as_error(false);
        Self { devnet: Devnet::start(options).unwrap(), http: config.build().into() }
    }

    /// The status and the body.
    pub(crate) fn post(&self, body: &[u8]) -> (u16, Vec<u8>) {
        let mut answer = self.http.post(self.devnet.rpc_url()).send(body).unwrap();
        let status = answer.status().as_u16();
        (status, answer.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap())
    }

    pub(crate) fn answer(&self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let (status, body) = self.post(call.as_bytes());
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        let mut answer = self.answer(method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    pub(crate) fn refusal(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.answer(method, params);
        let error = &answer["error"];
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    pub(crate) fn number(&self, method: &str, params: Value) -> u64 {
        quantity(&self.call(method, params))
    }

    /// Sends what the key signed.
    pub(crate) fn send(&self, raw: &Bytes) -> Value {
        self.call("eth_sendRawTransaction", json!([raw]))
    }

    pub(crate) fn receipt(&self, hash: &Value) -> Value {
        self.call("eth_getTransactionReceipt", json!([hash]))
    }

    /// Atomic units of the USDC at a block.
    pub(crate) fn balance(&self, of: Address, at: &Value) -> u64 {
        let data = Bytes::from(balanceOfCall { account: of }.abi_encode());
        let word = self.call("eth_call", json!([{"to": USDC, "data": data}, at]));
        word.as_str().unwrap().parse::<U256>().unwrap().to()
    }

    /// An authorization of account 2, valid now.
    pub(crate) fn transfer(&self, to: Address, value: u64, nonce: u8) -> Bytes {
        let fields = Fields {
            from: ACCOUNTS[2],
            to,
            value: U256::from(value),
            valid_after: U256::ZERO,
            valid_before: U256::from(u64::MAX),
            nonce: B256::repeat_byte(nonce),
        };
        let usdc = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
        let signature = key(2).sign_now(fields.digest(&usdc)).unwrap().as_bytes().to_vec().into();
        let Fields { from, to, value, valid_after, valid_before, nonce } = fields;
        let call = transferWithAuthorizationCall {
            from,
            to,
            value,
            validAfter: valid_after,
            validBefore: valid_before,
            nonce,
            signature,
        };
        call.abi_encode().into()
    }

    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::yield_now();
        }
    }
}

pub(crate) fn aggregate(members: &[Bytes]) -> Bytes {
    let call = |data: &Bytes| Call3 { target: USDC, allowFailure: true, callData: data.clone() };
    aggregate3Call { calls: members.iter().map(call).collect() }.abi_encode().into()
}

pub(crate) fn multicall() -> Address {
    MULTICALL3
}

pub(crate) fn quantity(value: &Value) -> u64 {
    value.as_str().unwrap().parse::<U256>().unwrap().to()
}

/// A chain_tx of EIP-1559 by one of the keys, with tip and highest fee in gwei.
pub(crate) fn sign(from: usize, sequence: u64, (tip, fee_max): (u128, u128), to: Address, data: &Bytes) -> Bytes {
    let envelope = |parts: Option<(u8, B256, B256)>| {
        let mut fields = Vec::new();
        84532_u64.encode(&mut fields);
        sequence.encode(&mut fields);
        (tip * GWEI).encode(&mut fields);
        (fee_max * GWEI).encode(&mut fields);
        500_000_u64.encode(&mut fields);
        TxKind::Call(to).encode(&mut fields);
        U256::ZERO.encode(&mut fields);
        data.encode(&mut fields);
        Header { list: true, payload_length: 0 }.encode(&mut fields);
        if let Some((v, r, s)) = parts {
            (v - 27).encode(&mut fields);
            U256::from_be_bytes(r.0).encode(&mut fields);
            U256::from_be_bytes(s.0).encode(&mut fields);
        }
        let mut raw = vec![2];
        Header { list: true, payload_length: fields.len() }.encode(&mut raw);
        raw.extend_from_slice(&fields);
        raw
    };
    let parts = key(from).sign_now(keccak256(envelope(None))).unwrap().parts();
    envelope(Some(parts)).into()
}
