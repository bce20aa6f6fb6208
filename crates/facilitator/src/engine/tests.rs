//! The engine over a chain of a few cells, a journal in memory and a clock that moves only when somebody sleeps. Every port call
//! goes into one list, so that a test can say in which order they came.

mod check;
mod lane;
mod reconcile;
mod settle;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use alloy_primitives::{Address, B256, Bytes, U256, address};
use gate::{Answer, Fault, FaultKind, Journal, Settlement};
use ledger::{
    AnswerState, BlockRef, BurnReason, Change, Entry, Hold, HoldId, Record, ReleaseReason, Reservation, State, Step,
};
use protocol::exact::Fields;
use protocol::{AssetInfo, Authorization, ClaimKey, Key, MoneyState, Network, Payee, Settled, Signer};

use super::token::{CANCELED, USED};
use super::*;

const PAYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const LANE: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const PAYEE: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");
const STRANGER: Address = Address::repeat_byte(0x55);
const AMOUNT: u128 = 10_000;
const VALID_BEFORE_S: u64 = 2_000_000_000;
const SEEN: u64 = 100;
const LATEST: u64 = 103;
/// keccak256 of `Transfer(address,address,uint256)`.
const TRANSFER: B256 =
    B256::new(alloy_primitives::hex!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"));
/// The chain_tx that the fake lane sends.
const OURS: B256 = B256::repeat_byte(0xc1);
const THEIRS: B256 = B256::repeat_byte(0xc2);

/// What happens to a world.
type Event = fn(&World);

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
    /// A block is one second younger than the one before it.
    genesis_s: Cell<u64>,
    deployed: Cell<bool>,
    balance: Cell<u128>,
    token_refuses: Cell<bool>,
    used: RefCell<BTreeSet<B256>>,
    receipts: RefCell<Vec<ChainReceipt>>,
    /// How many chain_txs of the lane's key are in blocks.
    mined: Cell<u64>,
    sent: RefCell<Vec<Vec<Bytes>>>,

    submitted: Cell<Result<B256, Fault>>,
    /// What happens once the lane has sent.
    on_submit: Cell<Event>,
    elapsed_ms: Cell<u64>,
    /// What happens once the clock shows so much.
    at_ms: Cell<(u64, Event)>,

    books: RefCell<Vec<Unfinished>>,
    entries: RefCell<Vec<Entry>>,
    unwatched: RefCell<BTreeSet<HoldId>>,
    chain_txs: RefCell<Vec<ChainTx>>,
}

impl World {
    fn new() -> Self {
        Self(Rc::new(Cells {
            calls: RefCell::default(),
            works: RefCell::default(),
            latest: Cell::new(LATEST),
            genesis_s: Cell::new(1_900_000_000),
            deployed: Cell::new(true),
            balance: Cell::new(AMOUNT),
            token_refuses: Cell::default(),
            used: RefCell::default(),
            receipts: RefCell::default(),
            mined: Cell::default(),
            sent: RefCell::default(),
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
        };
        let logs: Vec<_> = logs.iter().map(log).collect();
        for log in logs.iter().filter(|log| log.address == token()) {
            if log.topics[0] == USED || log.topics[0] == CANCELED {
                self.used.borrow_mut().insert(log.topics[2]);
            }
        }
        self.latest.set(self.latest.get().max(block));
        self.receipts.borrow_mut().push(ChainReceipt { chain_tx, block, success: true, from, logs });
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
        self.receipts.borrow_mut().push(ChainReceipt { chain_tx, block, success: false, from, logs: Vec::new() });
    }

    fn cancel(&self) {
        let canceled = (token(), vec![CANCELED, payer().into_word(), nonce(0)], Bytes::new());
        self.mine(THEIRS, self.latest.get() + 1, payer(), &[canceled]);
    }

    /// A record in the books, with the sequences of its chain_txs.
    fn put(&self, number: u8, state: State, answer: AnswerState, sequences: &[u64]) {
        let record = Record { state, answer, ..Record::new(hold(number)) };
        // The newest for a hold is the one that its state names.
        let hash = |at: usize| if at + 1 == sequences.len() { OURS } else { B256::repeat_byte(0xd0) };
        let chain_txs = sequences.iter().enumerate().map(|(at, sequence)| (hash(at), *sequence)).collect();
        self.books.borrow_mut().push(Unfinished { record, chain_txs });
    }

    fn record(&self, number: u8) -> Record {
        let books = self.books.borrow();
        books.iter().find(|row| row.record.hold.id == hold(number).id).unwrap().record.clone()
    }

    fn try_call(&self, call: &EthCall) -> CallResult {
        let returned = |value: U256| CallResult::Returned(value.to_be_bytes::<32>().into());
        if !self.deployed.get() || call.to != token() {
            return CallResult::Returned(Bytes::new());
        }
        let word = |at: usize| U256::from_be_slice(&call.data[4 + 32 * at..36 + 32 * at]);
        // authorizationState, balanceOf and transferWithAuthorization differ in how many words they take.
        match call.data.len() {
            68 => returned(U256::from(self.used.borrow().contains(&B256::from(word(1))))),
            36 => returned(U256::from(self.balance.get())),
            292 => {
                let spent = self.used.borrow().contains(&B256::from(word(5)));
                let short = U256::from(self.balance.get()) < word(2);
                let late = U256::from(self.genesis_s.get() + self.latest.get()) >= word(4);
                let refused = self.token_refuses.get() || spent || short || late;
                if refused { CallResult::Reverted } else { CallResult::Returned(Bytes::new()) }
            }
            other => panic!("{other} bytes of calldata"),
        }
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
        };
        Ok(Block { number, hash: B256::with_last_byte(7), time_s: self.genesis_s.get() + number })
    }

    async fn calls(&self, calls: &[EthCall], at: BlockAt) -> Result<Vec<CallResult>, NodeFault> {
        self.node("calls", format!("{} calls {}", calls.len(), at_word(at)))?;
        Ok(calls.iter().map(|call| self.try_call(call)).collect())
    }

    async fn sequence(&self, account: Address) -> Result<u64, NodeFault> {
        assert_eq!(account, lane_key().address());
        self.node("sequence", "sequence").map(|()| self.mined.get())
    }

    async fn native_balance(&self, _: Address) -> Result<U256, NodeFault> {
        Ok(U256::MAX)
    }

    async fn fees(&self) -> Result<Fees, NodeFault> {
        self.node("fees", "fees").map(|()| Fees { base: 1_000_000_000, tip: 1_500_000_000 })
    }

    async fn send(&self, raw: &[Bytes]) -> Result<Vec<Sent>, NodeFault> {
        self.sent.borrow_mut().push(raw.to_vec());
        self.node("send", format!("send {}", raw.len())).map(|()| vec![Sent::Accepted; raw.len()])
    }

    async fn receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        self.node("receipt", format!("receipt {:x}", chain_tx[0]))?;
        Ok(self.receipts.borrow().iter().find(|receipt| receipt.chain_tx == chain_tx).cloned())
    }

    async fn logs(&self, address: Address, topics: &[Vec<B256>], from_block: u64) -> Result<Vec<Log>, NodeFault> {
        self.node("logs", format!("logs {from_block}"))?;
        let receipts = self.receipts.borrow();
        let fits = |log: &&Log| {
            let topics = topics.iter().zip(&log.topics).all(|(wanted, topic)| wanted.contains(topic));
            log.address == address && log.block >= from_block && topics
        };
        Ok(receipts.iter().flat_map(|receipt| &receipt.logs).filter(fits).cloned().collect())
    }
}

impl Submitter for World {
    async fn submit(&self, hold: &Hold) -> Result<B256, Fault> {
        self.calls.borrow_mut().push("submit".to_owned());
        let chain_tx = self.submitted.get()?;
        if let Some(row) = self.books.borrow_mut().iter_mut().find(|row| row.record.hold.id == hold.id) {
            row.record.state = State::Submitted(chain_tx);
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

impl Journal for World {
    async fn recall(&self, _: &ClaimKey) -> Result<Option<Record>, Fault> {
        unreachable!("the engine looks for no claim")
    }

    async fn reserve(&self, _: Hold, _: u128) -> Result<Reservation, Fault> {
        unreachable!("the engine claims nothing")
    }

    async fn advance(&self, hold: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        self.journal("advance", format!("advance {}", step_word(step)))?;
        let mut books = self.books.borrow_mut();
        let Some(row) = books.iter_mut().find(|row| row.record.hold.id == hold) else { return Ok(None) };
        match ledger::advance(&row.record, step) {
            Ok(None) => {}
            Ok(Some(Change { record, entries })) => {
                row.record = record;
                self.entries.borrow_mut().extend(entries);
            }
            Err(violation) => panic!("{violation}"),
        }
        Ok(Some(row.record.clone()))
    }

    async fn wait(&self, _: &ClaimKey, _: gate::Until, _: u64) -> Result<Option<Record>, Fault> {
        unreachable!("the engine waits for no claim")
    }

    async fn pend(&self, _: HoldId, _: B256) -> Result<(), Fault> {
        unreachable!("the engine pends nothing")
    }

    async fn keep_answer(&self, _: HoldId, _: Answer) -> Result<bool, Fault> {
        unreachable!("the engine keeps no answer")
    }

    async fn answer(&self, _: HoldId) -> Result<Option<Answer>, Fault> {
        unreachable!("the engine reads no answer")
    }

    async fn picked(&self, _: B256) -> Result<Option<Record>, Fault> {
        unreachable!("the engine picks nothing up")
    }
}

impl BooksJournal for World {
    /// Two at a time, so that three holds are two pages.
    async fn unfinished(&self, _: Network, after: Option<HoldId>) -> Result<Vec<Unfinished>, Fault> {
        self.journal("unfinished", "unfinished")?;
        let books = self.books.borrow();
        let behind = books.iter().position(|row| Some(row.record.hold.id) == after).map_or(0, |at| at + 1);
        let rows = books[behind..].iter().filter(|row| !row.record.state.ended());
        Ok(rows.take(2).cloned().collect())
    }

    async fn watched(&self, _: Network, time_s: u64) -> Result<Vec<Record>, Fault> {
        self.journal("watched", "watched")?;
        let books = self.books.borrow();
        let watched = |record: &&Record| {
            matches!(record.state, State::Released(_) | State::Burnt(_))
                && record.hold.authorization.valid_before_s < time_s
                && !self.unwatched.borrow().contains(&record.hold.id)
        };
        Ok(books.iter().map(|row| &row.record).filter(watched).cloned().collect())
    }

    async fn unwatch(&self, hold: HoldId) -> Result<(), Fault> {
        self.journal("unwatch", "unwatch")?;
        self.unwatched.borrow_mut().insert(hold);
        Ok(())
    }
}

fn engine(world: &World) -> Engine<World, World, World> {
    Engine {
        node: world.clone(),
        submitter: world.clone(),
        pace: world.clone(),
        signer: lane_key().address(),
        live: Live::default(),
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
    let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
    let fields = Fields {
        from: payer(),
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
        signature: Key::from_hex(PAYER).unwrap().sign_now(fields.digest(&token)).unwrap(),
    };
    Hold {
        id: HoldId([number; 16]),
        authorization,
        route: "paid".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        seen: BlockRef { number: SEEN, hash: B256::ZERO },
        opened_at_ms: 1,
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
        BlockAt::Number(number) => number.to_string(),
    }
}

fn step_word(step: Step) -> String {
    match step {
        Step::Submit(_) => "submit".to_owned(),
        Step::Post(settled) => format!("post {:x}", settled.chain_tx[0]),
        Step::Release(reason) => format!("release {reason:?}"),
        Step::Burn(reason) => format!("burn {reason:?}"),
        Step::Pend => "pend".to_owned(),
        Step::KeepAnswer => "keep answer".to_owned(),
        Step::LoseAnswer => "lose answer".to_owned(),
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
