//! One connection to an upstream, driven by whoever waits for it rather than by a task of its own.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::UpstreamLimits;
use super::fault::UpstreamFault;
use super::request::Outgoing;
use super::wire::{Stream, Switches, Wire};
use crate::headers::HYPER_HEADERS_MAX;

/// hyper panics below this.
const BUFFER_MIN_BYTES: usize = 8 * 1024;

/// One connection. Dropping it closes the socket.
///
/// No task drives it: `exchange` and the answer's body do, so that nothing moves between tasks on the hot path and a dropped
/// call takes its connection along. An idle one is looked at when it is taken from the pool and by the pool's sweep.
pub(super) struct Link {
    sender: SendRequest<Outgoing>,
    /// `None` once hyper is done with the connection.
    connection: Option<Connection<TokioIo<Wire>, Outgoing>>,
    switches: Rc<Switches>,
}

/// Why an exchange had no answer.
pub(super) enum NoAnswer {
    /// The connection closed before the request was serialised; here it is, untouched.
    Unsent(Box<Request<Outgoing>>),
    Fault(UpstreamFault),
}

impl Link {
    pub(super) async fn open(stream: Stream, limits: &UpstreamLimits) -> Result<Link, UpstreamFault> {
        let switches = Rc::new(Switches::default());
        let wire = Wire::new(stream, Rc::clone(&switches));
        let mut http = http1::Builder::new();
        http.max_buf_size(limits.head_max_bytes.max(BUFFER_MIN_BYTES)).max_header_size(limits.head_max_bytes);
        if limits.headers_max != HYPER_HEADERS_MAX {
            http.max_headers(limits.headers_max);
        }
        let handshake = http.handshake(TokioIo::new(wire)).await;
        let (sender, connection) = handshake.map_err(|error| UpstreamFault::from_hyper(false, error))?;
        Ok(Link { sender, connection: Some(connection), switches })
    }

    /// Sends one request and waits for the head of its answer. `on_sent` is taken and called before the first byte leaves.
    pub(super) async fn exchange<F: FnOnce()>(
        &mut self,
        request: Request<Outgoing>,
        on_sent: &Cell<Option<F>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.switches.shut();
        let mut answer = pin!(self.sender.try_send_request(request));
        let (connection, switches) = (&mut self.connection, &self.switches);
        let outcome = poll_fn(|cx| {
            loop {
                drive(connection, cx);
                if !switches.has_knocked() {
                    return answer.as_mut().poll(cx);
                }
                if let Some(on_sent) = on_sent.take() {
                    on_sent();
                }
                switches.open();
            }
        })
        .await;
        outcome.map_err(|mut error| match error.take_message() {
            Some(request) => NoAnswer::Unsent(Box::new(request)),
            None => {
                let sent = self.may_have_sent();
                NoAnswer::Fault(UpstreamFault::from_hyper(sent, error.into_error()))
            }
        })
    }

    /// Whether a byte of the present request may have left.
    pub(super) fn may_have_sent(&self) -> bool {
        self.switches.is_open()
    }

    /// Lets hyper read and write.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, cx);
    }

    /// Whether another request can be sent, as far as hyper knows.
    pub(super) fn is_ready(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Has the next exchange ask the kernel whether the peer has closed, before the first byte may leave.
    pub(super) fn start_probing(&self) {
        self.switches.shut();
        self.switches.start_probing();
    }

    /// Whether another request can be sent, asking the kernel now.
    pub(super) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        self.start_probing();
        self.drive(cx);
        self.is_ready()
    }
}

/// Polls the connection and drops it when it has ended, which hands a request that is still queued back to its sender.
fn drive(slot: &mut Option<Connection<TokioIo<Wire>, Outgoing>>, cx: &mut Context<'_>) {
    let Some(connection) = slot else { return };
    match Pin::new(connection).poll(cx) {
        Poll::Pending => {}
        Poll::Ready(Ok(())) => *slot = None,
        Poll::Ready(Err(error)) => {
            tracing::debug!(%error, "upstream connection ended");
            *slot = None;
        }
    }
}
