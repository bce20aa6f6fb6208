//! Words of headers that are the gate's alone.

use http::{HeaderMap, HeaderName};

/// Payment words of an upstream that must not pass: they would be taken for ours.
pub(super) fn strip_payment_words(headers: &mut HeaderMap) {
    strip(headers, is_payment_word);
}

/// What a caller says that his upstream must not read: payment words, and those that some upstreams take for another path or method
/// than the one that was matched.
pub(super) fn strip_callers_words(headers: &mut HeaderMap) {
    strip(headers, |name| is_payment_word(name) || REWRITES.iter().any(|word| reads(name, word, true)));
}

const REWRITES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-method-override", "x-http-method"];

/// Every word that is stripped begins with one of these, and few other names do.
fn may_be_stripped(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'p' | b's' | b'x'))
}

fn is_payment_word(name: &str) -> bool {
    const BEGIN: [&str; 3] = ["x-pay-", "x-payment", "payment-"];
    const ARE: [&str; 4] = ["x-402-signature", "x-402-nonce", "x-402-receipt", "sign-in-with-x"];
    BEGIN.iter().any(|word| reads(name, word, false)) || ARE.iter().any(|word| reads(name, word, true))
}

/// Whether a name begins with a word, or is it. CGI and its kin read an underscore as a hyphen.
fn reads(name: &str, word: &str, whole: bool) -> bool {
    let fits = if whole { name.len() == word.len() } else { name.len() >= word.len() };
    let as_read = |byte: u8| if byte == b'_' { b'-' } else { byte };
    fits && name.bytes().map(as_read).zip(word.bytes()).all(|(name, word)| name == word)
}

fn strip(headers: &mut HeaderMap, is_stripped: impl Fn(&str) -> bool) {
    let is_stripped = |name: &&HeaderName| may_be_stripped(name.as_str()) && is_stripped(name.as_str());
    let names: Vec<_> = headers.keys().filter(is_stripped).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
