//! What a call is given. Each refusal names the parameter.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;

use super::Refusal;
use crate::chain::{Ask, Filter, UnsignedChainTx};

/// The parameters of one call, by place. What is left out at the end is null.
pub(super) struct Params<'a>(&'a [Value]);

/// Which block a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// `latest`, and also `safe` and `finalized`: there are no reorgs.
    Latest,
    Pending,
    Number(u64),
    Hash(B256),
}

/// A member of an object, or a parameter; where it is stands in the refusal.
pub(super) type Parsed<T> = Result<T, Refusal>;

impl<'a> Params<'a> {
    pub(super) fn new(params: Option<&'a Value>) -> Parsed<Self> {
        match params {
            None | Some(Value::Null) => Ok(Self(&[])),
            Some(Value::Array(list)) => Ok(Self(list)),
            Some(_) => Err(Refusal::params("`params`", "is a list")),
        }
    }

    pub(super) fn value(&self, place: usize) -> &'a Value {
        self.0.get(place).unwrap_or(&Value::Null)
    }

    /// `None` when it is left out or null.
    pub(super) fn maybe(&self, place: usize) -> Option<&'a Value> {
        Some(self.value(place)).filter(|value| !value.is_null())
    }

    pub(super) fn address(&self, place: usize) -> Parsed<Address> {
        address(self.value(place), &at(place))
    }

    pub(super) fn hash(&self, place: usize) -> Parsed<B256> {
        hash(self.value(place), &at(place))
    }

    pub(super) fn bytes(&self, place: usize) -> Parsed<Bytes> {
        bytes(self.value(place), &at(place))
    }

    pub(super) fn quantity(&self, place: usize) -> Parsed<U256> {
        quantity(self.value(place), &at(place))
    }

    pub(super) fn number(&self, place: usize) -> Parsed<u64> {
        number(self.value(place), &at(place))
    }

    pub(super) fn flag(&self, place: usize) -> Parsed<bool> {
        self.value(place).as_bool().ok_or_else(|| Refusal::params(&at(place), "is true or false"))
    }

    /// The latest when it is left out.
    pub(super) fn at(&self, place: usize) -> Parsed<At> {
        self.maybe(place).map_or(Ok(At::Latest), |value| block(value, &at(place)))
    }

    pub(super) fn ask(&self, place: usize) -> Parsed<Ask> {
        let object = Object::new(self.value(place), at(place))?;
        Ok(Ask {
            from: object.get("from", address)?.unwrap_or_default(),
            to: object.get("to", address)?,
            value: object.get("value", quantity)?.unwrap_or_default(),
            data: object.data()?,
            gas_limit: object.get("gas", number_or_more)?,
        })
    }

    pub(super) fn unsigned(&self, place: usize) -> Parsed<UnsignedChainTx> {
        let object = Object::new(self.value(place), at(place))?;
        let from = object.get("from", address)?;
        Ok(UnsignedChainTx {
            from: from.ok_or_else(|| Refusal::params(&object.path("from"), "is missing"))?,
            to: object.get("to", address)?,
            value: object.get("value", quantity)?.unwrap_or_default(),
            data: object.data()?,
            gas_limit: object.get("gas", number)?,
            sequence: object.get("nonce", number)?,
            gas_price: object.get("gasPrice", wei)?,
            fee_max: object.get("maxFeePerGas", wei)?,
            tip_max: object.get("maxPriorityFeePerGas", wei)?,
        })
    }

    /// A filter of `eth_getLogs`, with the first block, the last one, or the hash of the one that is meant.
    pub(super) fn filter(&self, place: usize) -> Parsed<(Filter, At, At, Option<B256>)> {
        let object = Object::new(self.value(place), at(place))?;
        let topics = object.get("topics", |value, path| {
            let list = value.as_array().filter(|list| list.len() <= 4);
            let list = list.ok_or_else(|| Refusal::params(path, "is a list of up to four topics"))?;
            list.iter().map(|topic| one_or_more(topic, path, hash)).collect()
        })?;
        let addresses = object.get("address", |value, path| one_or_more(value, path, address))?;
        let filter = Filter { addresses: addresses.unwrap_or_default(), topics: topics.unwrap_or_default() };
        let (from, to) = (object.get("fromBlock", block)?, object.get("toBlock", block)?);
        let hash = object.get("blockHash", hash)?;
        if hash.is_some() && (from.is_some() || to.is_some()) {
            return Err(Refusal::params(&object.path("blockHash"), "excludes `fromBlock` and `toBlock`"));
        }
        Ok((filter, from.unwrap_or(At::Latest), to.unwrap_or(At::Latest), hash))
    }
}

fn at(place: usize) -> String {
    format!("parameter {}", place.saturating_add(1))
}

struct Object<'a> {
    members: &'a serde_json::Map<String, Value>,
    path: String,
}

impl<'a> Object<'a> {
    fn new(value: &'a Value, path: String) -> Parsed<Self> {
        match value.as_object() {
            Some(members) => Ok(Self { members, path }),
            None => Err(Refusal::params(&path, "is an object")),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{} `{name}`", self.path)
    }

    fn get<T>(&self, name: &str, parse: impl Fn(&Value, &str) -> Parsed<T>) -> Parsed<Option<T>> {
        let value = self.members.get(name).filter(|value| !value.is_null());
        value.map(|value| parse(value, &self.path(name))).transpose()
    }

    /// `input`, or `data` by its older name. Both may be there when they are the same.
    fn data(&self) -> Parsed<Bytes> {
        match (self.get("input", bytes)?, self.get("data", bytes)?) {
            (Some(input), Some(data)) if input != data => Err(Refusal::params(&self.path("data"), "is not `input`")),
            (input, data) => Ok(input.or(data).unwrap_or_default()),
        }
    }
}

fn block(value: &Value, path: &str) -> Parsed<At> {
    match value {
        Value::String(tag) => match tag.as_str() {
            "latest" | "safe" | "finalized" => Ok(At::Latest),
            "pending" => Ok(At::Pending),
            "earliest" => Ok(At::Number(0)),
            digits if digits.len() == 66 => hash(value, path).map(At::Hash),
            _ => number(value, path).map(At::Number),
        },
        Value::Object(_) => {
            let object = Object::new(value, path.to_owned())?;
            match (object.get("blockHash", hash)?, object.get("blockNumber", number)?) {
                (Some(hash), None) => Ok(At::Hash(hash)),
                (None, Some(number)) => Ok(At::Number(number)),
                _ => Err(Refusal::params(path, "has either `blockHash` or `blockNumber`")),
            }
        }
        _ => Err(Refusal::params(path, "is a block number, a hash or a tag")),
    }
}

fn one_or_more<T>(value: &Value, path: &str, parse: impl Fn(&Value, &str) -> Parsed<T>) -> Parsed<Vec<T>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(|value| parse(value, path)).collect(),
        one => Ok(vec![parse(one, path)?]),
    }
}

fn address(value: &Value, path: &str) -> Parsed<Address> {
    let address = prefixed(value).and_then(|digits| hex::decode_to_array::<_, 20>(digits).ok());
    address.map(Address::from).ok_or_else(|| Refusal::params(path, "is an address of 20 bytes in 0x hex"))
}

fn hash(value: &Value, path: &str) -> Parsed<B256> {
    let hash = prefixed(value).and_then(|digits| hex::decode_to_array::<_, 32>(digits).ok());
    hash.map(B256::from).ok_or_else(|| Refusal::params(path, "is 32 bytes in 0x hex"))
}

fn bytes(value: &Value, path: &str) -> Parsed<Bytes> {
    let bytes = prefixed(value).and_then(|digits| hex::decode(digits).ok());
    bytes.map(Bytes::from).ok_or_else(|| Refusal::params(path, "is bytes in 0x hex"))
}

/// Without the prefix, so that a second one is no digit.
fn prefixed(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix("0x").filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// 0x hex, or a JSON number, which test programs send.
fn quantity(value: &Value, path: &str) -> Parsed<U256> {
    if let Some(number) = value.as_u64() {
        return Ok(U256::from(number));
    }
    let digits = prefixed(value).filter(|digits| !digits.is_empty());
    let quantity = digits.and_then(|digits| U256::from_str_radix(digits, 16).ok());
    quantity.ok_or_else(|| Refusal::params(path, "is a quantity of at most 32 bytes in 0x hex"))
}

fn number(value: &Value, path: &str) -> Parsed<u64> {
    quantity(value, path)?.try_into().map_err(|_| Refusal::params(path, "is a quantity of at most 8 bytes in 0x hex"))
}

/// For what is capped anyway.
fn number_or_more(value: &Value, path: &str) -> Parsed<u64> {
    Ok(quantity(value, path)?.saturating_to())
}

fn wei(value: &Value, path: &str) -> Parsed<u128> {
    quantity(value, path)?.try_into().map_err(|_| Refusal::params(path, "is a quantity of at most 16 bytes in 0x hex"))
}
