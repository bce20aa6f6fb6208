//! The token's calls and events.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolEvent};
use protocol::exact::domain_separator;
use protocol::{Asset, AssetInfo, Authorization, Payer};

use super::node::{BlockAt, CallResult, ChainReceipt, EthCall, Log, Node, NodeFault};

#[allow(missing_docs, clippy::all, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod abi {
    alloy_sol_types::sol! {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);
        function transfer(address to, uint256 value) returns (bool);
        function balanceOf(address account) returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) returns (bool);
        function name() returns (string);
        function version() returns (string);
        function decimals() returns (uint8);
        function DOMAIN_SEPARATOR() returns (bytes32);
        struct Call3 { address target; bool allowFailure; bytes callData; }
        struct Result3 { bool success; bytes returnData; }
        function aggregate3(Call3[] calls) returns (Result3[] returnData);
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

/// The calldata by which the holder of a token pays somebody.
#[must_use]
pub fn pay_data(to: Address, amount_atomic: u128) -> Bytes {
    abi::transferCall { to, value: U256::from(amount_atomic) }.abi_encode().into()
}

/// Where Multicall3 is on every chain that has it (multicall3.com).
pub(super) const MULTICALL3: Address = alloy_primitives::address!("cA11bde05977b3631167028862bE2a173976CA11");

/// The calldata for [`MULTICALL3`] that moves the money of many authorizations; one that fails leaves the others alone.
pub(super) fn batch_data<'a>(authorizations: impl Iterator<Item = &'a Authorization>) -> Bytes {
    let call = |authorization: &Authorization| abi::Call3 {
        target: authorization.key.asset.address.0,
        allowFailure: true,
        callData: transfer_data(authorization),
    };
    abi::aggregate3Call { calls: authorizations.map(call).collect() }.abi_encode().into()
}

/// The tokens that a call moves by EIP-3009, and nothing else: one, or those of a batch. `None` for any other call.
pub(super) fn transfers(to: Address, data: &[u8]) -> Option<Vec<Address>> {
    let transfer = |data: &[u8]| abi::transferWithAuthorizationCall::abi_decode_validate(data).is_ok();
    if to != MULTICALL3 {
        return transfer(data).then(|| vec![to]);
    }
    let calls = abi::aggregate3Call::abi_decode_validate(data).ok()?.calls;
    calls.iter().map(|call| transfer(&call.callData).then_some(call.target)).collect()
}

/// Which members of a tried batch went through; `None` where there is no Multicall3 or it failed as a whole.
pub(super) fn batch_results(result: &CallResult) -> Option<Vec<bool>> {
    let CallResult::Returned(bytes) = result else { return None };
    let results = abi::aggregate3Call::abi_decode_returns(bytes).ok()?;
    Some(results.iter().map(|result| result.success).collect())
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
    receipt.success
        && receipt.logs.iter().any(|log| is_use(log, authorization))
        && receipt.logs.iter().any(|log| is_transfer(log, authorization))
}

/// How many Transfers of exactly this amount to somebody a receipt holds, whoever made them.
pub(super) fn gave(receipt: &ChainReceipt, asset: Asset, to: Payer, amount_atomic: u128) -> usize {
    let value = U256::from(amount_atomic).to_be_bytes::<32>();
    let fits = |log: &&Log| {
        log.address == asset.address.0
            && matches!(log.topics.as_slice(), [event, _, receiver]
                if *event == abi::Transfer::SIGNATURE_HASH && *receiver == to.0.into_word())
            && log.data.as_ref() == value
    };
    receipt.logs.iter().filter(fits).count()
}

/// Whether this authorization's own Transfer is in a chain_tx that somebody else put together: the token emits it right behind
/// the use. A use with another transfer behind it was of another authorization with the same nonce, and a matching Transfer
/// elsewhere in the chain_tx pays for something else.
pub(super) fn moved_by_itself(receipt: &ChainReceipt, authorization: &Authorization) -> bool {
    let at = receipt.logs.iter().position(|log| is_use(log, authorization));
    let next = at.and_then(|at| receipt.logs.get(at.saturating_add(1)));
    receipt.success && next.is_some_and(|log| is_transfer(log, authorization))
}

fn is_use(log: &Log, authorization: &Authorization) -> bool {
    let key = &authorization.key;
    log.address == key.asset.address.0 && log.topics == [USED, key.payer.0.into_word(), key.nonce]
}

fn is_transfer(log: &Log, authorization: &Authorization) -> bool {
    let (payer, payee) = (authorization.key.payer.0.into_word(), authorization.payee.0.into_word());
    log.address == authorization.key.asset.address.0
        && log.topics == [abi::Transfer::SIGNATURE_HASH, payer, payee]
        && log.data.as_ref() == U256::from(authorization.amount_atomic).to_be_bytes::<32>()
}

/// What a token's contract says otherwise than the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssetFault {
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

/// Whether the network has Multicall3. Without it every payment on the tab takes a chain_tx of its own.
///
/// # Errors
/// [`NodeFault`] when nobody can say now.
pub async fn has_multicall<N: Node>(node: &N) -> Result<bool, NodeFault> {
    let call = EthCall { from: Address::ZERO, to: MULTICALL3, data: batch_data(std::iter::empty()), gas_max: None };
    let results = node.calls(&[call], BlockAt::Latest).await?;
    Ok(results.first().and_then(batch_results).is_some())
}

/// Compares a configured token with its contract.
///
/// # Errors
/// [`NodeFault`] when nobody can say now; otherwise the first [`AssetFault`].
pub async fn check_asset<N: Node>(node: &N, token: &AssetInfo) -> Result<Result<(), AssetFault>, NodeFault> {
    let to = token.asset.address.0;
    let call = |data: Vec<u8>| EthCall { from: Address::ZERO, to, data: data.into(), gas_max: None };
    let calls = [
        call(abi::nameCall {}.abi_encode()),
        call(abi::versionCall {}.abi_encode()),
        call(abi::decimalsCall {}.abi_encode()),
        call(abi::DOMAIN_SEPARATORCall {}.abi_encode()),
        EthCall { from: Address::ZERO, to, data: state_data(Address::ZERO, B256::ZERO), gas_max: None },
    ];
    let results = node.calls(&calls, BlockAt::Latest).await?;
    let bytes = |at: usize| match results.get(at) {
        Some(CallResult::Returned(bytes)) => bytes.clone(),
        Some(CallResult::Reverted) | None => Bytes::new(),
    };
    if results.iter().all(|result| *result == CallResult::Returned(Bytes::new())) {
        return Ok(Err(AssetFault::NoContract));
    }
    let name = abi::nameCall::abi_decode_returns(&bytes(0)).unwrap_or_default();
    if name != token.name {
        return Ok(Err(AssetFault::Name(name)));
    }
    let version = abi::versionCall::abi_decode_returns(&bytes(1)).unwrap_or_default();
    if version != token.version {
        return Ok(Err(AssetFault::Version(version)));
    }
    let decimals = abi::decimalsCall::abi_decode_returns(&bytes(2)).unwrap_or_default();
    if decimals != token.decimals {
        return Ok(Err(AssetFault::Decimals(decimals)));
    }
    if bytes(3).as_ref() != domain_separator(token).as_slice() {
        return Ok(Err(AssetFault::Domain));
    }
    if bytes(4).len() != 32 {
        return Ok(Err(AssetFault::NotEip3009));
    }
    Ok(Ok(()))
}
