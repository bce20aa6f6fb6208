//! The body of a caller's request.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::wire::Wire;

/// The body of a request, streamed: polling it is what reads from the caller. It belongs to one call; when that is over, or
/// its caller has gone, what is left of it is [`IncomingFault::Cut`].
///
/// Trailers are read and forgotten. A caller who waits for `100 Continue` gets it with the first poll.
pub struct Incoming {
    /// `None` when nothing is to come.
    wire: Option<(Rc<Wire>, u64)>,
    left: Option<u64>,
}

/// Why a request's body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IncomingFault {
    /// The caller left, or was answered, before the end.
    #[error("the request's body broke off")]
    Cut,
    /// Its chunk framing is not that of RFC 9112.
    #[error("the framing of the request's body is ambiguous")]
    Malformed,
}

impl Incoming {
    pub(super) fn empty() -> Incoming {
        Incoming { wire: None, left: Some(0) }
    }

    /// The body of the call with this number, `left` bytes where that is known.
    pub(super) fn of(wire: Rc<Wire>, call: u64, left: Option<u64>) -> Incoming {
        Incoming { wire: Some((wire, call)), left }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some((wire, call)) = &self.wire {
            wire.abandon_body(*call);
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = IncomingFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IncomingFault>>> {
        let Some((wire, call)) = &self.wire else { return Poll::Ready(None) };
        let polled = std::task::ready!(wire.poll_body(cx, *call));
        let is_over = matches!(polled, None | Some(Err(_))) || wire.is_body_over(*call);
        if let Some(Ok(data)) = &polled {
            let came = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.left = self.left.map(|left| left.saturating_sub(came));
        }
        if is_over {
            self.wire = None;
        }
        Poll::Ready(polled.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.wire.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.wire, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("left", &self.left).finish_non_exhaustive()
    }
}
