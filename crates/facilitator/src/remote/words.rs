//! A facilitator's words for the log: so much of them, and nothing that could be a secret.

/// How much of what a facilitator says is logged, in characters.
const WORDS_MAX: usize = 200;
/// An address has 42. Whatever is longer without a space may be a signature or a token.
const WORD_MAX: usize = 42;

/// The beginning, in one line, with long words left out.
pub(super) fn short(text: &str) -> String {
    let is_word = |char: char| char.is_ascii_alphanumeric() || "+/=_-.".contains(char);
    let mut short = String::new();
    let mut word = String::new();
    let end = |word: &mut String, short: &mut String| {
        short.push_str(if word.chars().count() > WORD_MAX { "***" } else { word });
        word.clear();
    };
    for char in text.chars().take(4 * WORDS_MAX) {
        if is_word(char) {
            word.push(char);
            continue;
        }
        end(&mut word, &mut short);
        short.push(if char.is_control() { ' ' } else { char });
    }
    end(&mut word, &mut short);
    short.chars().take(WORDS_MAX).collect()
}

/// Host and port of a URL: the rest may hold an access key.
pub(super) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

/// An error with its causes. The URL may hold an access key and is left out.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    short(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_plain_and_without_secrets() {
        let signature = format!("0x{}", "ab".repeat(65));
        for (text, want) in [
            ("insufficient funds", "insufficient funds".to_owned()),
            ("two\nlines\u{1b}[31m", "two lines [31m".to_owned()),
            (&format!("signature {signature} is bad"), "signature *** is bad".to_owned()),
            ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig", "Bearer ***".to_owned()),
            ("0x209693Bc6afc0C5328bA36FaF03C514EF312287C", "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".to_owned()),
            (&"a ".repeat(500), "a ".repeat(100)),
        ] {
            assert_eq!(short(text), want);
        }
    }

    #[test]
    fn hosts() {
        for (url, want) in [
            ("https://x402.org/facilitator", "x402.org"),
            ("http://key:secret@127.0.0.1:4021/?k=1", "127.0.0.1:4021"),
            ("https://a.example?key=1", "a.example"),
        ] {
            assert_eq!(host(url), want);
        }
    }
}
