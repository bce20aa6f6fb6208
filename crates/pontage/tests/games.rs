//! Games with paths, methods, headers and framing, as raw bytes. None of them runs a paid route unpaid, even where the upstream is
//! as careless as any framework; whatever the gate answers is a refusal; and nobody gets the answer to another's request.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "games/framing.rs"]
mod framing;
#[path = "games/headers.rs"]
mod headers;
#[path = "kit/kit.rs"]
mod kit;
#[path = "games/lenient.rs"]
mod lenient;
#[path = "games/methods.rs"]
mod methods;
#[path = "games/paths.rs"]
mod paths;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use kit::{Answer, Gate, GateOptions, PAYER, Payer, get, start_chain};
use lenient::{Lenient, runs_paid};
use xtask::chain::{Chain, ChainOptions};

const ROUTES: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /free/*, free: true }
  - { path: /get-only, method: GET, price: \"0.01\", settlement: direct }
  - { path: \"/users/:id/report\", price: \"0.01\", settlement: direct }\n";

/// What the gate may say for itself.
const REFUSALS: [u16; 9] = [204, 400, 402, 403, 404, 405, 431, 501, 505];

/// What is sent on one connection, and nothing of it is paid.
pub(crate) struct Game {
    name: String,
    bytes: Vec<u8>,
    end: End,
}

/// How a game ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With an answer to everything.
    Answered,
    /// Perhaps without an answer, and then the connection is closed.
    Broken,
    /// The last message is not whole: the caller leaves in the middle.
    Left,
}

impl Game {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { name: bytes.escape_ascii().to_string().chars().take(300).collect(), bytes, end: End::Answered }
    }

    pub(crate) fn dangling(bytes: impl Into<Vec<u8>>) -> Self {
        Self { end: End::Left, ..Self::new(bytes) }
    }

    pub(crate) fn broken(bytes: impl Into<Vec<u8>>) -> Self {
        Self { end: End::Broken, ..Self::new(bytes) }
    }

    /// One call without a body and with further lines.
    pub(crate) fn call(method: &str, target: &str, more: &str) -> Self {
        let length = if matches!(method, "POST" | "PUT" | "PATCH") { "content-length: 0\r\n" } else { "" };
        Self::new(format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{length}{more}\r\n"))
    }
}

/// Both default actions before one upstream.
struct Ground {
    chain: Chain,
    origin: Lenient,
    gates: Vec<(&'static str, Gate)>,
}

impl Ground {
    fn new() -> Self {
        let chain = start_chain(ChainOptions::default());
        chain.plant_token().unwrap();
        chain.plant_multicall().unwrap();
        let origin = Lenient::start();
        let gate = |action| {
            let more = format!("default_action: {action}");
            (
                action,
                Gate::start(
                    chain.rpc_url(),
                    &origin.url(),
                    &GateOptions { routes: ROUTES, more, ..GateOptions::direct() },
                ),
            )
        };
        let gates = vec![gate("block"), gate("passthrough")];
        Self { chain, origin, gates }
    }

    /// Plays every game before both gates, and fails with all that were lost.
    fn play(&self, games: &[Game]) {
        let mut lost = Vec::new();
        for (number, game) in games.iter().enumerate() {
            for (action, gate) in &self.gates {
                if let Err(how) = self.round(gate, game, number) {
                    lost.push(format!("{action}: {}\n    {how}", game.name));
                }
            }
        }
        assert!(lost.is_empty(), "{} of {} games lost:\n{}", lost.len(), 2 * games.len(), lost.join("\n"));
    }

    fn round(&self, gate: &Gate, game: &Game, number: usize) -> Result<(), String> {
        let answers = exchange(gate, game, &format!("/free/same-{number}"));
        // A new connection, on each of the workers most likely: its answer is its own.
        let fresh = format!("/free/fresh-{number}");
        for _ in 0..2 {
            let marker = get(&format!("{}{fresh}", gate.url()), &[]);
            if marker.status != 200 || marker.text() != format!("GET {fresh} HTTP/1.1") {
                return Err(format!("the next caller got {} {}", marker.status, marker.text()));
            }
        }
        let seen = self.origin.take();
        for request in &seen {
            if let Some(reading) = runs_paid(request) {
                return Err(format!("the paid handler ran as {reading}: {request:?}"));
            }
            if !request.ambiguous.is_empty() {
                return Err(format!("the upstream was sent {:?}: {request:?}", request.ambiguous));
            }
        }
        judge(game, &answers?, number)
    }
}

/// Every answer is the upstream's or a refusal, and a connection that goes on is in step.
fn judge(game: &Game, answers: &[Answer], number: usize) -> Result<(), String> {
    let marker = format!("GET /free/same-{number} HTTP/1.1");
    let said: Vec<_> = answers.iter().map(|answer| (answer.status, answer.text())).collect();
    for (at, answer) in answers.iter().enumerate() {
        let ours = !answer.headers.contains_key("x-lenient");
        // Whoever leaves in the middle has broken off what the upstream was sent.
        let broken_off = game.end == End::Left && answer.status == 502;
        if ours && !broken_off && !REFUSALS.contains(&answer.status) {
            return Err(format!("answered {said:?}"));
        }
        if answer.text() == marker && at + 1 < answers.len() {
            return Err(format!("out of step: {said:?}"));
        }
    }
    let Some(last) = answers.last() else {
        return if game.end == End::Answered { Err("no answer at all".to_owned()) } else { Ok(()) };
    };
    // Either the marker was answered, or the connection was closed with a refusal.
    let in_step = last.text() == marker || !last.headers.contains_key("x-lenient");
    let said_close = last.headers.get("connection").is_some_and(|value| value == "close");
    match in_step || said_close || game.end == End::Left {
        true => Ok(()),
        false => Err(format!("the marker was not answered: {said:?}")),
    }
}

/// Sends a game, then a marker on the same connection, and reads every answer up to the end.
fn exchange(gate: &Gate, game: &Game, marker: &str) -> Result<Vec<Answer>, String> {
    let mut stream = TcpStream::connect(gate.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut bytes = game.bytes.clone();
    if game.end != End::Left {
        bytes.extend_from_slice(
            format!("GET {marker} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes(),
        );
    }
    // The gate may have refused and closed by now; what it said counts.
    drop(stream.write_all(&bytes));
    if game.end == End::Left {
        drop(stream.shutdown(Shutdown::Write));
    }
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all)
        && matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    {
        return Err(format!("the connection hangs after {:?}", String::from_utf8_lossy(&all)));
    }
    answers(&all, game.bytes.starts_with(b"HEAD "))
}

/// Takes pipelined answers apart.
fn answers(mut all: &[u8], first_is_head: bool) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    let mut bodiless = first_is_head;
    while !all.is_empty() {
        let odd = || format!("not an answer: {:?}", String::from_utf8_lossy(all));
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(odd)? + 4;
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status: u16 = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).ok_or_else(odd)?;
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let headers: std::collections::BTreeMap<_, _> =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        all = &all[end..];
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let length = headers.get("content-length").map_or(Some(0), |length| length.parse().ok()).ok_or_else(odd)?;
        let length = if bodiless { 0 } else { length };
        bodiless = false;
        let body = all.get(..length).ok_or_else(odd)?.to_vec();
        all = &all[length..];
        answers.push(Answer { status, headers, body });
    }
    Ok(answers)
}

#[test]
fn there_are_enough_of_them() {
    let count = paths::games().len() + methods::games().len() + headers::games().len() + framing::games().len();
    assert!(count >= 150, "{count}");
}

/// The ground itself: what is paid does run, and is seen as a paid run.
#[test]
fn what_is_paid_runs() {
    let ground = Ground::new();
    ground.chain.mint(PAYER.address, kit::FUNDS).unwrap();
    // One of the two alone: both have the same settlement key, which one process may use at a time.
    let (_, gate) = &ground.gates[1];
    for path in ["/paid/ok", "/get-only", "/users/7/report"] {
        let answer = Payer::new(PAYER).buy(&format!("{}{path}", gate.url()));
        assert_eq!((answer.status, answer.text()), (200, format!("GET {path} HTTP/1.1")));
        let seen = ground.origin.take();
        assert!(seen.len() == 1 && runs_paid(&seen[0]).is_some(), "{seen:?}");
    }
}
