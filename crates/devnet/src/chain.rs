//! The chain without its server: state, blocks, what waits. Time is an argument.

mod block;
mod curve;
mod evm;
mod logs;

use std::collections::{HashMap, HashSet};

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::chain_tx::{ChainTx, Layout, NotAChainTx};
use crate::pool::Pool;
use crate::world::{KEPT_BLOCKS, View, World};
use crate::{Mining, Options, genesis};

pub(crate) use block::{Block, EMPTY_ROOT, Mined, NO_OMMERS, NO_REQUESTS, Receipt};
pub(crate) use evm::{Ask, Asked};
pub(crate) use logs::{Filter, Found, logs_of};

/// Wei. It never moves.
pub(crate) const BASE_FEE: u128 = 1_000_000_000;

/// Wei. What `eth_maxPriorityFeePerGas` answers.
pub(crate) const TIP: u128 = 1_000_000_000;

/// What a block holds.
pub(crate) const BLOCK_GAS: u64 = 30_000_000;

/// EIP-3860.
const INIT_CODE_MAX_BYTES: usize = 49_152;

/// Why a chain_tx is not taken. The words are those of public nodes where they have some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendRefusal {
    #[error(transparent)]
    NotAChainTx(#[from] NotAChainTx),
    #[error("invalid chain id for signer: have {have} want {want}")]
    ChainId { have: u64, want: u64 },
    #[error("already known")]
    AlreadyKnown,
    #[error("exceeds block gas limit")]
    BlockGas,
    #[error("max initcode size exceeded")]
    InitCode,
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveMax,
    #[error("max fee per gas less than block base fee: maxFeePerGas: {0}, baseFee: {BASE_FEE}")]
    BelowBaseFee(u128),
    #[error("nonce too low: next nonce {next}, tx nonce {given}")]
    SequenceUsed { next: u64, given: u64 },
    #[error("nonce has max value")]
    SequenceMax,
    #[error("intrinsic gas too low: gas {gas_limit}, minimum needed {needed}")]
    IntrinsicGas { gas_limit: u64, needed: u64 },
    #[error("insufficient funds for gas * price + value: balance {balance}")]
    Funds { balance: U256 },
    #[error("replacement transaction underpriced")]
    Underpriced,
}

/// What `eth_sendTransaction` is given. What it leaves out, the chain fills in.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnsignedChainTx {
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    /// A whole block's when left out.
    pub(crate) gas_limit: Option<u64>,
    /// The next that is free when left out.
    pub(crate) sequence: Option<u64>,
    /// Makes a legacy one.
    pub(crate) gas_price: Option<u128>,
    pub(crate) fee_max: Option<u128>,
    pub(crate) tip_max: Option<u128>,
}

impl UnsignedChainTx {
    pub(crate) fn call(from: Address, to: Address, data: Bytes) -> Self {
        Self { from, to: Some(to), data, ..Self::default() }
    }
}

/// One chain: never forks, never forgets a block, and forgets the state of old ones.
#[derive(Debug)]
pub(crate) struct Chain {
    chain_id: u64,
    mining: Mining,
    world: World,
    blocks: Vec<Block>,
    numbers: HashMap<B256, usize>,
    places: HashMap<B256, (usize, usize)>,
    pool: Pool,
    /// How far the chain's clock is ahead.
    ahead_s: u64,
}

impl Chain {
    pub(crate) fn new(options: &Options, now_s: u64) -> Self {
        curve::install();
        let mut world = World::default();
        world.begin(0);
        genesis::plant(&mut world);
        let mut chain = Self {
            chain_id: options.chain_id,
            mining: Mining::ByHand,
            world,
            blocks: Vec::new(),
            numbers: HashMap::new(),
            places: HashMap::new(),
            pool: Pool::default(),
            ahead_s: 0,
        };
        chain.append(Block::seal(0, B256::ZERO, now_s, Vec::new()));
        chain.set_mining(options.mining, now_s);
        chain
    }

    pub(crate) fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(crate) fn mining(&self) -> Mining {
        self.mining
    }

    /// Turning to [`Mining::AtOnce`] mines what waits. An interval needs someone who calls [`Chain::mine`] in time.
    pub(crate) fn set_mining(&mut self, mining: Mining, now_s: u64) {
        self.mining = if mining == Mining::EverySeconds(0) { Mining::ByHand } else { mining };
        self.mine_ready(now_s);
    }

    /// Moves the clock of the blocks to come on; gives how far it is ahead. Mines nothing.
    pub(crate) fn increase_time(&mut self, seconds: u64) -> u64 {
        self.ahead_s = self.ahead_s.saturating_add(seconds);
        self.ahead_s
    }

    /// The time of a block that is made now. It never goes back and may stand still.
    pub(crate) fn next_time_s(&self, now_s: u64) -> u64 {
        now_s.saturating_add(self.ahead_s).max(self.head().time_s)
    }

    pub(crate) fn head(&self) -> &Block {
        self.blocks.last().expect("the genesis block is there from the start")
    }

    pub(crate) fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn block_by_hash(&self, hash: B256) -> Option<&Block> {
        self.blocks.get(*self.numbers.get(&hash)?)
    }

    /// A chain_tx that a block has, with that block.
    pub(crate) fn mined(&self, hash: B256) -> Option<(&Block, &Mined)> {
        let (block, index) = *self.places.get(&hash)?;
        let block = self.blocks.get(block)?;
        Some((block, block.chain_txs.get(index)?))
    }

    pub(crate) fn waiting(&self, hash: B256) -> Option<&ChainTx> {
        self.pool.get(hash)
    }

    /// Ready ones and those that wait for another.
    pub(crate) fn waiting_counts(&self) -> (u64, u64) {
        self.pool.counts(|sender| self.world.sequence(sender))
    }

    /// Forgets one that waits.
    pub(crate) fn drop_waiting(&mut self, hash: B256) -> bool {
        self.pool.remove(hash).is_some()
    }

    /// The state after the latest block, with what was set since.
    pub(crate) fn latest(&self) -> View<'_> {
        View { world: &self.world, blocks: &self.blocks, at: self.head().number }
    }

    /// The state after an older block, and `None` when it is not kept any more.
    pub(crate) fn view(&self, number: u64) -> Option<View<'_>> {
        self.world.keeps(number).then_some(View { at: number, ..self.latest() })
    }

    /// For the methods that change the state by decree.
    pub(crate) fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// The sequence that the sender's next chain_tx needs when everything that is ready is mined.
    pub(crate) fn pending_sequence(&self, sender: Address) -> u64 {
        self.pool.next_sequence(sender, self.world.sequence(sender))
    }

    /// Takes signed bytes. In [`Mining::AtOnce`] their block is there on return, unless they wait for another sequence.
    pub(crate) fn send_raw(&mut self, raw: &[u8], now_s: u64) -> Result<B256, SendRefusal> {
        self.send(ChainTx::decode(raw)?, now_s)
    }

    /// Takes a chain_tx that nobody signed, of any sender.
    pub(crate) fn send_unsigned(&mut self, unsigned: UnsignedChainTx, now_s: u64) -> Result<B256, SendRefusal> {
        let UnsignedChainTx { from, to, value, data, gas_limit, sequence, gas_price, fee_max, tip_max } = unsigned;
        let tip_max = gas_price.or(tip_max).unwrap_or(TIP.min(fee_max.unwrap_or(TIP)));
        let mut chain_tx = ChainTx {
            hash: B256::ZERO,
            layout: if gas_price.is_some() { Layout::Legacy } else { Layout::DynamicFee },
            chain_id: self.chain_id,
            from,
            sequence: sequence.unwrap_or_else(|| self.pending_sequence(from)),
            gas_limit: gas_limit.unwrap_or(BLOCK_GAS),
            fee_max: gas_price.or(fee_max).unwrap_or(BASE_FEE.saturating_mul(2).saturating_add(tip_max)),
            tip_max,
            to,
            value,
            data,
            access_list: Default::default(),
            v: 0,
            r: U256::ZERO,
            s: U256::ZERO,
            size_bytes: 0,
        };
        chain_tx.hash_unsigned();
        self.send(chain_tx, now_s)
    }

    fn send(&mut self, chain_tx: ChainTx, now_s: u64) -> Result<B256, SendRefusal> {
        self.check(&chain_tx)?;
        let hash = chain_tx.hash;
        if !self.pool.add(chain_tx) {
            return Err(SendRefusal::Underpriced);
        }
        self.mine_ready(now_s);
        Ok(hash)
    }

    fn check(&self, chain_tx: &ChainTx) -> Result<(), SendRefusal> {
        let refuse = |when: bool, refusal: SendRefusal| if when { Err(refusal) } else { Ok(()) };
        let (want, have) = (self.chain_id, chain_tx.chain_id);
        refuse(have != want, SendRefusal::ChainId { have, want })?;
        refuse(self.pool.get(chain_tx.hash).is_some(), SendRefusal::AlreadyKnown)?;
        refuse(chain_tx.gas_limit > BLOCK_GAS, SendRefusal::BlockGas)?;
        refuse(chain_tx.to.is_none() && chain_tx.data.len() > INIT_CODE_MAX_BYTES, SendRefusal::InitCode)?;
        refuse(chain_tx.tip_max > chain_tx.fee_max, SendRefusal::TipAboveMax)?;
        refuse(chain_tx.fee_max < BASE_FEE, SendRefusal::BelowBaseFee(chain_tx.fee_max))?;
        let (next, given) = (self.world.sequence(chain_tx.from), chain_tx.sequence);
        refuse(given < next, SendRefusal::SequenceUsed { next, given })?;
        refuse(given == u64::MAX, SendRefusal::SequenceMax)?;
        let (gas_limit, needed) = (chain_tx.gas_limit, evm::intrinsic_gas(chain_tx));
        refuse(gas_limit < needed, SendRefusal::IntrinsicGas { gas_limit, needed })?;
        let balance = self.world.info(chain_tx.from).balance;
        refuse(chain_tx.cost_max().is_none_or(|cost| cost > balance), SendRefusal::Funds { balance })
    }

    fn mine_ready(&mut self, now_s: u64) {
        while self.mining == Mining::AtOnce && self.best(&HashSet::new()).is_some() {
            self.mine(now_s);
        }
    }

    fn best(&self, passed_over: &HashSet<Address>) -> Option<&ChainTx> {
        self.pool.best(BASE_FEE, |sender| self.world.sequence(sender), passed_over)
    }

    /// Makes one block of whatever is ready and fits. One that cannot pay any more is forgotten, as nodes do.
    pub(crate) fn mine(&mut self, now_s: u64) {
        let (number, parent) = (self.head().number.saturating_add(1), self.head().hash);
        let time_s = self.next_time_s(now_s);
        self.world.begin(number);
        let (mut mined, mut passed_over) = (Vec::<Mined>::new(), HashSet::new());
        let (mut gas_used, mut log_count) = (0_u64, 0_usize);
        while let Some(best) = self.best(&passed_over) {
            let (hash, from) = (best.hash, best.from);
            if best.gas_limit > BLOCK_GAS.saturating_sub(gas_used) {
                passed_over.insert(from);
                continue;
            }
            // The state with what this block has changed so far.
            let view = View { at: number, ..self.latest() };
            let ran = evm::execute(view, self.chain_id, (number, time_s), best);
            let Some(chain_tx) = self.pool.remove(hash) else { break };
            let Some((outcome, state)) = ran else { continue };
            self.world.commit(state);
            gas_used = gas_used.saturating_add(outcome.gas_used);
            let receipt = Receipt::new(&chain_tx, outcome, gas_used, log_count);
            log_count = log_count.saturating_add(receipt.logs.len());
            mined.push(Mined { chain_tx, receipt });
        }
        self.append(Block::seal(number, parent, time_s, mined));
    }

    fn append(&mut self, block: Block) {
        let place = self.blocks.len();
        self.numbers.insert(block.hash, place);
        self.places
            .extend(block.chain_txs.iter().enumerate().map(|(index, mined)| (mined.chain_tx.hash, (place, index))));
        self.blocks.push(block);
    }

    /// The oldest block whose state is kept.
    pub(crate) fn oldest_kept(&self) -> u64 {
        self.head().number.saturating_sub(u64::try_from(KEPT_BLOCKS).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
