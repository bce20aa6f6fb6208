//! Heads on their way out.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use http::StatusCode;

thread_local! {
    /// What the last message was written into, for the next one: most messages are written at once.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The second that was printed last, and how.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// More is not kept for the next message.
const SPARE_MAX_BYTES: usize = 64 * 1024;

/// Bytes on their way out, in memory that messages of a core hand on to one another.
#[derive(Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn new() -> Out {
        Out(SPARE.take())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut spare = std::mem::take(&mut self.0);
        if spare.capacity() > 0 && spare.capacity() <= SPARE_MAX_BYTES {
            spare.clear();
            SPARE.set(spare);
        }
    }
}

pub(crate) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_length(out: &mut Vec<u8>, bytes: u64) {
    write_field(out, "content-length", itoa::Buffer::new().format(bytes).as_bytes());
}

/// Whether a `Connection` field ends the connection.
pub(crate) fn is_close(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Lends the `Date` of this second.
pub(crate) fn with_date<T>(then: impl FnOnce(&[u8]) -> T) -> T {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    DATE.with_borrow_mut(|(second, printed)| {
        if *second != now {
            *printed = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
            *second = now;
        }
        then(printed.as_bytes())
    })
}

/// The answer to what is no request.
pub(crate) fn error_answer(status: StatusCode) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut out =
        format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\ncontent-length: 0\r\n", status.as_str()).into_bytes();
    with_date(|date| write_field(&mut out, "date", date));
    out.extend_from_slice(b"\r\n");
    out
}
