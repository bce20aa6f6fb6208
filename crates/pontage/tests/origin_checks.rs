//! The checks of `examples/origin`: each server runs as its README says, and agrees with the shared vectors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[allow(dead_code, unreachable_pub, reason = "an example to be copied, whose main is not run here")]
#[allow(clippy::print_stdout, clippy::let_underscore_must_use, reason = "it is no part of the shipped code")]
#[path = "../../../examples/origin/rust/src/main.rs"]
mod rust_origin;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use xtask::peers;

use kit::{Answer, PAYER, Raw, request, root};

const SECRET: &str = "a secret that only pontage and the origin know";
const PATH: &str = "/paid/report?month=3&x=%20";
const PAID: [(&str, &str); 4] = [
    ("x-pay-verified", "true"),
    ("x-pay-from", PAYER.address),
    ("x-pay-amount", "10000"),
    ("x-pay-settlement", "direct"),
];

fn examples() -> PathBuf {
    root().join("examples/origin")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// The header by its rule, from nothing but the rule's own words.
fn signature(secret: &str, t: u64, method: &str, path: &str, pay: &[(&str, &str)]) -> String {
    let value = |name| pay.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
    let names = ["x-pay-verified", "x-pay-from", "x-pay-amount", "x-pay-settlement", "x-pay-tab"];
    let message = [&[t.to_string().as_str(), method, path], &names.map(value)[..]].concat().join("\n");
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length").chain_update(message);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={t},v1={hex}")
}

/// A running example. Killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        command.env("PONTAGE_TRUST_SECRET", SECRET).env("PORT", "0").env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the example starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it names its port");
        let url = format!("http://127.0.0.1:{}", line.trim().rsplit(' ').next().unwrap_or_default());
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the server at `url` lets through, and what it refuses.
fn check(url: &str) {
    let ask = |method: &str, path: &str, signature: Option<&str>, pay: &[(&str, &str)]| -> Answer {
        let signed = signature.map(|signature| ("x-pay-signature", signature));
        let headers: Vec<_> = pay.iter().copied().chain(signed).collect();
        request(method, &format!("{url}{path}"), &headers, b"")
    };
    let now = now_s();
    let good = signature(SECRET, now, "GET", PATH, &PAID);
    let tab = [&PAID[..3], &[("x-pay-settlement", "tab"), ("x-pay-tab", "00112233445566778899aabbccddeeff")]].concat();
    for (pay, signature) in [(&PAID[..], &good), (&tab, &signature(SECRET, now, "GET", PATH, &tab))] {
        let answer = ask("GET", PATH, Some(signature), pay);
        assert_eq!((answer.status, answer.text().trim()), (200, "served"));
    }
    assert_eq!(ask("POST", PATH, Some(&signature(SECRET, now, "POST", PATH, &PAID)), &PAID).status, 200);

    let with = |name: &'static str, value: &'static str| -> Vec<(&str, &str)> {
        PAID.iter().map(|pair| if pair.0 == name { (name, value) } else { *pair }).collect()
    };
    let refused: [(&str, Answer); 12] = [
        ("amount", ask("GET", PATH, Some(&good), &with("x-pay-amount", "1"))),
        ("from", ask("GET", PATH, Some(&good), &with("x-pay-from", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"))),
        ("verified", ask("GET", PATH, Some(&good), &with("x-pay-verified", "allowlisted"))),
        ("path", ask("GET", "/paid/other?month=3&x=%20", Some(&good), &PAID)),
        ("query", ask("GET", "/paid/report?month=4&x=%20", Some(&good), &PAID)),
        ("method", ask("POST", PATH, Some(&good), &PAID)),
        ("old", ask("GET", PATH, Some(&signature(SECRET, now - 65, "GET", PATH, &PAID)), &PAID)),
        ("ahead", ask("GET", PATH, Some(&signature(SECRET, now + 90, "GET", PATH, &PAID)), &PAID)),
        ("missing", ask("GET", PATH, None, &PAID)),
        ("another secret", ask("GET", PATH, Some(&signature("guessed", now, "GET", PATH, &PAID)), &PAID)),
        ("free", {
            let free = [("x-pay-verified", "free")];
            ask("GET", PATH, Some(&signature(SECRET, now, "GET", PATH, &free)), &free)
        }),
        ("fail open", {
            let open = [("x-pay-verified", "false")];
            ask("GET", PATH, Some(&signature(SECRET, now, "GET", PATH, &open)), &open)
        }),
    ];
    for (what, answer) in refused {
        assert_eq!(answer.status, 403, "{what}");
    }
    // Bytes that are no text must be refused, not break the server.
    let raw = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-pay-verified: true\r\nx-pay-signature: t=\xff,v1=\xfe\r\n\r\n";
    drop(Raw::send(url, raw).read_all());
    assert_eq!(ask("GET", PATH, Some(&good), &PAID).status, 200);
}

fn vectors() -> Vec<Value> {
    let text = std::fs::read_to_string(examples().join("vectors.json")).expect("the vectors");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let cases = vectors["cases"].as_array().expect("a list").clone();
    assert!(cases.len() > 20);
    cases
}

/// Compares what a program printed, a JSON list of true and false, with the vectors.
fn agrees(command: &mut Command) {
    let out = command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(examples()).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said: Vec<bool> = serde_json::from_slice(&out.stdout).expect("a list");
    let cases = vectors();
    assert_eq!(said.len(), cases.len());
    for (case, said) in cases.iter().zip(said) {
        assert_eq!(case["valid"], said, "{case}");
    }
}

#[test]
fn node() {
    agrees(Command::new("node").args(["--input-type=module", "-e"]).arg(
        "import { readFileSync } from 'node:fs'; import { pathToFileURL } from 'node:url';
         process.argv[1] = '';
         const { fromPontage } = await import(pathToFileURL('node/origin.mjs'));
         const { cases } = JSON.parse(readFileSync('vectors.json'));
         console.log(JSON.stringify(cases.map((c) => fromPontage({ ...c, url: c.path }, c.secret, c.now_s))));",
    ));
    let server = Server::start(Command::new("node").arg(examples().join("node/origin.mjs")));
    check(&server.url);
}

#[test]
fn python() {
    agrees(Command::new("python3").arg("-c").arg(
        "import json, sys; sys.path.insert(0, 'python'); from origin import from_pontage
cases = json.load(open('vectors.json'))['cases']
print(json.dumps([from_pontage(c['method'], c['path'], c['headers'], c['secret'], c['now_s']) for c in cases]))",
    ));
    let server = Server::start(Command::new("python3").arg(examples().join("python/origin.py")));
    check(&server.url);
}

#[test]
fn go() {
    let go = peers::go().expect("Go is installed");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let command = |words: &[&str]| {
        let mut command = Command::new(&go);
        command.args(words).current_dir(examples().join("go"));
        // The standard library is compiled once for each build folder; nothing is fetched.
        command.env("GOCACHE", root().join("target/peers/go-build")).env("GOPROXY", "off").env("GOFLAGS", "");
        command
    };
    for words in [&["test", "./..."][..], &["build", "-o", folder.path().join("origin").to_str().unwrap(), "."]] {
        let out = command(words).output().expect("go runs");
        let said = [out.stdout, out.stderr].concat();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let server = Server::start(&mut Command::new(folder.path().join("origin")));
    check(&server.url);
}

#[test]
fn rust() {
    for case in vectors() {
        let text = |name: &str| case[name].as_str().expect("a text").to_owned();
        let headers: HashMap<String, String> = serde_json::from_value(case["headers"].clone()).expect("a map");
        let now = case["now_s"].as_u64().expect("a number");
        let said = rust_origin::from_pontage(&text("method"), &text("path"), &headers, &text("secret"), now);
        assert_eq!(case["valid"], said, "{case}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || rust_origin::serve(&listener, SECRET));
    check(&url);
}
