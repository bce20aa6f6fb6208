//! A call whose answer is at hand, because the same key has made it before.

use std::sync::Arc;

use gate::{ChargePermit, Outcome, Progress};
use http::header::AGE;
use http::{HeaderName, HeaderValue, Response};
use ledger::KeyId;

use super::super::answer::{Body, full, keep_private, restored};
use super::super::cors::Whose;
use super::super::story::{Story, Told};
use super::super::{Arriving, Front};
use super::{Left, Sent, faulted, interrupted, suspended};
use crate::accounts::Principal;
use crate::cache::{Cachable, CachedAnswer};
use crate::host::{WorkerHost, now_ms};
use crate::telemetry::MoneyOutcome;

/// Whether the answer was at hand.
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// A call, after it was looked for its answer.
pub(super) struct Looked {
    pub(super) sent: Sent,
    pub(super) hit: Option<Arc<CachedAnswer>>,
}

impl Looked {
    /// A call whose answer is nobody else's.
    pub(super) const fn up(sent: Sent) -> Self {
        Self { sent, hit: None }
    }
}

impl Front {
    /// Looks whether a call's answer is at hand. The caller has proved whose key he has. What is metered is not kept: only its answer
    /// says what it costs.
    pub(super) fn cached(&self, arriving: &Arriving<'_>, principal: &Principal, mut sent: Sent) -> Looked {
        let keeps = !principal.sandbox && sent.meter.is_none();
        let Some((route, plan)) = arriving.route.zip(arriving.route_plan).filter(|_| keeps) else {
            return Looked::up(sent);
        };
        let call = (arriving.method, arriving.url.as_str());
        sent.cachable = Cachable::of(principal.key, &route.id, call, &sent.forward.headers, plan.cache_ms);
        let cache = &self.0.shared.cache;
        let hit = sent.cachable.as_ref().and_then(|cachable| cache.find(cachable, now_ms()));
        Looked { sent, hit }
    }

    pub(super) fn hits_are_free(&self) -> bool {
        self.0.shared.accounts.as_ref().is_some_and(|accounts| !accounts.cache_hits_charged)
    }

    /// Gives an answer out that is at hand, for nothing; to nobody whose account a budget has closed.
    pub(super) fn free_hit(&self, arriving: &Arriving<'_>, key: KeyId, hit: &CachedAnswer) -> Told<Body> {
        let at_ms = now_ms();
        let mut response = answered(hit);
        match self.0.flow.journal.balance(key, at_ms) {
            Ok(Some((row, ..))) if row.is_suspended(at_ms) => {
                return self.suspended(arriving, key, row.reopens_at_ms()).full();
            }
            Ok(Some((row, available, _))) => Left { unit: row.unit, available }.put(response.headers_mut()),
            Ok(None) => return self.unresolved(arriving, suspended(key)).full(),
            Err(fault) => return faulted(Story::of(MoneyOutcome::Fault), fault),
        }
        let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::Free) };
        story.whose(Whose::Paid).with(response)
    }

    /// Gives an answer out that is at hand, for its price.
    pub(super) async fn charged_hit(
        &self,
        story: Story,
        hit: &CachedAnswer,
        mut permit: ChargePermit<WorkerHost>,
    ) -> Told<Body> {
        let Some(charge) = permit.charge().cloned() else { return interrupted(story) };
        let story = Story { hold: Some(charge.id), ..story };
        permit.reached(Progress::Head);
        match self.end_charge(permit, Outcome::Served { reading: None }).await {
            Err(fault) => faulted(story, fault),
            Ok(available) => {
                let mut response = answered(hit);
                Left { unit: charge.unit, available }.put(response.headers_mut());
                let amount = Some(charge.unit.amount(charge.amount));
                let story = Story { outcome: MoneyOutcome::ServedBalance, amount, ..story }.whose(Whose::Paid);
                story.with(response)
            }
        }
    }
}

fn answered(hit: &CachedAnswer) -> Response<Body> {
    let mut response = full(restored(hit.answer.clone()));
    let headers = response.headers_mut();
    keep_private(headers);
    headers.insert(X_CACHE, HeaderValue::from_static("hit"));
    headers.insert(AGE, (now_ms().saturating_sub(hit.at_ms) / 1_000).into());
    response
}
