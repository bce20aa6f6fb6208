//! What leaves for an upstream: the request's head, and its body as it comes.

use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Request};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use tokio::io::AsyncWrite as _;

use super::fault::{UpstreamFault, UpstreamFaultKind};
use super::stream::Stream;
use crate::h1::{Cause, Coding, Out, Progress, Transmit, TransmitFault, poll_write, write_field, write_length};
use crate::headers::{is_hop_by_hop, strip_hop_by_hop};
use crate::target::Target;

/// A request on its way.
pub(super) struct Upload {
    stage: Stage,
    /// Of whatever type the caller has; none where nothing is to be asked.
    body: Option<Pin<Box<dyn Body<Data = Bytes, Error = Cause>>>>,
}

enum Stage {
    Sending(Transmit),
    /// All is written; TLS may hold some of it still.
    Flushing,
    /// The upstream has closed its reading side. Its answer may be there to be read all the same.
    Broken,
}

impl Upload {
    /// Makes a request ready for `target`: its method, and what goes over the wire.
    pub(super) fn new<B>(target: &Target, request: Request<B>) -> Result<(Method, Upload), UpstreamFault>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Cause>,
    {
        let (mut parts, body) = request.into_parts();
        let refused = || UpstreamFault::new(false, UpstreamFaultKind::Protocol);
        let path = parts.uri.path_and_query().map(|path| path.as_str()).filter(|path| path.starts_with('/'));
        let path = path.filter(|_| parts.method != Method::CONNECT).ok_or_else(refused)?;
        if parts.headers.contains_key(header::CONNECTION) {
            strip_hop_by_hop(&mut parts.headers);
        }
        let (mut head, coding) = (Out::new(), coding(&parts.headers, &body));
        let out = &mut head.0;
        out.extend_from_slice(parts.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_field(out, "host", target.authority().as_bytes());
        for (name, value) in &parts.headers {
            // The listener has said "100 Continue" by reading the body; the upstream gets the body without having to ask.
            let is_ours = matches!(*name, header::HOST | header::EXPECT | header::CONTENT_LENGTH);
            if !is_ours && !is_hop_by_hop(name) {
                write_field(out, name.as_str(), value.as_bytes());
            }
        }
        let has_declared = parts.headers.contains_key(header::CONTENT_LENGTH);
        match coding {
            Coding::Length(0) if !has_declared && !expects_body(&parts.method) => {}
            Coding::Length(bytes) => write_length(out, bytes),
            Coding::Chunked | Coding::UntilClose => write_field(out, "transfer-encoding", b"chunked"),
        }
        out.extend_from_slice(b"\r\n");
        let body = (!body.is_end_stream())
            .then(|| Box::pin(body.map_err(Into::into)) as Pin<Box<dyn Body<Data = _, Error = _>>>);
        Ok((parts.method, Upload { stage: Stage::Sending(Transmit::new(head, coding)), body }))
    }

    /// Sends what can be sent, and says whether that was all. A write that fails is no fault: the reading side decides.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Result<bool, UpstreamFault> {
        if let Stage::Sending(message) = &mut self.stage {
            let write = |cx: &mut Context<'_>, pieces: &[IoSlice<'_>]| poll_write(stream, cx, pieces);
            let progress = match &mut self.body {
                Some(body) => message.poll(cx, body.as_mut(), write),
                None => message.poll(cx, pin!(Empty::new()), write),
            };
            let fault = |cause| UpstreamFault::caused(true, UpstreamFaultKind::RequestBody, cause);
            match progress {
                Ok(Progress::Over) => self.stage = Stage::Flushing,
                Ok(Progress::Waits | Progress::Blocked) => {}
                Err(TransmitFault::Write(error)) => self.break_off(&error),
                Err(TransmitFault::Body(cause)) => return Err(fault(cause)),
                Err(TransmitFault::Length) => return Err(fault("the body has not the declared length".into())),
            }
        }
        match Pin::new(stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => self.break_off(&error),
            Poll::Ready(Ok(())) => return Ok(matches!(self.stage, Stage::Flushing)),
            Poll::Pending => {}
        }
        Ok(false)
    }

    fn break_off(&mut self, error: &std::io::Error) {
        tracing::debug!(%error, "upstream write failed, reading on");
        (self.stage, self.body) = (Stage::Broken, None);
    }
}

/// The framing that a body asks for: its own length, or the declared one, or chunks.
fn coding<B: Body>(headers: &HeaderMap, body: &B) -> Coding {
    let declared = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    match body.is_end_stream() {
        true => Coding::Length(0),
        false => body.size_hint().exact().or_else(declared).map_or(Coding::Chunked, Coding::Length),
    }
}

/// Methods for which RFC 9110 section 8.6 wants a `Content-Length: 0` rather than none.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
