//! One normal form of a request path, used for the route match and for the upstream alike.
//!
//! If the two ever saw different paths, a caller could be priced for one route and served by another.

use std::fmt;

/// The longest path and query together that [`CleanPath::parse`] accepts.
pub const PATH_AND_QUERY_MAX_BYTES: usize = 16 * 1024;

/// A path in normal form with the query as it came. Printing and parsing it again yields the same value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CleanPath {
    path: String,
    query: Option<String>,
}

/// Why a request target has no normal form. When several reasons apply, the first in this order of checks is named:
/// form, length, then the first offending byte or segment from the left, the query last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathRefusal {
    /// Asterisk-form, authority-form, or a path that does not start with a slash.
    #[error("the request target is neither origin-form nor absolute-form")]
    NotOriginForm,
    /// Path and query are longer than [`PATH_AND_QUERY_MAX_BYTES`].
    #[error("the request target is too long")]
    TooLong,
    /// A percent sign without two hex digits, or escapes that spell an overlong UTF-8 form.
    #[error("the path has a malformed percent-escape")]
    BadEscape,
    /// An escaped percent sign before two hex digits: an upstream that decodes twice would read another path.
    #[error("the path has an escape within an escape")]
    DoubleEscape,
    /// `%2F` or `%5C`: upstreams disagree on whether that separates segments.
    #[error("the path has an encoded separator")]
    EncodedSeparator,
    /// A control byte, plain (path or query) or escaped (path).
    #[error("the request target has a control byte")]
    ControlByte,
    /// A plain backslash, which some upstreams read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A dot segment with a parameter (`..;x`), which some upstreams read as a dot segment.
    #[error("the path has a dot segment with a parameter")]
    DotParameter,
    /// Dot segments lead above the root.
    #[error("the path climbs above the root")]
    AboveRoot,
}

impl PathRefusal {
    /// The stable code for the wire, the log and the docs.
    pub fn code(&self) -> &'static str {
        match self {
            PathRefusal::NotOriginForm => "path_not_origin_form",
            PathRefusal::TooLong => "path_too_long",
            PathRefusal::BadEscape => "path_bad_escape",
            PathRefusal::DoubleEscape => "path_double_escape",
            PathRefusal::EncodedSeparator => "path_encoded_separator",
            PathRefusal::ControlByte => "path_control_byte",
            PathRefusal::Backslash => "path_backslash",
            PathRefusal::DotParameter => "path_dot_parameter",
            PathRefusal::AboveRoot => "path_above_root",
        }
    }
}

impl CleanPath {
    /// Reads the target of a request, origin-form or absolute-form. The authority of an absolute-form is not looked at.
    ///
    /// Trailing slashes stay, reserved characters stay as they came (`%3A` and `:` remain two paths, as RFC 3986 has it),
    /// and nothing is decoded twice.
    pub fn parse(uri: &http::Uri) -> Result<CleanPath, PathRefusal> {
        if uri.scheme().is_none() && uri.authority().is_some() {
            return Err(PathRefusal::NotOriginForm);
        }
        CleanPath::parse_bytes(uri.path().as_bytes(), uri.query().map(str::as_bytes))
    }

    /// The path in normal form; it always starts with a slash and is plain ASCII.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query byte for byte, without the question mark. `Some("")` when there was a bare question mark.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Both, as they belong into a request line.
    pub fn path_and_query(&self) -> String {
        self.to_string()
    }

    fn parse_bytes(path: &[u8], query: Option<&[u8]>) -> Result<CleanPath, PathRefusal> {
        let Some(relative) = path.strip_prefix(b"/") else {
            return Err(PathRefusal::NotOriginForm);
        };
        // The normal form can be longer than what came, because plain bytes may become escapes; both are held to the limit,
        // or else printing and parsing again would not be the identity.
        let query_bytes = query.map_or(0, |query| query.len().saturating_add(1));
        if path.len().saturating_add(query_bytes) > PATH_AND_QUERY_MAX_BYTES {
            return Err(PathRefusal::TooLong);
        }
        let clean = match is_normal(relative) {
            // Nothing to decode, to fold or to refuse, as with most calls: the path is its own normal form.
            true => String::from_utf8_lossy(path).into_owned(),
            false => normalise(relative)?,
        };
        if clean.len().saturating_add(query_bytes) > PATH_AND_QUERY_MAX_BYTES {
            return Err(PathRefusal::TooLong);
        }
        Ok(CleanPath { path: clean, query: query.map(check_query).transpose()? })
    }
}

impl fmt::Display for CleanPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

fn check_query(query: &[u8]) -> Result<String, PathRefusal> {
    if query.iter().any(u8::is_ascii_control) {
        return Err(PathRefusal::ControlByte);
    }
    // `http::Uri` hands out `str` only; anything else here would be a byte that the request line cannot carry.
    match std::str::from_utf8(query) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(PathRefusal::BadEscape),
    }
}

/// Whether [`normalise`] would give back what it was given: plain characters alone, no empty and no dot segment but an empty one at
/// the end, and no parameter.
fn is_normal(relative: &[u8]) -> bool {
    let mut previous = b'/';
    for byte in relative.iter().copied() {
        match byte {
            b'/' | b'.' if previous == b'/' => return false,
            b'/' => {}
            b';' => return false,
            plain if is_unreserved(plain) || is_reserved_in_segment(plain) => {}
            _ => return false,
        }
        previous = byte;
    }
    true
}

/// Normalises a path that has lost its first slash.
fn normalise(relative: &[u8]) -> Result<String, PathRefusal> {
    let mut kept: Vec<String> = Vec::new();
    // Whether the normal form ends in a slash: after an empty or a dot segment at the end.
    let mut open = true;
    for raw in relative.split(|byte| *byte == b'/') {
        let segment = clean_segment(raw)?;
        open = true;
        match segment.as_str() {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(PathRefusal::AboveRoot)?;
            }
            other if is_dot_with_parameter(other) => return Err(PathRefusal::DotParameter),
            _ => {
                kept.push(segment);
                open = false;
            }
        }
    }
    let mut path = String::with_capacity(relative.len().saturating_add(1));
    for segment in &kept {
        path.push('/');
        path.push_str(segment);
    }
    if open {
        path.push('/');
    }
    Ok(path)
}

/// `.;x` and `..;x`, also with an escaped semicolon: servlet containers drop the parameter and then climb.
fn is_dot_with_parameter(segment: &str) -> bool {
    let name = segment.split_once(';').or_else(|| segment.split_once("%3B")).map(|(name, _)| name);
    matches!(name, Some("." | ".." | "" ) if !segment.is_empty())
}

fn clean_segment(raw: &[u8]) -> Result<String, PathRefusal> {
    let mut clean = String::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    let mut previous = 0_u8;
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (unescape(bytes.next(), bytes.next())?, true),
            b'\\' => return Err(PathRefusal::Backslash),
            plain => (plain, false),
        };
        if byte.is_ascii_control() {
            return Err(PathRefusal::ControlByte);
        }
        if escaped && matches!(byte, b'/' | b'\\') {
            return Err(PathRefusal::EncodedSeparator);
        }
        if is_overlong(previous, byte) {
            return Err(PathRefusal::BadEscape);
        }
        previous = byte;
        if is_unreserved(byte) || (!escaped && is_reserved_in_segment(byte)) {
            clean.push(char::from(byte));
        } else {
            clean.push_str(&format!("%{byte:02X}"));
        }
    }
    match has_double_escape(&clean) {
        true => Err(PathRefusal::DoubleEscape),
        false => Ok(clean),
    }
}

fn has_double_escape(clean: &str) -> bool {
    let digits = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    clean.split("%25").skip(1).any(digits)
}

fn unescape(high: Option<u8>, low: Option<u8>) -> Result<u8, PathRefusal> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => u8::try_from(high * 16 + low).map_err(|_| PathRefusal::BadEscape),
        _ => Err(PathRefusal::BadEscape),
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What RFC 3986 allows plain in a segment beside the unreserved: sub-delims, colon, at.
fn is_reserved_in_segment(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

/// Two-byte, three-byte and four-byte spellings of a shorter character, the old way to hide a slash or a dot.
fn is_overlong(previous: u8, byte: u8) -> bool {
    matches!((previous, byte), (_, 0xC0 | 0xC1) | (0xE0, 0x80..=0x9F) | (0xF0, 0x80..=0x8F))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_for_normal_is() {
        let pieces: [&[u8]; 12] = [b"", b"/", b"a", b".", b"..", b"%41", b"%2e", b";", b"~", b"!", b"\xC3", b" "];
        let mut normal = 0;
        for at in 0..pieces.len().pow(4) {
            let piece = |place: u32| pieces[at / pieces.len().pow(place) % pieces.len()];
            let path = [piece(0), piece(1), piece(2), piece(3)].concat();
            if is_normal(&path) {
                normal += 1;
                let expected = format!("/{}", String::from_utf8_lossy(&path));
                assert_eq!(normalise(&path), Ok(expected), "{path:?}");
            }
        }
        assert!(normal > 100, "{normal}");
    }

    #[test]
    fn bytes_that_a_uri_cannot_hold_are_refused_too() {
        type Row = (&'static [u8], Option<&'static [u8]>, PathRefusal);
        let cases: &[Row] = &[
            (b"", None, PathRefusal::NotOriginForm),
            (b"*", None, PathRefusal::NotOriginForm),
            (b"/a\0b", None, PathRefusal::ControlByte),
            (b"/a\x7f", None, PathRefusal::ControlByte),
            (b"/a\r\nb", None, PathRefusal::ControlByte),
            (b"/a\tb", None, PathRefusal::ControlByte),
            (b"/a\\b", None, PathRefusal::Backslash),
            (b"/a", Some(b"x\0"), PathRefusal::ControlByte),
            (b"/a", Some(b"x\n"), PathRefusal::ControlByte),
            (b"/a", Some(b"x\x7f"), PathRefusal::ControlByte),
            (b"/\xC0\xAF", None, PathRefusal::BadEscape),
        ];
        for (path, query, expected) in cases {
            assert_eq!(CleanPath::parse_bytes(path, *query), Err(*expected), "{path:?} {query:?}");
        }
    }
}
