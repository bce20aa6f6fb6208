//! One call, as far as it was read, and what can be said of it without the flow.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use bytes::Bytes;
use gate::{Call, Price, Route, Taken, Terms};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use protocol::x402::Challenge;
use protocol::x402::ext::SignInRefusal;
use protocol::{Amount, MoneyState, Offer, Payer};
use proxy::{CleanPath, Incoming};
use tokio::sync::Semaphore;

use super::arrived::Arrived;
use super::page::{self, Page};
use super::request::{Shown, resource_url};
use super::story::{Story, Told};
use super::upload::{Unread, Upload};
use super::{BODY_WAIT, cors};
use crate::plan::{Plan, RoutePlan};
use crate::problem::Problem;
use crate::source;
use crate::telemetry::{Limit, MoneyOutcome};
use crate::trace::CallTrace;

/// One call, as far as it was read.
pub(super) struct Arriving<'a> {
    pub(super) plan: &'a Plan,
    pub(super) route: Option<&'a Route>,
    pub(super) route_plan: Option<&'a RoutePlan>,
    pub(super) path: &'a CleanPath,
    pub(super) method: &'a str,
    pub(super) url: String,
    pub(super) shown: Shown,
    pub(super) from: IpAddr,
    pub(super) wants_page: bool,
    /// What the bucket said from which the call took.
    pub(super) taken: Cell<Option<Taken>>,
    /// What the route's price endpoint said, where it was asked.
    pub(super) quoted: OnceCell<Vec<Terms>>,
    pub(super) trace: &'a CallTrace,
}

/// What was read of a call, on its way to where it is waited for.
pub(super) struct Seen {
    url: String,
    shown: Shown,
    wants_page: bool,
    taken: Cell<Option<Taken>>,
}

impl Seen {
    pub(super) fn of(plan: &Plan, parts: &Parts, path: &CleanPath) -> Self {
        Self {
            url: resource_url(plan, parts, path),
            shown: Shown::of(&parts.headers),
            wants_page: page::wants_page(&parts.headers),
            taken: Cell::new(None),
        }
    }
}

impl<'a> Arriving<'a> {
    pub(super) fn of(arrived: &'a Arrived, position: Option<usize>, path: &'a CleanPath, seen: Seen) -> Self {
        let Seen { url, shown, wants_page, taken } = seen;
        let Arrived { plan, method, from, trace, .. } = arrived;
        Self {
            plan,
            route: position.and_then(|position| plan.snapshot.routes.get(position)),
            route_plan: position.and_then(|position| plan.route(position)),
            path,
            method: method.as_str(),
            url,
            shown,
            from: *from,
            wants_page,
            taken,
            quoted: OnceCell::new(),
            trace,
        }
    }

    pub(super) fn seen(self) -> Seen {
        let Self { url, shown, wants_page, taken, .. } = self;
        Seen { url, shown, wants_page, taken }
    }

    /// Why what was shown proves no key. Beside a payment it does not matter.
    pub(super) fn sign_in_refused(&self) -> Option<SignInRefusal> {
        self.shown.sign_in_refused.get().filter(|_| !self.shown.pays())
    }

    /// What the first offer asks for.
    pub(super) fn asked(&self) -> Option<Amount> {
        let terms = match &self.route?.price {
            Price::Due(terms) => terms,
            Price::Quoted(_) => self.quoted.get()?.first()?,
            Price::Free => return None,
        };
        terms.offers.first().map(Offer::amount)
    }

    pub(super) fn call(&self, signed_in: Option<Payer>) -> Call<'_> {
        Call {
            method: self.method,
            path: self.path.path(),
            url: &self.url,
            presented: self.shown.presented(),
            idempotency: self.shown.idempotency,
            source: source::source(self.from),
            route: self.route,
            quoted: self.quoted.get().map_or(&[], Vec::as_slice),
            signed_in,
        }
    }

    /// Whether OPTIONS is kept from the upstream, which might run unpaid for it: what a priced path allows is said by the gate.
    pub(super) fn keeps_options(&self) -> bool {
        // A route that is written for OPTIONS is sold like any other.
        let is_written = self.route.is_some_and(|route| route.method.as_deref() == Some("OPTIONS"));
        let is_priced = match self.route {
            Some(route) => !matches!(route.price, Price::Free),
            None => self.plan.snapshot.is_priced(self.path.path()),
        };
        !is_written && is_priced
    }

    /// The gate's answer to OPTIONS of a priced path.
    pub(super) fn options(&self, headers: &HeaderMap) -> Response<Bytes> {
        if cors::is_preflight(&Method::OPTIONS, headers) {
            return cors::preflight_answer(&self.plan.cors_origins, headers);
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let allow = http::HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(http::header::ALLOW, allow);
        response
    }

    /// What the last bucket said, if it was empty.
    pub(super) fn allowed(&self, limit: Limit) -> Result<(), Told<Bytes>> {
        match self.taken.get() {
            Some(taken) if !taken.allowed => Err(self.limited(taken, limit)),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn limited(&self, taken: Taken, limit: Limit) -> Told<Bytes> {
        let story = Story { taken: Some(taken), limited: Some(limit), ..Story::of(MoneyOutcome::RateLimited) };
        story.with(Problem::too_many(taken.retry_after_s).into_response())
    }

    /// A call that cannot be sold as it is.
    pub(super) fn invalid(&self, problem: Problem) -> Told<Bytes> {
        Story { taken: self.taken.get(), ..Story::of(MoneyOutcome::BadRequest) }.with(problem.into_response())
    }

    /// Whether a call that pays looks as its route says, so that nobody pays for a 400. Its body is read first only where that is
    /// said to have a shape.
    ///
    /// `None` when too many bodies are being read.
    pub(super) async fn fits(
        &self,
        parts: &Parts,
        body: Incoming,
        bodies: &Semaphore,
    ) -> Result<Option<Upload>, Told<Bytes>> {
        let Some(info) = self.route_plan.and_then(|route| route.info.as_ref()).filter(|_| self.shown.pays()) else {
            return Ok(Some(Upload::new(body)));
        };
        let content_type = parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let query = self.path.query().unwrap_or_default();
        let (upload, read) = if info.needs_body(self.method) {
            let Ok(_turn) = bodies.try_acquire() else { return Ok(None) };
            let read = Box::pin(Upload::whole(body, BODY_WAIT)).await.map_err(|unread| invalid(bad_body(unread)))?;
            (read.0, Some(read.1))
        } else {
            (Upload::new(body), None)
        };
        match info.check_request(self.method, query, content_type, read.as_deref()) {
            Ok(()) => Ok(Some(upload)),
            Err(mistake) => Err(invalid(Problem::invalid_request(&mistake.field, mistake.what))),
        }
    }

    /// What a check can see of that: the query. The body is not shown to it, and not by every proxy what is in it.
    pub(super) fn query_fits(&self) -> Result<(), Told<Bytes>> {
        let info = self.route_plan.and_then(|route| route.info.as_ref()).filter(|_| self.shown.pays());
        let query = self.path.query().unwrap_or_default();
        match info.map(|info| info.check_request(self.method, query, None, None)) {
            Some(Err(mistake)) if mistake.field.starts_with("query.") => {
                Err(invalid(Problem::invalid_request(&mistake.field, mistake.what)))
            }
            Some(Ok(()) | Err(_)) | None => Ok(()),
        }
    }

    /// The 402 as a page.
    pub(super) fn page(
        &self,
        response: Response<Bytes>,
        challenge: &Challenge,
        refusal: Option<&str>,
    ) -> Response<Bytes> {
        let page = Page {
            method: self.method,
            url: &self.url,
            description: challenge.resource.description.as_deref(),
            offers: &challenge.offers,
            refusal,
            docs_url: self.plan.docs_url.as_deref(),
            website: self.plan.website.as_deref(),
        };
        page::dress(response, &page)
    }
}

/// A call that would be refused, so that it is not sold.
fn invalid(problem: Problem) -> Told<Bytes> {
    Story::of(MoneyOutcome::BadRequest).because("invalid_request").with(problem.into_response())
}

/// A body that has to be judged first, and cannot.
fn bad_body(unread: Unread) -> Problem {
    let (status, error, message) = match unread {
        Unread::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is longer than the 1 MiB that this route judges.",
        ),
        Unread::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body did not come in time."),
        Unread::Broken => (StatusCode::BAD_REQUEST, "bad_body", "The body broke off."),
    };
    Problem::new(status, error, message, MoneyState::Untouched)
}
