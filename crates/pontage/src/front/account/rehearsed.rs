//! Accounts that are tried out (`accounts.shadow`): calls with a key are judged, and neither charged nor refused.

use gate::FreePass;
use http::{HeaderName, HeaderValue};
use tracing::info;

use super::super::answer::Body;
use super::super::request::Forward;
use super::super::story::{Story, Told};
use super::super::trust::Word;
use super::super::upload::Upload;
use super::super::{Arriving, Front};
use super::Left;
use super::price::Unpriced;
use crate::accounts::{Principal, Unresolved};
use crate::host::now_ms;

/// What would have become of the call.
const SHADOW: HeaderName = HeaderName::from_static("x-pay-shadow");

const CHARGED: &str = "charged";

/// What would have become of a call.
pub(in crate::front) struct Verdict {
    word: &'static str,
    left: Option<Left>,
}

impl Verdict {
    /// Its key opens nothing.
    pub(in crate::front) fn of_key(why: &Unresolved) -> Self {
        let word = match why {
            Unresolved::Denied(denial, _) => denial.code(),
            Unresolved::Fault(fault) => fault.code(),
        };
        Self { word, left: None }
    }

    /// Why it would not have been served.
    fn reason(&self) -> Option<&'static str> {
        (self.word != CHARGED).then_some(self.word)
    }
}

impl Front {
    /// Whether accounts are only tried out.
    pub(in crate::front) fn rehearses(&self) -> bool {
        self.0.shared.accounts.is_some_and(|accounts| accounts.shadow)
    }

    /// What would become of a call of a holder.
    pub(super) fn verdict(&self, principal: &Principal, due: Result<u64, &Unpriced>) -> Verdict {
        let balance = self.0.flow.journal.balance(principal.key, now_ms());
        let left = balance.ok().flatten().map(|(row, available, _)| Left { unit: row.unit, available });
        let word = match (due, left) {
            (Err(Unpriced::LengthRequired), _) => "length_required",
            (Err(Unpriced::Fault(fault)), _) => fault.code(),
            (Err(Unpriced::NotSold), _) => "blocked",
            (Ok(amount), Some(left)) if left.available >= amount => CHARGED,
            (Ok(_), _) => "insufficient_credits",
        };
        Verdict { word, left }
    }

    /// Passes a call on, and says what would have become of it.
    pub(in crate::front) async fn rehearsed(
        &self,
        arriving: &Arriving<'_>,
        verdict: Verdict,
        forward: Forward,
        upload: Upload,
    ) -> Told<Body> {
        let mut told = self.free(arriving, FreePass::rehearsal(), forward, upload).await;
        self.tell_verdict(arriving, &verdict, told.response.headers_mut());
        told.story.reason = verdict.reason();
        told
    }

    /// What a sidecar says of a call that it lets through in this way.
    pub(in crate::front) fn rehearsed_unseen(
        &self,
        arriving: &Arriving<'_>,
        verdict: &Verdict,
        target: &str,
    ) -> Told<bytes::Bytes> {
        let why = FreePass::rehearsal().why();
        let mut response = self.allow(arriving, target, Word::unpaid(why).as_ref());
        self.tell_verdict(arriving, verdict, response.headers_mut());
        let reason = verdict.reason();
        Story { taken: arriving.taken.get(), reason, ..Story::unpaid(why) }.with(response)
    }

    fn tell_verdict(&self, arriving: &Arriving<'_>, verdict: &Verdict, headers: &mut http::HeaderMap) {
        let route = arriving.route.map_or("", |route| &route.id);
        info!(route, verdict = verdict.word, "accounts are tried out: a call with a key was not charged");
        headers.insert(SHADOW, HeaderValue::from_static(verdict.word));
        if let Some(left) = verdict.left {
            left.put(headers);
        }
    }
}
