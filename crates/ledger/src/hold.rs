//! A hold: the durable, exclusive claim on one authorization.

use std::fmt;

use alloy_primitives::{B256, hex};
use protocol::{Authorization, Settled};

use crate::Purchase;

/// A hold's name: 40 bits of the time at which it was won, and 88 random ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(pub [u8; 16]);

impl HoldId {
    /// A name that begins with the time: those of one moment lie together in the journal's index.
    #[must_use]
    pub fn new(now_ms: u64, random: [u8; 16]) -> Self {
        let mut name = random;
        let [_, _, _, time @ ..] = now_ms.to_be_bytes();
        name.iter_mut().zip(time).for_each(|(byte, of_time)| *byte = of_time);
        Self(name)
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HoldId({self})")
    }
}

/// When the money of a hold moves: the `settlement` of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rail {
    /// On chain, before the body of the answer is released.
    Direct,
    /// Served now, settled later together with others.
    Tab,
}

/// Where a call came from, as far as exposure is counted: an IPv4 address (mapped), or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(pub [u8; 16]);

/// A block that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

/// What is claimed, by which call, and what the chain showed before. Never changes after it was won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its name.
    pub id: HoldId,
    /// The permission that is claimed.
    pub authorization: Authorization,
    /// The stable id of the route that is paid for.
    pub route: String,
    /// Digest of method and URL: the same authorization with another request is a conflict.
    pub fingerprint: B256,
    /// Digest of the caller's `Idempotency-Key`, by which he may fetch the stored answer.
    pub idempotency: Option<B256>,
    /// The block at which the nonce was read unused. A Transfer counts as payment for this hold only after it.
    pub seen: BlockRef,
    /// When it was won.
    pub opened_at_ms: u64,
    /// When its money moves.
    pub rail: Rail,
    /// Who called, for the cap on a source's exposure.
    pub source: Source,
    /// The price in millionths of a dollar, rounded up: what it adds to the exposure while it is on the tab.
    pub exposure_micros: u64,
    /// What it buys besides the call. One that buys something is settled `direct`, and what it bought stands when an answer is lost.
    pub buys: Option<Purchase>,
}

/// Why a hold was let go: the authorization may be claimed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason {
    /// Nothing was sent to the upstream.
    NotSent,
    /// The upstream answered 400 or above: free.
    FreeStatus,
    /// It was submitted, and a final block is later than `validBefore` with the nonce unused: it can never move.
    Expired,
}

/// Why a hold was burnt: not charged, and the upstream is never run for it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurnReason {
    /// Sent to the upstream, no answer head came.
    Unanswered,
    /// The process ended between the claim and the submission: the upstream may have run.
    Interrupted,
    /// The chain refused the transfer after the run (payer emptied, authorization cancelled); the answer was discarded.
    SettlementRefused,
    /// On the tab: the answer broke off, or could not be released.
    Broken,
    /// Someone else than the payer and us landed it: the money is in suspense.
    ForeignTransfer,
}

/// Why a call that was served was never paid: on the tab, or on either rail after a reorg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// The payer's wallet had less than was owed when it was settled.
    Emptied,
    /// The authorization was cancelled, or used for another transfer.
    Gone,
    /// The asset refused the transfer for another reason, such as a blocked payer.
    Failed,
    /// It was still unsettled when its validity ended.
    Expired,
    /// It was posted, a reorg took its money out of the chain, and it cannot come back.
    Reorged,
}

/// Stands for a chain_tx whose hash nobody has told us: the hold was handed to a remote facilitator, which has not answered with one.
/// No chain_tx has this hash.
pub const HANDED: B256 = B256::ZERO;

/// The chain_tx of [`State::Submitted`], where it is known.
#[must_use]
pub fn told(chain_tx: B256) -> Option<B256> {
    (chain_tx != HANDED).then_some(chain_tx)
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Won; the upstream may be running.
    Open,
    /// On the tab: the upstream has answered, and the price is due once the answer is delivered.
    Answered,
    /// This signed chain_tx, the newest for the hold, is in the journal and may be on its way; or the hold was handed to a remote
    /// facilitator, and this is the chain_tx that it named, [`HANDED`] before it names one.
    Submitted(B256),
    /// The money moved, and the entries are written.
    Posted(Settled),
    /// Let go.
    Released(ReleaseReason),
    /// Not charged, never run again.
    Burnt(BurnReason),
    /// Served and never paid.
    Lost(LossReason),
}

impl State {
    /// Whether nothing more will happen to the hold by itself, unless a reorg undoes what was posted.
    #[must_use]
    pub const fn ended(self) -> bool {
        match self {
            Self::Open | Self::Answered | Self::Submitted(_) => false,
            Self::Posted(_) | Self::Released(_) | Self::Burnt(_) | Self::Lost(_) => true,
        }
    }
}

/// Where the upstream's answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerState {
    /// With the connection that asked; nothing is owed to the store.
    Live,
    /// The settlement was not known in time; the answer is being drained into the store.
    Pending,
    /// In the store.
    Kept,
    /// Given out to its end, or until the caller left. Only the tab notes it: what is delivered may be settled.
    Delivered,
    /// Lost before the caller had it: if the money moves, it is owed back.
    Lost,
}

/// A hold with everything that became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The claim.
    pub hold: Hold,
    /// Where it stands.
    pub state: State,
    /// Where the answer is.
    pub answer: AnswerState,
    /// Whether a refund entry was written.
    pub refund_due: bool,
    /// Whether money that came after the end is in suspense.
    pub late: bool,
    /// How often a reorg took its money out again. Posted before and not posted now, it is un-settled: what it earned is in `loss`
    /// until the money is back.
    pub reorgs: u32,
    /// Posted, and its block is final: no reorg takes it out any more.
    pub is_final: bool,
}

impl Record {
    /// A hold that has just been won.
    #[must_use]
    pub const fn new(hold: Hold) -> Self {
        Self {
            hold,
            state: State::Open,
            answer: AnswerState::Live,
            refund_due: false,
            late: false,
            reorgs: 0,
            is_final: false,
        }
    }

    /// Whether a reorg took its money out and it has not come back.
    #[must_use]
    pub const fn is_unsettled(&self) -> bool {
        self.reorgs > 0 && !matches!(self.state, State::Posted(_))
    }

    /// What it adds to the exposure now, in millionths of a dollar.
    #[must_use]
    pub const fn exposed_micros(&self) -> u64 {
        match self.hold.rail {
            Rail::Tab if !self.state.ended() => self.hold.exposure_micros,
            Rail::Tab | Rail::Direct => 0,
        }
    }
}
