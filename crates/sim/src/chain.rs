//! A chain with one token (EIP-3009), Multicall3, a mempool and blocks. It knows no ledger: it executes the bytes that the engine
//! signs, decoded here anew.

pub(crate) mod abi;
mod miner;
mod pool;
mod read;
mod reorg;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use alloy_primitives::{Address, B256, Bytes, U256, address};
use facilitator::engine::{ChainReceipt, Log};

use self::abi::{Aggregate, TransferWith};
pub(crate) use self::miner::Mining;
use self::pool::{Pool, Raw};
use self::reorg::Undone;

/// Where Multicall3 is.
pub(crate) const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
/// How many blocks a node keeps the state of.
const HISTORY: usize = 128;
/// Gas of a chain_tx that carries one transfer, and of a further one of a batch.
const GAS_FIRST: u128 = 80_000;
const GAS_MORE: u128 = 60_000;

/// Reads a signed chain_tx.
pub(crate) fn decode_raw(raw: &[u8]) -> Option<Raw> {
    Raw::decode(raw)
}

/// What became of an authorization's nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    Used,
    Cancelled,
}

/// What the token holds at one block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token {
    pub(crate) balances: BTreeMap<Address, u128>,
    pub(crate) nonces: BTreeMap<(Address, B256), Spent>,
    /// Accounts from which the token moves nothing.
    pub(crate) blocked: BTreeSet<Address>,
    /// How many chain_txs of each of our keys are in blocks.
    sequences: BTreeMap<Address, u64>,
}

impl Token {
    pub(crate) fn sequence(&self, signer: Address) -> u64 {
        self.sequences.get(&signer).copied().unwrap_or(0)
    }
}

/// A block and the state behind it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) time_s: u64,
    pub(crate) base_fee: u128,
    pub(crate) token: Rc<Token>,
    pub(crate) hash: B256,
    /// Our chain_txs in it.
    ours: Vec<Raw>,
    /// What others have sent, by chain_tx.
    deeds: Vec<(B256, Deed)>,
}

/// A transfer that an authorization moved: the auditor's truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) chain_tx: B256,
    pub(crate) block: u64,
    pub(crate) block_hash: B256,
    /// Who sent the chain_tx.
    pub(crate) sender: Address,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: u128,
    pub(crate) nonce: B256,
    /// Tells it from another authorization with the same nonce.
    pub(crate) valid_before: U256,
}

/// Something that somebody else than our key sends.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Lands an authorization.
    Land { by: Address, data: TransferWith },
    /// Cancels one's own authorization.
    Cancel { payer: Address, nonce: B256 },
    /// Sends one's money elsewhere.
    Spend { payer: Address, amount: u128 },
    /// Gets money from elsewhere.
    Fund { payer: Address, amount: u128 },
    /// The issuer blocks an account.
    Block { payer: Address },
}

#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) asset: Address,
    pub(crate) blocks: Vec<Block>,
    pub(crate) receipts: BTreeMap<B256, ChainReceipt>,
    /// In the order of the chain.
    pub(crate) logs: Vec<Log>,
    pub(crate) moved: Vec<Moved>,
    /// What our key paid for each of its chain_txs.
    pub(crate) gas: BTreeMap<B256, u128>,
    /// The signatures that payers made, by what was signed: the chain's way to check one.
    pub(crate) signed: BTreeMap<B256, (u8, B256, B256)>,
    pub(crate) pool: Pool,
    pub(crate) deeds: Vec<Deed>,
    deeds_done: u64,
    /// How many of our keys are in use.
    pub(crate) lanes: usize,
    /// How many reorgs there have been.
    pub(crate) forks: u64,
    pub(crate) undone: Undone,
    /// As it was before the newest reorg.
    pub(crate) before: Option<Rc<Chain>>,
}

impl Chain {
    pub(crate) fn new(asset: Address, balances: BTreeMap<Address, u128>, now_s: u64) -> Self {
        let token = Rc::new(Token { balances, ..Token::default() });
        let block = |number: u64| Block {
            number,
            time_s: now_s.saturating_sub((20 - number) * 2),
            base_fee: 1_000_000_000,
            token: Rc::clone(&token),
            hash: Self::block_hash(number, 0),
            ours: Vec::new(),
            deeds: Vec::new(),
        };
        Self {
            asset,
            blocks: (0..20).map(block).collect(),
            receipts: BTreeMap::new(),
            logs: Vec::new(),
            moved: Vec::new(),
            gas: BTreeMap::new(),
            signed: BTreeMap::new(),
            pool: Pool::default(),
            deeds: Vec::new(),
            deeds_done: 0,
            lanes: 1,
            forks: 0,
            undone: Undone::default(),
            before: None,
        }
    }

    pub(crate) fn latest(&self) -> &Block {
        self.blocks.last().expect("a chain has a first block")
    }

    pub(crate) fn height(&self) -> u64 {
        self.latest().number
    }

    /// The transfers of one authorization.
    pub(crate) fn moved_by(&self, payer: Address, nonce: B256) -> Option<&Moved> {
        self.moved.iter().find(|moved| moved.from == payer && moved.nonce == nonce)
    }

    /// A block's hash says its height, and how many reorgs were before it.
    fn block_hash(number: u64, forks: u64) -> B256 {
        B256::from(U256::from(number) + (U256::from(forks) << 64) + (U256::from(0xb10c) << 128))
    }
}

/// A log before it is in a block: who emitted it, its topics, the rest.
type Event = (Address, Vec<B256>, Bytes);

/// What executing a call did, before it is known whether it counts.
struct Effect {
    token: Token,
    logs: Vec<Event>,
    moved: Vec<TransferWith>,
}

impl Chain {
    /// `transferWithAuthorization` as the token runs it. `None` reverts.
    fn transfer(&self, token: &Token, call: &TransferWith, time_s: u64) -> Option<Effect> {
        let expected = self.signed.get(&call.digest_key())?;
        let balance = token.balances.get(&call.from).copied().unwrap_or(0);
        let in_time = call.valid_after < U256::from(time_s) && U256::from(time_s) < call.valid_before;
        let value = u128::try_from(call.value).ok()?;
        let fresh = !token.nonces.contains_key(&(call.from, call.nonce));
        let open = !token.blocked.contains(&call.from);
        if *expected != (call.v, call.r, call.s) || !in_time || !fresh || !open || balance < value {
            return None;
        }
        let mut token = token.clone();
        token.nonces.insert((call.from, call.nonce), Spent::Used);
        token.balances.insert(call.from, balance - value);
        *token.balances.entry(call.to).or_default() += value;
        let logs = vec![
            (self.asset, vec![abi::USED, call.from.into_word(), call.nonce], Bytes::new()),
            (
                self.asset,
                vec![abi::TRANSFER, call.from.into_word(), call.to.into_word()],
                call.value.to_be_bytes::<32>().into(),
            ),
        ];
        Some(Effect { token, logs, moved: vec![call.clone()] })
    }

    /// Whether the token would take an authorization in a block.
    pub(crate) fn would_go_through(&self, call: &TransferWith, block: &Block) -> bool {
        self.transfer(&block.token, call, block.time_s).is_some()
    }

    /// A call of any contract that there is. `Ok(None)` is a call of nothing.
    /// `starved` is the member of a batch that gets no gas.
    fn execute(
        &self,
        token: &Token,
        to: Address,
        data: &[u8],
        time_s: u64,
        starved: Option<usize>,
    ) -> Result<(Option<Effect>, Bytes), ()> {
        if to == MULTICALL3 {
            let calls = Aggregate::decode(data).ok_or(())?;
            let mut all = Effect { token: token.clone(), logs: Vec::new(), moved: Vec::new() };
            let mut results = Vec::new();
            for (place, (target, call)) in calls.0.into_iter().enumerate() {
                let one = match starved {
                    Some(starved) if starved == place => Err(()),
                    _ => self.execute(&all.token, target, &call, time_s, None),
                };
                results.push(one.is_ok());
                if let Ok((Some(effect), _)) = one {
                    all.token = effect.token;
                    all.logs.extend(effect.logs);
                    all.moved.extend(effect.moved);
                }
            }
            return Ok((Some(all), Aggregate::results(&results)));
        }
        if to != self.asset {
            return Ok((None, Bytes::new()));
        }
        let call = TransferWith::decode(data).ok_or(())?;
        let effect = self.transfer(token, &call, time_s).ok_or(())?;
        Ok((Some(effect), Bytes::new()))
    }

    /// Takes one of our chain_txs into the block that is being made.
    fn include(&mut self, raw: &Raw, block: &mut Block, starved: Option<usize>) {
        let mut token = (*block.token).clone();
        token.sequences.insert(raw.signer, raw.sequence + 1);
        let members =
            if raw.to == MULTICALL3 { Aggregate::decode(&raw.data).map_or(1, |calls| calls.0.len()) } else { 1 };
        let done = self.execute(&token, raw.to, &raw.data, block.time_s, starved);
        let price = raw.fee_max.min(block.base_fee + raw.tip);
        let more = u128::try_from(members.saturating_sub(1)).unwrap_or(0);
        let fee_wei = (GAS_FIRST + GAS_MORE * more) * price;
        self.gas.insert(raw.hash, fee_wei);
        let (success, logs, moved) = match done {
            Ok((Some(effect), _)) => {
                token = effect.token;
                (true, effect.logs, effect.moved)
            }
            Ok((None, _)) => (true, Vec::new(), Vec::new()),
            Err(()) => (false, Vec::new(), Vec::new()),
        };
        block.token = Rc::new(token);
        block.ours.push(raw.clone());
        self.note(raw.hash, block, raw.signer, success, Some(fee_wei), (logs, moved));
    }

    fn note(
        &mut self,
        chain_tx: B256,
        in_block: &Block,
        from: Address,
        success: bool,
        fee_wei: Option<u128>,
        (logs, moved): (Vec<Event>, Vec<TransferWith>),
    ) {
        let (block, block_hash) = (in_block.number, in_block.hash);
        let log = |(address, topics, data)| Log { address, topics, data, chain_tx, block, block_hash };
        let logs: Vec<Log> = logs.into_iter().map(log).collect();
        self.logs.extend(logs.iter().cloned());
        self.receipts.insert(chain_tx, ChainReceipt { chain_tx, block, block_hash, success, from, fee_wei, logs });
        for call in moved {
            let value = u128::try_from(call.value).expect("the token moved it");
            let TransferWith { from: payer, to, nonce, valid_before, .. } = call;
            let sender = from;
            self.moved.push(Moved { chain_tx, block, block_hash, sender, from: payer, to, value, nonce, valid_before });
        }
    }

    /// Does what somebody else sent.
    fn perform(&mut self, deed: &Deed, block: &mut Block) {
        self.deeds_done += 1;
        let chain_tx = B256::from(U256::from(self.deeds_done) + (U256::from(0xdeed) << 128));
        self.perform_as(chain_tx, deed, block);
    }

    fn perform_as(&mut self, chain_tx: B256, deed: &Deed, block: &mut Block) {
        block.deeds.push((chain_tx, deed.clone()));
        let mut token = (*block.token).clone();
        match deed {
            Deed::Land { by, data } => {
                let effect = self.transfer(&token, data, block.time_s);
                let success = effect.is_some();
                let (next, logs, moved) =
                    effect.map_or((token, Vec::new(), Vec::new()), |effect| (effect.token, effect.logs, effect.moved));
                block.token = Rc::new(next);
                self.note(chain_tx, block, *by, success, None, (logs, moved));
            }
            Deed::Cancel { payer, nonce } => {
                if token.nonces.insert((*payer, *nonce), Spent::Cancelled).is_none() {
                    block.token = Rc::new(token);
                    let log = (self.asset, vec![abi::CANCELED, payer.into_word(), *nonce], Bytes::new());
                    self.note(chain_tx, block, *payer, true, None, (vec![log], Vec::new()));
                }
            }
            Deed::Spend { payer, amount } => {
                let balance = token.balances.entry(*payer).or_default();
                *balance = balance.saturating_sub(*amount);
                block.token = Rc::new(token);
            }
            Deed::Fund { payer, amount } => {
                *token.balances.entry(*payer).or_default() += *amount;
                block.token = Rc::new(token);
            }
            Deed::Block { payer } => {
                token.blocked.insert(*payer);
                block.token = Rc::new(token);
            }
        }
    }
}
