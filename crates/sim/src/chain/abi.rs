//! The simulator's own reading of the token's and Multicall3's calls.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use protocol::exact::Fields;
use protocol::{Authorization, Signature};

mod sol {
    alloy_sol_types::sol! {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);
        function balanceOf(address account) returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) returns (bool);
        struct Call3 { address target; bool allowFailure; bytes callData; }
        struct Result3 { bool success; bytes returnData; }
        function aggregate3(Call3[] calls) returns (Result3[] returnData);
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    }
}

pub(crate) const USED: B256 = sol::AuthorizationUsed::SIGNATURE_HASH;
pub(crate) const CANCELED: B256 = sol::AuthorizationCanceled::SIGNATURE_HASH;
pub(crate) const TRANSFER: B256 = sol::Transfer::SIGNATURE_HASH;

/// A call of `transferWithAuthorization`.
#[derive(Clone, Debug)]
pub(crate) struct TransferWith {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
    pub(crate) valid_after: U256,
    pub(crate) valid_before: U256,
    pub(crate) nonce: B256,
    pub(crate) v: u8,
    pub(crate) r: B256,
    pub(crate) s: B256,
}

impl TransferWith {
    pub(crate) fn new(fields: &Fields, signature: &Signature) -> Self {
        let (v, r, s) = signature.parts();
        let Fields { from, to, value, valid_after, valid_before, nonce } = *fields;
        Self { from, to, value, valid_after, valid_before, nonce, v, r, s }
    }

    pub(crate) fn of(authorization: &Authorization) -> Self {
        Self::new(&authorization.fields(), &authorization.signature)
    }

    pub(crate) fn decode(data: &[u8]) -> Option<Self> {
        let call = sol::transferWithAuthorizationCall::abi_decode(data).ok()?;
        Some(Self {
            from: call.from,
            to: call.to,
            value: call.value,
            valid_after: call.validAfter,
            valid_before: call.validBefore,
            nonce: call.nonce,
            v: call.v,
            r: call.r,
            s: call.s,
        })
    }

    /// What a signature is remembered by.
    pub(crate) fn digest_key(&self) -> B256 {
        let fields = (self.from, self.to, self.value, self.valid_after, self.valid_before, self.nonce);
        keccak256(fields.abi_encode())
    }
}

/// The calls of an `aggregate3`. Each may fail alone.
pub(crate) struct Aggregate(pub(crate) Vec<(Address, Bytes)>);

impl Aggregate {
    pub(crate) fn decode(data: &[u8]) -> Option<Self> {
        let call = sol::aggregate3Call::abi_decode(data).ok()?;
        // One that may not fail would take the others with it: the engine must never ask for that.
        let isolated = call.calls.iter().all(|call| call.allowFailure);
        isolated.then(|| Self(call.calls.into_iter().map(|call| (call.target, call.callData)).collect()))
    }

    pub(crate) fn results(passes: &[bool]) -> Bytes {
        let result = |success: &bool| sol::Result3 { success: *success, returnData: Bytes::new() };
        sol::aggregate3Call::abi_encode_returns(&passes.iter().map(result).collect()).into()
    }
}

/// What may be read of the token.
pub(crate) enum Read {
    Balance(Address),
    State(Address, B256),
}

impl Read {
    pub(crate) fn decode(data: &[u8]) -> Option<Self> {
        if let Ok(call) = sol::balanceOfCall::abi_decode(data) {
            return Some(Self::Balance(call.account));
        }
        let call = sol::authorizationStateCall::abi_decode(data).ok()?;
        Some(Self::State(call.authorizer, call.nonce))
    }
}
