//! Receipts of calls: what goes out with an answer, what can be fetched later, and that nobody can change a byte of one unseen.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "receipts/commanded.rs"]
mod commanded;
#[path = "receipts/examples.rs"]
mod examples;
#[path = "kit/kit.rs"]
mod kit;
#[path = "receipts/looked_up.rs"]
mod looked_up;
#[path = "receipts/streamed.rs"]
mod streamed;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::x402::{decode_header, sha256};
use serde_json::Value;
use xtask::chain::ChainOptions;

use kit::{Answer, GateOptions, PAYEE, PAYER, Payer, SETTLER, World, request};

const ROUTES: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }
  - { path: /first/*, price: \"0.01\", settle_first: true }
  - { path: /free/*, free: true }
";
/// The settler's key is at hand under this name.
const ON: &str = "receipts: { signer: { env: PONTAGE_SIGNER_KEY } }\n";

fn world(more: &str) -> World {
    let options =
        GateOptions { routes: ROUTES, more: more.to_owned(), tab: "settle_age_s: 1", ..GateOptions::direct() };
    World::with(ChainOptions::default(), &options)
}

/// Pays for a call with a body.
fn buy(world: &World, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let (payment, _) = world.payer.payment(&Payer::offer(&world.url(path)));
    let headers = [&[("payment-signature", payment.as_str())], headers].concat();
    request(if body.is_empty() { "GET" } else { "POST" }, &world.url(path), &headers, body)
}

fn header(answer: &Answer) -> &str {
    answer.headers.get("x-402-receipt").map(String::as_str).unwrap_or_default()
}

/// The receipt that went out with an answer.
fn receipt(answer: &Answer) -> Value {
    serde_json::from_slice(&STANDARD.decode(header(answer)).expect("base64")).expect("JSON")
}

/// What `pontage receipt verify` says, and its exit code.
fn verify(file: &Path, more: &[&str]) -> (Value, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    let out = command.args(["--json", "receipt", "verify"]).arg(file).args(more).output().expect("it runs");
    let said = serde_json::from_slice(&out.stdout).unwrap_or_default();
    (said, out.status.code().expect("it ends"))
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path
}

/// M-018's fields, and what is said besides, for a call that was settled before its answer was given out.
#[test]
fn m_018_a_receipt_says_who_paid_what_for_which_request_and_answer() {
    let world = world(ON);
    for path in ["/paid/echo?x=1", "/first/echo?x=1"] {
        let answer = buy(&world, path, &[], b"a question");
        assert_eq!((answer.status, answer.text().as_str()), (200, "a question"));
        let signed = receipt(&answer);
        let said = &signed["receipt"];
        let id = said["id"].as_str().unwrap();
        assert!(id.len() == 17 && id.starts_with("rcpt_"), "{id}");
        assert_eq!(said["version"], "1.0");
        assert!(said["timestamp"].as_str().unwrap().ends_with('Z'));
        let paid = &said["payment"];
        let claims = world.books().claims();
        assert_eq!((paid["payer"].as_str(), paid["recipient"].as_str()), (Some(PAYER.address), Some(PAYEE)));
        assert_eq!((&paid["amount"], &paid["chainId"]), (&"10000".into(), &84_532.into()));
        assert_eq!(paid["token"], "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
        assert!(
            claims
                .iter()
                .any(|claim| paid["nonce"] == format!("0x{}", claim.nonce.trim_start_matches("0x").to_lowercase()))
        );
        let service = &said["service"];
        assert_eq!((&service["method"], &service["complete"]), (&"POST".into(), &true.into()));
        assert_eq!(service["endpoint"], path.split('?').next().unwrap(), "the query is no endpoint");
        assert_eq!(service["request_hash"], sha256(b"a question"));
        assert_eq!(service["response_hash"], sha256(b"a question"));
        assert_eq!(service["url_hash"], sha256(format!("POST\0{}", world.url(path)).as_bytes()));
        assert_eq!(
            (&said["settlement"]["state"], &said["settlement"]["transaction"]),
            (&"settled".into(), &answer.receipt()["transaction"])
        );
        // The certificate of x402 goes with it.
        let certified = &answer.receipt()["extensions"]["offer-receipt"]["info"]["receipt"];
        assert_eq!(
            (&certified["format"], &certified["payload"]["transaction"]),
            (&"eip712".into(), &answer.receipt()["transaction"])
        );
        // The command says the same of every form, and compares the bodies.
        let folder = tempfile::tempdir().unwrap();
        let (json, text) =
            (write(folder.path(), "json", signed.to_string()), write(folder.path(), "header", header(&answer)));
        let (body, other) = (write(folder.path(), "body", b"a question"), write(folder.path(), "other", b"an answer"));
        for file in [&json, &text] {
            let (verdict, code) = verify(
                file,
                &["--signer", SETTLER.address, "--body", body.to_str().unwrap(), "--request", body.to_str().unwrap()],
            );
            assert_eq!((code, &verdict["valid"], &verdict["said"]), (0, &true.into(), said), "{verdict}");
            assert_eq!(verdict["signer"], SETTLER.address);
            assert_eq!(verify(file, &["--signer", PAYER.address]).1, 1, "another must have signed");
            assert_eq!(verify(file, &["--body", other.to_str().unwrap()]).1, 1);
            assert_eq!(verify(file, &["--request", other.to_str().unwrap()]).1, 1);
        }
        let response = write(folder.path(), "response", &answer.headers["payment-response"]);
        let (verdict, code) = verify(&response, &["--signer", SETTLER.address]);
        assert_eq!((code, &verdict["form"]), (0, &"eip712".into()), "{verdict}");
        assert_eq!((verify(&response, &[]).1, verify(&response, &["--signer", PAYER.address]).1), (2, 1));
        assert_eq!(verify(&write(folder.path(), "none", "{}"), &[]).1, 2);
        assert_eq!(verify(&folder.path().join("not there"), &[]).1, 2);
    }
    assert_eq!(buy(&world, "/paid/404", &[], b"").headers.get("x-402-receipt"), None, "what was not charged has none");
    assert_eq!(kit::get(&world.url("/free/ok"), &[]).headers.get("x-402-receipt"), None);
}

/// The other form of x402's certificate names its key, so it can be judged without a word from anybody.
#[test]
fn a_jws_names_its_key() {
    let world = world("receipts: { signer: { env: PONTAGE_SIGNER_KEY }, format: jws }\n");
    let answer = buy(&world, "/paid/ok", &[], b"");
    let certified = &answer.receipt()["extensions"]["offer-receipt"]["info"]["receipt"];
    assert_eq!(certified["format"], "jws");
    let folder = tempfile::tempdir().unwrap();
    let text = certified["signature"].as_str().unwrap();
    for content in [text.to_owned(), certified.to_string(), answer.headers["payment-response"].clone()] {
        let (verdict, code) = verify(&write(folder.path(), "jws", content), &[]);
        assert_eq!((code, &verdict["signer"]), (0, &SETTLER.address.into()), "{verdict}");
        assert_eq!(verdict["said"]["transaction"], answer.receipt()["transaction"]);
    }
    // Who trusts the origin can ask it for the key.
    let signer = kit::get(&world.url("/__pay/signer"), &[]).json();
    assert_eq!(signer["address"], SETTLER.address);
    assert_eq!(signer["public_key"], receipt(&answer)["server_public_key"]);
    let head = decode_header(text.split('.').next().unwrap().as_bytes()).unwrap();
    assert!(head["kid"].as_str().unwrap().starts_with(signer["did"].as_str().unwrap()), "{head} {signer}");
    assert_eq!(head["alg"], "ES256K");
    assert!(head["kid"].as_str().unwrap().starts_with("did:key:zQ3s"), "{head}");
}

/// Nothing is said, noted or written where the file has no `receipts`, and what an upstream says in our place does not pass.
#[test]
fn without_the_key_there_are_none() {
    let world = world("");
    let answer = buy(&world, "/paid/ok", &[], b"");
    assert_eq!((answer.status, header(&answer)), (200, ""));
    assert!(answer.receipt()["extensions"].is_null());
    assert_eq!(kit::get(&world.url("/__pay/receipts/rcpt_000000000000"), &[]).error(), "not_found");
    assert_eq!(kit::get(&world.url("/__pay/signer"), &[]).error(), "not_found");
    assert_eq!(kit::get(&world.url("/receipts/rcpt_000000000000"), &[]).status, 403);
}
