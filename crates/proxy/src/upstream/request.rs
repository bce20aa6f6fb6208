//! What leaves for an upstream: the request's head made ready, its body watched.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::fault::{Cause, UpstreamFault, UpstreamFaultKind};
use crate::headers::strip_hop_by_hop;
use crate::target::Target;

/// A request body of whatever type the caller has. A pooled connection outlives its requests, so hyper needs one type.
pub(super) struct Outgoing {
    inner: Pin<Box<dyn Body<Data = Bytes, Error = Cause>>>,
    /// Bytes still owed under the declared length; `None` when the body is chunked.
    owed: Option<u64>,
    /// Set once all of the body has been handed to hyper; a connection whose request is not over is not reused.
    over: Rc<Cell<bool>>,
}

/// Turns a request into what goes over the wire to `target`, and a flag that says when its body is over.
pub(super) fn prepare<B>(
    target: &Target,
    request: Request<B>,
) -> Result<(Request<Outgoing>, Rc<Cell<bool>>), UpstreamFault>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Cause>,
{
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(UpstreamFault::new(false, UpstreamFaultKind::Protocol));
    }
    let path_and_query = match parts.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        _ => return Err(UpstreamFault::new(false, UpstreamFaultKind::Protocol)),
    };
    strip_hop_by_hop(&mut parts.headers);
    // The listener has said "100 Continue" by reading the body; the upstream gets the body without having to ask.
    parts.headers.remove(header::EXPECT);
    parts.headers.insert(header::HOST, target.authority().clone());
    let owed = frame_body(&parts.method, &mut parts.headers, &body);
    let over = Rc::new(Cell::new(owed == Some(0)));
    let outgoing = Outgoing { inner: Box::pin(body.map_err(Into::into)), owed, over: Rc::clone(&over) };
    let mut prepared = Request::new(outgoing);
    *prepared.method_mut() = parts.method;
    *prepared.uri_mut() = Uri::from(path_and_query);
    *prepared.version_mut() = Version::HTTP_11;
    *prepared.headers_mut() = parts.headers;
    Ok((prepared, over))
}

/// Sets the framing that the body asks for, and returns the declared length.
///
/// It is not left to hyper, which drops a GET's body of unknown length and trusts a `Content-Length` over an empty body.
fn frame_body<B: Body>(method: &Method, headers: &mut HeaderMap, body: &B) -> Option<u64> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    headers.remove(header::CONTENT_LENGTH);
    let known = match body.is_end_stream() {
        true => Some(0),
        false => body.size_hint().exact().or(declared),
    };
    match known {
        Some(0) if declared.is_none() && !expects_body(method) => {}
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    known
}

/// Methods for which RFC 9110 section 8.6 wants a `Content-Length: 0` rather than none.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

impl Outgoing {
    /// Counts what passes. More than was declared is a fault, because hyper would cut it off in silence.
    fn count(&mut self, data_bytes: usize) -> Result<(), Cause> {
        if let Some(owed) = self.owed {
            let passed = u64::try_from(data_bytes).unwrap_or(u64::MAX);
            let left = owed.checked_sub(passed);
            self.owed = left.or(Some(0));
            self.over.set(left == Some(0));
            if left.is_none() {
                return Err(io::Error::other("the body is longer than declared").into());
            }
        }
        Ok(())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let polled = self.inner.as_mut().poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let data_bytes = data.len();
                    if let Err(cause) = self.count(data_bytes) {
                        return Poll::Ready(Some(Err(cause)));
                    }
                }
                if frame.is_trailers() || self.inner.is_end_stream() {
                    self.over.set(self.owed.unwrap_or(0) == 0);
                }
            }
            Poll::Ready(None) => self.over.set(self.owed.unwrap_or(0) == 0),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
