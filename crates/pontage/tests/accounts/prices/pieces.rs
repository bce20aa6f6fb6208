//! An upstream that says what was used, and gives out its streams as a test lets it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::KB;

/// An upstream that gives out a stream piece by piece, as a test lets it, and says what was used.
pub(super) struct Pieces {
    port: u16,
    allowed: Arc<(Mutex<usize>, Condvar)>,
    pub(super) heads: Arc<Mutex<Vec<String>>>,
}

impl Pieces {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let allowed = Arc::new((Mutex::new(0), Condvar::new()));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen) = (Arc::clone(&allowed), Arc::clone(&heads));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, seen) = (Arc::clone(&shared), Arc::clone(&seen));
                thread::spawn(move || serve(stream, &shared, &seen));
            }
        });
        Self { port, allowed, heads }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets so many pieces of every stream go.
    pub(super) fn allow(&self, pieces: usize) {
        *self.allowed.0.lock().unwrap() = pieces;
        self.allowed.1.notify_all();
    }

    pub(super) fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().unwrap().to_ascii_lowercase()
    }
}

fn serve(stream: TcpStream, allowed: &(Mutex<usize>, Condvar), heads: &Mutex<Vec<String>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        heads.lock().unwrap().push(head);
        answer(&stream, &path, allowed)?;
    }
}

fn answer(mut stream: &TcpStream, path: &str, allowed: &(Mutex<usize>, Condvar)) -> Option<()> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let plain = |mut stream: &TcpStream, status: &str, more: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).ok()
    };
    let mut pieces = |media: &str, pieces: &[Vec<u8>], end: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        for (nth, piece) in pieces.iter().enumerate() {
            let wait = Duration::from_secs(60);
            let waited = allowed.1.wait_timeout_while(allowed.0.lock().unwrap(), wait, |allowed| *allowed <= nth);
            drop(waited);
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).ok()?;
        }
        let waited = allowed
            .1
            .wait_timeout_while(allowed.0.lock().unwrap(), Duration::from_secs(60), |allowed| *allowed <= pieces.len());
        drop(waited);
        if end == "broken" {
            return None;
        }
        stream.write_all(format!("0\r\n{end}\r\n").as_bytes()).ok()
    };
    let event = |used: usize| {
        format!("data: {{\"x\": \"{}\", \"usage\": {{\"tokens\": {used}}}}}\n\n", "y".repeat(50)).into_bytes()
    };
    match path {
        "/out/sized" => plain(stream, "200 OK", "", &vec![b'x'; query.parse().ok()?]),
        "/out/pieces" => pieces("text/plain", &vec![vec![b'x'; KB]; 5], ""),
        "/out/broken" => pieces("text/plain", &vec![vec![b'x'; KB]; 5], "broken"),
        "/out/500" => plain(stream, "500 Oh No", "", &[b'x'; 5_000]),
        "/json" | "/strict" if query == "silent" => {
            plain(stream, "200 OK", "content-type: application/json\r\n", b"{}")
        }
        "/json" | "/strict" => {
            plain(stream, "200 OK", "content-type: application/json\r\n", b"{\"usage\":{\"tokens\":12}}")
        }
        "/events" => pieces("text/event-stream", &(1..=5).map(event).collect::<Vec<_>>(), ""),
        "/header" => plain(stream, "200 OK", "x-tokens: 3\r\n", b"three"),
        "/trailer" => pieces("text/plain", &[vec![b'x'; 10]], "x-tokens: 4\r\n"),
        "/month" | "/fixed" | "/listed" | "/in" => plain(stream, "200 OK", "", b"done"),
        _ => plain(stream, "404 Not Found", "", b"none"),
    }
}
