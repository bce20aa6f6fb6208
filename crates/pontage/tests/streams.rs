//! Much at once: large bodies, events, idle connections, and a reload or a stop under load. Nothing is buffered, nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[path = "streams/load.rs"]
mod load;
#[path = "streams/origin.rs"]
mod origin;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Answer, Books, FUNDS, Gate, GateOptions, PAYER, Payer, get, start_chain, until};
use origin::{EVENTS, Noise, Streams};
use xtask::chain::{Chain, ChainOptions};

const GIB: u64 = 1024 * 1024 * 1024;
const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /direct/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }\n";
const MORE: &str = "tab: { settle_age_s: 1 }\nexposure: { per_payer: 1000, per_source: 1000, per_gate: 1000 }";

/// A chain, an upstream of streams, and a gate between them.
struct Ground {
    gate: Gate,
    origin: Streams,
    chain: Chain,
    payer: Payer,
}

impl Ground {
    fn new() -> Self {
        let chain = start_chain(ChainOptions::default());
        chain.plant_token().unwrap();
        chain.plant_multicall().unwrap();
        chain.mint(PAYER.address, FUNDS).unwrap();
        let origin = Streams::start();
        let options = GateOptions { routes: ROUTES, more: MORE.to_owned(), timeout: "4m", ..GateOptions::direct() };
        let gate = Gate::start(chain.rpc_url(), &origin.url(), &options);
        Self { gate, origin, chain, payer: Payer::new(PAYER) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gate.url())
    }

    /// A payment for a path, as a header line; none for a free one.
    fn payment(&self, path: &str) -> String {
        if path.starts_with("/free/") {
            return String::new();
        }
        format!("payment-signature: {}\r\n", self.payer.payment(&Payer::offer(&self.url(path))).0)
    }

    /// Sends a head, and what it is answered with follows.
    fn open(&self, method: &str, path: &str, more: &str) -> TcpStream {
        let payment = self.payment(path);
        let mut stream = TcpStream::connect(self.gate.url().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{payment}{more}\r\n")
            .unwrap();
        stream
    }

    /// Everything has ended, and the books say what the chain says.
    fn agree(&self) {
        let books = Books::open(self.gate.journal());
        until("every hold ends", || books.unfinished() == 0);
        let ours: i128 = ["revenue:", "loss:", "refund_due:", "suspense:"].iter().map(|name| books.balance(name)).sum();
        assert_eq!((books.unbalanced(), ours), (0, i128::try_from(self.paid()).unwrap()), "books and chain");
    }

    fn paid(&self) -> u128 {
        self.chain.balance(kit::PAYEE).unwrap()
    }
}

/// A line of /proc/<pid>/status, in KiB.
fn memory_kib(gate: &Gate, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads the head of an answer, which must be 200.
fn served(stream: TcpStream) -> BufReader<TcpStream> {
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    reader
}

#[test]
fn two_gibibytes_up_and_down_take_no_memory() {
    let ground = Ground::new();
    // What a first call takes is not held against the large ones.
    for path in ["/free/ok", "/direct/ok", "/tab/ok"] {
        let mut text = String::new();
        served(ground.open("GET", path, "")).read_to_string(&mut text).unwrap();
        assert_eq!(text, "served");
    }
    let before = memory_kib(&ground.gate, "VmRSS");
    for path in ["/direct/up", "/tab/up"] {
        let started = std::time::Instant::now();
        let mut stream = ground.open("POST", path, &format!("content-length: {}\r\n", 2 * GIB));
        Noise::new().write(&mut stream, 2 * GIB).unwrap();
        let mut right = String::new();
        served(stream).read_to_string(&mut right).unwrap();
        assert_eq!(right, (2 * GIB).to_string(), "{path}");
        eprintln!("{path} {:?}", started.elapsed());
    }
    for path in ["/direct", "/tab"] {
        let started = std::time::Instant::now();
        let path = format!("{path}/{}", 2 * GIB);
        let mut reader = served(ground.open("GET", &path, ""));
        assert_eq!(Noise::new().read(&mut reader, 2 * GIB), 2 * GIB, "{path}");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "{path}: nothing behind it");
        eprintln!("{path} {:?}", started.elapsed());
    }
    let grown = memory_kib(&ground.gate, "VmHWM").saturating_sub(before);
    eprintln!("before {before} KiB, grown by {grown} KiB");
    assert!(grown < 40 * 1024, "grown by {grown} KiB from {before} KiB");
    ground.agree();
    assert_eq!(ground.paid(), 6 * kit::PRICE);
}

/// The upstream sends an event only when the one before it was read, so anything that buffers would stop here.
#[test]
fn events_arrive_one_by_one() {
    let ground = Ground::new();
    for path in ["/free/events", "/direct/events", "/tab/events"] {
        ground.origin.allow(0);
        // Not even the head waits for the first event.
        let mut reader = served(ground.open("GET", path, "accept: text/event-stream\r\n"));
        for number in 1..=EVENTS {
            ground.origin.allow(number);
            let mut line = String::new();
            while !line.starts_with("data:") {
                line.clear();
                assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{path} ended before event {number}");
            }
            assert_eq!(line, format!("data: {number}\n"), "{path}");
        }
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "{path}: {rest}");
    }
    ground.agree();
    assert_eq!(ground.paid(), 2 * kit::PRICE);
}

#[test]
fn five_thousand_idle_connections() {
    const COUNT: usize = 5_000;
    load::raise_descriptors(2 * COUNT as u64);
    let ground = Ground::new();
    let address = ground.gate.url().trim_start_matches("http://").to_owned();
    let mut idle = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        let mut stream = TcpStream::connect(&address).unwrap();
        // Every second one has been served before, as those of a client's pool have.
        if number % 2 == 0 {
            stream.write_all(b"GET /free/ok HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"served") {
                let mut piece = [0; 1024];
                let count = stream.read(&mut piece).unwrap();
                assert_ne!(count, 0, "{}", String::from_utf8_lossy(&bytes));
                bytes.extend_from_slice(&piece[..count]);
            }
        }
        idle.push(stream);
    }
    let open = || std::fs::read_dir(format!("/proc/{}/fd", ground.gate.pid())).unwrap().count();
    until("all of them are accepted", || open() >= COUNT);
    let rss = memory_kib(&ground.gate, "VmRSS");
    eprintln!("{} descriptors, {rss} KiB", open());
    assert!(rss < 100 * 1024, "{rss} KiB");
    assert_eq!(get(&ground.url("/free/ok"), &[]).status, 200);
    for path in ["/direct/ok", "/tab/ok"] {
        let answer = ground.payer.buy(&ground.url(path));
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{path}");
    }
    // They are idle, not dead.
    for stream in idle.iter_mut().step_by(500) {
        stream.write_all(b"GET /direct/ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 402"), "{text}");
    }
    ground.agree();
}
