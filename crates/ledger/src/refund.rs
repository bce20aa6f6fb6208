//! Money that is given back for a payment, whole or in part.
//!
//! A refund is an authorization of our own: the refunds key signs it, its nonce is derived from the refund's name, so it moves once,
//! whoever submits it and however often. Without such a key somebody pays by hand, and the refund is linked to his chain_tx.

use std::fmt;

use alloy_primitives::{B256, hex, keccak256};
use protocol::{Amount, Asset, Authorization, ClaimKey, Payee, Payer, Signature};

use crate::{
    About, Account, BlockRef, Change, Entry, EntryKind, Grant, GrantChange, Hold, HoldId, Rail, Record, Source, State,
};

/// When a refund's authorization ends: in 2106. What is owed does not run out, and one that ran out would have to be signed anew.
pub const REFUND_VALID_BEFORE_S: u64 = 0xffff_ffff;

/// A refund's name: the same for the same payment, amount and key, so that who asks twice asks for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefundId(pub [u8; 16]);

impl RefundId {
    /// The name of what is asked for; no amount stands for whatever is left. `key` tells equal amounts apart.
    #[must_use]
    pub fn derive(payment: HoldId, amount_atomic: Option<u128>, key: &str) -> Self {
        let mut text = b"pontage refund 1".to_vec();
        text.extend_from_slice(&payment.0);
        text.push(u8::from(amount_atomic.is_some()));
        text.extend_from_slice(&amount_atomic.unwrap_or_default().to_be_bytes());
        text.extend_from_slice(key.as_bytes());
        let B256 { 0: [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] } = keccak256(text);
        Self(first)
    }

    /// The nonce of its authorization.
    #[must_use]
    pub fn nonce(self) -> B256 {
        keccak256([b"pontage refund nonce".as_slice(), &self.0].concat())
    }

    /// The same name where lanes and the engine ask for that of a hold.
    #[must_use]
    pub const fn hold(self) -> HoldId {
        HoldId(self.0)
    }
}

impl fmt::Display for RefundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RefundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefundId({self})")
    }
}

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// Owed, and not on its way.
    Due,
    /// This signed chain_tx, the newest for it, is in the journal and may be on its way.
    Submitted(B256),
    /// The money moved in this chain_tx.
    Refunded {
        /// Which.
        chain_tx: B256,
        /// Its block.
        block: u64,
    },
}

/// Why a refund that is due does not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundProblem {
    /// The refunds wallet has less than the amount.
    WalletEmpty,
    /// The day's cap leaves no room for it.
    DailyCap,
    /// The token refuses the transfer for another reason, such as a blocked address.
    TokenRefuses,
}

impl RefundProblem {
    /// The word in the journal and in answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::WalletEmpty => "wallet_empty",
            Self::DailyCap => "daily_cap",
            Self::TokenRefuses => "token_refuses",
        }
    }
}

/// Whose wallet pays a refund, and his signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The address of the refunds key.
    pub wallet: Payer,
    /// Its signature of the authorization.
    pub signature: Signature,
}

/// A refund as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its name.
    pub id: RefundId,
    /// For which payment.
    pub payment: HoldId,
    /// In what.
    pub asset: Asset,
    /// To whom: the payer of the payment.
    pub to: Payer,
    /// How much.
    pub amount_atomic: u128,
    /// The same in millionths of a dollar, rounded up: what it takes of the day's cap.
    pub micros: u64,
    /// Whether its `refund_due` entry is its own. Otherwise the gate had written one for the whole payment before.
    pub own_due: bool,
    /// Who pays it; nothing where somebody is to pay it by hand.
    pub signed: Option<Signed>,
    /// The newest block when it was asked for. A Transfer counts only after it.
    pub seen: BlockRef,
    /// When it was asked for.
    pub at_ms: u64,
    /// The day, since 1970, on whose cap it counts; nothing before it was let out.
    pub day: Option<u64>,
    /// Where it stands.
    pub state: RefundState,
    /// Why it does not go out.
    pub problem: Option<RefundProblem>,
}

impl Refund {
    /// The authorization that pays `amount_atomic` back, but for its signature.
    #[must_use]
    pub fn fields(
        id: RefundId,
        payment: &Authorization,
        wallet: Payer,
        amount_atomic: u128,
    ) -> protocol::exact::Fields {
        protocol::exact::Fields {
            from: wallet.0,
            to: payment.key.payer.0,
            value: alloy_primitives::U256::from(amount_atomic),
            valid_after: alloy_primitives::U256::ZERO,
            valid_before: alloy_primitives::U256::from(REFUND_VALID_BEFORE_S),
            nonce: id.nonce(),
        }
    }

    /// It as lanes and the engine know a payment: one whose payer is the refunds wallet. Nothing where it is paid by hand.
    #[must_use]
    pub fn as_hold(&self) -> Option<Hold> {
        let Signed { wallet, signature } = self.signed?;
        Some(Hold {
            id: self.id.hold(),
            authorization: Authorization {
                key: ClaimKey { asset: self.asset, payer: wallet, nonce: self.id.nonce() },
                payee: Payee(self.to.0),
                amount_atomic: self.amount_atomic,
                valid_after_s: 0,
                valid_before_s: REFUND_VALID_BEFORE_S,
                signature,
            },
            route: String::new(),
            fingerprint: B256::ZERO,
            idempotency: None,
            seen: self.seen,
            opened_at_ms: self.at_ms,
            rail: Rail::Direct,
            source: Source([0; 16]),
            exposure_micros: self.micros,
            buys: None,
        })
    }

    /// What it gives back.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        Amount::new(self.amount_atomic, self.asset)
    }
}

/// Why nothing is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundRefusal {
    /// The money of the payment has not moved, by the books.
    #[error("the payment is {}: no money of it has moved that could be given back", word(*.0))]
    NotPaid(State),
    /// Its block may still be taken back by a reorg.
    #[error("the payment's block is not final yet: ask again when it is")]
    NotFinal,
    /// More than what was paid less what is given back already.
    #[error("{left_atomic} atomic units are left to give back")]
    TooMuch {
        /// What is left.
        left_atomic: u128,
    },
    /// The rest of what the payment bought was used.
    #[error("{left_atomic} atomic units can be given back: the rest of what the payment bought was used")]
    Used {
        /// What can be given back at most.
        left_atomic: u128,
    },
    /// Nothing is not an amount.
    #[error("an amount of zero moves nothing")]
    Zero,
    /// It was asked for before, the other way: from the wallet, or by hand.
    #[error("this refund was asked for before, and is paid the other way")]
    OtherWay,
}

impl RefundRefusal {
    /// The word in answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotPaid(_) => "not_paid",
            Self::NotFinal => "not_final",
            Self::TooMuch { .. } => "too_much",
            Self::Used { .. } => "used",
            Self::Zero => "zero",
            Self::OtherWay => "other_way",
        }
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Open | State::Answered => "not settled yet",
        State::Submitted(_) => "on its way to the chain",
        State::Posted(_) => "settled",
        State::Released(_) | State::Burnt(_) => "not charged",
        State::Lost(_) => "lost",
    }
}

/// What a store must write for a refund, in one durable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundChange {
    /// The refund's row as it stands after.
    pub refund: Refund,
    /// What it takes back of what the payment bought, written before the entries.
    pub gives_up: GrantChange,
    /// Entries to append.
    pub entries: Vec<Entry>,
}

/// Where the money of a payment lies by the books, if it has moved for good. A facilitator's word names no block: it is all there is.
///
/// # Errors
/// [`RefundRefusal::NotPaid`] and [`RefundRefusal::NotFinal`].
pub fn refundable(record: &Record) -> Result<Account, RefundRefusal> {
    let payee = record.hold.authorization.payee;
    match record.state {
        State::Posted(settled) if record.is_final || settled.block_hash.is_zero() => Ok(Account::Revenue(payee)),
        State::Posted(_) => Err(RefundRefusal::NotFinal),
        State::Lost(_) if record.late => Ok(Account::Revenue(payee)),
        State::Released(_) | State::Burnt(_) if record.late => Ok(Account::Suspense(payee)),
        State::Open | State::Answered | State::Submitted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_) => {
            Err(RefundRefusal::NotPaid(record.state))
        }
    }
}

/// What is left of a payment to give back.
#[must_use]
pub fn left_to_refund(record: &Record, refunds: &[Refund]) -> u128 {
    refunds
        .iter()
        .fold(record.hold.authorization.amount_atomic, |left, refund| left.saturating_sub(refund.amount_atomic))
}

/// Millionths of a dollar for a part of a payment, rounded up.
#[must_use]
pub fn refund_micros(record: &Record, amount_atomic: u128) -> u64 {
    let (all, micros) = (record.hold.authorization.amount_atomic, u128::from(record.hold.exposure_micros));
    let part = amount_atomic.checked_mul(micros).map(|part| part.div_ceil(all.max(1)));
    part.and_then(|part| u64::try_from(part).ok()).unwrap_or(u64::MAX)
}

/// Takes a refund into the books. `refunds` are all those of the payment, `bought` is the grant that it bought: what is refunded is no
/// balance any more. `None` when it is there already.
///
/// # Errors
/// [`RefundRefusal`]; nothing is written.
pub fn request_refund(
    record: &Record,
    refunds: &[Refund],
    bought: Option<&Grant>,
    mut refund: Refund,
) -> Result<Option<RefundChange>, RefundRefusal> {
    if let Some(known) = refunds.iter().find(|known| known.id == refund.id) {
        return if known.signed.is_some() == refund.signed.is_some() { Ok(None) } else { Err(RefundRefusal::OtherWay) };
    }
    let from = refundable(record)?;
    if refund.amount_atomic == 0 {
        return Err(RefundRefusal::Zero);
    }
    let left_atomic = left_to_refund(record, refunds);
    if refund.amount_atomic > left_atomic {
        return Err(RefundRefusal::TooMuch { left_atomic });
    }
    let refunded_atomic = record.hold.authorization.amount_atomic.saturating_sub(left_atomic);
    let gives_up = crate::give_up(record, bought, refunded_atomic, refund.amount_atomic)
        .map_err(|left_atomic| RefundRefusal::Used { left_atomic })?;
    refund.own_due = !record.refund_due;
    let due = (EntryKind::RefundDue, from, Account::RefundDue(refund.to));
    let entries = if refund.own_due { vec![entry(&refund, due)] } else { Vec::new() };
    Ok(Some(RefundChange { refund, gives_up, entries }))
}

/// What happens to a refund after it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundStep {
    /// It is to go out: counted on the cap of the day, or left due where that has no room.
    Admit {
        /// What may go out in a day, in millionths of a dollar.
        cap_micros: u64,
    },
    /// This signed chain_tx is about to be sent. Also marks a further one.
    Submit(B256),
    /// The money moved.
    Settle {
        /// In which chain_tx.
        chain_tx: B256,
        /// In which block.
        block: u64,
    },
    /// The chain that had it has taken it back.
    Undo,
    /// It does not go out now. It stays due.
    Stop(RefundProblem),
}

/// The day of a step, and what has gone out on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// Since 1970.
    pub day: u64,
    /// Of all refunds together, in millionths of a dollar.
    pub spent_micros: u64,
}

/// A step that a refund's state does not allow: ours, and nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step:?} is not allowed for a refund in state {state:?}")]
pub struct RefundViolation {
    /// Where it stands.
    pub state: RefundState,
    /// What was asked for.
    pub step: RefundStep,
}

/// Moves a refund on. `None` when the step changes nothing.
///
/// # Errors
/// [`RefundViolation`]: only what was let out by the cap is submitted, and what is paid by hand never is.
pub fn advance_refund(
    refund: &Refund,
    step: RefundStep,
    today: Today,
) -> Result<Option<RefundChange>, RefundViolation> {
    let mut next = *refund;
    let mut entries = Vec::new();
    match (step, refund.state) {
        (RefundStep::Admit { .. }, _) if refund.day.is_some() => return Ok(None),
        (RefundStep::Admit { cap_micros }, RefundState::Due) => {
            let spent = today.spent_micros.saturating_add(refund.micros);
            let room = spent <= cap_micros;
            next.day = room.then_some(today.day);
            next.problem = (!room).then_some(RefundProblem::DailyCap);
        }
        (RefundStep::Submit(chain_tx), RefundState::Due | RefundState::Submitted(_))
            if refund.day.is_some() && refund.signed.is_some() =>
        {
            next.state = RefundState::Submitted(chain_tx);
            next.problem = None;
        }
        (RefundStep::Settle { chain_tx, block }, RefundState::Due | RefundState::Submitted(_)) => {
            next.state = RefundState::Refunded { chain_tx, block };
            next.problem = None;
            entries.push(entry(
                refund,
                (EntryKind::Refunded, Account::RefundDue(refund.to), Account::External(refund.to)),
            ));
        }
        (RefundStep::Settle { .. }, RefundState::Refunded { .. }) => return Ok(None),
        (RefundStep::Undo, RefundState::Refunded { chain_tx, .. }) => {
            next.state = RefundState::Submitted(chain_tx);
            let (from, to) = (Account::External(refund.to), Account::RefundDue(refund.to));
            entries.push(entry(refund, (EntryKind::Unrefunded, from, to)));
        }
        (RefundStep::Undo, RefundState::Due | RefundState::Submitted(_)) => return Ok(None),
        (RefundStep::Stop(_), RefundState::Refunded { .. }) => return Ok(None),
        (RefundStep::Stop(problem), RefundState::Due | RefundState::Submitted(_)) => {
            (next.state, next.problem) = (RefundState::Due, Some(problem));
        }
        (RefundStep::Admit { .. } | RefundStep::Submit(_), _) => {
            return Err(RefundViolation { state: refund.state, step });
        }
    }
    Ok((next != *refund).then_some(RefundChange { refund: next, gives_up: GrantChange::default(), entries }))
}

/// The gate owes a payment back of which `booked_atomic` is booked as owed by refunds already: only the rest is new.
pub fn less_refunded(change: &mut Change, booked_atomic: u128) {
    for entry in change.entries.iter_mut().filter(|entry| entry.kind == EntryKind::RefundDue) {
        for line in &mut entry.lines {
            line.amount.atomic = line.amount.atomic.saturating_sub(booked_atomic);
        }
    }
    let due = |entry: &Entry| entry.kind == EntryKind::RefundDue;
    change.entries.retain(|entry| !due(entry) || entry.lines.iter().all(|line| line.amount.atomic > 0));
}

fn entry(refund: &Refund, (kind, from, to): (EntryKind, Account, Account)) -> Entry {
    Entry::transfer(About::Hold(refund.payment), kind, from, to, refund.amount())
}

#[cfg(test)]
mod tests;
