//! The token's calls and events.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolEvent};
use protocol::exact::domain_separator;
use protocol::{Authorization, Token};

use super::node::{BlockAt, CallResult, ChainReceipt, EthCall, Node, NodeFault};

#[allow(missing_docs, clippy::all, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod abi {
    alloy_sol_types::sol! {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);
        function balanceOf(address account) returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) returns (bool);
        function name() returns (string);
        function version() returns (string);
        function decimals() returns (uint8);
        function DOMAIN_SEPARATOR() returns (bytes32);
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    }
}

pub(super) const USED: B256 = abi::AuthorizationUsed::SIGNATURE_HASH;
pub(super) const CANCELED: B256 = abi::AuthorizationCanceled::SIGNATURE_HASH;

/// The calldata that moves the money of an authorization.
pub(super) fn transfer_data(authorization: &Authorization) -> Bytes {
    let fields = authorization.fields();
    let (v, r, s) = authorization.signature.parts();
    abi::transferWithAuthorizationCall {
        from: fields.from,
        to: fields.to,
        value: fields.value,
        validAfter: fields.valid_after,
        validBefore: fields.valid_before,
        nonce: fields.nonce,
        v,
        r,
        s,
    }
    .abi_encode()
    .into()
}

pub(super) fn balance_data(account: Address) -> Bytes {
    abi::balanceOfCall { account }.abi_encode().into()
}

pub(super) fn state_data(authorizer: Address, nonce: B256) -> Bytes {
    abi::authorizationStateCall { authorizer, nonce }.abi_encode().into()
}

/// A uint256 that was returned; `None` for anything shorter, such as no contract at all.
pub(super) fn word(result: &CallResult) -> Option<U256> {
    match result {
        CallResult::Returned(bytes) => bytes.get(..32).map(U256::from_be_slice),
        CallResult::Reverted => None,
    }
}

/// Whether a receipt holds this authorization's use and its Transfer, from the token itself.
pub(super) fn moved(receipt: &ChainReceipt, authorization: &Authorization) -> bool {
    let token = authorization.key.asset.address.0;
    let payer = authorization.key.payer.0.into_word();
    let used = [USED, payer, authorization.key.nonce];
    let transfer = [abi::Transfer::SIGNATURE_HASH, payer, authorization.payee.0.into_word()];
    let value = U256::from(authorization.amount_atomic).to_be_bytes::<32>();
    let of_token = || receipt.logs.iter().filter(|log| log.address == token);
    receipt.success
        && of_token().any(|log| log.topics == used)
        && of_token().any(|log| log.topics == transfer && log.data.as_ref() == value)
}

/// What a token's contract says otherwise than the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// No contract at the address.
    #[error("address: there is no contract at this address on this network")]
    NoContract,
    /// The EIP-712 name differs: every signature would be refused.
    #[error("name: the contract's name() is {0:?}")]
    Name(String),
    /// The EIP-712 version differs: every signature would be refused.
    #[error("version: the contract's version() is {0:?}")]
    Version(String),
    /// The decimals differ: prices would be wrong.
    #[error("decimals: the contract's decimals() is {0}")]
    Decimals(u8),
    /// Name and version are right, but the domain separator is not: another chain id or an unusual domain.
    #[error("address: the contract's DOMAIN_SEPARATOR() is not that of its name, version, chain id and address")]
    Domain,
    /// The contract has no EIP-3009.
    #[error("address: the contract has no authorizationState(): it does not take EIP-3009 authorizations")]
    NotEip3009,
}

/// Compares a configured token with its contract.
///
/// # Errors
/// [`NodeFault`] when nobody can say now; otherwise the first [`TokenFault`].
pub async fn check_token<N: Node>(node: &N, token: &Token) -> Result<Result<(), TokenFault>, NodeFault> {
    let to = token.asset.address.0;
    let call = |data: Vec<u8>| EthCall { from: Address::ZERO, to, data: data.into() };
    let calls = [
        call(abi::nameCall {}.abi_encode()),
        call(abi::versionCall {}.abi_encode()),
        call(abi::decimalsCall {}.abi_encode()),
        call(abi::DOMAIN_SEPARATORCall {}.abi_encode()),
        EthCall { from: Address::ZERO, to, data: state_data(Address::ZERO, B256::ZERO) },
    ];
    let results = node.calls(&calls, BlockAt::Latest).await?;
    let bytes = |at: usize| match results.get(at) {
        Some(CallResult::Returned(bytes)) => bytes.clone(),
        Some(CallResult::Reverted) | None => Bytes::new(),
    };
    if results.iter().all(|result| *result == CallResult::Returned(Bytes::new())) {
        return Ok(Err(TokenFault::NoContract));
    }
    let name = abi::nameCall::abi_decode_returns(&bytes(0)).unwrap_or_default();
    if name != token.name {
        return Ok(Err(TokenFault::Name(name)));
    }
    let version = abi::versionCall::abi_decode_returns(&bytes(1)).unwrap_or_default();
    if version != token.version {
        return Ok(Err(TokenFault::Version(version)));
    }
    let decimals = abi::decimalsCall::abi_decode_returns(&bytes(2)).unwrap_or_default();
    if decimals != token.decimals {
        return Ok(Err(TokenFault::Decimals(decimals)));
    }
    if bytes(3).as_ref() != domain_separator(token).as_slice() {
        return Ok(Err(TokenFault::Domain));
    }
    if bytes(4).len() != 32 {
        return Ok(Err(TokenFault::NotEip3009));
    }
    Ok(Ok(()))
}
