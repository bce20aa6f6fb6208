//! Hop-by-hop fields: one row per case, what is left last.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proxy::strip_hop_by_hop;

type Row = (&'static [(&'static str, &'static str)], &'static [&'static str]);
const ROWS: &[Row] = &[
    (&[("x-a", "1")], &["x-a"]),
    (&[("connection", "close"), ("x-a", "1")], &["x-a"]),
    (&[("connection", "x-a"), ("x-a", "1"), ("x-b", "1")], &["x-b"]),
    (&[("connection", "X-A , x-b"), ("x-a", "1"), ("x-b", "1"), ("x-c", "1")], &["x-c"]),
    (&[("connection", "x-a"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "1")], &[]),
    (&[("connection", "x-a"), ("x-a", "1"), ("x-a", "2")], &[]),
    (&[("connection", ",, ,x-a,"), ("x-a", "1")], &[]),
    (&[("connection", "b@d, x-a"), ("x-a", "1")], &[]),
    (&[("connection", ""), ("x-a", "1")], &["x-a"]),
    (&[("connection", "connection"), ("x-a", "1")], &["x-a"]),
    (&[("keep-alive", "timeout=5")], &[]),
    (&[("proxy-connection", "keep-alive")], &[]),
    (&[("te", "trailers")], &[]),
    (&[("trailer", "x-a"), ("x-a", "1")], &["x-a"]),
    (&[("transfer-encoding", "chunked")], &[]),
    (&[("upgrade", "websocket"), ("connection", "upgrade")], &[]),
    (&[("upgrade", "h2c"), ("http2-settings", "x")], &[]),
    (&[("proxy-authorization", "Basic x")], &[]),
    (&[("proxy-authenticate", "Basic")], &[]),
    (&[("proxy-authentication-info", "x")], &[]),
    (&[("proxy-status", "x")], &["proxy-status"]),
    (&[("authorization", "Bearer x")], &["authorization"]),
    (&[("connection", "authorization"), ("authorization", "Bearer x")], &[]),
    (
        &[
            ("connection", "host, content-length, content-type"),
            ("host", "a"),
            ("content-length", "1"),
            ("content-type", "b"),
        ],
        &["content-length", "content-type", "host"],
    ),
    (&[("via", "1.1 a"), ("forwarded", "for=b")], &["forwarded", "via"]),
];

#[test]
fn hop_by_hop() {
    for (fields, expected) in ROWS {
        let mut headers = HeaderMap::new();
        for (name, value) in *fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, *expected, "{fields:?}");
    }
}
