//! The answer to a call that was charged to a balance, on its way to the caller.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gate::price::Meter;
use gate::{Accounts as _, Answer, ChargePermit, Host as _, Outcome, Progress};
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use ledger::{Charge, ChargeStep};
use proxy::UpstreamFault;
use tracing::{error, warn};

use super::super::answer::{Body, DRAIN_MAX, Relay, header_list, keep_private};
use super::super::upload::Digest;
use super::super::{Front, strip_payment_words};
use super::Left;
use super::price::SURCHARGE;
use crate::cache::Slot;
use crate::host::{WorkerHost, now_ms};
use crate::metrics::Metering;

/// An answer that is being released, and was charged. If the upstream breaks it off, the charge is given back.
pub(crate) struct Charged {
    pub(in crate::front) body: Option<Relay>,
    keeper: Keeper,
}

struct Keeper {
    front: Front,
    charge: Charge,
    request: Digest,
    kept: Option<Kept>,
    /// Of a call whose price is what its answer comes to: the charge ends with the answer.
    metered: Option<Metered>,
    /// Where the answer is kept for calls like it.
    slot: Option<Slot>,
}

/// A charge that is counted while its answer is given out. Dropped, it is due as far as it was counted.
pub(super) struct Metered {
    meter: Meter,
    permit: ChargePermit<WorkerHost>,
}

struct Kept {
    status: StatusCode,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Releases an answer, with what the balance has left.
pub(super) fn release(
    front: &Front,
    response: Response<Relay>,
    charge: Charge,
    request: Digest,
    left: Left,
    slot: Option<Slot>,
) -> Response<Body> {
    release_by(front, response, (charge, request, None), left, slot)
}

/// Releases an answer whose price is what it comes to. One that is there as a whole is charged before; else what is held is said, and
/// the charge ends with the answer.
pub(super) async fn release_metered(
    front: &Front,
    mut response: Response<Relay>,
    charge: Charge,
    request: Digest,
    mut metered: Metered,
) -> Result<Response<Body>, gate::Fault> {
    let left = Left { unit: charge.unit, available: metered.permit.available() };
    response.body_mut().is_whole().await;
    let Some(body) = response.body().at_hand() else {
        return Ok(release_by(front, response, (charge, request, Some(metered)), left, None));
    };
    // Counted and not given out: if the charge cannot be ended now, the caller reads that and owes nothing.
    metered.count(body);
    metered.trailers(&response.body().trailers());
    metered.end(front, &charge);
    let (units, base) = (metered.meter.units(), metered.meter.base_units());
    let Metered { permit, .. } = metered;
    let available = front.end_charge(permit, Outcome::Served { reading: Some(units.into()) }).await?;
    response.headers_mut().insert(SURCHARGE, units.saturating_sub(base).into());
    Ok(release_by(front, response, (charge, request, None), Left { available, ..left }, None))
}

fn release_by(
    front: &Front,
    mut response: Response<Relay>,
    (charge, request, metered): (Charge, Digest, Option<Metered>),
    left: Left,
    slot: Option<Slot>,
) -> Response<Body> {
    strip_payment_words(response.headers_mut());
    let kept = (charge.idempotency.is_some() || slot.is_some()).then(|| Kept {
        status: response.status(),
        headers: header_list(response.headers()),
        body: Vec::new(),
    });
    left.put(response.headers_mut());
    // It belongs to its holder alone.
    keep_private(response.headers_mut());
    let keeper = Keeper { front: front.clone(), charge, request, kept, metered, slot };
    response.map(|body| {
        let mut charged = Charged { body: Some(body), keeper };
        charged.end_if_done();
        Body::Charged(Box::new(charged))
    })
}

impl Metered {
    pub(super) fn new(mut meter: Meter, permit: ChargePermit<WorkerHost>, headers: &HeaderMap) -> Self {
        meter.head(|name| headers.get(name).map(HeaderValue::as_bytes));
        let mut metered = Self { meter, permit };
        metered.tell();
        metered
    }

    /// A piece of the body is given out.
    fn note(&mut self, data: &[u8]) {
        self.permit.reached(Progress::Body);
        self.count(data);
    }

    fn count(&mut self, data: &[u8]) {
        self.meter.note(data);
        self.tell();
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.meter.trailers(|name| trailers.get(name).map(HeaderValue::as_bytes));
        self.tell();
    }

    /// The answer is whole. What nobody pays is told.
    fn end(&mut self, front: &Front, charge: &Charge) {
        self.meter.end();
        self.tell();
        let (route, metrics) = (&charge.route, &front.0.shared.operation.telemetry.metrics);
        match self.meter.priced() {
            Err(why) => {
                metrics.metered_without(Metering::Price);
                error!(charge = %charge.id, route, %why, "a metered call has no price: nothing is charged");
            }
            Ok(priced) if priced.above_micros > 0 => {
                let above_micros = priced.above_micros;
                metrics.metered_above(above_micros);
                warn!(charge = %charge.id, route, above_micros, "a metered call came to more than its max");
            }
            Ok(_) if self.meter.is_unreported() => {
                metrics.metered_without(Metering::Report);
                warn!(charge = %charge.id, route, "the upstream did not report what the price of a metered call needs");
            }
            Ok(_) => {}
        }
    }

    /// The upstream broke off.
    fn broke(&mut self) {
        self.meter.broke();
        self.tell();
    }

    fn tell(&mut self) {
        self.permit.reads(self.meter.units());
    }

    fn reading(&self) -> Option<u128> {
        Some(self.meter.units().into())
    }
}

impl Keeper {
    fn note(&mut self, frame: &Frame<Bytes>) {
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if let Some(metered) = &mut self.metered {
            metered.note(data);
        }
        let max = self.front.0.shared.answer_max_bytes;
        if let Some(kept) = &mut self.kept {
            let size = kept.body.len().saturating_add(data.len());
            if u64::try_from(size).is_ok_and(|size| size <= max) {
                kept.body.extend_from_slice(data);
            } else {
                self.lose();
            }
        }
    }

    /// Nobody can fetch it again.
    fn lose(&mut self) {
        if self.kept.take().is_some() && self.charge.idempotency.is_some() {
            self.front.0.flow.host.later_charge(self.charge.id, ChargeStep::LoseAnswer);
        }
    }

    /// The answer is whole.
    fn finish(&mut self, body: &Relay) {
        if let Some(metered) = &mut self.metered {
            metered.trailers(&body.trailers());
            metered.end(&self.front, &self.charge);
        }
        let metered = self.metered.take();
        let mut answer = self.kept.take().map(|kept| kept.into_answer(&self.request));
        if let Some(slot) = self.slot.take() {
            let cache = &self.front.0.shared.cache;
            answer.take().into_iter().for_each(|answer| cache.keep(&slot, answer, now_ms()));
        }
        if metered.is_none() && answer.is_none() {
            return;
        }
        let (front, charge) = (self.front.clone(), self.charge.id);
        self.front.0.tasks.spawn(async move {
            let flow = &front.0.flow;
            if let Some(metered) = metered {
                let outcome = Outcome::Served { reading: metered.reading() };
                if let Err(fault) = flow.close_charge(metered.permit, outcome).await {
                    warn!(%charge, %fault, "a metered charge was not ended; it will be");
                }
            }
            let Some(answer) = answer else { return };
            if let Err(fault) = flow.journal.keep_charged_answer(charge, answer).await {
                warn!(%charge, %fault, "an answer was not stored");
                flow.host.later_charge(charge, ChargeStep::LoseAnswer);
            }
        });
    }

    /// The upstream broke off: what was taken is given back. What is metered is due as far as it came.
    fn broke(&mut self, fault: &UpstreamFault) {
        warn!(charge = %self.charge.id, kind = fault.kind.code(), cause = %fault, "the upstream broke off a charged answer");
        self.lose();
        let Some(mut metered) = self.metered.take() else {
            return self.front.0.flow.host.later_charge(self.charge.id, ChargeStep::Refund(self.charge.amount));
        };
        metered.broke();
        let (front, charge) = (self.front.clone(), self.charge.id);
        self.front.0.tasks.spawn(async move {
            let outcome = Outcome::Broken { reading: metered.reading() };
            if let Err(fault) = front.0.flow.close_charge(metered.permit, outcome).await {
                warn!(%charge, %fault, "a metered charge was not ended; it will be");
            }
        });
    }
}

impl Kept {
    fn into_answer(self, request: &Digest) -> Answer {
        let Self { status, headers, body } = self;
        Answer { status: status.as_u16(), headers, body, request_digest: request.value() }
    }
}

impl Charged {
    pub(in crate::front) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.poll(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.keeper.note(frame);
                self.end_if_done();
            }
            Some(Err(fault)) => {
                self.body = None;
                self.keeper.broke(fault);
            }
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn end_if_done(&mut self) {
        if self.body.as_ref().is_some_and(Relay::is_end) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(body) = self.body.take() {
            self.keeper.finish(&body);
        }
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        // The caller left half-way: the price is due, or what was counted until then. With an Idempotency-Key he can still have the
        // whole answer, and it is counted to its end.
        if self.keeper.slot.take().is_some() {
            self.keeper.kept = None;
        }
        let (Some(mut body), Some(kept)) = (self.body.take(), self.keeper.kept.take()) else { return };
        let metered = self.keeper.metered.take();
        let Keeper { front, charge, request, .. } = &self.keeper;
        let (front, charge, request) = (front.clone(), charge.clone(), request.clone());
        let tasks = front.0.tasks.clone();
        let mut keeper = Keeper { front, charge, request, kept: Some(kept), metered, slot: None };
        tasks.spawn(async move {
            let read = async {
                while let Some(frame) = std::future::poll_fn(|cx| body.poll(cx)).await {
                    match frame {
                        Ok(frame) => keeper.note(&frame),
                        Err(_) => return false,
                    }
                }
                true
            };
            match tokio::time::timeout(DRAIN_MAX, read).await {
                Ok(true) => keeper.finish(&body),
                Ok(false) | Err(_) => keeper.lose(),
            }
        });
    }
}
