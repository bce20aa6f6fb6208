//! The request's body on its way to the upstream, digested while it streams where somebody will ask for the digest.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use proxy::{Incoming, IncomingFault};
use sha2::{Digest as _, Sha256};

/// The most that is read of a body before it is forwarded, where its shape is judged.
pub(super) const WHOLE_MAX_BYTES: usize = 1024 * 1024;

/// The digest of a body that is still streaming. `None` where nobody will ask for it: it costs more than all the rest of a large
/// body.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest(Option<Rc<RefCell<State>>>);

#[derive(Debug)]
struct State {
    hasher: Sha256,
    ended: bool,
}

impl Digest {
    /// The digest, once the body was read to its end.
    pub(super) fn value(&self) -> Option<B256> {
        let state = self.0.as_ref()?.borrow();
        state.ended.then(|| B256::from_slice(&state.hasher.clone().finalize()))
    }

    fn feed(&self, data: &[u8]) {
        if let Some(state) = &self.0 {
            state.borrow_mut().hasher.update(data);
        }
    }

    fn end(&self) {
        if let Some(state) = &self.0 {
            state.borrow_mut().ended = true;
        }
    }
}

/// A request's body that passes through.
#[derive(Debug)]
pub(super) struct Upload {
    source: Source,
    digest: Digest,
}

#[derive(Debug)]
enum Source {
    Streams(Incoming),
    /// It was read before; `None` once it was given out.
    Read(Option<Bytes>),
}

/// Why a body cannot be read before it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

impl Upload {
    /// The body as it comes.
    pub(super) fn new(body: Incoming) -> Self {
        Self { source: Source::Streams(body), digest: Digest::default() }
    }

    /// The body after it was read to its end, and what it holds.
    pub(super) async fn whole(body: Incoming, wait: Duration) -> Result<(Self, Bytes), Unread> {
        let read = Limited::new(body, WHOLE_MAX_BYTES).collect();
        let read = tokio::time::timeout(wait, read).await.map_err(|_| Unread::TooSlow)?;
        let bytes =
            read.map_err(|error| if error.is::<IncomingFault>() { Unread::Broken } else { Unread::TooLarge })?;
        let bytes = bytes.to_bytes();
        let source = Source::Read(Some(bytes.clone()).filter(|bytes| !bytes.is_empty()));
        Ok((Self { source, digest: Digest::default() }, bytes))
    }

    /// The digest that the body will have, where somebody will ask for it. Nothing of the body may have been given out before.
    pub(super) fn digest(&mut self, asked_for: bool) -> Digest {
        if asked_for {
            let state = State { hasher: Sha256::new(), ended: self.is_end_stream() };
            self.digest = Digest(Some(Rc::new(RefCell::new(state))));
        }
        self.digest.clone()
    }

    /// Reads a body to its end without keeping it, for its digest. `None` when it broke off.
    pub(super) async fn drain(mut self) -> Option<B256> {
        let digest = self.digest(true);
        while let Some(frame) = self.frame().await {
            frame.ok()?;
        }
        digest.value()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = IncomingFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IncomingFault>>> {
        let Self { source, digest } = &mut *self;
        let body = match source {
            Source::Read(bytes) => {
                let bytes = bytes.take();
                bytes.iter().for_each(|bytes| digest.feed(bytes));
                digest.end();
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            Source::Streams(body) => body,
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    digest.feed(data);
                }
                if body.is_end_stream() {
                    digest.end();
                }
            }
            Some(Err(_)) => {}
            None => digest.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Streams(body) => body.is_end_stream(),
            Source::Read(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Streams(body) => body.size_hint(),
            Source::Read(bytes) => {
                let len = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
            }
        }
    }
}
