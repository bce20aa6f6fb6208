//! What a node says of the chain, as of one of its blocks.

use alloy_primitives::{Address, B256, Bytes, U256};
use facilitator::engine::{CallResult, ChainReceipt, EthCall, Log};

use super::abi::Read;
use super::{Block, Chain, HISTORY, MULTICALL3};

impl Chain {
    /// A block with its state, if a node still has it.
    pub(crate) fn at(&self, number: u64) -> Option<&Block> {
        let oldest = self.blocks.len().saturating_sub(HISTORY);
        let place = usize::try_from(number).ok()?;
        if place < oldest { None } else { self.blocks.get(place) }
    }

    /// Tries a call on a block's state.
    pub(crate) fn call(&self, call: &EthCall, block: &Block) -> CallResult {
        let word = |value: U256| CallResult::Returned(value.to_be_bytes::<32>().into());
        if call.to == self.asset {
            match Read::decode(&call.data) {
                Some(Read::Balance(account)) => {
                    return word(U256::from(block.token.balances.get(&account).copied().unwrap_or(0)));
                }
                Some(Read::State(payer, nonce)) => {
                    return word(U256::from(block.token.nonces.contains_key(&(payer, nonce))));
                }
                None => {}
            }
        } else if call.to != MULTICALL3 {
            return CallResult::Returned(Bytes::new());
        }
        match self.execute(&block.token, call.to, &call.data, block.time_s, None) {
            Ok((_, returned)) => CallResult::Returned(returned),
            Err(()) => CallResult::Reverted,
        }
    }

    pub(crate) fn receipt(&self, chain_tx: B256, view: u64) -> Option<ChainReceipt> {
        self.receipts.get(&chain_tx).filter(|receipt| receipt.block <= view).cloned()
    }

    pub(crate) fn logs_from(&self, address: Address, topics: &[Vec<B256>], from: u64, view: u64) -> Vec<Log> {
        let fits = |log: &&Log| {
            let topics = topics.iter().zip(&log.topics).all(|(wanted, topic)| wanted.contains(topic));
            log.address == address && (from..=view).contains(&log.block) && topics
        };
        self.logs.iter().filter(fits).cloned().collect()
    }
}
