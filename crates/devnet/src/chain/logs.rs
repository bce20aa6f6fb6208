//! `eth_getLogs`: which logs of which blocks.

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};

use super::{Block, Chain, Mined};

/// What a log must be like. An empty list at a place takes anything there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) addresses: Vec<Address>,
    pub(crate) topics: Vec<Vec<B256>>,
}

/// A log, where it is, and its place among its block's.
pub(crate) type Found<'a> = (&'a Block, usize, &'a Mined, usize, &'a Log);

impl Filter {
    fn takes(&self, log: &Log) -> bool {
        let topic = |(place, any): (usize, &Vec<B256>)| match log.topics().get(place) {
            Some(topic) => any.is_empty() || any.contains(topic),
            None => false,
        };
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.iter().enumerate().all(topic)
    }

    fn may_be_in(&self, bloom: &Bloom) -> bool {
        let holds = |raw: &[u8]| bloom.contains_input(BloomInput::Raw(raw));
        let address = self.addresses.is_empty() || self.addresses.iter().any(|address| holds(address.as_slice()));
        address && self.topics.iter().all(|any| any.is_empty() || any.iter().any(|topic| holds(topic.as_slice())))
    }
}

impl Chain {
    /// The logs of the blocks `from..=to`, in order.
    pub(crate) fn logs<'a>(&'a self, filter: &'a Filter, from: u64, to: u64) -> impl Iterator<Item = Found<'a>> {
        let to = to.min(self.head().number);
        let blocks = (from..=to).filter_map(|number| self.block(number));
        blocks.filter(|block| filter.may_be_in(&block.bloom)).flat_map(logs_of).filter(|(.., log)| filter.takes(log))
    }
}

/// Every log of a block.
pub(crate) fn logs_of(block: &Block) -> impl Iterator<Item = Found<'_>> {
    block.chain_txs.iter().enumerate().flat_map(move |(index, mined)| {
        let places = mined.receipt.first_log..;
        places.zip(&mined.receipt.logs).map(move |(place, log)| (block, index, mined, place, log))
    })
}
