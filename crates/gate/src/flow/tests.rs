//! The flow over a journal in memory, a scripted chain and a clock that stands still. Every port call goes into one list, so
//! that a test can say in which order they came.

mod close;
mod first;
mod honoured;
mod named;
mod open;
mod replay;
mod runs;
mod tab;
mod unpaid;
mod whole;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use alloy_primitives::{B256, U256, address};
use ledger::{
    AnswerState, BlockRef, BurnReason, Change, ChargeStep, Entry, Exposure, Funds, Hold, HoldId, LossReason, Rail,
    Record, ReleaseReason, Reservation, Source, State, Step,
};
use protocol::exact::Fields;
use protocol::x402::{Credential, Receipt, Version};
use protocol::{
    AssetInfo, ClaimKey, Key, Network, Offer, OfferExtra, Payee, Payer, Proven, Refusal, Settled, Signature,
};

use crate::{
    Answer, Call, Check, Closed, DefaultAction, Depth, Facilitator, Fault, FaultKind, Flow, Host, Journal, Opened,
    Outcome, Pattern, Permit, Presented, Price, Progress, Replay, Route, Seen, Settlement, Snapshot, Standing, Terms,
    secret_digest,
};

const PAYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const STRANGER: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const NOW_S: u64 = 1_800_000_000;
const AMOUNT: u128 = 10_000;
/// The price in millionths of a dollar.
const MICROS: u64 = 10_000;
const SOURCE: Source = Source([8; 16]);
const URL: &str = "http://gate.test/paid?q=1";
const CHAIN_TX: B256 = B256::repeat_byte(0xc1);

/// Everything outside of the flow. One value plays all the ports.
#[derive(Debug)]
struct World {
    /// Every port call and every piece of work handed to the host, in order.
    calls: RefCell<Vec<String>>,
    records: RefCell<Vec<Record>>,
    entries: RefCell<Vec<Entry>>,
    /// What was pended, and the digest that was stored for it.
    pended: Cell<Option<(HoldId, B256)>>,
    /// The journal's methods that fail now.
    failing: RefCell<BTreeSet<&'static str>>,
    /// `reserve` does its work, but its answer never comes.
    reserve_hangs: Cell<bool>,
    /// `advance` never comes to an answer, and writes nothing.
    advance_hangs: Cell<bool>,
    /// What the store makes of a step that is not allowed; here it is a failed test otherwise.
    violations_are_faults: Cell<bool>,
    /// How many times `recall` sees nothing, as when another call wins between the look-up and the claim.
    blind_recalls: Cell<usize>,
    /// What ends the claim while a duplicate waits.
    while_waiting: Cell<Option<Step>>,
    check: Cell<Check>,
    standing: Cell<Standing>,
    /// What is on the tab already.
    exposed: Cell<Exposure>,
    settlement: Cell<Settlement>,
    now_s: Cell<u64>,
    drawn: Cell<u8>,
    /// What the host was given to do.
    closes: RefCell<Vec<(Hold, Outcome)>>,
    laters: RefCell<Vec<(HoldId, Step)>>,
}

impl World {
    fn new() -> Rc<Self> {
        let block = BlockRef { number: 5, hash: B256::repeat_byte(5) };
        let seen = Seen { block, balance_atomic: Some(10 * AMOUNT) };
        Rc::new(Self {
            calls: RefCell::default(),
            records: RefCell::default(),
            entries: RefCell::default(),
            pended: Cell::default(),
            failing: RefCell::default(),
            reserve_hangs: Cell::default(),
            advance_hangs: Cell::default(),
            violations_are_faults: Cell::default(),
            blind_recalls: Cell::default(),
            while_waiting: Cell::default(),
            check: Cell::new(Check::Payable(seen)),
            standing: Cell::default(),
            exposed: Cell::default(),
            settlement: Cell::new(Settlement::Settled(settled())),
            now_s: Cell::new(NOW_S),
            drawn: Cell::default(),
            closes: RefCell::default(),
            laters: RefCell::default(),
        })
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.borrow_mut().push(call.into());
    }

    /// The calls since the last look, as one line.
    fn calls(&self) -> String {
        self.calls.take().join(", ")
    }

    fn fail(&self, method: &'static str) {
        self.failing.borrow_mut().insert(method);
    }

    fn journal(&self, method: &'static str) -> Result<(), Fault> {
        match self.failing.borrow().contains(method) {
            true => Err(Fault::untouched(FaultKind::Journal)),
            false => Ok(()),
        }
    }

    fn latest(&self, key: &ClaimKey) -> Option<Record> {
        self.records.borrow().iter().rev().find(|record| record.hold.authorization.key == *key).cloned()
    }

    fn namesake(&self, hold: &Hold) -> Option<Record> {
        let (payer, secret) = (hold.authorization.key.payer, hold.idempotency?);
        let is_one = |record: &&Record| {
            let (known, ended) = (&record.hold, matches!(record.state, State::Released(_) | State::Burnt(_)));
            !ended && known.authorization.key.payer == payer && known.idempotency == Some(secret)
        };
        self.records.borrow().iter().rev().find(is_one).cloned()
    }

    fn only(&self) -> Record {
        let records = self.records.borrow();
        assert_eq!(records.len(), 1);
        records[0].clone()
    }

    /// What the store does: the ledger decides, the change is written.
    fn take_step(&self, hold: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        let mut records = self.records.borrow_mut();
        let Some(record) = records.iter_mut().find(|record| record.hold.id == hold) else { return Ok(None) };
        match ledger::advance(record, step) {
            Ok(None) => {}
            Ok(Some(Change { record: next, entries })) => {
                *record = next;
                self.entries.borrow_mut().extend(entries);
            }
            Err(_) if self.violations_are_faults.get() => return Err(Fault::untouched(FaultKind::Invariant)),
            Err(violation) => panic!("{violation}"),
        }
        Ok(Some(record.clone()))
    }

    /// A record of the payment, as some earlier call left it.
    fn put(&self, payment: &Payment, state: State, answer: AnswerState) {
        self.put_on(Rail::Direct, payment, state, answer);
    }

    fn put_on(&self, rail: Rail, payment: &Payment, state: State, answer: AnswerState) {
        let hold = Hold {
            id: HoldId([0xee; 16]),
            authorization: payment.authorization(),
            route: "paid".to_owned(),
            fingerprint: call(URL, Presented::Nothing).fingerprint(),
            idempotency: None,
            seen: BlockRef { number: 3, hash: B256::repeat_byte(3) },
            opened_at_ms: 1,
            rail,
            source: SOURCE,
            exposure_micros: MICROS,
            buys: None,
        };
        self.records.borrow_mut().push(Record { state, answer, ..Record::new(hold) });
    }
}

impl Journal for Rc<World> {
    async fn recall(&self, key: &ClaimKey) -> Result<Option<Record>, Fault> {
        self.note("recall");
        self.journal("recall")?;
        let blind = self.blind_recalls.get();
        self.blind_recalls.set(blind.saturating_sub(1));
        Ok(if blind > 0 { None } else { self.latest(key) })
    }

    async fn reserve(&self, hold: Hold, balance_atomic: Option<u128>, caps: Exposure) -> Result<Reservation, Fault> {
        self.note("reserve");
        self.journal("reserve")?;
        let funds = Funds { balance_atomic, unsettled_atomic: 0, exposed: self.exposed.get(), caps };
        let reservation = ledger::reserve(self.latest(&hold.authorization.key), self.namesake(&hold), hold, &funds);
        if let Reservation::Won(Change { record, .. }) = &reservation {
            self.records.borrow_mut().push(record.clone());
        }
        if self.reserve_hangs.get() {
            std::future::pending::<()>().await;
        }
        Ok(reservation)
    }

    async fn standing(&self, payer: protocol::Payer) -> Result<Standing, Fault> {
        assert_eq!(payer, settled().payer);
        self.note("standing");
        self.journal("standing").map(|()| self.standing.get())
    }

    async fn paid_before(&self, payer: Payer, fingerprint: B256, since_ms: u64) -> Result<bool, Fault> {
        self.note("paid before");
        self.journal("paid before")?;
        let counts = |record: &&Record| {
            let hold = &record.hold;
            let is_his = hold.authorization.key.payer == payer && hold.fingerprint == fingerprint;
            is_his && hold.opened_at_ms >= since_ms && matches!(record.state, State::Posted(_)) && !record.refund_due
        };
        Ok(self.records.borrow().iter().any(|record| counts(&record)))
    }

    async fn payment(&self, _: HoldId) -> Result<Option<Record>, Fault> {
        unreachable!("the flow looks for no payment by its name")
    }

    async fn advance(&self, hold: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        self.note(format!("advance {}", step_word(step)));
        if self.advance_hangs.get() {
            std::future::pending::<()>().await;
        }
        self.journal("advance")?;
        if self.failing.borrow().contains(format!("advance {}", step_word(step)).as_str()) {
            return Err(Fault::untouched(FaultKind::Journal));
        }
        self.take_step(hold, step)
    }

    async fn wait(&self, key: &ClaimKey, until: crate::Until, wait_ms: u64) -> Result<Option<Record>, Fault> {
        let until = if until == crate::Until::Ended { "ended" } else { "answered" };
        self.note(format!("{until} {wait_ms}"));
        self.journal("ended")?;
        if let (Some(step), Some(record)) = (self.while_waiting.take(), self.latest(key)) {
            self.take_step(record.hold.id, step)?;
        }
        Ok(self.latest(key))
    }

    async fn pend(&self, hold: HoldId, pickup: B256) -> Result<(), Fault> {
        self.note("pend");
        self.journal("pend")?;
        self.pended.set(Some((hold, pickup)));
        self.take_step(hold, Step::Pend).map(|_| ())
    }

    async fn keep_answer(&self, hold: HoldId, _: Answer) -> Result<bool, Fault> {
        self.take_step(hold, Step::KeepAnswer).map(|record| record.is_some())
    }

    async fn answer(&self, _: HoldId) -> Result<Option<Answer>, Fault> {
        unreachable!("the flow never reads an answer")
    }

    async fn picked(&self, _: B256) -> Result<Option<Record>, Fault> {
        unreachable!("the flow never looks for a pick-up code")
    }
}

impl Facilitator for Rc<World> {
    async fn check(&self, _: &Proven, depth: Depth) -> Check {
        self.note(if depth == Depth::Chain { "check" } else { "check nothing" });
        self.check.get()
    }

    async fn settle(&self, hold: &Hold) -> Settlement {
        self.note("settle");
        let settlement = self.settlement.get();
        // What a lane does before it sends anything.
        let submits = match settlement {
            Settlement::Settled(_) => Some(CHAIN_TX),
            Settlement::Refused(_) => None,
            Settlement::Unknown { chain_tx } => chain_tx,
        };
        if let Some(chain_tx) = submits {
            self.take_step(hold.id, Step::Submit(chain_tx)).unwrap();
        }
        settlement
    }
}

impl Host for Rc<World> {
    fn now_ms(&self) -> u64 {
        self.now_s.get() * 1_000
    }

    fn entropy(&self) -> [u8; 16] {
        self.drawn.set(self.drawn.get() + 1);
        [self.drawn.get(); 16]
    }

    fn close(&self, hold: Hold, outcome: Outcome) {
        self.note(format!("close {outcome:?}"));
        self.closes.borrow_mut().push((hold, outcome));
    }

    fn later(&self, hold: HoldId, step: Step) {
        self.note(format!("later {}", step_word(step)));
        self.laters.borrow_mut().push((hold, step));
    }

    fn later_charge(&self, _: HoldId, step: ChargeStep) {
        self.note(format!("later {step:?}"));
    }
}

type Rig = Flow<Rc<World>, Rc<World>, Rc<World>>;

fn rig(world: &Rc<World>) -> Rig {
    Flow { journal: world.clone(), facilitator: world.clone(), host: world.clone() }
}

/// Runs a future that never waits: no port here does, but for a `reserve` that hangs.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}

fn step_word(step: Step) -> String {
    match step {
        Step::Submit(_) => "submit".to_owned(),
        Step::Post(_) => "post".to_owned(),
        Step::Arrive(_) => "arrive".to_owned(),
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

fn offer() -> Offer {
    Offer {
        asset_info: AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap(),
        amount_atomic: AMOUNT,
        payee: Payee(address!("209693Bc6afc0C5328bA36FaF03C514EF312287C")),
        max_timeout_s: 60,
        extra: OfferExtra::default(),
    }
}

fn settled() -> Settled {
    let payer = protocol::Payer(address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
    Settled { chain_tx: CHAIN_TX, block: 6, block_hash: B256::repeat_byte(6), amount: offer().amount(), payer }
}

/// `/free` is free, `/paid` and `/other` cost `offer` at once, the rest is blocked.
fn snapshot_of(offers: Vec<Offer>) -> Snapshot {
    snapshot_on(Rail::Direct, offers)
}

/// The same on a rail. On the tab there is room for one call, whoever pays.
fn snapshot_on(rail: Rail, offers: Vec<Offer>) -> Snapshot {
    let due = |offers| Price::Due(Terms { offers, rail, exposure_micros: MICROS, settle_first: false, sells: None });
    let route = |path: &str, price| Route {
        id: path.trim_start_matches('/').to_owned(),
        pattern: Pattern::parse(path).unwrap(),
        method: None,
        price,
        allowlist: Vec::new(),
        reentry_ms: 0,
        passes: Vec::new(),
        pass_scope: None,
    };
    Snapshot {
        routes: vec![route("/free", Price::Free), route("/paid", due(offers.clone())), route("/other", due(offers))],
        default_action: DefaultAction::Block,
        allowlist: Vec::new(),
        fail_open: false,
        replay_wait_ms: 700,
        remaining_min_s: 30,
        tab_remaining_min_s: 45,
        caps: Exposure { payer_micros: MICROS, source_micros: MICROS, gate_micros: MICROS },
        verify_local: false,
        honoured: Vec::new(),
        identifier_required: false,
        skew_s: 5,
    }
}

fn snapshot() -> Snapshot {
    snapshot_of(vec![offer()])
}

fn tab_snapshot() -> Snapshot {
    snapshot_on(Rail::Tab, vec![offer()])
}

/// A call of `url`, whose path is what follows the host.
fn call<'a>(url: &'a str, presented: Presented<'a>) -> Call<'a> {
    let path = url.strip_prefix("http://gate.test").unwrap().split('?').next().unwrap();
    Call {
        method: "GET",
        path,
        url,
        presented,
        idempotency: None,
        source: SOURCE,
        route: None,
        quoted: &[],
        signed_in: None,
    }
}

/// The call with the route that covers it, as a front hands it in.
fn found<'a>(snapshot: &'a Snapshot, call: &Call<'a>) -> Call<'a> {
    Call { route: snapshot.find(call.method, call.path), ..call.clone() }
}

/// A payment before it is a header. The signature is made last, over whatever the fields then are.
#[derive(Clone, Debug)]
struct Payment {
    version: Version,
    offer: Offer,
    fields: Fields,
    key: &'static str,
}

fn payment() -> Payment {
    let fields = Fields {
        from: settled().payer.0,
        to: offer().payee.0,
        value: U256::from(AMOUNT),
        valid_after: U256::from(NOW_S - 5),
        valid_before: U256::from(NOW_S + 60),
        nonce: B256::repeat_byte(9),
    };
    Payment { version: Version::V2, offer: offer(), fields, key: PAYER }
}

impl Payment {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn signature(&self) -> Signature {
        Key::from_hex(self.key).unwrap().sign_now(self.fields.digest(&self.offer.asset_info)).unwrap()
    }

    fn header(&self) -> String {
        Credential::print(self.version, &self.offer, URL, &self.fields, &self.signature()).unwrap()
    }

    fn authorization(&self) -> protocol::Authorization {
        protocol::Authorization {
            key: self.fields.key(self.offer.asset_info.asset),
            payee: Payee(self.fields.to),
            amount_atomic: self.fields.value.to(),
            valid_after_s: self.fields.valid_after.to(),
            valid_before_s: self.fields.valid_before.to(),
            signature: self.signature(),
        }
    }
}

fn state_word(record: &Record) -> String {
    let state = match record.state {
        State::Open => "open".to_owned(),
        State::Answered => "answered".to_owned(),
        State::Submitted(_) => "submitted".to_owned(),
        State::Posted(_) => "posted".to_owned(),
        State::Released(reason) => format!("released {reason:?}"),
        State::Burnt(reason) => format!("burnt {reason:?}"),
        State::Lost(reason) => format!("lost {reason:?}"),
    };
    let refund = if record.refund_due { ", refund" } else { "" };
    format!("{state}, {:?}{refund}", record.answer)
}

fn closed_word(closed: &Closed) -> String {
    match closed {
        Closed::Settled(got) => {
            assert_eq!(*got, settled());
            "settled".to_owned()
        }
        Closed::Refused { refusal, receipt: Receipt::Refused { refusal: told, .. } } => {
            assert_eq!(refusal, told);
            format!("refused {}", refusal.code())
        }
        Closed::Pending { receipt: Receipt::Pending { chain_tx: Some(_), .. }, .. } => "pending with hash".to_owned(),
        Closed::Pending { receipt: Receipt::Pending { chain_tx: None, .. }, .. } => "pending".to_owned(),
        Closed::Refused { receipt, .. } | Closed::Pending { receipt, .. } => panic!("{receipt:?}"),
        Closed::Held(Receipt::Held { amount, payer, .. }) => {
            assert_eq!((*amount, *payer), (offer().amount(), settled().payer));
            "held".to_owned()
        }
        Closed::Held(receipt) => panic!("{receipt:?}"),
        Closed::NothingDue => "nothing due".to_owned(),
        Closed::Fault(fault) => fault.to_string(),
    }
}

/// The kinds of all entries, in order.
fn kinds(world: &World) -> String {
    world.entries.borrow().iter().map(|entry| entry.kind.code()).collect::<Vec<_>>().join(" ")
}

/// Opens a call and says what came of it in words. A permit is dropped after the look.
fn open_word(world: &Rc<World>, snapshot: &Snapshot, call: &Call<'_>) -> String {
    let (flow, call) = (rig(world), found(snapshot, call));
    let opened = now(flow.open(snapshot, &call, |_, _| true));
    match &opened {
        Opened::Free(_) => "free".to_owned(),
        Opened::Blocked => "blocked".to_owned(),
        Opened::SignIn => "sign in".to_owned(),
        Opened::TooMany => "too many".to_owned(),
        Opened::Challenge { refusal } => {
            let challenge = flow.challenge(snapshot, &call, *refusal).unwrap();
            assert_eq!(challenge.error, refusal.map_or("payment_required", Refusal::code));
            assert_eq!(challenge.resource.url, call.url);
            format!("challenge {}", challenge.error)
        }
        Opened::Permit(_) => "permit".to_owned(),
        Opened::Replay(replay) => replay_word(replay),
        Opened::Fault(fault) => fault.to_string(),
    }
}

fn replay_word(replay: &Replay) -> String {
    match replay {
        Replay::Conflict(money) => format!("conflict, money {money}"),
        Replay::Namesake => "namesake".to_owned(),
        Replay::InFlight => "in flight".to_owned(),
        Replay::Pending(receipt) => match receipt {
            Receipt::Pending { chain_tx: None, .. } => "pending".to_owned(),
            Receipt::Pending { chain_tx: Some(_), .. } => "pending with hash".to_owned(),
            Receipt::Settled(_) | Receipt::Refused { .. } | Receipt::Held { .. } => panic!("{receipt:?}"),
        },
        Replay::Released => "released".to_owned(),
        Replay::Expired => "expired".to_owned(),
        Replay::Burnt => "burnt".to_owned(),
        Replay::InSuspense => "in suspense".to_owned(),
        Replay::OwedBack(_) => "owed back".to_owned(),
        Replay::AlreadyServed(receipt) => format!("already served{}", rail_word(receipt)),
        Replay::Bought { .. } => "bought".to_owned(),
        Replay::Stored { receipt, .. } => format!("stored{}", rail_word(receipt)),
        Replay::Uncollected => "uncollected".to_owned(),
        Replay::Recovered => "recovered".to_owned(),
    }
}

/// Whether a call that was served is paid or on the tab.
fn rail_word(receipt: &Receipt) -> &'static str {
    match receipt {
        Receipt::Settled(_) => "",
        Receipt::Held { .. } => " on the tab",
        Receipt::Refused { .. } | Receipt::Pending { .. } => panic!("{receipt:?}"),
    }
}

/// A won permit and its world, with the calls that led there forgotten.
fn won() -> (Rc<World>, Rig, Permit<Rc<World>>) {
    won_by(&snapshot())
}

fn won_by(snapshot: &Snapshot) -> (Rc<World>, Rig, Permit<Rc<World>>) {
    let world = World::new();
    let flow = rig(&world);
    let header = payment().header();
    let opened =
        now(flow.open(snapshot, &found(snapshot, &call(URL, Presented::Header(header.as_bytes()))), |_, _| true));
    let Opened::Permit(permit) = opened else { panic!("{opened:?}") };
    world.calls();
    (world, flow, permit)
}

const RELEASED: State = State::Released(ReleaseReason::NotSent);
const EXPIRED: State = State::Released(ReleaseReason::Expired);
const BURNT: State = State::Burnt(BurnReason::Unanswered);
const SUBMITTED: State = State::Submitted(CHAIN_TX);
const LOST: State = State::Lost(LossReason::Emptied);

fn posted() -> State {
    State::Posted(settled())
}
