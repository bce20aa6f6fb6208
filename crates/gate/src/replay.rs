//! Credentials whose claim is known: the upstream is never run for them.

use alloy_primitives::B256;
use ledger::{AnswerState, Hold, Rail, Record, ReleaseReason, State};
use protocol::x402::{Credential, Receipt};
use protocol::{Asset, ClaimKey, MoneyState, Offer, Signature};

use crate::flow::held;
use crate::{Call, Facilitator, Fault, Flow, Host, Journal, Opened, Replay, Snapshot, Until};

impl<J: Journal, F: Facilitator, H: Host> Flow<J, F, H> {
    /// Looks a claim up and answers for it, if it is known, held, and shown by its payer. Reads only.
    pub(crate) async fn recall(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        credential: &Credential,
        key: Option<ClaimKey>,
    ) -> Option<Opened<H>> {
        match self.journal.recall(&key?).await {
            // It may have been paid with before; whoever cannot look it up cannot say that nothing moved.
            Err(fault) => Some(Opened::Fault(Fault { money: MoneyState::Unknown, ..fault })),
            Ok(Some(record)) if is_the_payers(snapshot, credential, &record) && claimed(&record) => {
                // Boxed: most claims that are looked up are not known, and the future of every call would be as large.
                Some(Box::pin(self.replay(snapshot, call, credential, record)).await)
            }
            Ok(Some(_) | None) => None,
        }
    }

    /// Answers a credential whose claim is known.
    pub(crate) async fn replay(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        credential: &Credential,
        record: Record,
    ) -> Opened<H> {
        let key = record.hold.authorization.key;
        let conflicts =
            |hold: &Hold| hold.authorization.fields() != credential.fields || hold.fingerprint != call.fingerprint();
        if conflicts(&record.hold) {
            return Opened::Replay(Replay::Conflict(money_of(&record)));
        }
        let knows = |hold: &Hold| call.idempotency.is_some() && call.idempotency == hold.idempotency;
        let until = if knows(&record.hold) { Until::Answered } else { Until::Ended };
        // What waits for the chain is not waited for: its answer is kept for pick-up.
        let direct = record.hold.rail == Rail::Direct;
        let unsettled = record.is_unsettled() && !record.state.ended();
        let pending = direct && !record.state.ended() && (record.answer != AnswerState::Live || unsettled);
        let record = if until.met(&record) || pending {
            record
        } else {
            match self.journal.wait(&key, until, snapshot.replay_wait_ms).await {
                Ok(newest) => newest.unwrap_or(record),
                Err(fault) => return Opened::Fault(Fault { money: MoneyState::Held, ..fault }),
            }
        };
        Opened::Replay(match record.state {
            // The claim was let go during the wait and won by another request.
            _ if conflicts(&record.hold) => Replay::Conflict(money_of(&record)),
            _ if record.late && !matches!(record.state, State::Lost(_)) => Replay::InSuspense,
            State::Posted(settled) if record.refund_due => Replay::OwedBack(settled),
            State::Open if record.answer == AnswerState::Live => Replay::InFlight,
            // A reorg took it out again: it is on its way once more.
            State::Submitted(chain_tx) if direct && record.is_unsettled() => {
                Replay::Pending(pending_receipt(&key, ledger::told(chain_tx)))
            }
            State::Answered | State::Submitted(_) if record.answer == AnswerState::Live => Replay::InFlight,
            State::Answered => served(&record, knows(&record.hold), held(&record.hold)),
            State::Submitted(_) if record.hold.rail == Rail::Tab => {
                served(&record, knows(&record.hold), held(&record.hold))
            }
            State::Open => Replay::Pending(pending_receipt(&key, None)),
            State::Submitted(chain_tx) => Replay::Pending(pending_receipt(&key, ledger::told(chain_tx))),
            State::Released(ReleaseReason::Expired) => Replay::Expired,
            State::Released(ReleaseReason::NotSent | ReleaseReason::FreeStatus) => Replay::Released,
            State::Burnt(_) => Replay::Burnt,
            State::Lost(_) if record.late => Replay::Recovered,
            State::Lost(_) => Replay::Uncollected,
            State::Posted(settled) => {
                let served = served(&record, knows(&record.hold), Receipt::Settled(settled));
                match (served, record.hold.buys) {
                    (Replay::AlreadyServed(_), Some(purchase)) => {
                        Replay::Bought { hold: record.hold.id, purchase, settled }
                    }
                    (served, _) => served,
                }
            }
        })
    }
}

/// A call that was served: its answer, for who knows the secret, as long as it is stored.
fn served(record: &Record, knows: bool, receipt: Receipt) -> Replay {
    if knows && record.answer == AnswerState::Kept {
        return Replay::Stored { hold: record.hold.id, receipt };
    }
    Replay::AlreadyServed(receipt)
}

/// The claim that a credential names, whatever its offer and times say and whatever is accepted by now. v1 names no asset: it
/// means the first of the route on its network, as in [`protocol::verify`], or else any that we accept there.
pub(crate) fn recallable(snapshot: &Snapshot, offers: &[Offer], credential: &Credential) -> Option<ClaimKey> {
    let network = credential.accepted.network?;
    if let Some(terms) = &credential.accepted.terms {
        return Some(credential.fields.key(Asset { network, address: terms.asset }));
    }
    let mut assets = offers.iter().chain(snapshot.offers()).map(|offer| offer.asset_info.asset);
    assets.find(|asset| asset.network == network).map(|asset| credential.fields.key(asset))
}

/// Whether the credential comes from the payer: the signature is the stored one, or recovers to `from`. A stranger who only knows
/// the nonce learns nothing.
fn is_the_payers(snapshot: &Snapshot, credential: &Credential, record: &Record) -> bool {
    let Some(signature) = Signature::from_bytes(&credential.signature) else { return false };
    if signature == record.hold.authorization.signature {
        return true;
    }
    let token = snapshot.asset_info(record.hold.authorization.key.asset);
    let digest = token.map(|token| credential.fields.digest(token));
    digest.and_then(|digest| signature.recover(digest)) == Some(credential.fields.from)
}

/// Whether the record still holds the authorization. A released one may be claimed again, unless money came for it since.
const fn claimed(record: &Record) -> bool {
    match record.state {
        State::Released(ReleaseReason::NotSent | ReleaseReason::FreeStatus) => record.late,
        State::Released(ReleaseReason::Expired)
        | State::Open
        | State::Answered
        | State::Submitted(_)
        | State::Posted(_)
        | State::Burnt(_)
        | State::Lost(_) => true,
    }
}

/// Where the money of a record is.
#[must_use]
pub const fn money_of(record: &Record) -> MoneyState {
    match record.state {
        _ if record.late => MoneyState::Moved,
        State::Open | State::Answered => MoneyState::Held,
        // Nobody waits for it: until it is posted, it is held.
        State::Submitted(_) if matches!(record.hold.rail, Rail::Tab) => MoneyState::Held,
        State::Submitted(_) => MoneyState::Unknown,
        State::Posted(_) => MoneyState::Moved,
        State::Released(_) | State::Burnt(_) | State::Lost(_) => MoneyState::Untouched,
    }
}

fn pending_receipt(key: &ClaimKey, chain_tx: Option<B256>) -> Receipt {
    Receipt::Pending { network: key.asset.network, payer: key.payer, chain_tx }
}
