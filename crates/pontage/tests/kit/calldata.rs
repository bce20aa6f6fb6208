//! What a payer or a stranger may send to the token by himself.

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use protocol::Offer;
use protocol::exact::{Fields, domain_separator};

use super::Payer;

fn call(signature: &str, words: &[B256]) -> String {
    let selector = keccak256(signature);
    let words: Vec<u8> = words.iter().flat_map(|word| word.0).collect();
    format!("0x{}{}", hex::encode(&selector[..4]), hex::encode(words))
}

fn number(value: impl Into<U256>) -> B256 {
    value.into().into()
}

/// Lands an authorization. Anyone who knows the signature can.
pub(crate) fn land(payer: &Payer, offer: &Offer, fields: &Fields) -> String {
    let (v, r, s) = payer.key.sign_now(fields.digest(&offer.asset_info)).expect("a signature").parts();
    let words = [
        fields.from.into_word(),
        fields.to.into_word(),
        number(fields.value),
        number(fields.valid_after),
        number(fields.valid_before),
        fields.nonce,
        number(U256::from(v)),
        r,
        s,
    ];
    let name = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)";
    call(name, &words)
}

/// Lands an authorization as a facilitator reads it from a payment's payload.
pub(crate) fn land_json(payload: &serde_json::Value) -> Option<String> {
    let authorization = &payload["authorization"];
    let text = |name: &str| authorization[name].as_str();
    let address = |name: &str| Some(text(name)?.parse::<Address>().ok()?.into_word());
    let amount = |name: &str| Some(number(text(name)?.parse::<U256>().ok()?));
    let signature = hex::decode(payload["signature"].as_str()?).ok()?;
    let (r, s, v) = (signature.get(..32)?, signature.get(32..64)?, signature.get(64)?);
    let words = [
        address("from")?,
        address("to")?,
        amount("value")?,
        amount("validAfter")?,
        amount("validBefore")?,
        text("nonce")?.parse().ok()?,
        number(U256::from(*v)),
        B256::from_slice(r),
        B256::from_slice(s),
    ];
    let name = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)";
    Some(call(name, &words))
}

/// Cancels an authorization that its payer has signed.
pub(crate) fn cancel(payer: &Payer, offer: &Offer, fields: &Fields) -> String {
    let mut content = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)").to_vec();
    content.extend_from_slice(fields.from.into_word().as_slice());
    content.extend_from_slice(fields.nonce.as_slice());
    let mut typed = vec![0x19, 0x01];
    typed.extend_from_slice(domain_separator(&offer.asset_info).as_slice());
    typed.extend_from_slice(keccak256(content).as_slice());
    let (v, r, s) = payer.key.sign_now(keccak256(typed)).expect("a signature").parts();
    let words = [fields.from.into_word(), fields.nonce, number(U256::from(v)), r, s];
    call("cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)", &words)
}

/// Moves an amount out of the sender's wallet.
pub(crate) fn move_all(amount: u128) -> String {
    let to = Address::repeat_byte(0xee);
    call("transfer(address,uint256)", &[to.into_word(), number(U256::from(amount))])
}

/// Blacklists an address. Anyone can, with the test token.
pub(crate) fn block(account: &str) -> String {
    let account: Address = account.parse().expect("an address");
    call("blacklist(address,bool)", &[account.into_word(), number(U256::ONE)])
}

/// Takes it back.
pub(crate) fn unblock(account: &str) -> String {
    let account: Address = account.parse().expect("an address");
    call("blacklist(address,bool)", &[account.into_word(), number(U256::ZERO)])
}
