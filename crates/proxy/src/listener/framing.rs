//! A second look at request framing, stricter than hyper's, so that nobody before or behind us can read another message.
//!
//! hyper accepts a `Content-Length` beside a `Transfer-Encoding` (and hides it), equal `Content-Length`s, codings before
//! `chunked`, and bare line feeds. RFC 9112 allows that; request smuggling lives on it. This scanner follows the messages
//! through the bytes before hyper sees them and says where one is ambiguous. Everything else it leaves to hyper.

/// Bytes kept of a line: enough for the fields and chunk sizes it reads. A longer line of those kinds is refused.
const LINE_KEPT_BYTES: usize = 128;

/// Where a caller's connection is between and within messages.
pub(super) struct Framing {
    state: State,
    line: Line,
    content_length: Option<u64>,
    chunked: bool,
}

/// What the scanner thinks of the bytes it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Clear,
    /// A head is ambiguous; the bytes before this index are fine.
    BadHead(usize),
    /// The chunk framing of a body is ambiguous.
    BadBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a request line.
    Between,
    Fields,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

#[derive(Default)]
struct Line {
    kept: Vec<u8>,
    len: usize,
    last: u8,
}

struct Ambiguous;

impl Framing {
    pub(super) fn new() -> Framing {
        Framing { state: State::Between, line: Line::default(), content_length: None, chunked: false }
    }

    /// Whether the caller has begun a message that was not read to its end.
    pub(super) fn is_mid_message(&self) -> bool {
        self.state != State::Between || self.line.len > 0
    }

    /// Follows the next bytes of the connection. After anything but `Clear` it must not be asked again.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let State::Length(left) | State::ChunkData(left) = self.state {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                self.skip(left.saturating_sub(u64::try_from(taken).unwrap_or(left)));
                at = at.saturating_add(taken);
                continue;
            }
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.line.keep(rest);
                return Scan::Clear;
            };
            self.line.keep(rest.get(..end).unwrap_or_default());
            let in_head = matches!(self.state, State::Between | State::Fields);
            if self.end_line().is_err() {
                let bad = at.saturating_add(end);
                return if in_head { Scan::BadHead(bad) } else { Scan::BadBody };
            }
            self.line.clear();
            at = at.saturating_add(end).saturating_add(1);
        }
        Scan::Clear
    }

    fn skip(&mut self, left: u64) {
        self.state = match (self.state, left) {
            (State::Length(_), 0) => State::Between,
            (State::Length(_), left) => State::Length(left),
            (_, 0) => State::ChunkEnd,
            (_, left) => State::ChunkData(left),
        };
    }

    fn end_line(&mut self) -> Result<(), Ambiguous> {
        let line = self.line.content()?;
        self.state = match self.state {
            // hyper skips empty lines before a request line, as RFC 9112 section 2.2 asks.
            State::Between if line.is_empty() => State::Between,
            State::Between => State::Fields,
            State::Fields if line.is_empty() => self.end_head()?,
            State::Fields => {
                read_field(line, self.line.is_cut(), &mut self.content_length, &mut self.chunked)?;
                State::Fields
            }
            State::ChunkSize => match chunk_size(line, self.line.is_cut())? {
                0 => State::Trailers,
                size => State::ChunkData(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(Ambiguous),
            State::Trailers if line.is_empty() => State::Between,
            State::Trailers => State::Trailers,
            // Their bytes are skipped, not read as lines.
            state @ (State::Length(_) | State::ChunkData(_)) => state,
        };
        Ok(())
    }

    fn end_head(&mut self) -> Result<State, Ambiguous> {
        let length = self.content_length.take();
        match (std::mem::take(&mut self.chunked), length) {
            (true, Some(_)) => Err(Ambiguous),
            (true, None) => Ok(State::ChunkSize),
            (false, None | Some(0)) => Ok(State::Between),
            (false, Some(length)) => Ok(State::Length(length)),
        }
    }
}

impl Line {
    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_KEPT_BYTES.saturating_sub(self.kept.len());
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.kept.extend_from_slice(kept);
        self.len = self.len.saturating_add(bytes.len());
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// The line without its carriage return, which must be there.
    fn content(&self) -> Result<&[u8], Ambiguous> {
        match self.len > 0 && self.last == b'\r' {
            true if self.is_cut() => Ok(&self.kept),
            true => self.kept.strip_suffix(b"\r").ok_or(Ambiguous),
            false => Err(Ambiguous),
        }
    }

    fn is_cut(&self) -> bool {
        self.len > self.kept.len()
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.len = 0;
        self.last = 0;
    }
}

fn read_field(
    line: &[u8],
    is_cut: bool,
    content_length: &mut Option<u64>,
    chunked: &mut bool,
) -> Result<(), Ambiguous> {
    // A continuation line (obs-fold) would change the field before it.
    if line.first().is_some_and(u8::is_ascii_whitespace) {
        return Err(Ambiguous);
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Ok(());
    };
    let (name, rest) = line.split_at(colon);
    let value = rest.get(1..).unwrap_or_default().trim_ascii();
    if name.trim_ascii().eq_ignore_ascii_case(b"content-length") {
        if is_cut || content_length.is_some() {
            return Err(Ambiguous);
        }
        *content_length = Some(number(value, 10)?);
    } else if name.trim_ascii().eq_ignore_ascii_case(b"transfer-encoding") {
        if is_cut || *chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Ambiguous);
        }
        *chunked = true;
    }
    Ok(())
}

fn chunk_size(line: &[u8], is_cut: bool) -> Result<u64, Ambiguous> {
    if is_cut {
        return Err(Ambiguous);
    }
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    number(size.trim_ascii_end(), 16)
}

/// Digits only: `from_str_radix` alone would take a sign.
fn number(digits: &[u8], radix: u32) -> Result<u64, Ambiguous> {
    let text = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    if text.is_empty() || !text.chars().all(|digit| digit.is_digit(radix)) {
        return Err(Ambiguous);
    }
    u64::from_str_radix(text, radix).map_err(|_| Ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\na\nb\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ];

    #[test]
    fn clear_messages_end_between_messages_however_they_are_cut() {
        for text in CLEAR {
            for cut in 1..text.len() {
                let mut framing = Framing::new();
                for piece in text.as_bytes().chunks(cut) {
                    assert_eq!(framing.scan(piece), Scan::Clear, "{text} in {cut}");
                }
                assert!(!framing.is_mid_message(), "{text} in {cut}");
            }
        }
    }

    #[test]
    fn ambiguous_messages() {
        let long = format!("Content-Length: {:0>200}", 1);
        let heads = [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length : 1\r\nContent-Length: 1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "A: b\r\n c\r\n",
            "A: b\r\n\tc\r\n",
            "A: b\n",
            "A: b\r\n\n",
            &format!("{long}\r\n"),
        ];
        for head in heads {
            let text = format!("POST / HTTP/1.1\r\n{head}");
            let got = Framing::new().scan(text.as_bytes());
            assert_eq!(got, Scan::BadHead(text.len() - 1), "{head:?}");
        }
        let bodies =
            ["x\r\n", "\r\n", "-1\r\n", "1\nab", "1\r\nabc\r\n", "1\r\na\n", "ffffffffffffffff1\r\n", "0\r\n\n"];
        for body in bodies {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(Framing::new().scan(text.as_bytes()), Scan::BadBody, "{body:?}");
        }
    }
}
