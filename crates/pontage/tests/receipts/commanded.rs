//! `pontage receipt verify` with what is too long, or comes on standard input. Needs no gate.

use std::io::Write as _;
use std::process::Stdio;

use protocol::Key;
use protocol::x402::SignedReceipt;
use serde_json::json;

use super::*;

const MIB: usize = 1024 * 1024;

/// A receipt of an answer, as a gate signs it.
fn signed(answer: &[u8]) -> String {
    let receipt = json!({
        "id": "rcpt_0a0b0c0d0e0f", "version": "1.0", "timestamp": "2030-03-17T17:46:40Z",
        "payment": { "id": "", "payer": "", "recipient": "", "token": "", "nonce": "", "amount": "10000", "chainId": 84_532 },
        "service": { "method": "GET", "endpoint": "/paid", "url_hash": "", "response_hash": sha256(answer), "complete": true },
        "settlement": { "state": "held", "as_of": "" },
    });
    SignedReceipt::sign(receipt, &Key::from_hex(SETTLER.secret).unwrap()).unwrap().to_json().to_string()
}

/// The exit code, with something on standard input.
fn code(words: &[&str], input: &[u8]) -> i32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(["--json", "receipt", "verify"]).args(words).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    // Who has read enough closes it.
    drop(child.stdin.take().expect("a pipe").write_all(input));
    child.wait().expect("it ends").code().expect("a code")
}

#[test]
fn a_body_is_digested_to_its_end_wherever_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let long = vec![b'x'; 3 * MIB + 1];
    let body = write(folder.path(), "body", &long);
    for (answer, want) in [(&long[..], 0), (&long[..MIB], 1), (&long[..3 * MIB], 1), (b"", 1)] {
        let file = write(folder.path(), "receipt", signed(answer));
        let file = file.to_str().unwrap();
        assert_eq!(code(&[file, "--body", "-"], &long), want, "{}", answer.len());
        assert_eq!(code(&[file, "--body", body.to_str().unwrap()], b""), want, "{}", answer.len());
    }
}

/// The second one to read standard input would find the digest of nothing.
#[test]
fn standard_input_is_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let receipt = signed(b"");
    let file = write(folder.path(), "receipt", &receipt);
    assert_eq!(code(&["-"], receipt.as_bytes()), 0);
    assert_eq!(code(&["-", "--body", "-"], receipt.as_bytes()), 2);
    assert_eq!(code(&[file.to_str().unwrap(), "--body", "-", "--request", "-"], b""), 2);
}

#[test]
fn a_receipt_that_is_too_long_is_not_judged_by_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let receipt = signed(b"");
    for (length, more, want) in [(MIB, " ", 0), (MIB + 1, " ", 2), (MIB + 1, "x", 2)] {
        let text = format!("{receipt}{}{more}", " ".repeat(length - receipt.len() - 1));
        assert_eq!(code(&["-"], text.as_bytes()), want, "{length}");
        let file = write(folder.path(), "receipt", &text);
        assert_eq!(code(&[file.to_str().unwrap()], b""), want, "{length}");
    }
}
