//! A call on its way to the upstream: who makes it, and when it has its turn.

use gate::Denial;
use http::request::Parts;
use proxy::Incoming;

use super::account::guards;
use super::account::rehearsed::Verdict;
use super::answer::{self, Body, full};
use super::request::Forward;
use super::story::{Story, Told};
use super::{Arriving, Front};
use crate::accounts::Unresolved;
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

impl Front {
    /// Answers a call once it has its turn.
    pub(super) async fn proxied(&self, arriving: &Arriving<'_>, parts: Parts, body: Incoming) -> Told<Body> {
        let busy = || Story::of(MoneyOutcome::Busy).with(full(Problem::overloaded().into_response()));
        let upload = match arriving.fits(&parts, body, &self.0.shared.bodies).await {
            Ok(Some(upload)) => upload,
            Ok(None) => return busy(),
            Err(refused) => return refused.full(),
        };
        let unasked = self.unasked(arriving);
        // Before any turn is taken: whoever has no key holds up nobody who has one. A payment that comes beside a key pays.
        let holder = match unasked {
            None if !arriving.shown.pays() && self.shown_pass(arriving).is_none() && self.sells(arriving) => {
                match self.holder(arriving, &parts.headers) {
                    Ok(holder) => holder,
                    // Nobody has it: who makes a key up pays as who shows none.
                    Err(Unresolved::Denied(Denial::InvalidApiKey, _)) if self.rehearses() => {
                        match self.takes_from_address(arriving) {
                            Ok(()) => None,
                            Err(limited) => return limited.full(),
                        }
                    }
                    Err(why) if self.rehearses() => {
                        let forward = Forward::of(parts, arriving.path, arriving.route_plan, true);
                        let Ok(turn) = self.0.shared.turns.take(guards::place(None)).await else { return busy() };
                        let told = Box::pin(self.rehearsed(arriving, Verdict::of_key(&why), forward, upload)).await;
                        return answer::holding(turn, told);
                    }
                    Err(why) => return self.unresolved(arriving, why).full(),
                }
            }
            _ => None,
        };
        let own = match &holder {
            Some(holder) if !self.rehearses() => match Box::pin(self.admitted(arriving, holder)).await {
                Ok(turn) => turn,
                Err(refused) => return refused.full(),
            },
            Some(_) | None => None,
        };
        let Ok(turn) = self.0.shared.turns.take(guards::place(holder.as_deref())).await else { return busy() };
        let told = match holder {
            Some(holder) => {
                let forward = Forward::of(parts, arriving.path, arriving.route_plan, true);
                Box::pin(self.held_to_account(arriving, &holder, forward, upload)).await
            }
            None => self.answered(arriving, parts, upload, unasked).await,
        };
        answer::holding(turn.and(own), told)
    }
}
