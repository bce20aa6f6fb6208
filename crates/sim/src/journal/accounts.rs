//! The journal as calls with a key and the operator see it.

use gate::{Accounts, Answer, Charging, Fault, FaultKind};
use ledger::{Charge, ChargeRecord, ChargeStep, ChargeViolation, Guards, HoldId};
use protocol::MoneyState;

use super::SimJournal;
use crate::bug::Bug;
use crate::holders::Errand;
use crate::plan::Moment;

impl SimJournal {
    fn fits<T>(&self, charge: HoldId, outcome: Result<T, ChargeViolation>) -> Result<T, Fault> {
        outcome.map_err(|violation| {
            self.world.say(|| format!("journal {charge}: {violation}"));
            Fault { kind: FaultKind::Invariant, money: MoneyState::Held }
        })
    }

    /// Does what the operator asks for; `false` where the balance or the state of a charge does not allow it.
    pub(crate) async fn run(&self, errand: Errand) -> Result<bool, Fault> {
        match errand {
            Errand::Grant(grant) => self.write(move |disk| disk.give(grant)).await,
            Errand::Withdraw { key, amount } => self.write(move |disk| disk.withdraw(key, amount)).await,
            Errand::Transfer { from, to, amount, name } => {
                self.write(move |disk| disk.transfer(from, to, amount, name)).await
            }
            Errand::Refund { place, amount } => {
                let charge = self.read(move |disk| disk.balances.charges.get(place).map(|it| it.charge.id)).await?;
                let Some(charge) = charge else { return Ok(false) };
                let step = ChargeStep::Refund(amount);
                Ok(self.write(move |disk| disk.advance_charge(charge, step)).await?.is_ok())
            }
        }
    }

    pub(crate) async fn lapse(&self) -> Result<usize, Fault> {
        self.write(|disk| disk.lapse()).await
    }

    pub(crate) async fn recover_charges(&self) -> Result<usize, Fault> {
        self.write(|disk| disk.recover_charges()).await
    }
}

impl Accounts for SimJournal {
    /// Nothing guards the balances of the simulator.
    async fn charge(&self, charge: Charge, _: Guards) -> Result<Charging, Fault> {
        let world = &self.world;
        world.say(|| format!("journal charge {}: {} of {}", charge.id, charge.amount, charge.key));
        world.reaches(Moment::Charge);
        let early = match world.bug {
            Some(Bug::GrantUsedTwice) => Some(world.disk.borrow().balances.usable(charge.key)),
            _ => None,
        };
        self.write(move |disk| disk.charge(charge, early)).await
    }

    async fn advance_charge(&self, charge: HoldId, step: ChargeStep) -> Result<Option<(ChargeRecord, u64)>, Fault> {
        self.world.say(|| format!("journal charge {charge}: {step:?}"));
        self.world.reaches(Moment::EndCharge);
        let outcome = self.write(move |disk| disk.advance_charge(charge, step)).await?;
        self.fits(charge, outcome)
    }

    async fn charged(&self, charge: HoldId) -> Result<Option<ChargeRecord>, Fault> {
        self.read(move |disk| disk.balances.charged(charge).cloned()).await
    }

    async fn keep_charged_answer(&self, charge: HoldId, answer: Answer) -> Result<bool, Fault> {
        self.world.say(|| format!("journal charge {charge}: keep answer"));
        let outcome = self.write(move |disk| disk.keep_charged_answer(charge, answer)).await?;
        self.fits(charge, outcome)
    }
}
