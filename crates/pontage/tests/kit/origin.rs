//! An upstream that does as the path says and counts its runs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What the upstream saw of one request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    open: bool,
}

/// The upstream. The last segment of the path, without the query, is what it does:
/// `ok`, `echo`, `404`, `500` (any status), `hang` (never answers), `gate` (answers once [`Origin::let_go`] was called),
/// `reset` (breaks off before the head), `half` (breaks off in the body), `slow` (head and half of the body, the rest once let go),
/// `no-store` and `private` (which no cache may keep), `shared` (which every cache may), `big` (8 MiB), `endless` (goes on until the gate breaks it off, which shows as a run of `broken off`).
pub(crate) struct Origin {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Origin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        // The thread goes with the test's process; each connection has one of its own.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests whose line holds `what` arrived.
    pub(crate) fn runs(&self, what: &str) -> usize {
        self.state.0.lock().unwrap().seen.iter().filter(|seen| seen.line.contains(what)).count()
    }

    /// The most runs that any one request line had, among those that hold `what`.
    pub(crate) fn most_runs(&self, what: &str) -> usize {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seen in self.state.0.lock().unwrap().seen.iter().filter(|seen| seen.line.contains(what)) {
            *counts.entry(seen.line.clone()).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }

    pub(crate) fn last(&self) -> Seen {
        self.state.0.lock().unwrap().seen.last().expect("a request arrived").clone()
    }

    /// Lets everything go on that waits.
    pub(crate) fn let_go(&self) {
        self.state.0.lock().unwrap().open = true;
        self.state.1.notify_all();
    }
}

fn serve(stream: TcpStream, state: &(Mutex<State>, Condvar)) {
    stream.set_nodelay(true).expect("a socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while let Some(seen) = read(&mut reader) {
        let path = seen.line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let word = path.rsplit('/').next().unwrap_or_default().to_owned();
        let echo = seen.body.clone();
        let head = seen.line.starts_with("HEAD");
        state.0.lock().unwrap().seen.push(seen);
        if answer(&stream, &word, &echo, head, state).is_none() {
            // Broken off on purpose, or the gate has gone.
            stream.shutdown(Shutdown::Both).ok();
            return;
        }
    }
}

fn answer(mut stream: &TcpStream, word: &str, echo: &[u8], head: bool, state: &(Mutex<State>, Condvar)) -> Option<()> {
    let wait = || {
        let open = state.1.wait_timeout_while(state.0.lock().unwrap(), Duration::from_secs(60), |state| !state.open);
        drop(open);
    };
    let mut whole = |status: &str, body: &[u8]| {
        let text = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n", body.len());
        let cache = match word {
            "no-store" | "private" => format!("cache-control: {word}\r\n"),
            "shared" => {
                "cache-control: public, s-maxage=600\r\ncdn-cache-control: max-age=600\r\nsurrogate-control: max-age=600\r\n"
                    .to_owned()
            }
            _ => String::new(),
        };
        let more =
            "x-origin: yes\r\nx-pay-verified: forged\r\npayment-response: forged\r\nkeep-alive: timeout=5\r\n\r\n";
        // Head and body in one write, as most servers send a small answer.
        let body = if head { &[] } else { body };
        stream.write_all(&[text.as_bytes(), cache.as_bytes(), more.as_bytes(), body].concat()).ok()
    };
    match word {
        "hang" => {
            wait();
            None
        }
        "gate" => {
            wait();
            whole("200 OK", b"served")
        }
        "reset" => None,
        "half" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").ok()?;
            None
        }
        "slow" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").ok()?;
            wait();
            stream.write_all(b"later").ok()
        }
        "endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
            let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
            // Bounded, so that a gate which never breaks it off does not keep the machine busy.
            for _ in 0..4_096 {
                if stream.write_all(&chunk).is_err() {
                    let seen = Seen { line: "broken off".to_owned(), headers: Vec::new(), body: Vec::new() };
                    state.0.lock().unwrap().seen.push(seen);
                    break;
                }
            }
            None
        }
        "big" => whole("200 OK", &vec![b'x'; 8 * 1024 * 1024]),
        "echo" => whole("200 OK", echo),
        status if status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()) => {
            whole(&format!("{status} Whatever"), b"not served")
        }
        _ => whole("200 OK", b"served"),
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let get = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut body = Vec::new();
    if let Some(length) = get("content-length") {
        body.resize(length.parse().ok()?, 0);
        reader.read_exact(&mut body).ok()?;
    } else if get("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Some(Seen { line: line.trim_end().to_owned(), headers, body })
}
