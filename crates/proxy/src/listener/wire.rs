//! A caller's connection, shared between its conversation and the body of the present call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use socket2::SockRef;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ListenerLimits;
use super::answer;
use super::drain::Seat;
use super::incoming::{Incoming, IncomingFault};
use crate::h1::{
    Cause, Decoded, Decoder, HeadFault, HeadReader, Inbox, Length, Progress, Transmit, TransmitFault, error_answer,
    poll_write,
};
use crate::patience::Patience;

/// How long a caller may go on sending after the last answer on his connection, and how long he may pause meanwhile.
const LINGER_TIME: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(5);
/// What is read of a body that nobody asked for, and how long it may take, so that its connection can be kept.
const UNREAD_MAX_BYTES: u64 = 64 * 1024;
const UNREAD_TIME: Duration = Duration::from_secs(1);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One connection. Nothing is borrowed across a wait.
pub(super) struct Wire(RefCell<Inner>);

struct Inner {
    /// `None` once the conversation is over, whoever still holds a body.
    tcp: Option<TcpStream>,
    inbox: Inbox,
    heads: HeadReader,
    /// Of the present call's body.
    decoder: Decoder,
    /// It is not what RFC 9112 has: nothing behind it can be read, and the connection ends.
    is_malformed: bool,
    /// The number of the present call.
    call: u64,
    /// What a caller is still owed who waits for leave to send the body.
    leave: &'static [u8],
    /// Nobody will read the rest of the body.
    is_abandoned: bool,
    /// Whoever waits for the body's end: before it, a hang-up cannot be seen.
    watcher: Option<Waker>,
    /// Whoever waits for more of the body.
    reader: Option<Waker>,
    /// For the next head, then for the caller to read.
    patience: Patience,
}

/// What a call's head says about its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// HTTP/1.0.
    pub(super) is_old: bool,
    pub(super) is_head: bool,
    pub(super) keeps_alive: bool,
}

/// What comes next on a connection.
pub(super) enum Next {
    Call(Request<Incoming>, Asked),
    /// The caller has gone, or took too long, or the listener stops.
    End,
    Refused(HeadFault),
}

/// Why an answer did not get out whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the caller has gone or does not read: {0}")]
    Caller(io::Error),
    #[error("the answer's body failed: {0}")]
    Body(Cause),
}

impl Wire {
    pub(super) fn new(tcp: TcpStream) -> Wire {
        Wire(RefCell::new(Inner {
            tcp: Some(tcp),
            inbox: Inbox::default(),
            heads: HeadReader::default(),
            decoder: Decoder::new(Length::Known(0)),
            is_malformed: false,
            call: 0,
            leave: b"",
            is_abandoned: false,
            watcher: None,
            reader: None,
            patience: Patience::default(),
        }))
    }

    /// Waits for the next call.
    pub(super) async fn next(self: &Rc<Self>, limits: &ListenerLimits, seat: &Seat) -> Next {
        self.0.borrow_mut().patience.set(Duration::from_millis(limits.head_timeout_ms));
        poll_fn(|cx| self.poll_next(cx, limits, seat)).await
    }

    fn poll_next(self: &Rc<Self>, cx: &mut Context<'_>, limits: &ListenerLimits, seat: &Seat) -> Poll<Next> {
        let mut guard = self.0.borrow_mut();
        let inner = &mut *guard;
        loop {
            match inner.heads.read(&mut inner.inbox, limits.head_max_bytes) {
                Ok(None) => {}
                Ok(Some(head)) => {
                    inner.patience.clear();
                    inner.decoder = Decoder::new(head.length);
                    inner.leave = if head.expects_continue && !inner.decoder.is_over() { CONTINUE } else { b"" };
                    inner.is_abandoned = false;
                    inner.call = inner.call.wrapping_add(1);
                    let asked = Asked {
                        is_old: head.is_old,
                        is_head: head.method == http::Method::HEAD,
                        keeps_alive: head.keeps_alive,
                    };
                    let body = match inner.decoder.is_over() {
                        true => Incoming::empty(),
                        false => Incoming::of(Rc::clone(self), inner.call, inner.decoder.left()),
                    };
                    let mut request = Request::new(body);
                    *request.method_mut() = head.method;
                    *request.uri_mut() = head.uri;
                    *request.headers_mut() = head.headers;
                    if head.is_old {
                        *request.version_mut() = http::Version::HTTP_10;
                    }
                    return Poll::Ready(Next::Call(request, asked));
                }
                Err(fault) => return Poll::Ready(Next::Refused(fault)),
            }
            let Some(tcp) = &mut inner.tcp else { return Poll::Ready(Next::End) };
            match inner.inbox.poll_fill(tcp, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
                Poll::Pending => break,
            }
        }
        // A call that has begun to arrive is waited for.
        let stops = seat.must_end(cx) && inner.inbox.is_empty();
        if stops || inner.patience.poll(cx).is_ready() {
            return Poll::Ready(Next::End);
        }
        Poll::Pending
    }

    /// Ready when the caller has gone, or sends what cannot be read. He is seen to go only when his body has been read and
    /// nothing unread is behind it.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut guard = self.0.borrow_mut();
        let inner = &mut *guard;
        if inner.is_malformed {
            return Poll::Ready(io::ErrorKind::InvalidData.into());
        }
        if !inner.decoder.is_over() {
            inner.watcher = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let Some(tcp) = inner.tcp.as_mut().filter(|_| inner.inbox.is_empty()) else { return Poll::Pending };
        match inner.inbox.poll_fill(tcp, cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Err(error)) => Poll::Ready(error),
            // The next call: it waits, and no end can be seen before it.
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Whether the body of a call broke the rules of its framing.
    pub(super) fn is_malformed(&self) -> bool {
        self.0.borrow().is_malformed
    }

    /// The next piece of the body of a call.
    pub(super) fn poll_body(&self, cx: &mut Context<'_>, call: u64) -> Poll<Option<Result<Bytes, IncomingFault>>> {
        let mut guard = self.0.borrow_mut();
        let inner = &mut *guard;
        let Some(tcp) = inner.tcp.as_mut().filter(|_| inner.call == call) else {
            return Poll::Ready(Some(Err(IncomingFault::Cut)));
        };
        loop {
            match inner.decoder.decode(&mut inner.inbox) {
                Ok(Decoded::Data(data)) => {
                    inner.wake_watcher_at_end();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Decoded::Over) => {
                    inner.wake_watcher_at_end();
                    return Poll::Ready(None);
                }
                Ok(Decoded::More) => {}
                Err(_malformed) => {
                    inner.is_malformed = true;
                    inner.wake_watcher();
                    return Poll::Ready(Some(Err(IncomingFault::Malformed)));
                }
            }
            while !inner.leave.is_empty() {
                match Pin::new(&mut *tcp).poll_write(cx, inner.leave) {
                    Poll::Ready(Ok(count @ 1..)) => inner.leave = inner.leave.get(count..).unwrap_or_default(),
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(IncomingFault::Cut))),
                    Poll::Pending => {
                        inner.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                }
            }
            match inner.inbox.poll_fill(tcp, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(IncomingFault::Cut))),
                Poll::Pending => {
                    inner.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nobody will ask for more of the body of a call.
    pub(super) fn abandon_body(&self, call: u64) {
        let mut inner = self.0.borrow_mut();
        inner.is_abandoned |= inner.call == call;
    }

    pub(super) fn is_body_over(&self, call: u64) -> bool {
        let inner = self.0.borrow();
        inner.call != call || inner.decoder.is_over()
    }

    /// Writes an answer and says whether another call may follow.
    pub(super) async fn answer<B>(
        &self,
        response: Response<B>,
        asked: Asked,
        limits: &ListenerLimits,
        seat: &Seat,
    ) -> Result<bool, Lost>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Cause>,
    {
        let (parts, body) = response.into_parts();
        let keeps_alive = asked.keeps_alive && !seat.has_begun() && self.0.borrow().can_go_on();
        let (mut head, coding, keeps_alive) = answer::head(&parts, body.size_hint().exact(), asked, keeps_alive);
        let leave = std::mem::take(&mut self.0.borrow_mut().leave);
        if leave.len() < CONTINUE.len() {
            // What was begun must be ended.
            head.0.splice(..0, leave.iter().copied());
        }
        let mut message = Transmit::new(head, coding);
        let mut body = pin!(body);
        let patience = Duration::from_millis(limits.write_idle_timeout_ms);
        poll_fn(|cx| self.poll_answer(cx, &mut message, body.as_mut(), patience)).await?;
        Ok(keeps_alive && self.skip_body().await)
    }

    fn poll_answer<B>(
        &self,
        cx: &mut Context<'_>,
        message: &mut Transmit,
        body: Pin<&mut B>,
        patience: Duration,
    ) -> Poll<Result<(), Lost>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Cause>,
    {
        let progress = message.poll(cx, body, |cx, pieces| match &mut self.0.borrow_mut().tcp {
            Some(tcp) => poll_write(tcp, cx, pieces),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        });
        let blocked = matches!(progress, Ok(Progress::Blocked));
        if message.has_moved() {
            self.0.borrow_mut().patience.clear();
        }
        match progress {
            Ok(Progress::Over) => return Poll::Ready(Ok(())),
            Ok(Progress::Waits | Progress::Blocked) => {}
            Err(TransmitFault::Body(cause)) => return Poll::Ready(Err(Lost::Body(cause))),
            Err(TransmitFault::Length) => return Poll::Ready(Err(Lost::Body("the body has another length".into()))),
            Err(TransmitFault::Write(error)) => return Poll::Ready(Err(Lost::Caller(error))),
        }
        if let Poll::Ready(error) = self.poll_gone(cx) {
            return Poll::Ready(Err(Lost::Caller(error)));
        }
        self.poll_unread(cx, blocked.then_some(patience)).map(|error| Err(Lost::Caller(error)))
    }

    /// Ready when a caller has left bytes of an answer unread for too long: he would keep an upstream busy.
    fn poll_unread(&self, cx: &mut Context<'_>, patience: Option<Duration>) -> Poll<io::Error> {
        let inner = &mut *self.0.borrow_mut();
        match patience {
            None => inner.patience.clear(),
            Some(patience) => inner.patience.begin(patience),
        }
        inner.patience.poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Reads the rest of a body that nobody asked for, and forgets it. Whether that was all of it.
    async fn skip_body(&self) -> bool {
        {
            let mut inner = self.0.borrow_mut();
            if inner.decoder.is_over() {
                return true;
            }
            // Whoever has the body still reads no more of it.
            inner.call = inner.call.wrapping_add(1);
            if let Some(reader) = inner.reader.take() {
                reader.wake();
            }
        }
        let mut left = UNREAD_MAX_BYTES;
        let skipped = poll_fn(|cx| self.0.borrow_mut().poll_skip(cx, &mut left));
        timeout(UNREAD_TIME, skipped).await.unwrap_or(false)
    }

    /// Answers what was no request.
    pub(super) async fn refuse(&self, fault: HeadFault) {
        let answer = error_answer(fault.status());
        let tcp = self.0.borrow_mut().tcp.take();
        let Some(mut tcp) = tcp else { return };
        // A caller who reads nothing at all is not waited for.
        if let Ok(written) = timeout(LINGER_PAUSE, tcp.write_all(&answer)).await {
            tracing::debug!(?written, ?fault, "malformed request");
        }
        self.0.borrow_mut().tcp = Some(tcp);
    }

    /// Ends the sending side, then reads and forgets for a while when the caller may still be sending: the reset that
    /// closing with unread bytes would send could destroy the answer he has been given.
    pub(super) async fn close(&self, may_be_sending: bool) {
        let Some(mut tcp) = self.end() else { return };
        if !may_be_sending {
            return;
        }
        let drain = async {
            tcp.shutdown().await?;
            let mut inbox = Inbox::default();
            loop {
                let read = timeout(LINGER_PAUSE, poll_fn(|cx| inbox.poll_fill(&mut tcp, cx))).await??;
                if read == 0 {
                    return io::Result::Ok(());
                }
                inbox.skip(read);
            }
        };
        match timeout(LINGER_TIME, drain).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a caller left after its answer"),
            Err(_elapsed) => tracing::debug!("a caller went on sending after its answer"),
        }
    }

    /// Closes so that the caller sees an error rather than an end of file.
    pub(super) fn reset(&self) {
        let Some(tcp) = self.end() else { return };
        if let Err(error) = SockRef::from(&tcp).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection could not be set to reset");
        }
    }

    /// Whether the caller has begun a message that was not read to its end.
    pub(super) fn is_mid_message(&self) -> bool {
        let inner = self.0.borrow();
        !inner.decoder.is_over() || !inner.inbox.is_empty()
    }

    /// Takes the connection from everybody; whoever waits for more of a body hears that there is none.
    pub(super) fn end(&self) -> Option<TcpStream> {
        let mut inner = self.0.borrow_mut();
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        inner.tcp.take()
    }
}

impl Inner {
    fn wake_watcher_at_end(&mut self) {
        if self.decoder.is_over() {
            self.wake_watcher();
        }
    }

    fn wake_watcher(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }

    /// Whether another call can follow, as far as the body of this one tells. Not behind a body that is too large to be
    /// skipped, nor where the caller may never send it.
    fn can_go_on(&self) -> bool {
        let is_small = self.decoder.left().is_none_or(|left| left <= UNREAD_MAX_BYTES);
        self.decoder.is_over() || self.leave.is_empty() && (is_small || !self.is_abandoned)
    }

    /// Ready once the body is over, or cannot be skipped.
    fn poll_skip(&mut self, cx: &mut Context<'_>, left: &mut u64) -> Poll<bool> {
        loop {
            match self.decoder.decode(&mut self.inbox) {
                Ok(Decoded::Over) => return Poll::Ready(true),
                Ok(Decoded::Data(data)) => {
                    *left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    if *left == 0 && !self.decoder.is_over() {
                        return Poll::Ready(false);
                    }
                    continue;
                }
                Ok(Decoded::More) => {}
                Err(_malformed) => return Poll::Ready(false),
            }
            let Some(tcp) = &mut self.tcp else { return Poll::Ready(false) };
            match self.inbox.poll_fill(tcp, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
