//! Calls with a key: what `pontage`'s front does with a charge, without HTTP.

use std::rc::Rc;

use gate::{
    AccountCall, Accounts, Answer, Call, ChargePermit, FreeReason, Host, Journal, OpenedCharge, Outcome, Presented,
    Progress, Repeat,
};
use ledger::{ChargeStep, Guards, HoldId, Source};

use super::{Gate, Words};
use crate::audit::{Asked, Cost, PlainCharge};
use crate::executor::oneshot;
use crate::holders::{self, KeyCall};
use crate::process::GateHost;

/// How a run began.
enum Ran {
    NotSent,
    Unanswered,
    Free,
    /// So many pieces come, and whether it breaks off behind them.
    Head {
        run: usize,
        pieces: u64,
        breaks: bool,
    },
}

impl Gate {
    /// Answers one request with a key.
    pub(crate) async fn call_with_key(self: Rc<Self>, request: KeyCall) -> Words {
        let world = Rc::clone(&self.world);
        let path = request.url.strip_prefix("http://gate.test").unwrap_or_default();
        let call = Call {
            method: "GET",
            path,
            url: &request.url,
            presented: Presented::Nothing,
            idempotency: request.digest(),
            source: Source([0; 16]),
            route: world.plan.snapshot.find("GET", path),
            quoted: &[],
            signed_in: None,
        };
        let (key, unit) = (holders::key(request.account), holders::unit(request.account));
        let account =
            AccountCall { key, unit, amount: request.amount, micros: 0, guards: Guards::default(), tags: None };
        match self.flow.open_charge(&call, account).await {
            OpenedCharge::Permit(permit) => self.charged(&request, permit).await,
            OpenedCharge::Short { available } => {
                world.count(|figures| figures.short += 1);
                world.audit.borrow_mut().told_short(request.amount, available);
                Words::Other("short")
            }
            OpenedCharge::Closed | OpenedCharge::Over(_) | OpenedCharge::Suspended { .. } => Words::Other("closed"),
            OpenedCharge::Repeat(Repeat::Stored(charge)) => self.charged_before(charge, &asked(&request)).await,
            OpenedCharge::Repeat(_) => Words::Other("named before"),
            OpenedCharge::Fault(fault) => Words::Other(fault.code()),
        }
    }

    async fn charged_before(&self, charge: HoldId, asked: &Asked) -> Words {
        let Ok(Some(answer)) = self.flow.journal.answer(charge).await else { return Words::Other("gone") };
        let run = answer.body.iter().fold(0, |run, byte| run << 8 | usize::from(*byte));
        self.world.audit.borrow_mut().charge_repeated(run, asked);
        self.world.count(|figures| figures.stored += 1);
        Words::Served
    }

    async fn charged(self: &Rc<Self>, request: &KeyCall, mut permit: ChargePermit<GateHost>) -> Words {
        let world = &self.world;
        let Some(charge) = permit.charge().map(|charge| charge.id) else { return Words::Other("no charge") };
        let (outcome, word) = match self.run_for_key(request, charge, &mut permit).await {
            Ran::NotSent => (Outcome::NotSent, "bad gateway"),
            Ran::Unanswered => (Outcome::Unanswered, "timeout"),
            Ran::Free => (Outcome::Free(FreeReason::Status), "their error"),
            Ran::Head { run, pieces, breaks } => {
                permit.reached(Progress::Head);
                return match request.piece {
                    Some(units) => self.metered(permit, charge, units, (pieces, breaks)).await,
                    None => self.fixed(request, permit, charge, (run, pieces, breaks)).await,
                };
            }
        };
        if self.end_charge(permit, outcome).await.is_some() {
            world.audit.borrow_mut().charge_told(charge.0, Cost::Nothing);
        }
        Words::Other(word)
    }

    /// Closes in a task of its own, and waits for it. `None` where it was not written.
    async fn end_charge(&self, permit: ChargePermit<GateHost>, outcome: Outcome) -> Option<u64> {
        let (tell, told) = oneshot();
        let flow = Rc::clone(&self.flow);
        let close = async move { tell.send(flow.close_charge(permit, outcome).await) };
        self.world.exec.spawn(self.owner, "close", close);
        told.receive().await.and_then(Result::ok)
    }

    /// A price that is known: it is taken before the answer is given out, in a task that no connection owns.
    async fn fixed(
        self: &Rc<Self>,
        request: &KeyCall,
        permit: ChargePermit<GateHost>,
        charge: HoldId,
        (run, pieces, breaks): (usize, u64, bool),
    ) -> Words {
        let world = &self.world;
        let (tell, told) = oneshot();
        let (gate, named, amount) = (Rc::clone(self), request.name.is_some(), request.amount);
        world.exec.spawn(self.owner, "end", async move {
            match gate.flow.close_charge(permit, Outcome::Served { reading: None }).await {
                Ok(_) => {
                    gate.world.audit.borrow_mut().charge_told(charge.0, Cost::Taken(amount));
                    tell.send(Some(Keeper { gate, charge, run, breaks, keeps: named }));
                }
                Err(_) => {
                    gate.world.audit.borrow_mut().charge_withheld(charge.0);
                    tell.send(None);
                }
            }
        });
        let Some(Some(_keeper)) = told.receive().await else { return Words::Other("fault") };
        for _ in 0..pieces {
            world.delay(400).await;
        }
        if breaks {
            world.audit.borrow_mut().charge_broke(charge.0);
            self.flow.host.later_charge(charge, ChargeStep::Refund(amount));
            return Words::Broken;
        }
        world.audit.borrow_mut().charge_whole(charge.0);
        world.count(|figures| figures.served += 1);
        Words::Served
    }

    /// A meter: what was given out is taken when it ends, wherever that is.
    async fn metered(
        &self,
        mut permit: ChargePermit<GateHost>,
        charge: HoldId,
        units: u64,
        (pieces, breaks): (u64, bool),
    ) -> Words {
        let world = &self.world;
        let mut reading = 0;
        permit.reads(reading);
        for _ in 0..pieces {
            world.delay(400).await;
            reading += units;
            permit.reached(Progress::Body);
            permit.reads(reading);
            world.audit.borrow_mut().piece_given(charge.0, units);
        }
        world.delay(400).await;
        let reading = Some(u128::from(reading));
        let outcome = if breaks { Outcome::Broken { reading } } else { Outcome::Served { reading } };
        match self.end_charge(permit, outcome).await {
            Some(_) if breaks => Words::Broken,
            Some(_) => Words::Served,
            None => Words::Other("fault"),
        }
    }

    /// Runs the service for a charge.
    async fn run_for_key(&self, request: &KeyCall, charge: HoldId, permit: &mut ChargePermit<GateHost>) -> Ran {
        let world = &self.world;
        world.delay(50).await;
        if world.strikes(40) {
            return Ran::NotSent;
        }
        permit.reached(Progress::Sent);
        let held = world.disk.borrow().balances.charged(charge).map(PlainCharge::of);
        world.count(|figures| figures.runs += 1);
        let metered = request.piece.is_some();
        let run = world.audit.borrow_mut().charge_runs(charge.0, held.as_ref(), asked(request), metered);
        let ms = if world.chance.borrow_mut().one_in(3) { 4_000 } else { 300 };
        world.delay(ms).await;
        let mut chance = world.chance.borrow_mut();
        match chance.below(20) {
            0 => Ran::Unanswered,
            1 | 2 => Ran::Free,
            _ => Ran::Head { run, pieces: chance.below(5), breaks: chance.one_in(12) },
        }
    }
}

fn asked(request: &KeyCall) -> Asked {
    Asked { account: holders::key(request.account).0, url: request.url.clone(), name: request.name }
}

/// Stores the answer of a call that has a name, also when its caller has left.
struct Keeper {
    gate: Rc<Gate>,
    charge: HoldId,
    run: usize,
    breaks: bool,
    keeps: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.keeps {
            return;
        }
        let (flow, charge) = (Rc::clone(&self.gate.flow), self.charge);
        if self.breaks {
            return flow.host.later_charge(charge, ChargeStep::LoseAnswer);
        }
        let body = self.run.to_be_bytes().to_vec();
        let answer = Answer { status: 200, headers: Vec::new(), body, request_digest: None };
        self.gate.world.exec.spawn(self.gate.owner, "keep", async move {
            if flow.journal.keep_charged_answer(charge, answer).await.is_err() {
                flow.host.later_charge(charge, ChargeStep::LoseAnswer);
            }
        });
    }
}
