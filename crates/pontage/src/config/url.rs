//! Addresses on the web. Messages never repeat one: many hold an access key.

use http::Uri;

use super::reader::{Node, Reader};

const MAX_CHARS: usize = 2_000;

/// An `http` or `https` address.
pub(super) fn url<'d>(reader: &mut Reader<'d>, node: &Node<'d>, fix: &str) -> Option<String> {
    let text = reader.text(node, fix)?;
    match check_url(&text.value) {
        Ok(()) => Some(text.value),
        Err(why) => reader.mistake(&node.at, format!("the address {why}."), fix),
    }
}

/// An `https` address.
pub(super) fn https<'d>(reader: &mut Reader<'d>, node: &Node<'d>, fix: &str) -> Option<String> {
    let url = url(reader, node, fix)?;
    if !url.starts_with("https://") {
        return reader.mistake(&node.at, "the address does not start with https://.", fix);
    }
    Some(url)
}

/// An origin: `http` or `https`, host and port, no path. The answer has no slash at its end.
pub(super) fn origin<'d>(reader: &mut Reader<'d>, node: &Node<'d>, fix: &str) -> Option<String> {
    let text = reader.text(node, fix)?;
    if let Err(why) = check_url(&text.value) {
        return reader.mistake(&node.at, format!("the address {why}."), fix);
    }
    match origin_of(&text.value) {
        Some(origin) if text.value.trim_end_matches('/').eq_ignore_ascii_case(&origin) => Some(origin),
        _ => reader.mistake(&node.at, "the address is more than an origin: it has a path, a query or a user.", fix),
    }
}

/// The origin of a checked address, in lower case.
pub(super) fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?.as_str();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(format!("{}://{host}", uri.scheme_str()?).to_ascii_lowercase())
}

/// Why a text is no `http` or `https` address, as the end of a sentence.
pub(super) fn check_url(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_CHARS {
        return Err("is longer than 2,000 characters");
    }
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("does not start with http:// or https://");
    }
    let authority = uri.authority().ok_or("names no host")?;
    if authority.host().is_empty() {
        return Err("names no host");
    }
    let port_is_wrong = match authority.port_u16() {
        Some(port) => port == 0,
        None => !authority.as_str().ends_with(authority.host()),
    };
    if port_is_wrong { Err("has a wrong port") } else { Ok(()) }
}
