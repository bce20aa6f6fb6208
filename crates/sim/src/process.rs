//! One run of the gate's process: the real flow, lane, reconciler and collector over the simulated ports.

use std::rc::Rc;

use alloy_primitives::B256;
use facilitator::engine::{self, Engine, FeeCaps, Finality, Head, Lane, Live, Pace, Signers, Submitter};
use gate::{Accounts, Check, Closed, Depth, Facilitator, Fault, FaultKind, Flow, Host, Journal, Outcome, Settlement};
use ledger::{ChargeStep, Hold, HoldId, Step};
use protocol::{MoneyState, Proven, Refusal};

use crate::bug::Bug;
use crate::executor::{Inbox, Owner, Sender, oneshot};
use crate::front::Gate;
use crate::journal::SimJournal;
use crate::keys::{LANES, LaneKey};
use crate::node::SimNode;
use crate::world::World;

/// The flow as the simulator runs it.
pub(crate) type SimFlow = Flow<SimJournal, Chains, GateHost>;

/// How long a lane may take; the settlement's own budget is drawn.
const LANE_WAIT_MS: u64 = 15_000;
const REBROADCAST_MS: u64 = 2_000;
const RECONCILE_MS: u64 = 1_000;
const LAPSE_MS: u64 = 5_000;
/// While nothing more goes wrong, everything may be looked at less often.
const QUIET_MS: u64 = 5_000;

/// Work that no connection owns.
pub(crate) enum Work {
    Close(Hold, Outcome),
    Later(HoldId, Step),
    LaterCharge(HoldId, ChargeStep),
}

/// Time, chance and detached work.
#[derive(Clone)]
pub(crate) struct GateHost {
    world: Rc<World>,
    work: Inbox<Work>,
}

impl Host for GateHost {
    fn now_ms(&self) -> u64 {
        self.world.exec.now_ms()
    }

    fn entropy(&self) -> [u8; 16] {
        self.world.chance.borrow_mut().bytes16()
    }

    fn close(&self, hold: Hold, outcome: Outcome) {
        self.work.push(Work::Close(hold, outcome));
    }

    fn later(&self, hold: HoldId, step: Step) {
        self.work.push(Work::Later(hold, step));
    }

    fn later_charge(&self, charge: HoldId, step: ChargeStep) {
        self.work.push(Work::LaterCharge(charge, step));
    }
}

/// A clock that never goes back.
#[derive(Clone)]
pub(crate) struct Watch(Rc<World>);

impl Pace for Watch {
    fn elapsed_ms(&self) -> u64 {
        self.0.exec.now_ms()
    }

    async fn sleep(&self, ms: u64) {
        self.0.exec.sleep(ms).await;
    }
}

/// Holds on their way to the lane, and where the answer goes.
type Order = (Vec<Hold>, Sender<Result<B256, Fault>>);

#[derive(Clone)]
pub(crate) struct LaneLink {
    world: Rc<World>,
    /// Of each lane.
    orders: Vec<Inbox<Order>>,
}

impl Submitter for LaneLink {
    async fn submit(&self, holds: &[Hold]) -> Result<B256, Fault> {
        let fault = Fault { kind: FaultKind::Settlement, money: MoneyState::Held };
        let (reply, answer) = oneshot();
        // What a lane has signed for stays with it.
        let first = holds.first().map_or(0, |hold| usize::from(hold.id.0[15]));
        self.orders[first % self.orders.len()].push((holds.to_vec(), reply));
        self.world.exec.timeout(LANE_WAIT_MS, answer.receive()).await.flatten().unwrap_or(Err(fault))
    }
}

/// The embedded facilitator.
#[derive(Clone)]
pub(crate) struct Chains {
    world: Rc<World>,
    engine: Rc<Engine<SimNode, LaneLink, Watch>>,
}

impl Facilitator for Chains {
    async fn check(&self, proven: &Proven, depth: Depth) -> Check {
        self.world.count(|figures| figures.local += u64::from(depth == Depth::Local));
        self.engine.check(proven, depth).await
    }

    async fn settle(&self, hold: &Hold) -> Settlement {
        let settlement = self.engine.settle(hold).await;
        self.world.say(|| format!("settle {}: {settlement:?}", hold.id));
        match settlement {
            Settlement::Unknown { .. } if self.world.bug == Some(Bug::TimeoutIsFailure) => {
                Settlement::Refused(Refusal::TransactionFailed)
            }
            settlement => settlement,
        }
    }
}

/// Starts a process and serves.
pub(crate) async fn boot(world: Rc<World>, owner: Owner) {
    world.say(|| format!("process {} starts", owner.0));
    let network = world.network();
    let journal = SimJournal::start(&world, owner);
    let node = SimNode(Rc::clone(&world));
    while engine::recover(&journal, network).await.is_err() {
        world.exec.sleep(500).await;
    }
    while journal.recover_charges().await.is_err() {
        world.exec.sleep(500).await;
    }
    let (mut orders, mut signers) = (Vec::new(), Vec::new());
    for place in 0..world.plan.lanes {
        let lane = loop {
            match Lane::start(network, node.clone(), journal.clone(), LaneKey(place), FeeCaps::NONE).await {
                Ok(lane) => break lane,
                Err(_) => world.exec.sleep(500).await,
            }
        };
        let inbox = Inbox::new();
        world.exec.spawn(owner, "lane", work_lane(Rc::clone(&world), lane, inbox.clone()));
        orders.push(inbox);
        signers.push(LANES[usize::from(place)]);
    }
    let engine = Rc::new(Engine {
        node,
        submitter: LaneLink { world: Rc::clone(&world), orders },
        pace: Watch(Rc::clone(&world)),
        signers: Signers::new(signers, Vec::new()),
        caps: FeeCaps::NONE,
        live: Live::default(),
        head: Head::default(),
        finality: Finality::default(),
        budget_ms: world.plan.budget_ms,
    });
    let work = Inbox::new();
    let flow = Rc::new(Flow {
        journal: journal.clone(),
        facilitator: Chains { world: Rc::clone(&world), engine: Rc::clone(&engine) },
        host: GateHost { world: Rc::clone(&world), work: work.clone() },
    });
    world.exec.spawn(owner, "work", do_work(Rc::clone(&world), owner, Rc::clone(&flow), work));
    world.exec.spawn(owner, "reconciler", reconcile(Rc::clone(&world), Rc::clone(&engine), journal.clone()));
    world.exec.spawn(owner, "lapser", lapse(Rc::clone(&world), journal.clone()));
    world.exec.spawn(owner, "collector", collect(Rc::clone(&world), engine, journal));
    world.serve(Rc::new(Gate { world: Rc::clone(&world), owner, flow }));
}

/// Signs and sends what is ordered, whatever has come together in one step.
async fn work_lane(world: Rc<World>, mut lane: Lane<SimNode, SimJournal, LaneKey>, orders: Inbox<Order>) {
    let mut tick_ms = 0;
    loop {
        let wait_ms = tick_ms - world.exec.now_ms().min(tick_ms);
        if wait_ms > 0
            && let Some(batch) = world.exec.timeout(wait_ms, orders.take(64)).await
        {
            let (groups, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let answers = lane.submit(&groups).await;
            for (answer, reply) in answers.into_iter().zip(replies) {
                reply.send(answer);
            }
            continue;
        }
        if lane.rebroadcast().await.is_err() {
            world.count(|figures| figures.rebroadcast_faults += 1);
        }
        tick_ms = world.exec.now_ms() + if world.quiet.get() { QUIET_MS } else { REBROADCAST_MS };
    }
}

async fn reconcile(world: Rc<World>, engine: Rc<Engine<SimNode, LaneLink, Watch>>, journal: SimJournal) {
    loop {
        if let Ok(resolved @ 1..) = engine.reconcile(&journal, world.network()).await {
            world.say(|| format!("reconciled {resolved}"));
        }
        world.exec.sleep(if world.quiet.get() { QUIET_MS } else { RECONCILE_MS }).await;
    }
}

async fn collect(world: Rc<World>, engine: Rc<Engine<SimNode, LaneLink, Watch>>, journal: SimJournal) {
    loop {
        let all = world.chance.borrow_mut().one_in(20);
        let now_ms = world.exec.now_ms();
        if let Ok(moved @ 1..) = engine.settle_tab(&journal, world.network(), &world.plan.tab, now_ms, all).await {
            world.say(|| format!("the tab: {moved} submitted or ended"));
        }
        world.exec.sleep(if world.quiet.get() { QUIET_MS } else { RECONCILE_MS }).await;
    }
}

/// Does what no connection owns, each item in a task of its own.
async fn do_work(world: Rc<World>, owner: Owner, flow: Rc<SimFlow>, items: Inbox<Work>) {
    loop {
        for item in items.take(16).await {
            let flow = Rc::clone(&flow);
            match item {
                Work::Close(hold, outcome) => world.exec.spawn(owner, "close", async move {
                    // Whatever answer there was died with its connection.
                    if let Closed::Pending { hold, .. } = flow.close_hold(hold, outcome).await {
                        flow.answer_broke(hold).await;
                    }
                }),
                Work::Later(hold, step) => {
                    world.exec.spawn(owner, "later", repeat(Rc::clone(&world), flow, hold, step))
                }
                Work::LaterCharge(charge, step) => {
                    world.exec.spawn(owner, "later", repeat_charge(Rc::clone(&world), flow, charge, step))
                }
            };
        }
    }
}

/// Ends what has expired.
async fn lapse(world: Rc<World>, journal: SimJournal) {
    if world.holders.accounts == 0 {
        // A world without balances has nothing that could end.
        return std::future::pending().await;
    }
    loop {
        let ended = journal.lapse().await.unwrap_or(0);
        world.count(|figures| figures.lapsed += u64::try_from(ended).unwrap_or(0));
        world.exec.sleep(LAPSE_MS).await;
    }
}

/// Repeats a charge's step until the journal takes it.
async fn repeat_charge(world: Rc<World>, flow: Rc<SimFlow>, charge: HoldId, step: ChargeStep) {
    let mut pause_ms = 200;
    while let Err(fault) = flow.journal.advance_charge(charge, step).await {
        if fault.kind == FaultKind::Invariant {
            return;
        }
        world.exec.sleep(pause_ms).await;
        pause_ms = (pause_ms * 2).min(30_000);
    }
}

/// Repeats a step until the journal takes it.
async fn repeat(world: Rc<World>, flow: Rc<SimFlow>, hold: HoldId, step: Step) {
    let mut pause_ms = 200;
    while let Err(fault) = flow.journal.advance(hold, step).await {
        if fault.kind == FaultKind::Invariant {
            return;
        }
        world.exec.sleep(pause_ms).await;
        pause_ms = (pause_ms * 2).min(30_000);
    }
}
