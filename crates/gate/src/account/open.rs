//! `open` and `close` of a call that is paid from a balance.

use alloy_primitives::B256;
use ledger::{
    AnswerState, BurnReason, Charge, ChargeRecord, ChargeState, ChargeStep, Guards, HoldId, KeyId, Over, ReleaseReason,
    Unit,
};
use protocol::MoneyState;

use super::{Accounts, ChargePermit, Charging};
use crate::{Call, Fault, FaultKind, Flow, FreeReason, Host, Outcome};

/// Who pays, and how much. The caller has proved who he is, and that his key may make this call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountCall {
    /// Whose balance.
    pub key: KeyId,
    /// Of what.
    pub unit: Unit,
    /// The price, or for a metered call the most that it may cost.
    pub amount: u64,
    /// The same in millionths of a dollar.
    pub micros: u64,
    /// What guards the balance.
    pub guards: Guards,
    /// What the caller books the cost under.
    pub tags: Option<String>,
}

/// What `open_charge` says.
#[derive(Debug)]
pub enum OpenedCharge<H: Host> {
    /// The price is held: run the upstream, then close.
    Permit(ChargePermit<H>),
    /// The balance has only so much. Nothing was taken.
    Short {
        /// In the account's unit.
        available: u64,
    },
    /// A budget does not let it pass. Nothing was taken.
    Over(Over),
    /// A budget has closed the account. Nothing was taken.
    Suspended {
        /// Until when; `None` when somebody must open it.
        until_ms: Option<u64>,
    },
    /// The account was closed meanwhile. Nothing was taken.
    Closed,
    /// The `Idempotency-Key` was used before. The upstream is not run.
    Repeat(Repeat),
    /// Nothing can be said now.
    Fault(Fault),
}

/// What became of the call that used an `Idempotency-Key` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It was another request.
    Other,
    /// It is still running.
    InFlight(HoldId),
    /// It was answered, and the answer is stored.
    Stored(HoldId),
    /// It was answered and charged, and the answer is not stored any more.
    Gone,
    /// It may have run, and nothing was charged.
    Burnt,
}

impl<J: Accounts, F, H: Host> Flow<J, F, H> {
    /// Holds the price of a call, in one journal step, before any upstream work.
    pub async fn open_charge(&self, call: &Call<'_>, account: AccountCall) -> OpenedCharge<H> {
        let opened_at_ms = self.host.now_ms();
        let AccountCall { key, unit, amount, micros, guards, tags } = account;
        let charge = Charge {
            id: HoldId::new(opened_at_ms, self.host.entropy()),
            key,
            unit,
            amount,
            micros,
            route: call.route.map(|route| route.id.clone()).unwrap_or_default(),
            fingerprint: call.fingerprint(),
            idempotency: call.idempotency,
            opened_at_ms,
            tags,
        };
        // The permit exists before the charge: if the caller leaves while the journal works, its drop gives the money back.
        let mut permit = ChargePermit::new(charge.clone(), self.host.clone());
        let fingerprint = charge.fingerprint;
        match self.journal.charge(charge, guards).await {
            Ok(Charging::Won { available, warned }) => {
                permit.won(available, warned);
                OpenedCharge::Permit(permit)
            }
            Ok(Charging::Short { available }) => {
                permit.take();
                OpenedCharge::Short { available }
            }
            Ok(Charging::Over(over)) => {
                permit.take();
                OpenedCharge::Over(over)
            }
            Ok(Charging::Suspended { until_ms }) => {
                permit.take();
                OpenedCharge::Suspended { until_ms }
            }
            Ok(Charging::Closed) => {
                permit.take();
                OpenedCharge::Closed
            }
            Ok(Charging::Taken(record)) => {
                permit.take();
                OpenedCharge::Repeat(repeat(&record, fingerprint))
            }
            // Whether it was written is not known; the dropped permit releases it once the journal is back.
            Err(fault) => OpenedCharge::Fault(fault),
        }
    }

    /// Ends a charge by the outcome of its run, and says what the balance has left. Must run in a task that no connection owns: it
    /// goes on when the caller hangs up. What the journal does not take now is repeated until it does.
    ///
    /// # Errors
    /// The journal's [`Fault`]: the answer must not be released then.
    pub async fn close_charge(&self, mut permit: ChargePermit<H>, outcome: Outcome) -> Result<u64, Fault> {
        let given_out = permit.gives_out();
        let Some(charge) = permit.take() else { return Ok(permit.available()) };
        let due = |reading: Option<u128>| match reading {
            Some(units) => u64::try_from(units).unwrap_or(u64::MAX).min(charge.amount),
            None => charge.amount,
        };
        let step = match outcome {
            Outcome::NotSent => ChargeStep::Release(ReleaseReason::NotSent),
            Outcome::Free(FreeReason::Status) => ChargeStep::Release(ReleaseReason::FreeStatus),
            Outcome::Unanswered | Outcome::Free(FreeReason::Policy) => ChargeStep::Burn(BurnReason::Unanswered),
            Outcome::Broken { reading: None } => ChargeStep::Burn(BurnReason::Broken),
            Outcome::Served { reading } | Outcome::Cut { reading } | Outcome::Broken { reading } => {
                ChargeStep::Capture(due(reading))
            }
            Outcome::Unseen => ChargeStep::Capture(charge.amount),
        };
        match self.journal.advance_charge(charge.id, step).await {
            Ok(Some((_, available))) => Ok(available),
            Ok(None) => Err(Fault { kind: FaultKind::Invariant, money: MoneyState::Held }),
            Err(fault) => {
                // Whether it was written is not known. Whoever reads the fault in the place of his answer does not pay for it.
                let is_taken = matches!(step, ChargeStep::Capture(_));
                self.host.later_charge(charge.id, if is_taken && !given_out { ChargeStep::TakeBack } else { step });
                Err(Fault { money: MoneyState::Held, ..fault })
            }
        }
    }
}

fn repeat(record: &ChargeRecord, fingerprint: B256) -> Repeat {
    if record.charge.fingerprint != fingerprint {
        return Repeat::Other;
    }
    match (record.state, record.answer) {
        // Kept, or in no step of the store would it be found.
        (ChargeState::Released(_), AnswerState::Kept) => Repeat::Stored(record.charge.id),
        (ChargeState::Captured(taken), AnswerState::Live | AnswerState::Lost)
            if taken > 0 && record.refunded == taken =>
        {
            Repeat::Burnt
        }
        (ChargeState::Open, _) | (ChargeState::Captured(_), AnswerState::Live | AnswerState::Pending) => {
            Repeat::InFlight(record.charge.id)
        }
        (ChargeState::Captured(_), AnswerState::Kept) => Repeat::Stored(record.charge.id),
        (ChargeState::Captured(_), AnswerState::Delivered | AnswerState::Lost) => Repeat::Gone,
        (ChargeState::Released(_) | ChargeState::Burnt(_), _) => Repeat::Burnt,
    }
}
