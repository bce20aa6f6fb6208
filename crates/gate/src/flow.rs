//! One paid call is `open` and `close`, read together. Everything that charges goes through here.

use ledger::{Hold, HoldId, Reservation, Step};
use protocol::x402::{Challenge, Credential, Receipt, Resource};
use protocol::{MoneyState, Offer, Refusal};

use crate::replay::recallable;
use crate::{
    Call, Check, Closed, Due, Facilitator, Fault, FaultKind, FreePass, Host, Journal, Opened, Outcome, Permit,
    Presented, Quote, Settlement, Snapshot, secret_digest,
};

/// The flow over its ports.
#[derive(Clone, Debug)]
pub struct Flow<J, F, H> {
    /// Holds and entries.
    pub journal: J,
    /// The chain.
    pub facilitator: F,
    /// Time, chance, detached work.
    pub host: H,
}

impl<J: Journal, F: Facilitator, H: Host> Flow<J, F, H> {
    /// From a call to a permit: parse, recall, quote, verify, admit, reserve. One journal step claims the authorization, before
    /// any upstream work.
    pub async fn open(&self, snapshot: &Snapshot, call: &Call<'_>) -> Opened<H> {
        let quote = snapshot.quote(call);
        let (route, offers) = match quote {
            Quote::Free => return Opened::Free(FreePass::new()),
            Quote::Blocked => return Opened::Blocked,
            Quote::Due(route, offers) => (route, offers),
        };
        let refuse = |refusal| Opened::Challenge { challenge: challenge(call, offers, refusal), refusal };
        let header = match call.presented {
            Presented::Nothing => return refuse(None),
            Presented::Refused(refusal) => return refuse(Some(refusal)),
            Presented::Header(header) => header,
        };
        let credential = match Credential::parse(header) {
            Ok(credential) => credential,
            Err(refusal) => return refuse(Some(refusal)),
        };

        // A retry after our own settlement must never be told to pay again, so the claim is looked up before the offer, the
        // times and the chain are.
        let verified = protocol::verify(&credential, offers, self.window(snapshot));
        let key = verified.as_ref().map(|proven| proven.authorization().key).ok();
        let key = key.or_else(|| recallable(snapshot, offers, &credential));
        if let Some(opened) = self.recall(snapshot, call, &credential, key).await {
            return opened;
        }
        let proven = match verified {
            Ok(proven) => proven,
            Err(refusal) => return refuse(Some(refusal)),
        };
        let seen = match self.facilitator.check(&proven).await {
            Check::Payable(seen) => seen,
            // What the chain shows may be our own settlement of a claim that was won since: look again before refusing.
            Check::Refused(refusal) => {
                let recalled = self.recall(snapshot, call, &credential, key).await;
                return recalled.unwrap_or_else(|| refuse(Some(refusal)));
            }
            Check::Fault(fault) => return Opened::Fault(fault),
        };

        let hold = Hold {
            id: HoldId(self.host.entropy()),
            authorization: *proven.authorization(),
            route: route.id.clone(),
            fingerprint: call.fingerprint(),
            idempotency: call.idempotency,
            seen: seen.block,
            opened_at_ms: self.host.now_ms(),
        };
        // The permit exists before the claim: if the caller leaves while the journal works, its drop lets the claim go.
        let mut permit = Permit::new(hold.clone(), self.host.clone());
        match self.journal.reserve(hold, seen.balance_atomic).await {
            Ok(Reservation::Won(_)) => Opened::Permit(permit),
            Ok(Reservation::Taken(record)) => {
                permit.take();
                self.replay(snapshot, call, &credential, record).await
            }
            Ok(Reservation::Refused(refusal)) => {
                permit.take();
                refuse(Some(refusal))
            }
            // Whether the claim was written is not known; the dropped permit releases it once the journal is back.
            Err(fault) => Opened::Fault(fault),
        }
    }

    /// What would pay for a call; `None` where nothing is asked for.
    #[must_use]
    pub fn challenge(&self, snapshot: &Snapshot, call: &Call<'_>, refusal: Option<Refusal>) -> Option<Challenge> {
        match snapshot.quote(call) {
            Quote::Due(_, offers) => Some(challenge(call, offers, refusal)),
            Quote::Free | Quote::Blocked => None,
        }
    }

    /// Ends a permit. Must run in a task that no connection owns: settlement goes on when the caller hangs up.
    pub async fn close(&self, mut permit: Permit<H>, outcome: Outcome) -> Closed {
        match permit.take() {
            Some(hold) => self.close_hold(hold, outcome).await,
            None => Closed::NothingDue,
        }
    }

    /// Ends a hold by the outcome of its run: release, burn, or settle and post.
    pub async fn close_hold(&self, hold: Hold, outcome: Outcome) -> Closed {
        let held = hold.authorization.amount_atomic;
        let step = match outcome.due(held) {
            Due::Release(reason) => Step::Release(reason),
            Due::Burn(reason) => Step::Burn(reason),
            // `exact` moves the whole amount or nothing, and nobody is charged more than his reading.
            Due::Charge { atomic, .. } if atomic != held => Step::Burn(ledger::BurnReason::Unanswered),
            Due::Charge { refund, .. } => {
                let closed = self.charge(&hold).await;
                if !refund || matches!(closed, Closed::Refused { .. }) {
                    return closed;
                }
                self.step(hold.id, Step::LoseAnswer).await;
                // There will be no answer to pick up.
                let lost = Fault { kind: FaultKind::Settlement, money: MoneyState::Unknown };
                return if matches!(closed, Closed::Pending { .. }) { Closed::Fault(lost) } else { closed };
            }
        };
        match self.step(hold.id, step).await {
            // The journal will take the step later; until then the claim stays held and the answer is not passed on as free.
            Some(fault) => Closed::Fault(Fault { money: MoneyState::Held, ..fault }),
            None => Closed::NothingDue,
        }
    }

    /// The upstream failed after the charge: the charge stands and is owed back.
    pub async fn answer_broke(&self, hold: HoldId) {
        self.step(hold, Step::LoseAnswer).await;
    }

    async fn charge(&self, hold: &Hold) -> Closed {
        let (network, payer) = (hold.authorization.key.asset.network, hold.authorization.key.payer);
        match self.facilitator.settle(hold).await {
            Settlement::Settled(settled) => match self.step(hold.id, Step::Post(settled)).await {
                None => Closed::Settled(settled),
                Some(fault) => {
                    self.host.later(hold.id, Step::LoseAnswer);
                    Closed::Fault(Fault { money: MoneyState::Moved, ..fault })
                }
            },
            Settlement::Refused(refusal) => {
                self.step(hold.id, Step::Burn(ledger::BurnReason::SettlementRefused)).await;
                Closed::Refused { refusal, receipt: Receipt::Refused { network, payer, refusal } }
            }
            Settlement::Unknown { chain_tx } => {
                let pickup = self.host.entropy();
                match self.journal.pend(hold.id, secret_digest(&pickup)).await {
                    Ok(()) => Closed::Pending {
                        hold: hold.id,
                        pickup,
                        receipt: Receipt::Pending { network, payer, chain_tx },
                    },
                    Err(fault) => {
                        self.host.later(hold.id, Step::LoseAnswer);
                        Closed::Fault(Fault { money: MoneyState::Unknown, ..fault })
                    }
                }
            }
        }
    }

    /// Takes a step, or leaves it to the host to repeat.
    async fn step(&self, hold: HoldId, step: Step) -> Option<Fault> {
        let fault = self.journal.advance(hold, step).await.err()?;
        self.host.later(hold, step);
        Some(fault)
    }

    fn window(&self, snapshot: &Snapshot) -> protocol::exact::Window {
        protocol::exact::Window {
            now_s: self.host.now_ms() / 1_000,
            remaining_min_s: snapshot.remaining_min_s,
            skew_s: snapshot.skew_s,
        }
    }
}

fn challenge(call: &Call<'_>, offers: &[Offer], refusal: Option<Refusal>) -> Challenge {
    let error = refusal.map_or("payment_required", Refusal::code).to_owned();
    Challenge { resource: Resource { url: call.url.to_owned() }, offers: offers.to_vec(), error }
}

#[cfg(test)]
mod tests;
