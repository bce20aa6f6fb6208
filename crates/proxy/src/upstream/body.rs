//! The body of an answer, which carries its connection until it is complete.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::fault::{UpstreamFault, UpstreamFaultKind};
use super::link::Link;
use super::pool::Pool;

/// An answer's body, streamed. Polling it is what reads from the upstream; while nobody polls, nothing is buffered beyond
/// one read and the idle time limit does not run.
///
/// Complete, its connection goes back to the pool (unless the request's body is not over yet); dropped early or failed, the
/// connection is closed.
pub struct UpstreamBody {
    incoming: Incoming,
    link: Option<Box<Link>>,
    pool: Rc<Pool>,
    request_over: Rc<Cell<bool>>,
    idle_time: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    timer_runs: bool,
    ended: bool,
}

impl UpstreamBody {
    pub(super) fn new(
        incoming: Incoming,
        link: Box<Link>,
        pool: Rc<Pool>,
        request_over: Rc<Cell<bool>>,
        idle_time: Duration,
    ) -> UpstreamBody {
        UpstreamBody {
            incoming,
            link: Some(link),
            pool,
            request_over,
            idle_time,
            timer: None,
            timer_runs: false,
            ended: false,
        }
    }

    /// Gives the connection back when the answer has no more bytes to come.
    pub(super) fn release_if_ended(&mut self, cx: &mut Context<'_>) {
        if !self.incoming.is_end_stream() {
            return;
        }
        self.release(cx);
    }

    fn release(&mut self, cx: &mut Context<'_>) {
        self.ended = true;
        let Some(mut link) = self.link.take() else {
            return;
        };
        link.drive(cx);
        if self.request_over.get() {
            self.pool.put(link);
        }
    }

    fn fail(&mut self, fault: UpstreamFault) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        self.ended = true;
        self.link = None;
        Poll::Ready(Some(Err(fault)))
    }

    /// Polls hyper's body, then lets the connection read what was asked for, then looks again.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(link) = &mut self.link {
            link.drive(cx);
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    /// Whether the wait has taken too long. The first call after a frame starts the clock.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.idle_time;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.timer_runs {
            timer.as_mut().reset(deadline);
            self.timer_runs = true;
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match this.poll_incoming(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.timer_runs = false;
                this.release_if_ended(cx);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(UpstreamFault::from_hyper(true, error)),
            Poll::Ready(None) => {
                this.release(cx);
                Poll::Ready(None)
            }
            Poll::Pending => match this.poll_idle(cx) {
                Poll::Ready(()) => this.fail(UpstreamFault::new(true, UpstreamFaultKind::IdleTimeout)),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").field("ended", &self.ended).finish_non_exhaustive()
    }
}
