//! Where a body ends, and what of it has come.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Inbox;

/// The longest line that a chunk's size, with its extension, may take.
const SIZE_LINE_MAX_BYTES: usize = 1_024;
/// All trailers together. They are not passed on.
const TRAILERS_MAX_BYTES: usize = 16 * 1024;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Known(u64),
    Chunked,
    /// With the end of the stream: answers alone.
    UntilEnd,
}

/// Chunk framing that RFC 9112 section 7.1 does not have. Bare line feeds are among it: what two programs read differently
/// can hide a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Data(Bytes),
    /// More bytes must be read first.
    More,
    Over,
}

/// Follows one body through the bytes of its connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// The lines of the trailers that have passed.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilEnd,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    /// With the bytes of trailers that have passed.
    Trailers(usize),
    Over,
}

impl Decoder {
    pub(crate) fn new(length: Length) -> Decoder {
        let state = match length {
            Length::Known(0) => State::Over,
            Length::Known(bytes) => State::Length(bytes),
            Length::Chunked => State::ChunkSize,
            Length::UntilEnd => State::UntilEnd,
        };
        Decoder { state, trailers: Vec::new() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// The trailers that have passed, where they read as headers.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        for line in self.trailers.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()));
            if let (Ok(name), Ok(value)) = (name, value) {
                trailers.append(name, value);
            }
        }
        trailers
    }

    /// The stream has ended. Whether that is the body's end as well.
    pub(crate) fn end(&mut self) -> bool {
        if self.state == State::UntilEnd {
            self.state = State::Over;
        }
        self.is_over()
    }

    /// The next piece of what was read.
    pub(crate) fn decode(&mut self, inbox: &mut Inbox) -> Result<Decoded, Malformed> {
        loop {
            match self.state {
                State::Over => return Ok(Decoded::Over),
                _ if inbox.is_empty() => return Ok(Decoded::More),
                State::UntilEnd => return Ok(Decoded::Data(inbox.take(usize::MAX))),
                State::Length(left) => {
                    let (data, left) = take(inbox, left);
                    self.state = if left == 0 { State::Over } else { State::Length(left) };
                    return Ok(Decoded::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = take(inbox, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers(_) => {
                    let Some(next) = self.line(inbox)? else { return Ok(Decoded::More) };
                    self.state = next;
                }
            }
        }
    }

    /// Reads one line of the framing. `None` when it is not there yet.
    fn line(&mut self, inbox: &mut Inbox) -> Result<Option<State>, Malformed> {
        let max = match self.state {
            State::Trailers(passed) => TRAILERS_MAX_BYTES.saturating_sub(passed),
            _ => SIZE_LINE_MAX_BYTES,
        };
        let Some(end) = memchr::memchr(b'\n', inbox.bytes()) else {
            return if inbox.len() > max { Err(Malformed) } else { Ok(None) };
        };
        let line = inbox.bytes().get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Malformed)?;
        if end > max || line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Malformed);
        }
        let next = match self.state {
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailers(0),
                size => State::Chunk(size),
            },
            State::Trailers(_) if line.is_empty() => State::Over,
            State::Trailers(passed) => {
                self.trailers.extend_from_slice(line);
                self.trailers.push(b'\n');
                State::Trailers(passed.saturating_add(end))
            }
            _ if line.is_empty() => State::ChunkSize,
            _ => return Err(Malformed),
        };
        inbox.skip(end.saturating_add(1));
        Ok(Some(next))
    }
}

fn take(inbox: &mut Inbox, left: u64) -> (Bytes, u64) {
    let data = inbox.take(usize::try_from(left).unwrap_or(usize::MAX));
    let taken = u64::try_from(data.len()).unwrap_or(left);
    (data, left.saturating_sub(taken))
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    number(size.trim_ascii_end(), 16).ok_or(Malformed)
}

/// Digits only: `from_str_radix` alone would take a sign.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    is_number.then(|| u64::from_str_radix(text, radix).ok())?
}
