//! One connection to an upstream, driven by whoever waits for it rather than by a task of its own.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};

use super::UpstreamLimits;
use super::fault::{UpstreamFault, UpstreamFaultKind};
use super::request::Upload;
use super::stream::Stream;
use crate::h1::{AnswerHead, Decoded, Decoder, Inbox, answer_head};
use crate::patience::Patience;

/// One connection. Dropping it closes the socket.
///
/// No task drives it: `exchange` and the answer's body do, so that nothing moves between tasks on the hot path and a dropped
/// call takes its connection along. An idle one is looked at when it is taken from the pool and by the pool's sweep.
pub(super) struct Link {
    stream: Stream,
    inbox: Inbox,
    patience: Patience,
    /// The present request, as long as not all of it was sent.
    upload: Option<Upload>,
}

impl Link {
    pub(super) fn new(stream: Stream) -> Link {
        Link { stream, inbox: Inbox::that_keeps(), patience: Patience::default(), upload: None }
    }

    /// Sends one request, of which a byte may have left from now on, and waits for the head of its answer. The body may go on
    /// being sent after that.
    pub(super) async fn exchange(
        &mut self,
        request: Upload,
        method: &Method,
        limits: &UpstreamLimits,
    ) -> Result<AnswerHead, UpstreamFault> {
        self.upload = Some(request);
        self.patience.set(Duration::from_millis(limits.head_timeout_ms));
        poll_fn(|cx| self.poll_exchange(cx, method, limits.head_max_bytes)).await
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
        head_max_bytes: usize,
    ) -> Poll<Result<AnswerHead, UpstreamFault>> {
        self.poll_upload(cx)?;
        loop {
            match answer_head(&mut self.inbox, method, head_max_bytes) {
                // Nobody asked for an upgrade: `Upgrade` is stripped from every request.
                Ok(Some(head)) if head.status == StatusCode::SWITCHING_PROTOCOLS => return protocol(),
                Ok(Some(head)) if head.status.is_informational() => continue,
                Ok(Some(head)) => {
                    self.patience.clear();
                    return Poll::Ready(Ok(head));
                }
                Ok(None) => {}
                Err(_fault) => return protocol(),
            }
            match self.inbox.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(UpstreamFault::new(true, UpstreamFaultKind::Reset))),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(UpstreamFault::caused(true, UpstreamFaultKind::Reset, error)));
                }
                Poll::Pending => break,
            }
        }
        let late = || Err(UpstreamFault::new(true, UpstreamFaultKind::HeadTimeout));
        self.patience.poll(cx).map(|()| late())
    }

    /// Sends what can be sent of the request.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamFault> {
        if let Some(upload) = &mut self.upload
            && upload.poll(cx, &mut self.stream)?
        {
            self.upload = None;
        }
        Ok(())
    }

    /// The next piece of an answer's body; `idle_time` is how long it may take.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
        idle_time: Duration,
    ) -> Poll<Result<Decoded, UpstreamFault>> {
        loop {
            match decoder.decode(&mut self.inbox) {
                Ok(Decoded::More) => {}
                Ok(decoded) => {
                    self.patience.clear();
                    return Poll::Ready(Ok(decoded));
                }
                Err(_malformed) => return Poll::Ready(Err(UpstreamFault::new(true, UpstreamFaultKind::Protocol))),
            }
            match self.inbox.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) if decoder.end() => {}
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(UpstreamFault::new(true, UpstreamFaultKind::Reset))),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(UpstreamFault::caused(true, UpstreamFaultKind::Reset, error)));
                }
                Poll::Pending => break,
            }
        }
        self.patience.begin(idle_time);
        let late = || Err(UpstreamFault::new(true, UpstreamFaultKind::IdleTimeout));
        self.patience.poll(cx).map(|()| late())
    }

    /// Whether another request can be sent. The kernel is asked, because tokio learns of a hang-up only when its driver runs,
    /// and a request that is written into a closed connection could not be sent again.
    pub(super) fn is_alive(&mut self) -> bool {
        self.is_clean() && self.stream.is_open()
    }

    /// Whether the request was sent to its end, and everything that came belonged to its answer.
    pub(super) fn is_clean(&self) -> bool {
        self.upload.is_none() && self.inbox.is_empty()
    }
}

fn protocol<T>() -> Poll<Result<T, UpstreamFault>> {
    Poll::Ready(Err(UpstreamFault::new(true, UpstreamFaultKind::Protocol)))
}
