//! The EVM run over a state: to mine, to ask, to estimate.

use alloy_primitives::{Address, Bytes, TxKind, U256};
use revm::context::result::{ExecutionResult, InvalidTransaction, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::cfg::gas::calculate_initial_tx_gas_for_tx;
use revm::context_interface::result::EVMError;
use revm::database_interface::WrapDatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Context, ExecuteEvm as _, MainBuilder as _, MainContext as _};

use super::block::Outcome;
use super::{BASE_FEE, BLOCK_GAS, Chain};
use crate::chain_tx::ChainTx;
use crate::world::View;

/// The rules. Delegations (EIP-7702) that were planted work, and chain_txs that make them are refused.
const RULES: SpecId = SpecId::PRAGUE;

/// A call that changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) from: Address,
    /// `None` runs `data` as a constructor.
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    /// A whole block's when left out, and never more.
    pub(crate) gas_limit: Option<u64>,
}

/// What came of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `gas_spent` is before refunds.
    Returned {
        output: Bytes,
        gas_spent: u64,
    },
    Reverted(Bytes),
    /// It ran out of gas or hit something that no contract may do, in words.
    Failed(String),
}

type Fault = EVMError<std::convert::Infallible, InvalidTransaction>;

/// Runs a chain_tx for a block. `None` when it may not be in it: its sender cannot pay any more.
pub(super) fn execute(
    view: View<'_>,
    chain_id: u64,
    at: (u64, u64),
    chain_tx: &ChainTx,
) -> Option<(Outcome, EvmState)> {
    let mut rules = CfgEnv::new_with_spec(RULES).with_chain_id(chain_id);
    // A contract may send, too: every account is open here.
    rules.disable_eip3607 = true;
    let ResultAndState { result, state } = run(view, rules, at, BASE_FEE, chain_tx.env()).ok()?;
    let (success, gas_used) = (result.is_success(), result.tx_gas_used());
    let created = result.created_address();
    // The EVM also tells what a reverted run had logged, which no receipt has.
    let logs = if success { result.into_logs() } else { Vec::new() };
    Some((Outcome { success, gas_used, logs, created }, state))
}

/// What a chain_tx needs before its first instruction.
pub(super) fn intrinsic_gas(chain_tx: &ChainTx) -> u64 {
    let gas = calculate_initial_tx_gas_for_tx(chain_tx.env(), RULES, None);
    gas.initial_regular_gas.max(gas.floor_gas)
}

impl Chain {
    /// Runs a call on the state of `view`, in that block or, when `next_s` names its time, in the one after it. Gas costs nothing.
    pub(crate) fn ask(&self, view: View<'_>, next_s: Option<u64>, ask: Ask) -> Asked {
        let time_s = next_s.or_else(|| Some(self.block(view.at)?.time_s)).unwrap_or_default();
        let number = view.at.saturating_add(u64::from(next_s.is_some()));
        let mut rules = CfgEnv::new_with_spec(RULES).with_chain_id(self.chain_id());
        rules.disable_nonce_check = true;
        rules.disable_base_fee = true;
        rules.disable_eip3607 = true;
        let chain_tx = TxEnv {
            caller: ask.from,
            gas_limit: ask.gas_limit.unwrap_or(BLOCK_GAS).min(BLOCK_GAS),
            kind: ask.to.map_or(TxKind::Create, TxKind::Call),
            value: ask.value,
            data: ask.data,
            chain_id: Some(self.chain_id()),
            ..TxEnv::default()
        };
        match run(view, rules, (number, time_s), BASE_FEE, chain_tx) {
            Ok(ran) => match ran.result {
                ExecutionResult::Success { gas, output, .. } => {
                    Asked::Returned { output: output.into_data(), gas_spent: gas.total_gas_spent() }
                }
                ExecutionResult::Revert { output, .. } => Asked::Reverted(output),
                ExecutionResult::Halt { reason, .. } => Asked::Failed(reason.to_string()),
            },
            Err(fault) => Asked::Failed(words(&fault)),
        }
    }

    /// The least gas with which the call succeeds, found by halving.
    pub(crate) fn estimate(&self, view: View<'_>, next_s: Option<u64>, ask: Ask) -> Result<u64, Asked> {
        let most = ask.gas_limit.unwrap_or(BLOCK_GAS).min(BLOCK_GAS);
        let with = |gas_limit: u64| self.ask(view, next_s, Ask { gas_limit: Some(gas_limit), ..ask.clone() });
        let spent = match with(most) {
            Asked::Returned { gas_spent, .. } => gas_spent,
            other => return Err(other),
        };
        let enough = |gas_limit: u64| matches!(with(gas_limit), Asked::Returned { .. });
        // Less than what was spent before refunds never suffices; a 64th more is what calls keep back (EIP-150), plus a stipend.
        let (mut low, mut high) = (spent.saturating_sub(1), most);
        let guess = spent.saturating_add(spent / 63).saturating_add(2_300);
        if guess < high && enough(guess) {
            high = guess;
        }
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            if enough(middle) { high = middle } else { low = middle }
        }
        Ok(high)
    }
}

/// A call that may not even begin, in the words of public nodes where they have some.
fn words(fault: &Fault) -> String {
    match fault {
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { .. }) => {
            "insufficient funds for gas * price + value".to_owned()
        }
        EVMError::Transaction(
            InvalidTransaction::CallGasCostMoreThanGasLimit { gas_limit, initial_gas: needed }
            | InvalidTransaction::GasFloorMoreThanGasLimit { gas_limit, gas_floor: needed },
        ) => format!("intrinsic gas too low: gas {gas_limit}, minimum needed {needed}"),
        other => other.to_string(),
    }
}

fn run(
    view: View<'_>,
    rules: CfgEnv,
    (number, time_s): (u64, u64),
    base_fee: u128,
    chain_tx: TxEnv,
) -> Result<ResultAndState, Fault> {
    let block = BlockEnv {
        number: U256::from(number),
        timestamp: U256::from(time_s),
        gas_limit: BLOCK_GAS,
        basefee: u64::try_from(base_fee).unwrap_or(u64::MAX),
        ..BlockEnv::default()
    };
    let context = Context::mainnet().with_db(WrapDatabaseRef(view)).with_cfg(rules).with_block(block);
    context.build_mainnet().transact(chain_tx)
}
