//! The form of a route without its values, such as `/users/:id`: one entry in a catalogue for all of them.

/// How often a text is decoded before it is taken for hostile.
const DECODE_PASSES: usize = 5;

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATemplate {
    /// It does not start with a slash.
    #[error("must start with /")]
    Start,
    /// A character that catalogues refuse.
    #[error("may hold letters, digits and _ / : . - ~ % alone")]
    Character,
    /// A `%` without two hex digits, bytes that are no text, or escapes within escapes within escapes.
    #[error("holds a percent escape that cannot be decoded")]
    Escape,
    /// `..`, also when it is escaped.
    #[error("may not hold `..`, also not as %2e")]
    Dots,
    /// `://`, also when it is escaped.
    #[error("may not hold `://`, also not escaped")]
    Scheme,
}

/// Checks a template, decoded until nothing changes.
///
/// # Errors
/// [`NotATemplate`], for what a catalogue would drop without a word, or what would name another place than it seems to.
pub fn check_route_template(text: &str) -> Result<(), NotATemplate> {
    if !text.starts_with('/') {
        return Err(NotATemplate::Start);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b':' | b'.' | b'-' | b'~' | b'%');
    if !text.bytes().all(plain) {
        return Err(NotATemplate::Character);
    }
    let decoded = decode_all(text).ok_or(NotATemplate::Escape)?;
    if decoded.contains("..") {
        return Err(NotATemplate::Dots);
    }
    if decoded.contains("://") {
        return Err(NotATemplate::Scheme);
    }
    Ok(())
}

fn decode_all(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..DECODE_PASSES {
        let next = decode(text.as_bytes())?;
        if next == text {
            return Some(text);
        }
        text = next;
    }
    None
}

/// Decodes percent escapes once. `None` where one is broken or the bytes are no UTF-8.
pub(super) fn decode(mut rest: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        use NotATemplate as N;
        for (text, want) in [
            ("/", None),
            ("/users/:id", None),
            ("/users/:id/posts/:post_id", None),
            ("/v1.2/a-b~c", None),
            ("/a%20b", None),
            ("", Some(N::Start)),
            ("users/:id", Some(N::Start)),
            ("https://a/b", Some(N::Start)),
            ("%2fusers", Some(N::Start)),
            ("/users/*", Some(N::Character)),
            ("/users/{id}", Some(N::Character)),
            ("/users?id=1", Some(N::Character)),
            ("/us ers", Some(N::Character)),
            ("/üsers", Some(N::Character)),
            ("/users\\id", Some(N::Character)),
            ("/a/../b", Some(N::Dots)),
            ("/a/%2e%2e/b", Some(N::Dots)),
            ("/a/%2E%2e/b", Some(N::Dots)),
            ("/a/%2e./b", Some(N::Dots)),
            ("/a/.%2e/b", Some(N::Dots)),
            ("/a/%252e%252e/b", Some(N::Dots)),
            ("/a/%25252e./b", Some(N::Dots)),
            ("/a..b", Some(N::Dots)),
            ("/http://evil", Some(N::Scheme)),
            ("/http:%2f%2fevil", Some(N::Scheme)),
            ("/http%3a%252F/evil", Some(N::Scheme)),
            ("/a%", Some(N::Escape)),
            ("/a%2", Some(N::Escape)),
            ("/a%zz", Some(N::Escape)),
            ("/a%ff", Some(N::Escape)),
            ("/a%2525252525252e", Some(N::Escape)),
        ] {
            assert_eq!(check_route_template(text).err(), want, "{text}");
        }
    }
}
