//! What `open` and `close` say to a front.

use ledger::{HoldId, Purchase};
use protocol::x402::Receipt;
use protocol::{MoneyState, Refusal, Settled};

use crate::{Fault, FreePass, Host, Permit};

/// What `open` says.
#[derive(Debug)]
pub enum Opened<H: Host> {
    /// Pass the call on unpaid.
    Free(FreePass),
    /// No route covers the call.
    Blocked,
    /// Not paid, or the payment was refused. The money is untouched. [`Flow::challenge`](crate::Flow::challenge) says what would
    /// pay.
    Challenge {
        /// Why the payment that came was refused, if one came.
        refusal: Option<Refusal>,
    },
    /// The route is for an allowlist, and the caller has not proved that he is on it. Nothing can be paid.
    SignIn,
    /// The payer has made too many calls. The money is untouched.
    TooMany,
    /// The hold is ours: run the upstream, then close.
    Permit(Permit<H>),
    /// The authorization was claimed before. The upstream is not run.
    Replay(Replay),
    /// Nothing can be said now.
    Fault(Fault),
}

/// What became of the call that claimed the authorization first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Other signed fields or another request, and where the money of the first one is.
    Conflict(MoneyState),
    /// Its identifier, or its `Idempotency-Key`, names another payment of the payer. This one is untouched.
    Namesake,
    /// Still running after the wait.
    InFlight,
    /// Sent to the chain, not confirmed. The answer is kept for pick-up. Never a reason to pay again.
    Pending(Receipt),
    /// Let go; the same authorization may be sent again.
    Released,
    /// It can no longer move: too late for the chain.
    Expired,
    /// Not charged, and never run again.
    Burnt,
    /// The money came after the hold had ended, or by a stranger: it is in suspense, refundable.
    InSuspense,
    /// Paid, and the answer was lost or broke off: it is owed back.
    OwedBack(Settled),
    /// Served, and paid or on the tab, as the receipt says.
    AlreadyServed(Receipt),
    /// The same, and the caller knows the secret: the stored answer is his if his request's body is the same.
    Stored {
        /// Whose answer.
        hold: HoldId,
        /// The receipt.
        receipt: Receipt,
    },
    /// Served and paid, and it bought something, which stands.
    Bought {
        /// The payment's name.
        hold: HoldId,
        /// What.
        purchase: Purchase,
        /// What moved.
        settled: Settled,
    },
    /// Served on the tab, and its payment could not be collected.
    Uncollected,
    /// The same, and the money came after all.
    Recovered,
}

/// What `close` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The money moved: release the body.
    Settled(Settled),
    /// It is on the tab, to be settled later. The body has been released.
    Held(Receipt),
    /// The chain refused after the run: the body is discarded, the money is untouched.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What to tell the payer.
        receipt: Receipt,
    },
    /// Not known in time: drain the body into the store.
    Pending {
        /// Whose answer.
        hold: HoldId,
        /// The pick-up code. Only its digest is stored.
        pickup: [u8; 16],
        /// What to tell the payer.
        receipt: Receipt,
    },
    /// Nothing is due; the upstream's answer, if any, is passed on.
    NothingDue,
    /// The journal did not take it. The step is repeated until it does.
    Fault(Fault),
}
