//! An upstream that takes and gives as much as it is asked to, byte by byte known to both ends, and events one at a time.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

const BLOCK: usize = 1024 * 1024;

/// How many events a stream has.
pub(crate) const EVENTS: usize = 20;

/// A stream of bytes that both ends know: one block of noise again and again, each with its own number at its start.
pub(crate) struct Noise(Vec<u8>);

impl Noise {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (0..BLOCK / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self(words.collect())
    }

    fn stamp(&mut self, number: u64) {
        self.0[..8].copy_from_slice(&number.to_le_bytes());
    }

    /// Writes the first `bytes` of it.
    pub(crate) fn write(mut self, to: &mut impl Write, bytes: u64) -> std::io::Result<()> {
        let block = BLOCK as u64;
        for number in 0..bytes.div_ceil(block) {
            self.stamp(number);
            let length = usize::try_from((bytes - number * block).min(block)).unwrap();
            to.write_all(&self.0[..length])?;
        }
        Ok(())
    }

    /// Reads `bytes` of it, and says how many came as they should.
    pub(crate) fn read(mut self, from: &mut impl Read, bytes: u64) -> u64 {
        let block = BLOCK as u64;
        let mut came = vec![0; BLOCK];
        for number in 0..bytes.div_ceil(block) {
            self.stamp(number);
            let length = usize::try_from((bytes - number * block).min(block)).unwrap();
            if from.read_exact(&mut came[..length]).is_err() || came[..length] != self.0[..length] {
                return number * block;
            }
        }
        bytes
    }
}

/// How many events may have been sent.
type Allowed = Arc<(Mutex<usize>, Condvar)>;

/// The upstream. The last segment of the path is what it does: `up` takes a body and answers how many of its bytes were right, a
/// number is how many bytes it answers with, `events` sends an event whenever it is allowed to, anything else is served at once.
pub(crate) struct Streams {
    port: u16,
    allowed: Allowed,
}

impl Streams {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let allowed = Allowed::default();
        let shared = Arc::clone(&allowed);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { port, allowed }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Allows this many events in all.
    pub(crate) fn allow(&self, events: usize) {
        *self.allowed.0.lock().unwrap() = events;
        self.allowed.1.notify_all();
    }
}

fn serve(stream: &TcpStream, allowed: &Allowed) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((word, length)) = head(&mut reader) {
        // The gate may have broken it off, which ends the connection as well.
        if answer(stream, &mut reader, &word, length, allowed).is_err() {
            return;
        }
    }
}

fn head(reader: &mut impl std::io::BufRead) -> Option<(String, u64)> {
    let (mut word, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        match (&word, line.trim().split_once(':')) {
            (None, _) => word = line.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).map(str::to_owned),
            (_, Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?
            }
            (_, Some(_)) => {}
            (_, None) => return word.map(|word| (word, length)),
        }
    }
}

fn answer(
    mut stream: &TcpStream,
    reader: &mut impl Read,
    word: &str,
    length: u64,
    allowed: &Allowed,
) -> std::io::Result<()> {
    match (word, word.parse::<u64>()) {
        ("up", _) => {
            let right = Noise::new().read(reader, length).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{right}", right.len())
        }
        (_, Ok(bytes)) => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n")?;
            Noise::new().write(&mut stream, bytes)
        }
        ("events", _) => events(stream, allowed),
        _ => {
            std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nserved")
        }
    }
}

fn events(mut stream: &TcpStream, allowed: &Allowed) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for number in 1..=EVENTS {
        let may = allowed.0.lock().unwrap();
        let may = allowed.1.wait_timeout_while(may, Duration::from_secs(30), |may| *may < number).unwrap();
        if may.1.timed_out() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        drop(may);
        let event = format!("data: {number}\n\n");
        write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
