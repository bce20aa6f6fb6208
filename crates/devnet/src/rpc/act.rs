//! The methods that change the chain, those of a public node and those of a test chain.

use revm::state::Bytecode;
use serde_json::{Value, json};

use super::Refusal;
use super::params::{Params, Parsed};
use crate::Mining;
use crate::chain::Chain;

/// More blocks at once would take memory for nothing.
const MINE_MAX: u64 = 10_000;

/// A century. More would only find out where a clock overflows.
const AHEAD_MAX_S: u64 = 100 * 366 * 86_400;

/// `None` when the method is none of these.
pub(super) fn call(chain: &mut Chain, now_s: u64, method: &str, params: &Params<'_>) -> Option<Parsed<Value>> {
    Some(match method {
        "eth_sendRawTransaction" => {
            params.bytes(0).and_then(|raw| Ok(json!(chain.send_raw(&raw, now_s).map_err(Refusal::from)?)))
        }
        "eth_sendTransaction" => params
            .unsigned(0)
            .and_then(|unsigned| Ok(json!(chain.send_unsigned(unsigned, now_s).map_err(Refusal::from)?))),
        "anvil_dropTransaction" => {
            params.hash(0).map(|hash| if chain.drop_waiting(hash) { json!(hash) } else { Value::Null })
        }
        "evm_mine" => match params.maybe(0) {
            Some(_) => Err(Refusal::params("parameter 1", "is not supported; evm_increaseTime moves the clock")),
            None => {
                chain.mine(now_s);
                Ok(json!("0x0"))
            }
        },
        "anvil_mine" => mine(chain, now_s, params),
        "evm_setAutomine" => params.flag(0).map(|on| {
            match (on, chain.mining()) {
                (true, _) => chain.set_mining(Mining::AtOnce, now_s),
                (false, Mining::AtOnce) => chain.set_mining(Mining::ByHand, now_s),
                // An interval goes on.
                (false, Mining::EverySeconds(_) | Mining::ByHand) => {}
            }
            Value::Null
        }),
        "evm_setIntervalMining" => params.number(0).map(|seconds| {
            chain.set_mining(Mining::EverySeconds(seconds), now_s);
            Value::Null
        }),
        "evm_increaseTime" => params.number(0).and_then(|seconds| match seconds {
            0..=AHEAD_MAX_S => Ok(json!(chain.increase_time(seconds))),
            _ => Err(Refusal::params("parameter 1", "is a century of seconds at most")),
        }),
        _ => return by_decree(chain, method, params),
    })
}

fn mine(chain: &mut Chain, now_s: u64, params: &Params<'_>) -> Parsed<Value> {
    let count = if params.maybe(0).is_some() { params.number(0)? } else { 1 };
    if count > MINE_MAX {
        return Err(Refusal::params("parameter 1", &format!("is {MINE_MAX} blocks at most")));
    }
    if params.maybe(1).is_some() {
        return Err(Refusal::params("parameter 2", "is not supported; evm_increaseTime moves the clock"));
    }
    for _ in 0..count {
        chain.mine(now_s);
    }
    Ok(Value::Null)
}

/// What is set by decree counts for the latest block.
fn by_decree(chain: &mut Chain, method: &str, params: &Params<'_>) -> Option<Parsed<Value>> {
    let done = match method {
        "anvil_setCode" => set_code(chain, params),
        "anvil_setBalance" => set_balance(chain, params),
        "anvil_setStorageAt" => return Some(set_storage(chain, params)),
        // Every account is open here; only that it is an account is checked.
        "anvil_impersonateAccount" | "anvil_stopImpersonatingAccount" => params.address(0).map(|_| ()),
        _ => return None,
    };
    Some(done.map(|()| Value::Null))
}

fn set_code(chain: &mut Chain, params: &Params<'_>) -> Parsed<()> {
    let (account, code) = (params.address(0)?, params.bytes(1)?);
    let code = Bytecode::new_raw_checked(code).map_err(|_| Refusal::params("parameter 2", "is no runtime code"))?;
    chain.world_mut().set_code(account, code);
    Ok(())
}

fn set_balance(chain: &mut Chain, params: &Params<'_>) -> Parsed<()> {
    let (account, balance) = (params.address(0)?, params.quantity(1)?);
    chain.world_mut().set_balance(account, balance);
    Ok(())
}

fn set_storage(chain: &mut Chain, params: &Params<'_>) -> Parsed<Value> {
    let (account, slot, value) = (params.address(0)?, params.quantity(1)?, params.quantity(2)?);
    chain.world_mut().set_slot(account, slot, value);
    Ok(json!(true))
}
