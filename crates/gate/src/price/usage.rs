//! Finding what the upstream reports in an answer that is only passing by: byte for byte, in memory that does not grow with it.

/// Deeper than this nothing is looked for.
const DEPTH_MAX: usize = 64;
/// No key of a pointer is longer.
const KEY_MAX: usize = 256;
/// As many digits as 64 bits have.
const DIGITS_MAX: usize = 20;
const DATA: &[u8] = b"data:";

/// Where the upstream says how much was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    /// In a header of its answer, in small letters.
    Header(String),
    /// In a trailer, in small letters.
    Trailer(String),
    /// In its JSON, or in the last event of its stream that has it.
    Body(Pointer),
}

/// A JSON pointer (RFC 6901), to a whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Reads `/usage/total_tokens`. `None` for what is no pointer to a value inside of a document.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let keys = text.strip_prefix('/')?.split('/').map(unescaped).collect::<Option<Vec<_>>>()?;
        let fits = keys.len() <= DEPTH_MAX && keys.iter().all(|key| key.len() <= KEY_MAX);
        fits.then_some(Self(keys))
    }
}

fn unescaped(key: &str) -> Option<String> {
    let mut parts = key.split('~');
    let mut whole = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        whole.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        whole.push_str(rest);
    }
    Some(whole)
}

/// A number of the upstream's: digits alone, within 64 bits.
pub(super) fn whole(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.len() <= DIGITS_MAX && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Looks for one number in a body.
#[derive(Clone, Debug)]
pub(super) struct Search {
    document: Document,
    events: Option<Line>,
    /// The last line ended with CR: a LF that follows is of the same end.
    after_cr: bool,
}

/// Where a line of an event stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So much of `data:` was there, and nothing else.
    Begins(usize),
    /// Behind `data:`.
    Data,
    /// Of another field.
    Other,
}

impl Search {
    pub(super) fn new(pointer: Pointer, is_events: bool) -> Self {
        let events = is_events.then_some(Line::Begins(0));
        Self { document: Document { pointer, ..Document::default() }, events, after_cr: false }
    }

    /// What was found last.
    pub(super) const fn found(&self) -> Option<u64> {
        self.document.found
    }

    pub(super) fn read(&mut self, data: &[u8]) {
        for byte in data {
            match self.events {
                None => self.document.read(*byte),
                Some(line) => self.events = Some(self.in_line(line, *byte)),
            }
        }
    }

    /// The body is over: a number that nothing follows ends here.
    pub(super) fn end(&mut self) {
        self.document.read(b'\n');
    }

    fn in_line(&mut self, line: Line, byte: u8) -> Line {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        if matches!(byte, b'\r' | b'\n') {
            if byte == b'\n' && after_cr {
                return line;
            }
            match line {
                // An empty line ends the event, and with it its document.
                Line::Begins(0) => self.document.restart(),
                // Lines of the same event are one text, with line feeds between.
                Line::Data => self.document.read(b'\n'),
                Line::Begins(_) | Line::Other => {}
            }
            return Line::Begins(0);
        }
        match line {
            Line::Data => {
                self.document.read(byte);
                Line::Data
            }
            Line::Begins(length) if DATA.get(length) == Some(&byte) => match length.saturating_add(1) {
                length if length == DATA.len() => Line::Data,
                length => Line::Begins(length),
            },
            Line::Begins(_) | Line::Other => Line::Other,
        }
    }
}

/// A document of JSON, or several one after the other, read byte for byte. It is not judged: what is no JSON is read as well as may be.
#[derive(Clone, Debug, Default)]
struct Document {
    pointer: Pointer,
    found: Option<u64>,
    open: Vec<Level>,
    /// Levels beyond [`DEPTH_MAX`].
    beyond: usize,
    token: Token,
    key: Key,
}

/// An object or a list that is open.
#[derive(Clone, Copy, Debug)]
struct Level {
    kind: Kind,
    /// Whether the way to here, with the key or the position that is being read, is the pointer's.
    fits: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Whether the next text is a key.
    Object { is_key: bool },
    /// The position in it.
    List(u64),
}

#[derive(Clone, Debug, Default)]
enum Token {
    #[default]
    Between,
    Text(Escape),
    /// A number, as far as it may be one that is looked for.
    Number(Vec<u8>),
    /// `true`, `null`, or a number that nobody looks for.
    Word,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    Begun,
    /// So many digits of a code point, and what they come to.
    Hex(u8, u32),
}

/// The key that is being read.
#[derive(Clone, Debug, Default)]
struct Key {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Default for Pointer {
    fn default() -> Self {
        Self(vec![String::new()])
    }
}

impl Document {
    /// Forgets what is open; what was found stays.
    fn restart(&mut self) {
        self.open.clear();
        self.beyond = 0;
        self.token = Token::Between;
    }

    fn read(&mut self, byte: u8) {
        match std::mem::take(&mut self.token) {
            Token::Text(escape) => return self.in_text(escape, byte),
            Token::Number(mut digits) if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+') => {
                digits.push(byte);
                self.token = if digits.len() > DIGITS_MAX { Token::Word } else { Token::Number(digits) };
                return;
            }
            Token::Number(digits) => self.found = whole(&digits).or(self.found),
            Token::Word if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+') => {
                self.token = Token::Word;
                return;
            }
            Token::Word | Token::Between => {}
        }
        self.between(byte);
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b'{' => self.enter(Kind::Object { is_key: true }),
            b'[' => self.enter(Kind::List(0)),
            b'}' | b']' => self.leave(),
            b',' => self.next(),
            b':' => {
                if let Some(Level { kind: Kind::Object { is_key }, .. }) = self.open.last_mut() {
                    *is_key = false;
                }
            }
            b'"' => {
                self.key = Key::default();
                self.token = Token::Text(Escape::None);
            }
            b'0'..=b'9' if self.is_here() => self.token = Token::Number(vec![byte]),
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => self.token = Token::Word,
            _ => {}
        }
    }

    /// Whether a value that begins now is the one that is looked for.
    fn is_here(&self) -> bool {
        let is_value = !self.open.last().is_some_and(|level| matches!(level.kind, Kind::Object { is_key: true }));
        is_value
            && self.beyond == 0
            && self.open.len() == self.pointer.0.len()
            && self.open.last().is_some_and(|level| level.fits)
    }

    fn enter(&mut self, kind: Kind) {
        if self.open.len() >= DEPTH_MAX {
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        let fits = match kind {
            Kind::Object { .. } => false,
            Kind::List(position) => self.is_next(position.to_string().as_bytes(), self.open.len()),
        };
        self.open.push(Level { kind, fits });
    }

    fn leave(&mut self) {
        match self.beyond.checked_sub(1) {
            Some(beyond) => self.beyond = beyond,
            None => drop(self.open.pop()),
        }
    }

    fn next(&mut self) {
        if self.beyond > 0 {
            return;
        }
        let Some(level) = self.open.last().copied() else { return };
        let next = match level.kind {
            Kind::Object { .. } => Level { kind: Kind::Object { is_key: true }, fits: false },
            Kind::List(position) => {
                let position = position.saturating_add(1);
                let above = self.open.len().saturating_sub(1);
                let fits = self.is_next(position.to_string().as_bytes(), above);
                Level { kind: Kind::List(position), fits }
            }
        };
        if let Some(last) = self.open.last_mut() {
            *last = next;
        }
    }

    /// Whether the way through so many levels is the pointer's, and this key is its next.
    fn is_next(&self, key: &[u8], levels: usize) -> bool {
        let above = levels.checked_sub(1).and_then(|above| self.open.get(above));
        above.is_none_or(|level| level.fits)
            && self.pointer.0.get(levels).is_some_and(|wanted| wanted.as_bytes() == key)
    }

    fn in_text(&mut self, escape: Escape, byte: u8) {
        let escape = match (escape, byte) {
            (Escape::None, b'"') => return self.end_text(),
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::Begun, b'u') => Escape::Hex(0, 0),
            (Escape::Begun, _) => {
                self.key.push(match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                });
                Escape::None
            }
            (Escape::Hex(count, value), _) => self.in_code_point(count, value, byte),
            (Escape::None, _) => {
                self.key.push(byte);
                Escape::None
            }
        };
        self.token = Token::Text(escape);
    }

    fn in_code_point(&mut self, count: u8, value: u32, byte: u8) -> Escape {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        let value = value.saturating_mul(16).saturating_add(digit);
        if count < 3 {
            return Escape::Hex(count.saturating_add(1), value);
        }
        let mut utf8 = [0; 4];
        let read = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
        read.encode_utf8(&mut utf8).bytes().for_each(|byte| self.key.push(byte));
        Escape::None
    }

    fn end_text(&mut self) {
        let above = self.open.len().saturating_sub(1);
        let is_key = self.open.last().is_some_and(|level| matches!(level.kind, Kind::Object { is_key: true }));
        if !is_key || self.beyond > 0 {
            return;
        }
        let fits = !self.key.too_long && self.is_next(&self.key.bytes, above);
        if let Some(level) = self.open.last_mut() {
            level.fits = fits;
        }
    }
}

impl Key {
    fn push(&mut self, byte: u8) {
        if self.bytes.len() < KEY_MAX {
            self.bytes.push(byte);
        } else {
            self.too_long = true;
        }
    }
}

#[cfg(test)]
mod tests;
