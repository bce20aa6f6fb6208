//! Headers that belong to one connection and must not cross the proxy.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

/// An upstream's own reason phrase, in the extensions of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Reason(pub(crate) Bytes);

/// Fields that `Connection` may not take away: a caller could otherwise strip what the upstream or the gate relies on.
const KEPT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Removes what RFC 9110 section 7.6.1 calls connection-specific: the known fields and those that `Connection` names.
///
/// `Host`, `Content-Length` and `Content-Type` stay even when `Connection` names them. It sets nothing in their place: the
/// framing of the message is the engine's, derived from the body. Call it on a request before adding fields of one's own, or
/// the caller's `Connection` can take them away again.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none or one of them: one look at each name is cheaper than a search for each of these.
    let present: Vec<HeaderName> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    let named: Vec<HeaderName> = headers.get_all(header::CONNECTION).iter().flat_map(named_by).collect();
    for name in named.iter().chain(&present) {
        headers.remove(name);
    }
}

/// Fields that are hop-by-hop whether `Connection` names them or not; then credentials and challenges between a caller and this
/// proxy (`Proxy-Status` is not one of them).
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "proxy-authentication"
    )
}

/// The fields that a `Connection` field takes away.
pub(crate) fn named_by(connection: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let words = connection.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    // What most of them say is about the connection, and names nothing.
    let names = words.filter(|word| !word.eq_ignore_ascii_case(b"close") && !word.eq_ignore_ascii_case(b"keep-alive"));
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).filter(|name| !KEPT.contains(name))
}
