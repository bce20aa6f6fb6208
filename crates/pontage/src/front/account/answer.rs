//! The answer to a call that was charged to a balance, on its way to the caller.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gate::{Accounts as _, Answer, Host as _};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use ledger::{Charge, ChargeStep};
use proxy::UpstreamFault;
use tracing::warn;

use super::super::answer::{Body, DRAIN_MAX, Relay, header_list};
use super::super::upload::Digest;
use super::super::{Front, strip_payment_words};
use super::Left;

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
}

struct Kept {
    status: StatusCode,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Releases an answer, with what the balance has left.
pub(super) fn release(
    front: &Front,
    mut response: Response<Relay>,
    charge: Charge,
    request: Digest,
    left: Left,
) -> Response<Body> {
    strip_payment_words(response.headers_mut());
    let kept = charge.idempotency.is_some().then(|| Kept {
        status: response.status(),
        headers: header_list(response.headers()),
        body: Vec::new(),
    });
    left.put(response.headers_mut());
    // It belongs to its holder alone.
    response.headers_mut().append(CACHE_CONTROL, HeaderValue::from_static("private"));
    let keeper = Keeper { front: front.clone(), charge, request, kept };
    response.map(|body| {
        let mut charged = Charged { body: Some(body), keeper };
        charged.end_if_done();
        Body::Charged(Box::new(charged))
    })
}

impl Keeper {
    fn note(&mut self, data: &[u8]) {
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
        if self.kept.take().is_some() {
            self.front.0.flow.host.later_charge(self.charge.id, ChargeStep::LoseAnswer);
        }
    }

    /// The answer is whole.
    fn finish(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let Kept { status, headers, body } = kept;
        let answer = Answer { status: status.as_u16(), headers, body, request_digest: self.request.value() };
        let (front, charge) = (self.front.clone(), self.charge.id);
        self.front.0.tasks.spawn(async move {
            if let Err(fault) = front.0.flow.journal.keep_charged_answer(charge, answer).await {
                warn!(%charge, %fault, "an answer was not stored");
                front.0.flow.host.later_charge(charge, ChargeStep::LoseAnswer);
            }
        });
    }

    /// The upstream broke off: what was taken is given back.
    fn broke(&mut self, fault: &UpstreamFault) {
        warn!(charge = %self.charge.id, kind = fault.kind.code(), cause = %fault, "the upstream broke off a charged answer");
        self.lose();
        self.front.0.flow.host.later_charge(self.charge.id, ChargeStep::Refund(self.charge.amount));
    }
}

impl Charged {
    pub(in crate::front) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.poll(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keeper.note(data);
                }
                self.end_if_done();
            }
            Some(Err(fault)) => {
                self.body = None;
                self.keeper.broke(fault);
            }
            None => {
                self.body = None;
                self.keeper.finish();
            }
        }
        Poll::Ready(frame)
    }

    fn end_if_done(&mut self) {
        if self.body.as_ref().is_some_and(Relay::is_end) {
            self.body = None;
            self.keeper.finish();
        }
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        // The caller left half-way: the price is due, and with an Idempotency-Key he can still have the whole answer.
        let (Some(mut body), Some(kept)) = (self.body.take(), self.keeper.kept.take()) else { return };
        let Keeper { front, charge, request, .. } = &self.keeper;
        let (front, charge, request) = (front.clone(), charge.clone(), request.clone());
        let tasks = front.0.tasks.clone();
        let mut keeper = Keeper { front, charge, request, kept: Some(kept) };
        tasks.spawn(async move {
            let read = async {
                while let Some(frame) = std::future::poll_fn(|cx| body.poll(cx)).await {
                    match frame {
                        Ok(frame) => keeper.note(frame.data_ref().map_or(&[][..], |data| data)),
                        Err(_) => return false,
                    }
                }
                true
            };
            match tokio::time::timeout(DRAIN_MAX, read).await {
                Ok(true) => keeper.finish(),
                Ok(false) | Err(_) => keeper.lose(),
            }
        });
    }
}
