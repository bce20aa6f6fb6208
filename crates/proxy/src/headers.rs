//! Headers that belong to one connection and must not cross the proxy.

use http::HeaderMap;
use http::header::{self, HeaderName};

/// Fields that are hop-by-hop whether `Connection` names them or not.
const ALWAYS: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Credentials and challenges between a caller and this proxy; `Proxy-Status` is not one of them.
const PROXY_AUTH: [HeaderName; 4] = [
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-authentication"),
];

/// Fields that `Connection` may not take away: a caller could otherwise strip what the upstream or the gate relies on.
const KEPT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Removes what RFC 9110 section 7.6.1 calls connection-specific: the known fields and those that `Connection` names.
///
/// `Host`, `Content-Length` and `Content-Type` stay even when `Connection` names them. It sets nothing in their place: the
/// framing of the message is the engine's, derived from the body. Call it on a request before adding fields of one's own, or
/// the caller's `Connection` can take them away again.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().filter(|name| !KEPT.contains(name)) {
        headers.remove(name);
    }
    for name in ALWAYS.iter().chain(PROXY_AUTH.iter()) {
        headers.remove(name);
    }
}
