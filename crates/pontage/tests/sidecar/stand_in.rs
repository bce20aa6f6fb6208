//! Answers as `pontage start --sidecar` is to answer, as far as the configurations need it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Default)]
struct State {
    down: AtomicBool,
    outcomes: Mutex<Vec<String>>,
    callers: Mutex<Vec<String>>,
}

/// The stand-in. `payment-signature` says what it answers to a paid route: a status, or `good`.
pub(crate) struct StandIn {
    pub(crate) port: u16,
    state: Arc<State>,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || while serve(&stream, &shared).is_some() {});
            }
        });
        Self { port, state }
    }

    /// Ends every connection without an answer from now on.
    pub(crate) fn kill(&self) {
        self.state.down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn outcomes(&self) -> Vec<String> {
        self.state.outcomes.lock().unwrap().clone()
    }

    pub(crate) fn last_caller(&self) -> String {
        self.state.callers.lock().unwrap().last().expect("a call").clone()
    }
}

fn serve(mut stream: &TcpStream, state: &State) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    if state.down.load(Ordering::SeqCst) {
        return None;
    }
    let get = |name: &str| {
        headers.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.clone())
    };
    let mut body = vec![0; get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    while get("transfer-encoding").is_some() {
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
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let (head, text) = if path.starts_with("/__pay/outcome") {
        state.outcomes.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
        ("200 OK".to_owned(), "{}".to_owned())
    } else {
        state.callers.lock().unwrap().push(get("x-forwarded-for").unwrap_or_default());
        let uri = get("x-original-uri").or_else(|| get("x-forwarded-uri"));
        let uri = uri.unwrap_or_else(|| path.strip_prefix("/__pay/check").unwrap_or(path).to_owned());
        let asked = get("x-original-method").or_else(|| get("x-forwarded-method"));
        check(&asked.unwrap_or_else(|| "GET".to_owned()), &uri, get("payment-signature"))
    };
    let text_sent = if method == "HEAD" { "" } else { &text };
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{text_sent}", text.len());
    stream.write_all(answer.as_bytes()).ok()
}

fn check(method: &str, uri: &str, payment: Option<String>) -> (String, String) {
    let problem = |error: &str| format!("{{\"error\": \"{error}\"}}");
    let path = uri.split('?').next().unwrap_or_default().to_ascii_lowercase();
    if ["..", "%2e", "%2f", "//"].iter().any(|odd| path.contains(odd)) {
        return ("400 Bad Request\r\ncontent-type: application/problem+json".to_owned(), problem("path_odd"));
    }
    if path.starts_with("/free/") {
        return ("200 OK\r\nx-pay-verified: free".to_owned(), String::new());
    }
    if !path.starts_with("/paid/") {
        return ("403 Forbidden\r\ncontent-type: application/problem+json".to_owned(), problem("forbidden"));
    }
    let large = "A".repeat(6_000);
    match payment.as_deref() {
        None => (
            format!("402 Payment Required\r\ncache-control: no-store\r\npayment-required: {large}"),
            format!("{{\"error\": \"payment_required\", \"uri\": \"{uri}\", \"method\": \"{method}\"}}"),
        ),
        Some("good") => (
            "200 OK\r\nx-pay-verified: true\r\nx-pay-from: 0xPayer\r\nx-pay-amount: 10000\r\nx-pay-settlement: tab\r\n\
             x-pay-tab: 0123\r\nx-pay-signature: t=1,v1=00\r\nx-pay-hold: 0123.4567\r\npayment-response: receipt\r\n\
             cache-control: no-store"
                .to_owned(),
            String::new(),
        ),
        Some(status) if status.len() == 3 => (
            format!("{status} Whatever\r\nretry-after: 7\r\nx-ratelimit-limit: 9\r\npayment-response: failed"),
            problem(status),
        ),
        Some(_) => ("400 Bad Request".to_owned(), problem("invalid_base64")),
    }
}
