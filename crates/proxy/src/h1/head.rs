//! Heads of messages, stricter than most: what another program could read differently is refused.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use httparse::Header;

use super::body::number;
use super::out::is_close;
use super::{HEADERS_MAX, Inbox, Length};
use crate::headers::{is_hop_by_hop, named_by};

/// Room for what is put beside an upstream's own fields, so that there is one allocation for all of them.
const FIELDS_ADDED: usize = 5;

/// Why a head is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFault {
    Malformed,
    TooLarge,
}

impl HeadFault {
    /// What a caller is answered.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            HeadFault::Malformed => StatusCode::BAD_REQUEST,
            HeadFault::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

/// A caller's head.
pub(crate) struct CallHead {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// HTTP/1.0.
    pub(crate) is_old: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) length: Length,
    pub(crate) keeps_alive: bool,
    pub(crate) expects_continue: bool,
}

/// An upstream's head, with the fields that are meant for callers.
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// The reason phrase, where it is not the usual one.
    pub(crate) reason: Option<Bytes>,
    pub(crate) headers: HeaderMap,
    pub(crate) length: Length,
    pub(crate) keeps_alive: bool,
}

/// Finds and reads callers' heads. It remembers how far it has looked, so that a head that drips in costs no more than one
/// that comes at once.
#[derive(Default)]
pub(crate) struct HeadReader {
    /// Where the first line begins that has not ended.
    line: usize,
}

impl HeadReader {
    /// Takes the next head from what was read. `None` when it is not whole.
    ///
    /// Every line must end in CRLF: a bare line feed is where two readers part. Empty lines before a request are skipped, as
    /// RFC 9112 section 2.2 asks.
    pub(crate) fn read(&mut self, inbox: &mut Inbox, max_bytes: usize) -> Result<Option<CallHead>, HeadFault> {
        while self.line == 0 && inbox.bytes().starts_with(b"\r\n") {
            inbox.skip(2);
        }
        let Some(end) = self.end(inbox.bytes())? else {
            return if inbox.len() >= max_bytes { Err(HeadFault::TooLarge) } else { Ok(None) };
        };
        self.line = 0;
        if end > max_bytes {
            return Err(HeadFault::TooLarge);
        }
        call_head(&inbox.take(end)).map(Some)
    }

    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadFault> {
        let rest = |from: usize| bytes.get(from..).unwrap_or_default();
        while let Some(length) = memchr::memchr(b'\n', rest(self.line)) {
            let line = rest(self.line).get(..length).unwrap_or_default();
            if line.last() != Some(&b'\r') {
                return Err(HeadFault::Malformed);
            }
            let is_last = length == 1;
            self.line = self.line.saturating_add(length).saturating_add(1);
            if is_last {
                return Ok(Some(self.line));
            }
        }
        Ok(None)
    }
}

fn call_head(head: &Bytes) -> Result<CallHead, HeadFault> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut read = httparse::Request::new(&mut []);
    let parsed = read.parse_with_uninit_headers(head, &mut fields).map_err(fault)?;
    if parsed != httparse::Status::Complete(head.len()) {
        return Err(HeadFault::Malformed);
    }
    let (Some(method), Some(path), Some(minor)) = (read.method, read.path, read.version) else {
        return Err(HeadFault::Malformed);
    };
    let is_old = minor == 0;
    let mut framing = Framing::default();
    let mut headers = HeaderMap::with_capacity(read.headers.len());
    let (mut expects_continue, mut hosts) = (false, 0_u32);
    for field in read.headers.iter() {
        let (name, value) = field_of(head, field)?;
        framing.see(&name, &value)?;
        if name == header::HOST {
            hosts += 1;
            if !is_host(&value) {
                return Err(HeadFault::Malformed);
            }
        }
        expects_continue |= name == header::EXPECT && value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        headers.append(name, value);
    }
    // RFC 9112 section 3.2: HTTP/1.1 names one host, whoever else may name one at most.
    if hosts > 1 || hosts == 0 && !is_old {
        return Err(HeadFault::Malformed);
    }
    let length = match (framing.is_chunked, framing.length) {
        // RFC 9112 section 6.1: HTTP/1.0 has no codings, and a length beside one is how requests are smuggled.
        (true, _) if is_old => return Err(HeadFault::Malformed),
        (true, Some(_)) => return Err(HeadFault::Malformed),
        (true, None) => Length::Chunked,
        (false, length) => Length::Known(length.unwrap_or(0)),
    };
    Ok(CallHead {
        method: Method::from_bytes(method.as_bytes()).map_err(|_| HeadFault::Malformed)?,
        uri: Uri::from_maybe_shared(head.slice_ref(path.as_bytes())).map_err(|_| HeadFault::Malformed)?,
        is_old,
        headers,
        length,
        keeps_alive: framing.keeps_alive(is_old),
        expects_continue: expects_continue && !is_old,
    })
}

/// A host and a port, or nothing; not what else a target may have.
fn is_host(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\,".contains(byte))
}

/// Takes an upstream's head from what was read; `None` when it is not whole. `to` is the method that was asked with.
pub(crate) fn answer_head(inbox: &mut Inbox, to: &Method, max_bytes: usize) -> Result<Option<AnswerHead>, HeadFault> {
    let Some(end) = answer_end(inbox.bytes()) else {
        return if inbox.len() >= max_bytes { Err(HeadFault::TooLarge) } else { Ok(None) };
    };
    if end > max_bytes {
        return Err(HeadFault::TooLarge);
    }
    let head = inbox.take(end);
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut read = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut read, &head, &mut fields);
    if parsed.map_err(fault)? != httparse::Status::Complete(head.len()) {
        return Err(HeadFault::Malformed);
    }
    let (Some(code), Some(minor)) = (read.code, read.version) else { return Err(HeadFault::Malformed) };
    let status = StatusCode::from_u16(code).map_err(|_| HeadFault::Malformed)?;
    let reason = read.reason.filter(|reason| status.canonical_reason() != Some(*reason));
    let reason = reason.map(|reason| head.slice_ref(reason.as_bytes()));
    let mut framing = Framing { is_answer: true, ..Framing::default() };
    let mut headers = HeaderMap::with_capacity(read.headers.len().saturating_add(FIELDS_ADDED));
    let mut named = Vec::new();
    for field in read.headers.iter() {
        let (name, value) = field_of(&head, field)?;
        framing.see(&name, &value)?;
        if name == header::CONNECTION {
            named.extend(named_by(&value));
        }
        if !is_hop_by_hop(&name) {
            headers.append(name, value);
        }
    }
    for name in named {
        headers.remove(name);
    }
    let has_body = !(*to == Method::HEAD || status.is_informational() || matches!(code, 204 | 304));
    let length = match (framing.is_chunked, framing.length) {
        _ if !has_body => Length::Known(0),
        (true, _) => Length::Chunked,
        (false, Some(length)) => Length::Known(length),
        (false, None) => Length::UntilEnd,
    };
    if framing.is_chunked {
        // RFC 9112 section 6.3: it is overridden, and must not be passed on.
        headers.remove(header::CONTENT_LENGTH);
    }
    // What follows an answer that says two lengths, or that can have no body and says one, may be of that body.
    let is_doubtful = framing.is_chunked && framing.length.is_some()
        || code == 204 && (framing.is_chunked || framing.length.is_some_and(|length| length > 0));
    let keeps_alive = framing.keeps_alive(minor == 0) && !is_doubtful && length != Length::UntilEnd;
    Ok(Some(AnswerHead { status, reason, headers, length, keeps_alive }))
}

/// Upstreams are taken as they are: some end their lines with a line feed alone.
fn answer_end(bytes: &[u8]) -> Option<usize> {
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    ends.find_map(|at| {
        let next = at.saturating_add(1);
        match bytes.get(next..)? {
            [b'\n', ..] => Some(next.saturating_add(1)),
            [b'\r', b'\n', ..] => Some(next.saturating_add(2)),
            _ => None,
        }
    })
}

fn fault(error: httparse::Error) -> HeadFault {
    match error {
        httparse::Error::TooManyHeaders => HeadFault::TooLarge,
        _ => HeadFault::Malformed,
    }
}

fn field_of(head: &Bytes, field: &Header<'_>) -> Result<(HeaderName, HeaderValue), HeadFault> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadFault::Malformed)?;
    let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| HeadFault::Malformed)?;
    Ok((name, value))
}

/// What the fields of a head say about its body and its connection.
#[derive(Default)]
struct Framing {
    /// An upstream's: it may say its length twice, and `identity`.
    is_answer: bool,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    is_kept: bool,
}

impl Framing {
    fn see(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), HeadFault> {
        let value = value.as_bytes();
        if *name == header::CONTENT_LENGTH {
            let length = number(value, 10).ok_or(HeadFault::Malformed)?;
            match self.length {
                Some(known) if !self.is_answer || known != length => return Err(HeadFault::Malformed),
                _ => self.length = Some(length),
            }
        } else if *name == header::TRANSFER_ENCODING {
            match value {
                _ if self.is_answer && value.eq_ignore_ascii_case(b"identity") => {}
                _ if !self.is_chunked && value.eq_ignore_ascii_case(b"chunked") => self.is_chunked = true,
                _ => return Err(HeadFault::Malformed),
            }
        } else if *name == header::CONNECTION {
            self.closes |= is_close(value);
            self.is_kept |=
                value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"keep-alive"));
        }
        Ok(())
    }

    fn keeps_alive(&self, is_old: bool) -> bool {
        !self.closes && (!is_old || self.is_kept)
    }
}
