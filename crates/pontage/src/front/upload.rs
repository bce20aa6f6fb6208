//! The request's body on its way to the upstream, digested while it streams.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use alloy_primitives::B256;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

/// The digest of a body that is still streaming.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    hasher: Sha256,
    ended: bool,
}

impl Digest {
    /// The digest, once the body was read to its end.
    pub(super) fn value(&self) -> Option<B256> {
        let state = self.0.borrow();
        state.ended.then(|| B256::from_slice(&state.hasher.clone().finalize()))
    }

    fn feed(&self, data: &[u8]) {
        self.0.borrow_mut().hasher.update(data);
    }

    fn end(&self) {
        self.0.borrow_mut().ended = true;
    }
}

/// A request's body that passes through.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    digest: Digest,
}

impl Upload {
    /// The body, and the digest that it will have.
    pub(super) fn new(body: Incoming) -> (Self, Digest) {
        let digest = Digest::default();
        if body.is_end_stream() {
            digest.end();
        }
        (Self { body, digest: digest.clone() }, digest)
    }

    /// Reads a body to its end without keeping it, for its digest. `None` when it broke off.
    pub(super) async fn drain(body: Incoming) -> Option<B256> {
        use http_body_util::BodyExt as _;
        let (mut upload, digest) = Self::new(body);
        while let Some(frame) = upload.frame().await {
            frame.ok()?;
        }
        digest.value()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.digest.feed(data);
                }
                if self.body.is_end_stream() {
                    self.digest.end();
                }
            }
            Some(Err(_)) => {}
            None => self.digest.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
