//! The upstream's answer on its way to the caller, or into the store.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gate::{Answer, Journal, Outcome, Permit, Prepaid};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use ledger::HoldId;
use protocol::x402::{Extensions, Receipt};
use proxy::{UpstreamBody, UpstreamFault};
use tracing::warn;

use super::account::Charged;
use super::receipt::Noted;
use super::story::Told;
use super::{Front, bytes, strip_payment_words};
use crate::host::WorkerHost;
use crate::problem;
use crate::turns::Turn;

/// Words that a cache in between would put above `Cache-Control`.
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// The answer was given out to its end.
const SERVED: Outcome = Outcome::Served { reading: None };
/// How long an answer that no connection takes is drained.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A response's body: ours, the upstream's as it is, or the upstream's under watch.
pub(crate) enum Body {
    Full(Full<Bytes>),
    Pass(Relay),
    Paid(Box<Paid>),
    Charged(Box<Charged>),
}

/// An upstream's body that is passed on.
pub(crate) struct Relay {
    body: UpstreamBody,
    /// What was read of it before it is given out.
    first: Option<Result<Frame<Bytes>, UpstreamFault>>,
    /// The call is with the upstream as long as its body comes.
    turn: Option<Turn>,
}

impl Relay {
    pub(super) fn new(body: UpstreamBody) -> Self {
        Self { body, first: None, turn: None }
    }

    /// Reads what is at hand, and waits for nothing. Says whether that is all there is.
    pub(super) async fn is_whole(&mut self) -> bool {
        if self.first.is_some() || self.body.is_end_stream() {
            return self.at_hand().is_some();
        }
        if let Poll::Ready(first) = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.body).poll_frame(cx))).await {
            self.first = first;
        }
        self.at_hand().is_some()
    }

    /// Reads it to its end, and gives it out again from its beginning. `None` where it has more bytes than that, or breaks off.
    pub(super) async fn read_whole(&mut self, max: usize) -> Option<Vec<u8>> {
        let mut read = Vec::new();
        let mut first = self.first.take();
        loop {
            let frame = match first.take() {
                Some(frame) => Some(frame),
                None => poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await,
            };
            let is_over = match frame {
                None => true,
                Some(Ok(frame)) => {
                    read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    if read.len() <= max {
                        continue;
                    }
                    false
                }
                Some(Err(fault)) => {
                    self.first = Some(Err(fault));
                    return None;
                }
            };
            let body = Bytes::from(read);
            let whole = is_over.then(|| body.to_vec());
            self.first = (!body.is_empty()).then(|| Ok(Frame::data(body)));
            return whole;
        }
    }

    /// All of it, where all is at hand.
    pub(super) fn at_hand(&self) -> Option<&[u8]> {
        match &self.first {
            _ if !self.body.is_end_stream() => None,
            None => Some(&[]),
            Some(Ok(first)) => Some(first.data_ref().map_or(&[], |data| data)),
            Some(Err(_)) => None,
        }
    }

    /// What the upstream said behind it, once it has come to its end.
    pub(super) fn trailers(&self) -> HeaderMap {
        self.body.trailers()
    }

    pub(super) fn is_end(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size(&self) -> SizeHint {
        let Some(Ok(first)) = &self.first else { return self.body.size_hint() };
        let first = first.data_ref().and_then(|data| u64::try_from(data.len()).ok()).unwrap_or_default();
        let (rest, mut size) = (self.body.size_hint(), SizeHint::new());
        if let Some(upper) = rest.upper() {
            size.set_upper(upper.saturating_add(first));
        }
        size.set_lower(rest.lower().saturating_add(first));
        size
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }
}

/// A paid answer that is being released. If the upstream breaks off, the charge is owed back; if the caller has an
/// `Idempotency-Key`, the answer is stored, even when he leaves half-way.
pub(crate) struct Paid {
    body: Option<Relay>,
    keeper: Keeper,
}

/// Whose answer it is, and what is kept of it.
pub(crate) struct Keeper {
    front: Front,
    hold: HoldId,
    noted: Noted,
    kept: Option<Kept>,
    /// On the tab the permit lives as long as the answer is being given out.
    permit: Option<Permit<WorkerHost>>,
    /// Of a call that was paid before its run: what moved is owed back unless this is told that the answer was given out.
    prepaid: Option<Prepaid<WorkerHost>>,
}

struct Kept {
    status: StatusCode,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Keeper {
    /// For an answer whose money has moved.
    pub(super) fn settled(front: Front, hold: HoldId, idempotent: bool, noted: Noted) -> Self {
        let kept = idempotent.then(|| Kept { status: StatusCode::OK, headers: Vec::new(), body: Vec::new() });
        Self { front, hold, noted, kept, permit: None, prepaid: None }
    }

    /// For an answer that is due when it has been given out, if it has a permit, or is on the tab already.
    pub(super) fn on_tab(
        front: Front,
        hold: HoldId,
        permit: Option<Permit<WorkerHost>>,
        idempotent: bool,
        noted: Noted,
    ) -> Self {
        Self { permit, ..Self::settled(front, hold, idempotent, noted) }
    }

    /// For an answer whose money moved before its run.
    pub(super) fn prepaid(front: Front, prepaid: Prepaid<WorkerHost>, idempotent: bool, noted: Noted) -> Self {
        let hold = prepaid.hold().unwrap_or(HoldId([0; 16]));
        Self { prepaid: Some(prepaid), ..Self::settled(front, hold, idempotent, noted) }
    }

    /// Whether its call gets a receipt, whose head should say as much as is at hand.
    pub(super) fn gives_receipt(&self) -> bool {
        self.noted.draft.is_some()
    }

    /// Notes a piece of the body; one that is too large is not kept.
    fn note(&mut self, data: &[u8]) {
        if let Some(draft) = &mut self.noted.draft {
            draft.note(data);
        }
        let max = self.front.0.shared.answer_max_bytes;
        if let Some(kept) = &mut self.kept {
            let size = kept.body.len().saturating_add(data.len());
            if u64::try_from(size).is_ok_and(|size| size <= max) {
                kept.body.extend_from_slice(data);
            } else {
                self.kept = None;
            }
        }
    }

    /// The answer is whole, or as much of it as its caller will ever take.
    fn finish(&mut self, outcome: Outcome) {
        let (kept, permit, prepaid) = (self.kept.take(), self.permit.take(), self.prepaid.take());
        // What was drained to its end can be fetched to its end.
        if let Some(draft) = self.noted.draft.take().filter(|_| outcome == SERVED || kept.is_some()) {
            draft.end();
        }
        if let Some(mut prepaid) = prepaid {
            prepaid.served();
        }
        if kept.is_none() && permit.is_none() {
            return;
        }
        let (front, hold) = (self.front.clone(), self.hold);
        let answer = kept.map(|kept| kept.into_answer(&self.noted));
        let tasks = front.0.tasks.clone();
        tasks.spawn(async move {
            // The caller had it: if it cannot be stored, nothing is owed.
            if let Some(answer) = answer {
                Box::pin(store(&front, hold, answer)).await;
            }
            if let Some(permit) = permit {
                front.0.flow.close(permit, outcome).await;
            }
        });
    }

    /// The upstream broke off.
    fn broke(&mut self, fault: &UpstreamFault) {
        warn!(hold = %self.hold, kind = fault.kind.code(), cause = %fault, "the upstream broke off a paid answer");
        self.kept = None;
        self.noted.draft = None;
        if self.permit.is_some() {
            return self.finish(Outcome::Broken { reading: None });
        }
        if self.prepaid.take().is_some() {
            // Dropped unserved: that writes what is owed.
            return;
        }
        let (flow, hold) = (Rc::clone(&self.front.0.flow), self.hold);
        self.front.0.tasks.spawn(async move { flow.answer_broke(hold).await });
    }
}

impl Kept {
    fn into_answer(self, noted: &Noted) -> Answer {
        Answer {
            status: self.status.as_u16(),
            headers: self.headers,
            body: self.body,
            request_digest: noted.request.value(),
        }
    }
}

/// Lets a call's turn go with the end of its answer.
pub(super) fn holding(turn: Turn, mut told: Told<Body>) -> Told<Body> {
    match told.response.body_mut() {
        Body::Pass(late) => late.turn = Some(turn),
        Body::Paid(paid) => {
            if let Some(late) = &mut paid.body {
                late.turn = Some(turn);
            }
        }
        Body::Charged(charged) => {
            if let Some(late) = &mut charged.body {
                late.turn = Some(turn);
            }
        }
        // The upstream has nothing more to do with it.
        Body::Full(_) => drop(turn),
    }
    told
}

/// An answer of ours.
pub(super) fn full(response: Response<Bytes>) -> Response<Body> {
    response.map(|body| Body::Full(Full::new(body)))
}

/// Passes an answer on that nothing is charged for.
pub(super) fn pass(response: Response<UpstreamBody>) -> Response<Body> {
    pass_read(response.map(Relay::new))
}

/// The same for one of which something may have been read.
pub(super) fn pass_read(mut response: Response<Relay>) -> Response<Body> {
    strip_payment_words(response.headers_mut());
    response.map(Body::Pass)
}

/// Passes an answer on whose price has moved and is owed back.
pub(super) fn pass_with(response: Response<UpstreamBody>, receipt: &Receipt) -> Response<Body> {
    let mut response = pass(response);
    decorate(response.headers_mut(), receipt, Extensions::new());
    response
}

/// Passes an answer on in mock mode, with a receipt that says so.
pub(super) fn mocked(response: Response<UpstreamBody>) -> Response<Body> {
    let mut response = pass(response);
    problem::mock_receipt(response.headers_mut());
    response
}

/// Releases a paid answer with its receipt.
pub(super) fn release(
    mut response: Response<Relay>,
    receipt: &Receipt,
    extensions: Extensions,
    mut keeper: Keeper,
) -> Response<Body> {
    strip_payment_words(response.headers_mut());
    if let Some(kept) = &mut keeper.kept {
        kept.status = response.status();
        kept.headers = header_list(response.headers());
    }
    decorate(response.headers_mut(), receipt, extensions);
    if let Some(draft) = &mut keeper.noted.draft {
        let (mut parts, body) = response.into_parts();
        draft.head(&mut parts.headers, body.at_hand(), receipt);
        response = Response::from_parts(parts, body);
    }
    response.map(|body| {
        let mut paid = Paid { body: Some(body), keeper };
        paid.end_if_done();
        Body::Paid(Box::new(paid))
    })
}

/// Gives out a stored answer with its receipt.
pub(super) fn stored(answer: Answer, receipt: &Receipt) -> Response<Body> {
    let mut response = restored(answer);
    decorate(response.headers_mut(), receipt, Extensions::new());
    full(response)
}

/// A stored answer as it was.
pub(super) fn restored(answer: Answer) -> Response<Bytes> {
    let mut response = Response::new(bytes(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Drains an answer that no connection takes into the store. Above the bound, or when it breaks off, it is lost.
pub(super) async fn keep_whole(front: &Front, hold: HoldId, response: Response<Relay>, noted: Noted) {
    let (mut parts, body) = response.into_parts();
    strip_payment_words(&mut parts.headers);
    let mut keeper = Keeper::settled(front.clone(), hold, true, noted);
    if let Some(draft) = &mut keeper.noted.draft {
        draft.begin();
    }
    drain(&mut keeper, body).await;
    let whole =
        keeper.kept.take().map(|kept| Kept { status: parts.status, headers: header_list(&parts.headers), ..kept });
    if let Some(draft) = keeper.noted.draft.take().filter(|_| whole.is_some()) {
        draft.end();
    }
    let kept = match whole {
        Some(kept) => store(front, hold, kept.into_answer(&keeper.noted)).await,
        None => false,
    };
    if !kept {
        warn!(%hold, "an answer could not be kept: the payment is owed back if it moves");
        front.0.flow.answer_broke(hold).await;
    }
}

/// Whether it is stored now.
async fn store(front: &Front, hold: HoldId, answer: Answer) -> bool {
    match front.0.flow.journal.keep_answer(hold, answer).await {
        Ok(true) => true,
        Ok(false) => {
            warn!(%hold, "no room to store an answer: replay.answers_max_bytes is used up by answers that are still owed");
            false
        }
        Err(fault) => {
            warn!(%hold, %fault, "an answer was not stored");
            false
        }
    }
}

/// Everything but the length, which is counted anew.
pub(super) fn header_list(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let kept = headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH);
    kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// Adds the receipt; a paid answer belongs to its payer alone, so no shared cache may keep it.
fn decorate(headers: &mut HeaderMap, receipt: &Receipt, extensions: Extensions) {
    problem::receipts(headers, receipt, extensions);
    keep_private(headers);
}

/// Says that an answer is its caller's alone: no shared cache may keep it, whatever the upstream lets it.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    for name in [CDN_CACHE_CONTROL, SURROGATE_CONTROL] {
        headers.remove(name);
    }
    // A line that is no text is not read as permission to keep the answer.
    let lines = headers.get_all(CACHE_CONTROL).iter().map(|line| line.to_str().unwrap_or("no-store"));
    let existing = lines.collect::<Vec<_>>().join(",");
    let kept: Vec<_> = existing
        .split(',')
        .map(str::trim)
        .filter(|word| {
            !word.is_empty() && !word.eq_ignore_ascii_case("public") && !word.eq_ignore_ascii_case("private")
        })
        .collect();
    let merged = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    headers.insert(CACHE_CONTROL, HeaderValue::try_from(merged).unwrap_or(HeaderValue::from_static("private")));
}

impl Paid {
    fn end_if_done(&mut self) {
        if self.body.as_ref().is_some_and(Relay::is_end) {
            self.body = None;
            self.keeper.finish(SERVED);
        }
    }
}

impl Drop for Paid {
    fn drop(&mut self) {
        // The caller left half-way: the fixed price is due, and with an Idempotency-Key he can still have the whole answer.
        if let Some(prepaid) = &mut self.keeper.prepaid {
            prepaid.served();
        }
        if let (Some(body), Some(_)) = (self.body.take(), &self.keeper.kept) {
            let keeper = Keeper {
                front: self.keeper.front.clone(),
                hold: self.keeper.hold,
                noted: std::mem::take(&mut self.keeper.noted),
                kept: self.keeper.kept.take(),
                permit: self.keeper.permit.take(),
                prepaid: None,
            };
            let tasks = keeper.front.0.tasks.clone();
            tasks.spawn(keep_rest(keeper, body));
        }
    }
}

async fn keep_rest(mut keeper: Keeper, body: Relay) {
    drain(&mut keeper, body).await;
    keeper.finish(Outcome::Cut { reading: None });
}

/// Reads what is left of an answer for its keeper. One that is too large, breaks off or takes too long is not kept: the caller
/// left before, so the price is due whatever the upstream does after that.
async fn drain(keeper: &mut Keeper, mut body: Relay) {
    let read = async {
        while let Some(frame) = poll_fn(|cx| body.poll(cx)).await {
            match frame {
                Ok(frame) => keeper.note(frame.data_ref().map_or(&[][..], |data| data)),
                Err(_) => keeper.kept = None,
            }
            if keeper.kept.is_none() {
                return;
            }
        }
    };
    if tokio::time::timeout(DRAIN_MAX, read).await.is_err() {
        keeper.kept = None;
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = UpstreamFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Pass(late) => late.poll(cx),
            Self::Paid(paid) => paid.poll(cx),
            Self::Charged(charged) => charged.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Pass(late) => late.is_end(),
            Self::Paid(paid) => paid.body.as_ref().is_none_or(Relay::is_end),
            Self::Charged(charged) => charged.body.as_ref().is_none_or(Relay::is_end),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Pass(late) => late.size(),
            Self::Paid(paid) => paid.body.as_ref().map_or(SizeHint::with_exact(0), Relay::size),
            Self::Charged(charged) => charged.body.as_ref().map_or(SizeHint::with_exact(0), Relay::size),
        }
    }
}

impl Paid {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
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
                self.keeper.finish(SERVED);
            }
        }
        Poll::Ready(frame)
    }
}
