//! The body of an answer, which carries its connection until it is complete.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::fault::UpstreamFault;
use super::link::Link;
use super::pool::Pool;
use crate::h1::{Decoded, Decoder, Length};

/// An answer's body, streamed. Polling it is what reads from the upstream; while nobody polls, nothing is buffered beyond
/// one read and the idle time limit does not run.
///
/// Complete, its connection goes back to the pool (unless the request's body is not over yet); dropped early or failed, the
/// connection is closed.
pub struct UpstreamBody {
    decoder: Decoder,
    /// `None` once the answer has ended.
    link: Option<Box<Link>>,
    keeps_alive: bool,
    pool: Rc<Pool>,
    idle_time: Duration,
}

impl UpstreamBody {
    pub(super) fn new(
        (length, keeps_alive): (Length, bool),
        link: Box<Link>,
        pool: Rc<Pool>,
        idle_time: Duration,
    ) -> UpstreamBody {
        let decoder = Decoder::new(length);
        let mut body = UpstreamBody { decoder, link: Some(link), keeps_alive, pool, idle_time };
        // An answer without a body is complete now; its connection need not wait for somebody to poll nothing.
        body.release_if_over();
        body
    }

    /// The trailers that came so far. They are no frames of the body: nobody announced them to the caller.
    pub fn trailers(&self) -> http::HeaderMap {
        self.decoder.trailers()
    }

    /// Gives the connection back when the answer has no more bytes to come.
    fn release_if_over(&mut self) {
        if !self.decoder.is_over() {
            return;
        }
        if let Some(link) = self.link.take()
            && self.keeps_alive
        {
            self.pool.put(link);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        if let Err(fault) = link.poll_upload(cx) {
            return Poll::Ready(Some(Err(fault)));
        }
        link.poll_body(cx, &mut self.decoder, self.idle_time).map(|decoded| match decoded {
            Ok(Decoded::Data(data)) => Some(Ok(data)),
            Ok(Decoded::Over | Decoded::More) => None,
            Err(fault) => Some(Err(fault)),
        })
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let data = std::task::ready!(self.poll_data(cx));
        match &data {
            Some(Err(_)) => self.link = None,
            _ => self.release_if_over(),
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.link.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.link, self.decoder.left()) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").field("left", &self.decoder.left()).finish_non_exhaustive()
    }
}
