//! Path patterns of routes.

use std::borrow::Cow;
use std::fmt;

/// A path pattern: `*` stands for one segment (`a*` for a segment that starts with `a`), `:name` for one segment, `**` for any
/// number of segments, and a trailing `/*` for everything beneath and the folder itself.
///
/// Matching ignores ASCII case, escaping, a trailing slash and `;parameters` of a segment: many upstreams do, and a path that the
/// upstream takes for the paid one must be paid. What is forwarded is still the path as it came, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Lower-case parts between the stars; one part alone is a literal.
    One(Vec<String>),
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternRefusal {
    /// It does not start with a slash.
    #[error("must start with /")]
    NoSlash,
    /// `.` or `..`, which a normalised path never holds.
    #[error("holds a . or .. segment, which no normalised path has")]
    DotSegment,
    /// A query, fragment, space, control character or backslash.
    #[error("holds a character that no normalised path has (space, control, backslash, ? or #)")]
    BadCharacter,
    /// `//`, which a normalised path never holds.
    #[error("holds an empty segment (//), which no normalised path has")]
    EmptySegment,
    /// A `%` that is not followed by two hex digits, or an escaped separator, which no normalised path has.
    #[error("holds a malformed escape or an escaped separator, which no normalised path has")]
    BadEscape,
    /// `;parameters`, which matching ignores.
    #[error("holds ;parameters, which matching ignores")]
    Parameters,
    /// `**` beside other characters in one segment.
    #[error("must have ** as a segment of its own")]
    PartialAny,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternRefusal`] for a pattern that could never match or would not match what it seems to.
    pub fn parse(text: &str) -> Result<Self, PatternRefusal> {
        let body = text.strip_prefix('/').ok_or(PatternRefusal::NoSlash)?;
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '?' | '#')) {
            return Err(PatternRefusal::BadCharacter);
        }
        let body = body.strip_suffix('/').unwrap_or(body);
        let parts: Vec<_> = if body.is_empty() { Vec::new() } else { body.split('/').collect() };
        let last = parts.len().saturating_sub(1);
        let mut segments = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            segments.push(match part {
                "" => return Err(PatternRefusal::EmptySegment),
                "." | ".." => return Err(PatternRefusal::DotSegment),
                "**" => Segment::Any,
                "*" if at == last => Segment::Any,
                name if name.contains("**") => return Err(PatternRefusal::PartialAny),
                name if name.starts_with(':') => Segment::One(vec![String::new(), String::new()]),
                glob => Segment::One(glob.split('*').map(literal).collect::<Result<_, _>>()?),
            });
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Whether a normalised path is covered.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        covers(&self.segments, Some(path).filter(|path| !path.is_empty()))
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern's literal as [`bare`] makes a path's.
fn literal(text: &str) -> Result<String, PatternRefusal> {
    let decoded = decode(text).ok_or(PatternRefusal::BadEscape)?;
    if decoded.contains(['/', '\\', '\0']) {
        return Err(PatternRefusal::BadEscape);
    }
    if decoded.contains(';') {
        return Err(PatternRefusal::Parameters);
    }
    Ok(decoded.to_ascii_lowercase())
}

/// A path segment decoded once, in lower case, without its `;parameters`.
fn bare(segment: &str) -> Cow<'_, str> {
    // Most segments are so already, and every call is matched with every route before its own.
    if !segment.bytes().any(|byte| matches!(byte, b'%' | b';') || byte.is_ascii_uppercase()) {
        return Cow::Borrowed(segment);
    }
    let decoded = decode(segment).unwrap_or_else(|| segment.to_owned()).to_ascii_lowercase();
    let before = decoded.split([';', '?', '#']).next().unwrap_or_default().trim();
    // A segment is never empty, or what stands for any one segment would not cover it.
    if before.is_empty() { Cow::Owned(decoded) } else { Cow::Owned(before.to_owned()) }
}

/// Percent-decodes once. `None` for a `%` without two hex digits.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(
            u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?, 16).ok()?,
        );
        rest = after;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Walks the pattern and the path once, remembering the last `**`: linear but for the length of what a `**` took back. `None` is a path
/// with no segment left.
fn covers(pattern: &[Segment], path: Option<&str>) -> bool {
    let (mut p, mut left) = (0usize, path);
    let mut retry: Option<(usize, Option<&str>)> = None;
    loop {
        match (pattern.get(p), left) {
            (None, None) => return true,
            (Some(Segment::Any), _) => {
                retry = Some((p, left));
                p = p.saturating_add(1);
                continue;
            }
            (Some(Segment::One(parts)), Some(path)) => {
                let (segment, after) = first(path);
                if one(parts, &bare(segment)) {
                    p = p.saturating_add(1);
                    left = after;
                    continue;
                }
            }
            (None | Some(Segment::One(_)), _) => {}
        }
        match retry {
            Some((any, Some(path))) => {
                let (_, after) = first(path);
                left = after;
                retry = Some((any, after));
                p = any.saturating_add(1);
            }
            Some((_, None)) | None => return false,
        }
    }
}

/// The first segment of a path, and what follows it.
fn first(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, after)) => (segment, Some(after)),
        None => (path, None),
    }
}

/// Whether a segment is the parts with anything between them. A star alone does not stand for an empty segment.
fn one(parts: &[String], segment: &str) -> bool {
    let Some((first, rest)) = parts.split_first() else { return false };
    let Some((last, middle)) = rest.split_last() else { return first == segment };
    let Some(mut left) = segment.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some((_, after)) = left.split_once(part.as_str()) else { return false };
        left = after;
    }
    left.ends_with(last.as_str()) && !segment.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn match_table() {
        for (pattern, path, want) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/paid", "/paid", true),
            ("/paid", "/PAID", true),
            ("/paid", "/paid/", true),
            ("/paid", "/paid;v=1", true),
            ("/paid", "/paid%3Bv=1", true),
            ("/paid", "/paid/x", false),
            ("/x:generate", "/x%3Agenerate", true),
            ("/@me", "/%40me", true),
            ("/a,b", "/a%2Cb", true),
            ("/caf\u{e9}", "/caf%C3%A9", true),
            ("/%61", "/a", true),
            ("/{id}", "/%7Bid%7D", true),
            ("/a", "/%2561", false),
            ("/paid", "/paidx", false),
            ("/paid/*", "/paid", true),
            ("/paid/*", "/paid/", true),
            ("/paid/*", "/paid/a", true),
            ("/paid/*", "/paid/a/b", true),
            ("/paid/*", "/paidx", false),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/c", false),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a/**/c", "/a/b/b/c/d", false),
            ("/**/x/**/y", "/a/x/b/x/y", true),
            ("/users/:id", "/users/7", true),
            ("/users/:id", "/users", false),
            ("/v1/img-*", "/v1/IMG-9", true),
            ("/v1/img-*", "/v1/im", false),
            ("/v1/*.json", "/v1/a.json", true),
            ("/v1/a*b*c", "/v1/axxbyyc", true),
            ("/v1/a*b*c", "/v1/axxc", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn refusal_table() {
        for (text, want) in [
            ("paid", PatternRefusal::NoSlash),
            ("", PatternRefusal::NoSlash),
            ("/a//b", PatternRefusal::EmptySegment),
            ("/a/../b", PatternRefusal::DotSegment),
            ("/a b", PatternRefusal::BadCharacter),
            ("/a?b", PatternRefusal::BadCharacter),
            ("/a\\b", PatternRefusal::BadCharacter),
            ("/a**", PatternRefusal::PartialAny),
            ("/a;v=1", PatternRefusal::Parameters),
            ("/a%3Bb", PatternRefusal::Parameters),
            ("/a%2Fb", PatternRefusal::BadEscape),
            ("/a%5cb", PatternRefusal::BadEscape),
            ("/a%", PatternRefusal::BadEscape),
            ("/a%zz", PatternRefusal::BadEscape),
            ("/a%+1", PatternRefusal::BadEscape),
        ] {
            assert_eq!(Pattern::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn many_stars_stay_fast() {
        let pattern = Pattern::parse(&format!("/{}z", "**/a/".repeat(40))).unwrap();
        assert!(!pattern.matches(&"/a".repeat(2_000)));
    }
}
