//! A small HTTP server that answers as a test says, and remembers what it was asked: a price endpoint, a directory, a collector.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request: its first line and its body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
}

/// What is answered: status and body, or nothing at all.
type Say = Option<(u16, String)>;

/// A running one. It goes with the test's process.
pub(crate) struct Stub {
    url: String,
    say: Arc<Mutex<Say>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    pub(crate) fn start(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stub =
            Self { url, say: Arc::new(Mutex::new(Some((status, body.to_owned())))), asked: Arc::new(Mutex::default()) };
        let (say, asked) = (Arc::clone(&stub.say), Arc::clone(&stub.asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (say, asked) = (Arc::clone(&say), Arc::clone(&asked));
                thread::spawn(move || serve(&stream, &say, &asked));
            }
        });
        stub
    }

    /// What it answers from now on.
    pub(crate) fn say(&self, status: u16, body: &str) {
        *self.say.lock().unwrap() = Some((status, body.to_owned()));
    }

    /// From now on it takes requests and says nothing.
    pub(crate) fn hang(&self) {
        *self.say.lock().unwrap() = None;
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything that it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, say: &Mutex<Say>, asked: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        asked.lock().unwrap().push(request);
        let said = say.lock().unwrap().clone();
        let Some((status, body)) = said else {
            // Longer than anybody waits.
            thread::park_timeout(Duration::from_secs(60));
            return;
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut headers = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
        if header.trim().is_empty() {
            break;
        }
        headers.push_str(&header.to_ascii_lowercase());
    }
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { line: line.trim_end().to_owned(), body })
}
