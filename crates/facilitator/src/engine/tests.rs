//! The engine over a chain of a few cells, a journal in memory and a clock that moves only when somebody sleeps. Every port call
//! goes into one list, so that a test can say in which order they came.

mod batch;
mod books;
mod check;
mod finality;
mod groups;
mod handed;
mod lane;
mod lanes;
mod multicall;
mod reconcile;
mod recover;
mod refund;
mod rest;
mod settle;
mod tab;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use alloy_primitives::{Address, B256, Bytes, U256, address};
use gate::{Answer, Depth, Fault, FaultKind, Journal, Settlement, Standing};
use ledger::{
    AnswerState, BlockRef, BurnReason, Change, Entry, Exposure, Hold, HoldId, LossReason, Rail, Record, ReleaseReason,
    Reservation, Source, State, Step,
};
use protocol::exact::Fields;
use protocol::{AssetInfo, Authorization, ClaimKey, Key, MoneyState, Network, Payee, Settled, Signer};

use super::token::{CANCELED, USED};
use super::*;

const PAYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const SECOND_PAYER: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const LANE: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// The address of that key.
const OURSELVES: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const PAYEE: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");
const STRANGER: Address = Address::repeat_byte(0x55);
const AMOUNT: u128 = 10_000;
const MICROS: u64 = 10_000;
const VALID_BEFORE_S: u64 = 2_000_000_000;
const SEEN: u64 = 100;
const LATEST: u64 = 103;
/// The hash of every block, but for those that a reorg has changed.
const HERE: B256 = B256::with_last_byte(7);
/// The hash of blocks on another branch.
const ELSEWHERE: B256 = B256::with_last_byte(8);
/// keccak256 of `Transfer(address,address,uint256)`.
const TRANSFER: B256 =
    B256::new(alloy_primitives::hex!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"));
/// The chain_tx that the fake lane sends.
const OURS: B256 = B256::repeat_byte(0xc1);
const THEIRS: B256 = B256::repeat_byte(0xc2);

/// What happens to a world.
type Event = fn(&World);

const SUBMITTED: State = State::Submitted(OURS);
const NOTHING: Event = |_| {};
const PAID_BY_US: Event = |world| world.pay(OURS, 104, lane_key().address());
const PAID_BEFORE: Event = |world| world.pay(B256::repeat_byte(0xd0), 104, lane_key().address());
const PAID_BY_PAYER: Event = |world| world.pay(THEIRS, 104, payer());
const PAID_BY_STRANGER: Event = |world| world.pay(THEIRS, 104, STRANGER);
const CANCELLED: Event = |world| world.cancel();
const REVERTED: Event = |world| world.revert(OURS);

/// Everything outside of the engine. One value plays all the ports; clones share their cells.
#[derive(Clone, Debug)]
struct World(Rc<Cells>);

impl Deref for World {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.0
    }
}

#[derive(Debug)]
struct Cells {
    calls: RefCell<Vec<String>>,
    /// How often each port method still works; absent for always.
    works: RefCell<BTreeMap<&'static str, usize>>,

    latest: Cell<u64>,
    /// What the node calls safe; twelve blocks are final unless a test says otherwise.
    safe: Cell<Option<Block>>,
    /// Blocks with a hash of their own.
    hashes: RefCell<BTreeMap<u64, B256>>,
    /// A block is one second younger than the one before it.
    genesis_s: Cell<u64>,
    deployed: Cell<bool>,
    balance: Cell<u128>,
    /// Of the second payer.
    second_balance: Cell<u128>,
    token_refuses: Cell<bool>,
    /// Nonces that the token refuses for a reason of its own.
    poisoned: RefCell<BTreeSet<B256>>,
    multicall: Cell<multicall::Multicall>,
    /// Everything that was tried.
    tried: RefCell<Vec<EthCall>>,
    /// Native coin of the lane's key.
    wei: Cell<U256>,
    wei_of: RefCell<BTreeMap<Address, U256>>,
    used: RefCell<BTreeSet<B256>>,
    receipts: RefCell<Vec<ChainReceipt>>,
    /// How many chain_txs of the lane's key are in blocks.
    mined: Cell<u64>,
    /// Of other keys of ours.
    mined_of: RefCell<BTreeMap<Address, u64>>,
    sent: RefCell<Vec<Vec<Bytes>>>,
    /// What the node says to all that is sent.
    says: Cell<Sent>,
    fees: Cell<Fees>,
    /// What holds have cost.
    spent_wei: RefCell<BTreeMap<HoldId, u128>>,

    submitted: Cell<Result<B256, Fault>>,
    /// The numbers of the holds of every chain_tx that the lane took.
    batches: RefCell<Vec<Vec<u8>>>,
    /// What happens once the lane has sent.
    on_submit: Cell<Event>,
    elapsed_ms: Cell<u64>,
    /// What happens once the clock shows so much.
    at_ms: Cell<(u64, Event)>,

    books: RefCell<Vec<Unfinished>>,
    /// How many holds a page of the unfinished ones has, and of the due ones.
    pages: Cell<(usize, usize)>,
    entries: RefCell<Vec<Entry>>,
    unwatched: RefCell<BTreeSet<HoldId>>,
    chain_txs: RefCell<Vec<ChainTx>>,
    /// Whose gas is not in the books, by sequence.
    unmined: RefCell<Vec<(u64, B256)>>,
    gas: RefCell<Vec<Mined>>,
    /// Blocks that are final.
    last: RefCell<BTreeSet<(u64, B256)>>,
}

impl World {
    fn new() -> Self {
        Self(Rc::new(Cells {
            calls: RefCell::default(),
            works: RefCell::default(),
            latest: Cell::new(LATEST),
            safe: Cell::default(),
            hashes: RefCell::default(),
            genesis_s: Cell::new(1_900_000_000),
            deployed: Cell::new(true),
            balance: Cell::new(AMOUNT),
            second_balance: Cell::new(AMOUNT),
            poisoned: RefCell::default(),
            multicall: Cell::default(),
            tried: RefCell::default(),
            wei: Cell::new(U256::MAX),
            wei_of: RefCell::default(),
            pages: Cell::new((2, usize::MAX)),
            batches: RefCell::default(),
            unmined: RefCell::default(),
            gas: RefCell::default(),
            last: RefCell::default(),
            token_refuses: Cell::default(),
            used: RefCell::default(),
            receipts: RefCell::default(),
            mined: Cell::default(),
            mined_of: RefCell::default(),
            sent: RefCell::default(),
            says: Cell::new(Sent::Accepted),
            fees: Cell::new(Fees { base: 1_000_000_000, tip: 1_500_000_000 }),
            spent_wei: RefCell::default(),
            submitted: Cell::new(Ok(OURS)),
            on_submit: Cell::new(|_| {}),
            elapsed_ms: Cell::default(),
            at_ms: Cell::new((u64::MAX, |_| {})),
            books: RefCell::default(),
            entries: RefCell::default(),
            unwatched: RefCell::default(),
            chain_txs: RefCell::default(),
        }))
    }

    /// Notes a call and says whether it works.
    fn works(&self, method: &'static str, note: impl Into<String>) -> bool {
        self.calls.borrow_mut().push(note.into());
        match self.works.borrow_mut().get_mut(method) {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn node(&self, method: &'static str, note: impl Into<String>) -> Result<(), NodeFault> {
        if self.works(method, note) { Ok(()) } else { Err(NodeFault) }
    }

    fn journal(&self, method: &'static str, note: impl Into<String>) -> Result<(), Fault> {
        if self.works(method, note) { Ok(()) } else { Err(Fault::untouched(FaultKind::Journal)) }
    }

    /// Lets a method fail after it has worked `times`.
    fn fail_after(&self, method: &'static str, times: usize) {
        self.works.borrow_mut().insert(method, times);
    }

    /// The calls since the last look, as one line.
    fn said(&self) -> String {
        self.calls.take().join(", ")
    }

    /// Puts a chain_tx with these logs of the token into a block.
    fn mine(&self, chain_tx: B256, block: u64, from: Address, logs: &[(Address, Vec<B256>, Bytes)]) {
        let log = |(address, topics, data): &(Address, Vec<B256>, Bytes)| Log {
            address: *address,
            topics: topics.clone(),
            data: data.clone(),
            chain_tx,
            block,
            block_hash: self.head(block).hash,
        };
        let logs: Vec<_> = logs.iter().map(log).collect();
        for log in logs.iter().filter(|log| log.address == token()) {
            if log.topics[0] == USED || log.topics[0] == CANCELED {
                self.used.borrow_mut().insert(log.topics[2]);
            }
        }
        self.latest.set(self.latest.get().max(block));
        self.receipt_of(chain_tx, block, true, from, logs);
    }

    /// The transfer of the hold's authorization, landed by `from`.
    fn pay(&self, chain_tx: B256, block: u64, from: Address) {
        self.balance.set(self.balance.get() - AMOUNT);
        self.mine(chain_tx, block, from, &[used(nonce(0)), transfer(AMOUNT)]);
    }

    /// A chain_tx that the token refused.
    fn revert(&self, chain_tx: B256) {
        let (block, from) = (self.latest.get() + 1, lane_key().address());
        self.latest.set(block);
        self.receipt_of(chain_tx, block, false, from, Vec::new());
    }

    fn receipt_of(&self, chain_tx: B256, block: u64, success: bool, from: Address, logs: Vec<Log>) {
        let (fee_wei, block_hash) = (Some(21_000), self.head(block).hash);
        self.receipts.borrow_mut().push(ChainReceipt { chain_tx, block, block_hash, success, from, fee_wei, logs });
    }

    fn cancel(&self) {
        let canceled = (token(), vec![CANCELED, payer().into_word(), nonce(0)], Bytes::new());
        self.mine(THEIRS, self.latest.get() + 1, payer(), &[canceled]);
    }

    /// A record in the books, with the sequences of its chain_txs.
    fn put(&self, number: u8, state: State, answer: AnswerState, sequences: &[u64]) {
        // The newest for a hold is the one that its state names.
        let hash = |at: usize| if at + 1 == sequences.len() { OURS } else { B256::repeat_byte(0xd0) };
        let bid = |(at, sequence): (usize, &u64)| Bid {
            chain_tx: hash(at),
            signer: OURSELVES,
            sequence: *sequence,
            members: 1,
        };
        self.put_hold(hold(number), state, answer, sequences.iter().enumerate().map(bid).collect());
    }

    fn put_hold(&self, hold: Hold, state: State, answer: AnswerState, bids: Vec<Bid>) {
        let record = Record { state, answer, ..Record::new(hold) };
        self.books.borrow_mut().push(Unfinished { record, bids });
    }

    fn head(&self, number: u64) -> Block {
        let hash = self.hashes.borrow().get(&number).copied().unwrap_or(HERE);
        Block { number, hash, time_s: self.genesis_s.get() + number }
    }

    /// The node that is asked has this block.
    fn has(&self, place: BlockRef) -> Result<(), NodeFault> {
        let has = place.number <= self.latest.get() && self.head(place.number).place() == place;
        if has { Ok(()) } else { Err(NodeFault) }
    }

    fn record(&self, number: u8) -> Record {
        let books = self.books.borrow();
        books.iter().find(|row| row.record.hold.id == hold(number).id).unwrap().record.clone()
    }
}

impl Node for World {
    async fn chain_id(&self) -> Result<u64, NodeFault> {
        Ok(Network::BASE_SEPOLIA.chain_id)
    }

    async fn block(&self, at: BlockAt) -> Result<Block, NodeFault> {
        self.node("block", format!("block {}", at_word(at)))?;
        let number = match at {
            BlockAt::Latest => self.latest.get(),
            BlockAt::Number(number) => number,
            BlockAt::Of(place) => {
                self.has(place)?;
                place.number
            }
            BlockAt::Safe | BlockAt::Finalized => return self.safe.get().ok_or(NodeFault),
        };
        Ok(self.head(number))
    }

    async fn under(&self, head: BlockRef, number: u64) -> Result<Block, NodeFault> {
        self.node("block", format!("block {number}"))?;
        self.has(head)?;
        Ok(self.head(number))
    }

    async fn calls(&self, calls: &[EthCall], at: BlockAt) -> Result<Vec<CallResult>, NodeFault> {
        self.node("calls", format!("{} calls {}", calls.len(), at_word(at)))?;
        if let BlockAt::Of(place) = at {
            self.has(place)?;
        }
        self.tried.borrow_mut().extend_from_slice(calls);
        if calls.iter().any(|call| multicall::gives_up(self, call)) {
            return Err(NodeFault);
        }
        Ok(calls.iter().map(|call| multicall::try_call(self, call)).collect())
    }

    async fn sequence(&self, account: Address, at: BlockAt) -> Result<u64, NodeFault> {
        self.node("sequence", "sequence")?;
        if let BlockAt::Of(place) = at {
            self.has(place)?;
        }
        Ok(if account == OURSELVES { self.mined.get() } else { self.mined_of.borrow()[&account] })
    }

    async fn native_balance(&self, account: Address) -> Result<U256, NodeFault> {
        self.node("native", "native")?;
        Ok(if account == OURSELVES { self.wei.get() } else { self.wei_of.borrow()[&account] })
    }

    async fn fees(&self) -> Result<Fees, NodeFault> {
        self.node("fees", "fees").map(|()| self.fees.get())
    }

    async fn send(&self, raw: &[Bytes]) -> Result<Vec<Sent>, NodeFault> {
        self.sent.borrow_mut().push(raw.to_vec());
        self.node("send", format!("send {}", raw.len())).map(|()| vec![self.says.get(); raw.len()])
    }

    async fn receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        self.node("receipt", format!("receipt {:x}", chain_tx[0]))?;
        Ok(self.receipts.borrow().iter().find(|receipt| receipt.chain_tx == chain_tx).cloned())
    }

    async fn logs(
        &self,
        address: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        head: BlockRef,
    ) -> Result<Vec<Log>, NodeFault> {
        self.node("logs", format!("logs {from_block}"))?;
        self.has(head)?;
        let receipts = self.receipts.borrow();
        let fits = |log: &&Log| {
            let topics = topics.iter().zip(&log.topics).all(|(wanted, topic)| wanted.contains(topic));
            let here = (from_block..=head.number).contains(&log.block) && self.head(log.block).place() == log.place();
            log.address == address && here && topics
        };
        Ok(receipts.iter().flat_map(|receipt| &receipt.logs).filter(fits).cloned().collect())
    }
}

impl Submitter for World {
    async fn submit(&self, holds: &[Hold]) -> Result<B256, Fault> {
        let count = if holds.len() == 1 { String::new() } else { format!(" {}", holds.len()) };
        self.calls.borrow_mut().push(format!("submit{count}"));
        let first = self.submitted.get()?;
        let before = u8::try_from(self.batches.borrow().len()).unwrap();
        let chain_tx = if before == 0 { first } else { B256::repeat_byte(0xa0 + before) };
        self.batches.borrow_mut().push(holds.iter().map(|hold| hold.id.0[0]).collect());
        for row in self.books.borrow_mut().iter_mut().filter(|row| holds.contains(&row.record.hold)) {
            let submitted = ledger::advance(&row.record, Step::Submit(chain_tx)).unwrap().unwrap();
            row.record = submitted.record;
            let sequence = self.mined.get() + u64::from(before);
            row.bids.push(Bid { chain_tx, signer: OURSELVES, sequence, members: holds.len() });
        }
        (self.on_submit.get())(self);
        Ok(chain_tx)
    }
}

impl Pace for World {
    fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms.get()
    }

    async fn sleep(&self, ms: u64) {
        self.elapsed_ms.set(self.elapsed_ms.get() + ms);
        let (at_ms, event) = self.at_ms.get();
        if self.elapsed_ms.get() >= at_ms {
            self.at_ms.set((u64::MAX, |_| {}));
            event(self);
        }
    }
}

fn engine(world: &World) -> Engine<World, World, World> {
    Engine {
        node: world.clone(),
        submitter: world.clone(),
        pace: world.clone(),
        signers: Signers::new(vec![OURSELVES], Vec::new()),
        caps: FeeCaps::NONE,
        live: Live::default(),
        head: Head::default(),
        finality: Finality::default(),
        budget_ms: 15_000,
    }
}

/// Runs a future that never waits: no port here does.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}

fn payer() -> Address {
    Key::from_hex(PAYER).unwrap().address()
}

fn lane_key() -> Key {
    Key::from_hex(LANE).unwrap()
}

fn token() -> Address {
    AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap().asset.address.0
}

fn nonce(number: u8) -> B256 {
    B256::repeat_byte(9 + number)
}

/// Holds that differ in id and nonce.
fn hold(number: u8) -> Hold {
    hold_by(PAYER, number)
}

/// The same on the tab.
fn tab_hold(number: u8) -> Hold {
    Hold { rail: Rail::Tab, ..hold(number) }
}

/// The same by one of the payers.
fn hold_by(key: &str, number: u8) -> Hold {
    let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
    let fields = Fields {
        from: Key::from_hex(key).unwrap().address(),
        to: PAYEE,
        value: U256::from(AMOUNT),
        valid_after: U256::ZERO,
        valid_before: U256::from(VALID_BEFORE_S),
        nonce: nonce(number),
    };
    let authorization = Authorization {
        key: fields.key(token.asset),
        payee: Payee(PAYEE),
        amount_atomic: AMOUNT,
        valid_after_s: 0,
        valid_before_s: VALID_BEFORE_S,
        signature: Key::from_hex(key).unwrap().sign_now(fields.digest(&token)).unwrap(),
    };
    Hold {
        id: HoldId([number; 16]),
        authorization,
        route: "paid".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        seen: BlockRef { number: SEEN, hash: HERE },
        opened_at_ms: 1,
        rail: Rail::Direct,
        source: Source([8; 16]),
        exposure_micros: MICROS,
        buys: None,
    }
}

/// The log of a nonce's use.
fn used(nonce: B256) -> (Address, Vec<B256>, Bytes) {
    (token(), vec![USED, payer().into_word(), nonce], Bytes::new())
}

/// The log of a transfer from the payer to the payee.
fn transfer(amount: u128) -> (Address, Vec<B256>, Bytes) {
    transfer_to(PAYEE, amount)
}

fn transfer_to(to: Address, amount: u128) -> (Address, Vec<B256>, Bytes) {
    let data = U256::from(amount).to_be_bytes::<32>();
    (token(), vec![TRANSFER, payer().into_word(), to.into_word()], data.into())
}

fn at_word(at: BlockAt) -> String {
    match at {
        BlockAt::Latest => "latest".to_owned(),
        BlockAt::Number(number) | BlockAt::Of(BlockRef { number, .. }) => number.to_string(),
        BlockAt::Safe => "safe".to_owned(),
        BlockAt::Finalized => "finalized".to_owned(),
    }
}

fn step_word(step: Step) -> String {
    match step {
        Step::Submit(_) => "submit".to_owned(),
        Step::Post(settled) => format!("post {:x}", settled.chain_tx[0]),
        Step::Arrive(settled) => format!("arrive {:x}", settled.chain_tx[0]),
        Step::Unsettle(_) => "unsettle".to_owned(),
        Step::Release(reason) => format!("release {reason:?}"),
        Step::Burn(reason) => format!("burn {reason:?}"),
        Step::Refuse(reason) => format!("refuse {reason:?}"),
        Step::Expire => "expire".to_owned(),
        Step::Answer => "answer".to_owned(),
        Step::Deliver => "deliver".to_owned(),
        Step::Pend => "pend".to_owned(),
        Step::KeepAnswer => "keep answer".to_owned(),
        Step::LoseAnswer => "lose answer".to_owned(),
        Step::TakeBack => "take back".to_owned(),
    }
}

fn settlement_word(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Settled(settled) => {
            assert_eq!((settled.amount.atomic, settled.payer.0), (AMOUNT, payer()));
            format!("settled {:x} in {}", settled.chain_tx[0], settled.block)
        }
        Settlement::Refused(refusal) => format!("refused {refusal:?}"),
        Settlement::Unknown { chain_tx: Some(chain_tx) } => format!("unknown {:x}", chain_tx[0]),
        Settlement::Unknown { chain_tx: None } => "unknown".to_owned(),
    }
}

/// Puts the newest final block `by` seconds after the end of the authorization.
fn final_at(world: &World, by: u64) {
    world.genesis_s.set(VALID_BEFORE_S + by + 12 - world.latest.get());
}

fn state_word(record: &Record) -> String {
    let state = match record.state {
        State::Open => "open".to_owned(),
        State::Answered => "answered".to_owned(),
        State::Submitted(_) => "submitted".to_owned(),
        State::Posted(settled) => format!("posted {:x}", settled.chain_tx[0]),
        State::Released(reason) => format!("released {reason:?}"),
        State::Burnt(reason) => format!("burnt {reason:?}"),
        State::Lost(reason) => format!("lost {reason:?}"),
    };
    let late = if record.late { ", late" } else { "" };
    let refund = if record.refund_due { ", refund" } else { "" };
    format!("{state}, {:?}{late}{refund}", record.answer)
}

fn kinds(world: &World) -> String {
    world.entries.borrow().iter().map(|entry| entry.kind.code()).collect::<Vec<_>>().join(" ")
}

fn reconcile(world: &World) -> Result<usize, Fault> {
    now(engine(world).reconcile(world, Network::BASE_SEPOLIA))
}
