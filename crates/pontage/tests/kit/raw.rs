//! A client that can break off, and that sends what no library would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::Answer;

/// One connection to the gate.
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects and sends bytes as they are.
    pub(crate) fn send(url: &str, bytes: &[u8]) -> Self {
        let address = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the gate listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        stream.write_all(bytes).expect("the gate reads");
        Self(stream)
    }

    /// A GET with headers.
    pub(crate) fn get(url: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut text = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Self::send(url, text.as_bytes())
    }

    /// Reads until `what` has come, and returns everything so far.
    pub(crate) fn read_until(&mut self, what: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0; 1];
        while !String::from_utf8_lossy(&all).contains(what) {
            match self.0.read(&mut byte) {
                Ok(1) => all.push(byte[0]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Everything up to the end, however it comes.
    pub(crate) fn read_all(&mut self) -> String {
        let mut all = Vec::new();
        // A reset is an end as well; what came before it counts.
        drop(self.0.read_to_end(&mut all));
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Sends more on the same connection. `false` when the gate has closed it.
    pub(crate) fn more(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// One answer, up to its length or else to the end. `None` when no whole head came. Nothing may be in flight behind it.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut all = Vec::new();
        let mut bytes = [0; 8192];
        let body = loop {
            if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let count = self.0.read(&mut bytes).ok().filter(|count| *count > 0)?;
            all.extend_from_slice(&bytes[..count]);
        };
        let head = String::from_utf8_lossy(&all[..body]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let headers: std::collections::BTreeMap<_, _> =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(usize::MAX);
        while all.len() - body < length {
            match self.0.read(&mut bytes) {
                Ok(count @ 1..) => all.extend_from_slice(&bytes[..count]),
                _ => break,
            }
        }
        Some(Answer { status, headers, body: all.split_off(body) })
    }

    /// Leaves.
    pub(crate) fn hang_up(self) {
        drop(self.0);
    }
}
