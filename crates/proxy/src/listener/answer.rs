//! The head of an answer.

use http::StatusCode;
use http::header;
use http::response::Parts;

use super::wire::Asked;
use crate::h1::{Coding, Out, is_close, with_date, write_field, write_length};
use crate::headers::Reason;

/// Writes an answer's head, and says how its body is framed and whether the connection lives on.
///
/// The framing is derived from the body (`exact_bytes`, where they are known) and set here, as is `Connection`; a `Date` is
/// added where there is none. `Content-Length` of the caller's own counts where the body does not know its length, and where
/// there is no body: what answers HEAD and 304 says what GET would.
pub(super) fn head(parts: &Parts, exact_bytes: Option<u64>, asked: Asked, keeps_alive: bool) -> (Out, Coding, bool) {
    let declared = parts.headers.get(header::CONTENT_LENGTH);
    let has_length = !parts.status.is_informational() && parts.status != StatusCode::NO_CONTENT;
    let has_body = has_length && !asked.is_head && parts.status != StatusCode::NOT_MODIFIED;
    let length = exact_bytes
        .filter(|bytes| *bytes > 0 || has_body)
        .or_else(|| declared.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()));
    let coding = match length {
        Some(length) => Coding::Length(length),
        None if exact_bytes == Some(0) => Coding::Length(0),
        None if asked.is_old => Coding::UntilClose,
        None => Coding::Chunked,
    };
    let closes = parts.headers.get_all(header::CONNECTION).iter().any(|value| is_close(value.as_bytes()));
    let keeps_alive = keeps_alive && !closes && !(has_body && coding == Coding::UntilClose);

    let mut head = Out::new();
    let out = &mut head.0;
    out.extend_from_slice(if asked.is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    match parts.extensions.get::<Reason>() {
        Some(Reason(reason)) => out.extend_from_slice(reason),
        None => out.extend_from_slice(parts.status.canonical_reason().unwrap_or("<none>").as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
    let mut has_date = false;
    for (name, value) in &parts.headers {
        if matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION) {
            continue;
        }
        has_date |= *name == header::DATE;
        write_field(out, name.as_str(), value.as_bytes());
    }
    match coding {
        _ if !has_length => {}
        Coding::Length(0) if !has_body => {}
        Coding::Length(length) => write_length(out, length),
        Coding::Chunked => write_field(out, "transfer-encoding", b"chunked"),
        Coding::UntilClose => {}
    }
    match (keeps_alive, asked.is_old) {
        (true, true) => write_field(out, "connection", b"keep-alive"),
        (false, false) => write_field(out, "connection", b"close"),
        _ => {}
    }
    if !has_date {
        with_date(|date| write_field(out, "date", date));
    }
    out.extend_from_slice(b"\r\n");
    (head, if has_body { coding } else { Coding::Length(0) }, keeps_alive)
}
