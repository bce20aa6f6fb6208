//! One paid call is `open` and `close`, read together. Everything that charges goes through here.

use alloy_primitives::B256;
use ledger::{Hold, HoldId, LossReason, Rail, Record, Reservation, Step};
use protocol::x402::{Challenge, Credential, Extensions, Receipt, Resource};
use protocol::{MoneyState, Offer, Payer, Proven, Refusal};

use crate::replay::recallable;
use crate::{
    Call, Check, Closed, DefaultAction, Depth, Due, Facilitator, Fault, FaultKind, FreePass, Host, Journal, Opened,
    Outcome, Permit, Prepaid, Presented, Progress, Quote, Replay, Route, Sale, Seen, Settlement, Snapshot, Standing,
    Terms, Unpaid, secret_digest,
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
    /// any upstream work. `paces` says whether a payer whose signature is proven may make one more call now.
    pub async fn open(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        paces: impl Fn(Payer, Standing) -> bool,
    ) -> Opened<H> {
        match self.unpaid(snapshot, call).await {
            Ok(Some(why)) => return Opened::Free(FreePass::new(why)),
            Ok(None) => {}
            Err(fault) => return Opened::Fault(fault),
        }
        let asked = match due(snapshot, call) {
            Ok(asked) => asked,
            Err(opened) => return opened,
        };
        let (credential, named) = match presented(snapshot, call) {
            Ok(presented) => presented,
            Err(refusal) => return Opened::Challenge { refusal },
        };
        // An identifier is a secret like any other that the chain does not show, and names one payment of its payer.
        let call = Call { idempotency: named.or(call.idempotency), ..call.clone() };
        match self.verify(snapshot, &call, &credential, asked) {
            Ok(admitted) => Box::pin(self.admit(snapshot, &call, admitted, &credential, paces)).await,
            Err(refusal) => {
                let key = recallable(snapshot, &asked.1.offers, &credential);
                let recalled = self.recall(snapshot, &call, &credential, key).await;
                recalled.unwrap_or(Opened::Challenge { refusal: Some(refusal) })
            }
        }
    }

    /// The same for a call that costs nothing, or cannot be paid for, whoever makes it. `None` where somebody has to be asked, or
    /// a payment is due.
    #[must_use]
    pub fn unasked(&self, snapshot: &Snapshot, call: &Call<'_>) -> Option<Opened<H>> {
        if call.signed_in.is_some() {
            return None;
        }
        due(snapshot, call).err()
    }

    /// Recall, admit, reserve: from a payment that is signed to a claim.
    async fn admit(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        mut admitted: Admitted<'_>,
        credential: &Credential,
        paces: impl Fn(Payer, Standing) -> bool,
    ) -> Opened<H> {
        // A retry after our own settlement must never be told to pay again, so the claim is looked up before the chain is; and
        // before a refusal for its offer or its times is said, in `open`.
        let key = Some(admitted.proven.authorization().key);
        if let Some(opened) = self.recall(snapshot, call, credential, key).await {
            return opened;
        }
        let payer = admitted.proven.authorization().key.payer;
        let depth = match self.journal.standing(payer).await {
            Ok(standing) if !paces(payer, standing) => return Opened::TooMany,
            Ok(standing) => admitted.trust(snapshot, standing),
            Err(fault) => return Opened::Fault(fault),
        };
        match self.facilitator.check(&admitted.proven, depth).await {
            Check::Payable(seen) => match self.claim(snapshot, call, &admitted, seen).await {
                Claimed::Won(permit) => Opened::Permit(permit),
                Claimed::Taken(record) => self.replay(snapshot, call, credential, record).await,
                Claimed::Namesake => Opened::Replay(Replay::Namesake),
                Claimed::Refused(refusal) => Opened::Challenge { refusal: Some(refusal) },
                Claimed::Fault(fault) => Opened::Fault(fault),
            },
            // What the chain shows may be our own settlement of a claim that was won since: look again before refusing.
            Check::Refused(refusal) => {
                let recalled = self.recall(snapshot, call, credential, key).await;
                recalled.unwrap_or(Opened::Challenge { refusal: Some(refusal) })
            }
            Check::Fault(fault) if snapshot.fail_open && fault.is_outage() => {
                Opened::Free(FreePass::new(Unpaid::Unverified))
            }
            Check::Fault(fault) => Opened::Fault(fault),
        }
    }

    /// Reserve: the one journal step.
    async fn claim(&self, snapshot: &Snapshot, call: &Call<'_>, admitted: &Admitted<'_>, seen: Seen) -> Claimed<H> {
        let opened_at_ms = self.host.now_ms();
        let id = HoldId::new(opened_at_ms, self.host.entropy());
        let hold = Hold {
            id,
            authorization: *admitted.proven.authorization(),
            route: admitted.route.id.clone(),
            fingerprint: call.fingerprint(),
            idempotency: call.idempotency,
            seen: seen.block,
            opened_at_ms,
            rail: admitted.rail,
            source: call.source,
            exposure_micros: admitted.exposure_micros,
            buys: admitted.sells.map(|sale| sale.purchase(id, opened_at_ms)),
        };
        let key = hold.authorization.key;
        // The permit exists before the claim: if the caller leaves while the journal works, its drop lets the claim go.
        let mut permit = Permit::new(hold.clone(), admitted.settle_first, self.host.clone());
        match self.journal.reserve(hold, seen.balance_atomic, snapshot.caps).await {
            Ok(Reservation::Won(change)) => {
                permit.won(change.record.hold);
                Claimed::Won(permit)
            }
            Ok(Reservation::Taken(record)) if record.hold.authorization.key != key => {
                permit.take();
                Claimed::Namesake
            }
            Ok(Reservation::Taken(record)) => {
                permit.take();
                Claimed::Taken(record)
            }
            Ok(Reservation::Refused(refusal)) => {
                permit.take();
                Claimed::Refused(refusal)
            }
            // Whether the claim was written is not known; the dropped permit releases it once the journal is back.
            Err(fault) => Claimed::Fault(fault),
        }
    }

    /// What would pay for a call; `None` where nothing is asked for.
    #[must_use]
    pub fn challenge(&self, snapshot: &Snapshot, call: &Call<'_>, refusal: Option<Refusal>) -> Option<Challenge> {
        match snapshot.quote(call) {
            Quote::Due(route, terms) => Some(challenge(call, route.offers(terms), refusal)),
            Quote::Free | Quote::Blocked | Quote::Listed | Quote::Unknown => None,
        }
    }

    /// Why a caller who signed in passes unpaid, if he does.
    async fn unpaid(&self, snapshot: &Snapshot, call: &Call<'_>) -> Result<Option<Unpaid>, Fault> {
        let Some(payer) = call.signed_in else { return Ok(None) };
        // What is refused to everybody has no price that could be let off.
        if call.route.is_none() && snapshot.default_action == DefaultAction::Block {
            return Ok(None);
        }
        if snapshot.lists(call.route, payer) {
            return Ok(Some(Unpaid::Allowlisted(payer)));
        }
        let reentry_ms = call.route.map_or(0, |route| route.reentry_ms);
        if reentry_ms == 0 {
            return Ok(None);
        }
        let since_ms = self.host.now_ms().saturating_sub(reentry_ms);
        let paid = Box::pin(self.journal.paid_before(payer, call.fingerprint(), since_ms)).await?;
        Ok(paid.then_some(Unpaid::PaidBefore(payer)))
    }

    /// Moves the money before the run: the other way round for a route with `settle_first`. Must run in a task that no connection
    /// owns. Where the money has not moved, or nobody knows, the upstream is not run.
    pub async fn prepay(&self, mut permit: Permit<H>) -> Result<Prepaid<H>, Closed> {
        let host = permit.host().clone();
        let Some(hold) = permit.take() else { return Err(Closed::NothingDue) };
        // From here on the journal knows that an answer is owed, also after a crash.
        if let Err(fault) = self.journal.advance(hold.id, Step::Pend).await {
            self.host.later(hold.id, Step::Release(ledger::ReleaseReason::NotSent));
            return Err(Closed::Fault(Fault { money: MoneyState::Held, ..fault }));
        }
        match Box::pin(self.charge(&hold)).await {
            Closed::Settled(settled) => Ok(Prepaid::new(hold.id, settled, host)),
            closed @ (Closed::Held(_)
            | Closed::Refused { .. }
            | Closed::Pending { .. }
            | Closed::NothingDue
            | Closed::Fault(_)) => {
                // If it moves after all, it is owed back: there will be no answer.
                self.step(hold.id, Step::LoseAnswer).await;
                Err(closed)
            }
        }
    }

    /// A proxy reports that the call of a sidecar's check was not answered, or with an error: its price is given back. What is
    /// on the tab is burnt; what has moved, or is on its way, is owed back.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn take_back(&self, hold: HoldId) -> Result<Option<Record>, Fault> {
        self.journal.advance(hold, Step::TakeBack).await
    }

    /// Writes that a call on the tab is answered, before the first byte of the body is released, and returns what its payer is
    /// told. After a fault nothing may be released: the permit is then closed as [`Outcome::Broken`].
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn answer(&self, permit: &mut Permit<H>) -> Result<Receipt, Fault> {
        let lost = Fault { kind: FaultKind::Invariant, money: MoneyState::Held };
        let hold = permit.hold().ok_or(lost)?;
        let receipt = held(hold);
        let written = self.journal.advance(hold.id, Step::Answer).await;
        written.map_err(|fault| Fault { money: MoneyState::Held, ..fault })?.ok_or(lost)?;
        permit.reached(Progress::Body);
        Ok(receipt)
    }

    /// The same for an answer that is at hand to its last byte: the upstream cannot break it off any more, so one step says that it
    /// is answered and due, and the permit has ended. After a fault nothing may be released; what may have been written is taken back.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn answer_whole(&self, mut permit: Permit<H>) -> Result<Receipt, Fault> {
        let lost = Fault { kind: FaultKind::Invariant, money: MoneyState::Held };
        let hold = permit.hold().ok_or(lost)?;
        let (id, receipt) = (hold.id, held(hold));
        let written = self.journal.advance(id, Step::Deliver).await;
        permit.take();
        match written {
            Ok(Some(_)) => Ok(receipt),
            Ok(None) => Err(lost),
            Err(fault) => {
                self.host.later(id, Step::TakeBack);
                Err(Fault { money: MoneyState::Held, ..fault })
            }
        }
    }

    /// Ends a permit. Must run in a task that no connection owns: settlement goes on when the caller hangs up.
    pub async fn close(&self, mut permit: Permit<H>, outcome: Outcome) -> Closed {
        match permit.take() {
            Some(hold) => self.close_hold(hold, outcome).await,
            None => Closed::NothingDue,
        }
    }

    /// Ends a hold by the outcome of its run: release, burn, settle and post, or leave it on the tab.
    pub async fn close_hold(&self, hold: Hold, outcome: Outcome) -> Closed {
        let amount = hold.authorization.amount_atomic;
        let step = match (outcome.due(amount), hold.rail) {
            (Due::Release(reason), _) => Step::Release(reason),
            (Due::Burn(reason), _) => Step::Burn(reason),
            // `exact` moves the whole amount or nothing, and nobody is charged more than his reading.
            (Due::Charge { atomic, .. }, _) if atomic != amount => Step::Burn(ledger::BurnReason::Unanswered),
            (Due::Charge { refund: true, .. }, Rail::Tab) => Step::LoseAnswer,
            (Due::Charge { refund: false, .. }, Rail::Tab) => {
                return match self.step(hold.id, Step::Deliver).await {
                    Some(fault) => Closed::Fault(Fault { money: MoneyState::Held, ..fault }),
                    None => Closed::Held(held(&hold)),
                };
            }
            (Due::Charge { refund, .. }, Rail::Direct) => {
                // Its state is large, and most holds are on the tab.
                let closed = Box::pin(self.charge(&hold)).await;
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
                self.step(hold.id, Step::Refuse(LossReason::Failed)).await;
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

    /// Matches a credential with what the call costs, with a pass that is sold beside it, or with what it before a change of
    /// configuration that the payer may not have heard of. What is not valid for long enough to wait on the tab is settled `direct`.
    fn verify<'a>(
        &self,
        snapshot: &'a Snapshot,
        call: &'a Call<'_>,
        credential: &Credential,
        asked: (&'a Route, &'a Terms),
    ) -> Result<Admitted<'a>, Refusal> {
        let now_ms = self.host.now_ms();
        let admit = |(route, terms): (&'a Route, &'a Terms)| {
            let on = |rail| {
                let remaining_min_s = snapshot.remaining_min_s(rail);
                let window =
                    protocol::exact::Window { now_s: now_ms / 1_000, remaining_min_s, skew_s: snapshot.skew_s };
                let proven = protocol::verify(credential, &terms.offers, window)?;
                let (exposure_micros, settle_first) = (terms.exposure_micros, terms.settle_first);
                Ok(Admitted { proven, route, rail, exposure_micros, settle_first, sells: terms.sells.as_ref() })
            };
            match on(terms.rail) {
                Err(Refusal::ValidBeforeTooSoon) if terms.rail == Rail::Tab => on(Rail::Direct),
                admitted => admitted,
            }
        };
        // What is wrong with a payment is said by what is asked for now.
        let admitted = admit(asked);
        if admitted.is_ok() {
            return admitted;
        }
        let passes = asked.0.passes.iter().map(|pass| (asked.0, pass));
        passes.chain(snapshot.earlier(call, now_ms)).find_map(|earlier| admit(earlier).ok()).map_or(admitted, Ok)
    }
}

/// What a call shows for payment, with the digest of its identifier; without one, why it is none.
fn presented(snapshot: &Snapshot, call: &Call<'_>) -> Result<(Credential, Option<B256>), Option<Refusal>> {
    let credential = match call.presented {
        Presented::Nothing => return Err(None),
        Presented::Refused(refusal) => return Err(Some(refusal)),
        Presented::Header(header) => Credential::parse(header).map_err(Some)?,
    };
    let named = credential.payment_id.as_ref().map(|id| secret_digest(id.as_str().as_bytes()));
    if snapshot.identifier_required && named.is_none() {
        return Err(Some(Refusal::PaymentIdentifierRequired));
    }
    Ok((credential, named))
}

/// What is due for a call, or else what becomes of it.
fn due<'a, H: Host>(snapshot: &Snapshot, call: &Call<'a>) -> Result<(&'a Route, &'a Terms), Opened<H>> {
    match snapshot.quote(call) {
        Quote::Free => Err(Opened::Free(FreePass::new(call.route.map_or(Unpaid::Passthrough, |_| Unpaid::Free)))),
        Quote::Blocked => Err(Opened::Blocked),
        Quote::Listed => Err(Opened::SignIn),
        Quote::Unknown => Err(Opened::Fault(Fault::untouched(FaultKind::Price))),
        Quote::Due(route, terms) => Ok((route, terms)),
    }
}

/// What became of a claim.
enum Claimed<H: Host> {
    Won(Permit<H>),
    Taken(Record),
    /// Another payment of this payer has the same identifier.
    Namesake,
    Refused(Refusal),
    Fault(Fault),
}

/// A payment that matches an offer.
struct Admitted<'a> {
    proven: Proven,
    route: &'a Route,
    rail: Rail,
    exposure_micros: u64,
    settle_first: bool,
    sells: Option<&'a Sale>,
}

impl Admitted<'_> {
    /// Whoever failed to pay for a call that was served goes on the tab no more. Who has paid before, and never failed to, may be
    /// served without a look at the chain, if the operator says so.
    fn trust(&mut self, snapshot: &Snapshot, standing: Standing) -> Depth {
        if self.rail == Rail::Direct {
            return Depth::Chain;
        }
        if standing.risky {
            self.rail = Rail::Direct;
        }
        let local = snapshot.verify_local && standing.settled && !standing.risky;
        if local { Depth::Local } else { Depth::Chain }
    }
}

/// What the payer of a hold on the tab is told.
pub(crate) fn held(hold: &Hold) -> Receipt {
    let authorization = &hold.authorization;
    Receipt::Held { amount: authorization.amount(), payer: authorization.key.payer, payment: hold.id.0 }
}

fn challenge(call: &Call<'_>, offers: Vec<Offer>, refusal: Option<Refusal>) -> Challenge {
    let error = refusal.map_or("payment_required", Refusal::code).to_owned();
    let resource = Resource { url: call.url.to_owned(), ..Resource::default() };
    Challenge { resource, offers, error, extensions: Extensions::new() }
}

#[cfg(test)]
mod tests;
