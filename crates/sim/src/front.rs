//! The front's stand-in: what `pontage`'s front does with the flow, without HTTP.

mod account;
mod body;
mod words;

use std::rc::Rc;

use alloy_primitives::B256;
use gate::{Call, Closed, FreeReason, Journal, Opened, Outcome, Permit, Presented, Progress, Replay, secret_digest};
use ledger::{AnswerState, HoldId, Rail, Source, State};
use protocol::x402::Receipt;

use self::body::Paid;
use crate::audit::{End, Id, Key, PlainHold, Shows, Told};
use crate::bug::Bug;
use crate::executor::{Owner, Sender, oneshot};
use crate::plan::Request;
use crate::process::{GateHost, SimFlow};
use crate::upstream::{self, Ran, UpstreamBody};
use crate::world::World;

/// The front of one process.
pub(crate) struct Gate {
    pub(crate) world: Rc<World>,
    pub(crate) owner: Owner,
    pub(crate) flow: Rc<SimFlow>,
}

/// What a caller reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// The whole answer.
    Served,
    /// The answer broke off.
    Broken,
    /// The answer waits behind this code.
    PickUp([u8; 16]),
    /// Something else; he may try again.
    Other(&'static str),
}

/// What the detached end of a call tells the connection.
enum Ended {
    Released(Paid),
    Words(Words),
}

impl Gate {
    /// Answers one request.
    pub(crate) async fn call(self: Rc<Self>, request: Request) -> Words {
        let world = Rc::clone(&self.world);
        let payment = &world.plan.payments[request.payment];
        let key = payment.key();
        let path = request.url.strip_prefix("http://gate.test").unwrap_or_default();
        let call = Call {
            method: "GET",
            path,
            url: &request.url,
            presented: Presented::Header(payment.header.as_bytes()),
            idempotency: request.digest(),
            source: Source([request.source; 16]),
            route: world.plan.snapshot.find("GET", path),
            quoted: &[],
            signed_in: None,
        };
        let known = self.known(key);
        let opened = match world.bug {
            Some(Bug::NoSecret) => self.leaky(call.idempotency).open(&world.plan.snapshot, &call, |_, _| true).await,
            _ => self.flow.open(&world.plan.snapshot, &call, |_, _| true).await,
        };
        match opened {
            Opened::Free(_) | Opened::Blocked | Opened::SignIn | Opened::TooMany => Words::Other("free"),
            Opened::Permit(permit) => self.paid(&request, permit).await,
            Opened::Challenge { refusal } => {
                if known.is_some() && known == self.known(key) {
                    world.audit.borrow_mut().asked_again(key);
                }
                Words::Other(refusal.map_or("challenge", |refusal| refusal.code()))
            }
            Opened::Replay(Replay::Stored { hold, receipt }) => {
                let shows = Shows { key, url: &request.url, secret: request.secret, code: false };
                self.stored(hold, receipt, shows).await
            }
            Opened::Replay(replay) => self.replayed(key, &replay),
            Opened::Fault(fault) => {
                self.tell(key, None, words::of_money(fault.money));
                Words::Other(fault.code())
            }
        }
    }

    /// The hold that claims an authorization durably, if there is one that was not let go.
    fn known(&self, (payer, nonce): Key) -> Option<Id> {
        let disk = self.world.disk.borrow();
        let latest = disk.records.iter().rev().map(PlainHold::of).find(|hold| hold.key == (payer, nonce))?;
        (latest.end != End::Released(false) || latest.late).then_some(latest.id)
    }

    /// The flow over a journal that takes any secret for the right one.
    fn leaky(&self, shown: Option<B256>) -> SimFlow {
        SimFlow { journal: self.flow.journal.leaky(shown), ..(*self.flow).clone() }
    }

    fn tell(&self, key: Key, hold: Option<HoldId>, told: Told) {
        self.world.audit.borrow_mut().told(key, hold.map(|hold| hold.0), told);
    }

    fn replayed(&self, key: Key, replay: &Replay) -> Words {
        let (word, told) = words::of_replay(replay);
        // What is let go may be claimed again; the others stay what they are.
        let settled = |hold: &Id| {
            let record = self.world.disk.borrow().by_id(HoldId(*hold)).map(PlainHold::of);
            record.is_some_and(|hold| matches!(hold.end, End::Burnt | End::Lost | End::Released(true)))
        };
        let hold = self.known(key).filter(settled).map(HoldId);
        self.tell(key, hold, told);
        Words::Other(word)
    }

    /// Runs the upstream for a permit.
    async fn paid(self: &Rc<Self>, request: &Request, mut permit: Permit<GateHost>) -> Words {
        let key = self.world.plan.payments[request.payment].key();
        let Some(hold) = permit.hold().map(|hold| hold.id) else { return Words::Other("no hold") };
        let (outcome, word) = match upstream::run(&self.world, request, &mut permit).await {
            Ran::NotSent => (Outcome::NotSent, "bad gateway"),
            Ran::Unanswered => (Outcome::Unanswered, "timeout"),
            Ran::Free => (Outcome::Free(FreeReason::Status), "their error"),
            Ran::Head(body) => {
                permit.reached(Progress::Head);
                let (tell, told) = oneshot();
                let end = Ending { gate: Rc::clone(self), key, request: request.clone() };
                self.world.exec.spawn(self.owner, "end", end.of_call(permit, body, tell));
                return match told.receive().await {
                    Some(Ended::Released(paid)) => paid.give_out().await,
                    Some(Ended::Words(words)) => words,
                    None => Words::Other("interrupted"),
                };
            }
        };
        match self.close_detached(permit, outcome).await {
            Some(Closed::Fault(fault)) => self.tell(key, Some(hold), words::of_money(fault.money)),
            Some(_) => self.tell(key, Some(hold), Told::Untouched),
            None => {}
        }
        Words::Other(word)
    }

    /// Closes in a task of its own and waits for it.
    async fn close_detached(&self, permit: Permit<GateHost>, outcome: Outcome) -> Option<Closed> {
        let (tell, told) = oneshot();
        let flow = Rc::clone(&self.flow);
        let close = async move { tell.send(flow.close(permit, outcome).await) };
        self.world.exec.spawn(self.owner, "close", close);
        told.receive().await
    }

    /// Gives out a stored answer.
    async fn stored(&self, hold: HoldId, receipt: Receipt, shows: Shows<'_>) -> Words {
        let key = shows.key;
        match self.flow.journal.answer(hold).await {
            Err(_) => Words::Other("fault"),
            Ok(None) => {
                self.tell(key, Some(hold), words::of_receipt(&receipt));
                Words::Other("already served")
            }
            Ok(Some(answer)) => {
                let run = answer.body.iter().fold(0, |run, byte| run << 8 | usize::from(*byte));
                self.world.audit.borrow_mut().stored(run, &shows);
                self.tell(key, Some(hold), words::of_receipt(&receipt));
                self.released(hold, key);
                self.world.count(|figures| figures.stored += 1);
                Words::Served
            }
        }
    }

    /// The first byte of a paid body leaves.
    fn released(&self, hold: HoldId, (payer, nonce): Key) -> Option<PlainHold> {
        let claim = self.world.disk.borrow().by_id(hold).map(PlainHold::of);
        let on_chain = self.world.chain.borrow().has_moved(payer, nonce);
        self.world.audit.borrow_mut().released(hold.0, claim.as_ref(), on_chain);
        claim
    }

    /// Fetches an answer by its code.
    pub(crate) async fn pick_up(self: Rc<Self>, request: Request, code: [u8; 16]) -> Words {
        let key = self.world.plan.payments[request.payment].key();
        let Ok(picked) = self.flow.journal.picked(secret_digest(&code)).await else { return Words::Other("fault") };
        let Some(record) = picked else { return Words::Other("not found") };
        let hold = record.hold.id;
        match record.state {
            _ if record.late => self.tell(key, Some(hold), Told::Moved),
            State::Open | State::Submitted(_) | State::Answered => return Words::PickUp(code),
            State::Released(_) | State::Burnt(_) | State::Lost(_) => self.tell(key, Some(hold), Told::Untouched),
            State::Posted(settled) if record.answer == AnswerState::Kept => {
                let shows = Shows { key, url: &request.url, secret: None, code: true };
                return self.stored(hold, Receipt::Settled(settled), shows).await;
            }
            State::Posted(settled) => self.tell(key, Some(hold), words::of_receipt(&Receipt::Settled(settled))),
        }
        Words::Other("gone")
    }
}

/// The end of a paid call, which no connection owns.
struct Ending {
    gate: Rc<Gate>,
    key: Key,
    request: Request,
}

impl Ending {
    async fn of_call(self, mut permit: Permit<GateHost>, body: UpstreamBody, tell: Sender<Ended>) {
        let Some((hold, rail)) = permit.hold().map(|hold| (hold.id, hold.rail)) else { return };
        let (flow, key) = (Rc::clone(&self.gate.flow), self.key);
        let turned = rail == Rail::Direct && self.request.url.contains("/t/");
        self.gate.world.count(|figures| figures.turned_direct += u64::from(turned));
        if rail == Rail::Tab && self.request.secret.is_none() && body.is_whole() {
            match flow.answer_whole(permit).await {
                Ok(receipt) => {
                    self.gate.tell(key, Some(hold), words::of_receipt(&receipt));
                    tell.send(Ended::Released(self.paid(hold, body, None)));
                }
                Err(fault) => {
                    drop(body);
                    self.gate.tell(key, Some(hold), words::of_money(fault.money));
                    tell.send(Ended::Words(Words::Other(fault.code())));
                }
            }
            return;
        }
        if rail == Rail::Tab {
            match flow.answer(&mut permit).await {
                Ok(receipt) => {
                    self.gate.tell(key, Some(hold), words::of_receipt(&receipt));
                    tell.send(Ended::Released(self.paid(hold, body, Some(permit))));
                }
                Err(fault) => {
                    drop(body);
                    self.gate.tell(key, Some(hold), words::of_money(fault.money));
                    flow.close(permit, Outcome::Broken { reading: None }).await;
                    tell.send(Ended::Words(Words::Other(fault.code())));
                }
            }
            return;
        }
        let word = match flow.close(permit, Outcome::Served { reading: None }).await {
            Closed::Settled(settled) => {
                self.gate.tell(key, Some(hold), words::of_receipt(&Receipt::Settled(settled)));
                return tell.send(Ended::Released(self.paid(hold, body, None)));
            }
            Closed::Pending { hold, pickup, receipt } => {
                self.gate.tell(key, Some(hold), words::of_receipt(&receipt));
                tell.send(Ended::Words(Words::PickUp(pickup)));
                return body::keep_whole(&self.gate, hold, body).await;
            }
            Closed::Refused { receipt, refusal } => {
                self.gate.tell(key, Some(hold), words::of_receipt(&receipt));
                refusal.code()
            }
            Closed::Fault(fault) => {
                self.gate.tell(key, Some(hold), words::of_money(fault.money));
                fault.code()
            }
            Closed::NothingDue | Closed::Held(_) => "burnt",
        };
        tell.send(Ended::Words(Words::Other(word)));
    }

    fn paid(&self, hold: HoldId, body: UpstreamBody, permit: Option<Permit<GateHost>>) -> Paid {
        let keeps = self.request.secret.is_some();
        Paid {
            gate: Rc::clone(&self.gate),
            hold,
            key: self.key,
            source: self.request.source,
            body: Some(body),
            permit,
            keeps,
        }
    }
}
