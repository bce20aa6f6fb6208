//! A client that can break off, and that sends what no library would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

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

    /// Leaves.
    pub(crate) fn hang_up(self) {
        drop(self.0);
    }
}
