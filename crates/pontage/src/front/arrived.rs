//! A request from its arrival to its answer's head: what is told of every call.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, Uri};
use proxy::Peer;

use super::answer::Body;
use super::rate_headers::rate_headers;
use super::story::Told;
use super::{Front, cors, micros};
use crate::metrics::Present;
use crate::plan::Plan;
use crate::source;
use crate::telemetry::Finished;
use crate::trace::CallTrace;

/// What is known of every request, whatever it asks for.
pub(super) struct Arrived {
    front: Front,
    begun: Instant,
    _present: Present,
    /// Calls under way go on with theirs.
    pub(super) plan: Arc<Plan>,
    pub(super) method: Method,
    uri: Uri,
    pub(super) from: IpAddr,
    /// Whose page asks, where pages may read answers.
    origin: Option<HeaderValue>,
    pub(super) trace: CallTrace,
}

impl Arrived {
    pub(super) fn of(front: &Front, parts: &Parts, peer: Peer) -> Self {
        let begun = Instant::now();
        let (plan, operation) = (front.plan(), &front.0.shared.operation);
        Self {
            begun,
            _present: operation.telemetry.metrics.in_flight(),
            from: source::address(peer.address.ip(), &parts.headers, plan.trusted_proxies),
            origin: cors::asks(&plan.cors_origins, &parts.headers),
            trace: operation.traces.call(parts.method.as_str(), parts.uri.path(), &parts.headers),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            front: front.clone(),
            plan,
        }
    }

    /// Answers without waiting for anybody.
    pub(super) fn now(self, position: Option<usize>, told: Told<Bytes>) -> Answering {
        Answering::Now(Some(self.tell(position, told.full())))
    }

    /// Tells of the call, which the route at a position covers, and gives its answer out.
    pub(super) fn tell(self, position: Option<usize>, told: Told<Body>) -> Response<Body> {
        let Told { mut response, story } = told;
        let (plan, operation) = (&self.plan, &self.front.0.shared.operation);
        cors::decorate(&plan.cors_origins, self.origin.as_ref(), story.whose, response.headers_mut());
        if let Some(taken) = story.taken {
            rate_headers(response.headers_mut(), taken);
        }
        let route = position.and_then(|position| plan.snapshot.routes.get(position));
        let finished = Finished {
            method: self.method.as_str(),
            path: self.uri.path(),
            route: route.map(|route| route.id.as_str()),
            caller: None,
            status: response.status().as_u16(),
            outcome: story.outcome,
            payer: story.payer,
            amount: story.amount,
            hold: story.hold,
            reason: story.reason,
            limited: story.limited,
            source_ip: self.from,
            latency_us: micros(self.begun),
            upstream_us: story.upstream_us,
            upstream_status: story.upstream_status,
            settlement_us: story.settlement_us,
        };
        if story.reason == Some(gate::Fault::untouched(gate::FaultKind::Journal).code()) {
            operation.journal_failed();
        }
        operation.telemetry.finished(&finished);
        self.trace.finished(&finished);
        response
    }
}

/// The answer to a call. What waits for nobody is there at once; only what does is a task's worth of memory.
pub(crate) enum Answering {
    Now(Option<Response<Body>>),
    Later(Pin<Box<dyn Future<Output = Response<Body>>>>),
}

impl Future for Answering {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        match &mut *self {
            Self::Now(response) => Poll::Ready(response.take().expect("it is not asked again")),
            Self::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}
