//! `pontage receipt verify`: whether a receipt is what its signer signed. Asks nobody.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alloy_primitives::{Address, B256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use protocol::Payer;
use protocol::x402::ext::{Claim as _, Jws, ReceiptClaim, Signed};
use protocol::x402::{SignedReceipt, print_sha256, repeated_member};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{cli, say};

/// More than any receipt has.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Args)]
pub(crate) struct ReceiptArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a receipt's signature, and the digests in it. Asks nobody. Exit codes: 0 valid, 1 invalid, 2 it cannot be said.
    Verify(VerifyArgs),
}

#[derive(Args)]
struct VerifyArgs {
    /// The receipt: its JSON, the X-402-Receipt header, the PAYMENT-RESPONSE header, or a JWS; `-` is standard input.
    file: PathBuf,
    /// Who must have signed it, by address. Without it anybody may have.
    #[arg(long, value_name = "ADDRESS")]
    signer: Option<String>,
    /// The answer's body, as it came: compared with its digest.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The request's body, as it was sent: compared with its digest.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
}

/// What is said of a receipt.
#[derive(Debug, PartialEq)]
enum Verdict {
    Valid(Said),
    Invalid(String),
    /// Nothing can be said.
    Unknown(String),
}

/// What was signed, by whom.
#[derive(Debug, PartialEq)]
struct Said {
    form: &'static str,
    signer: Address,
    what: Value,
}

/// Runs `receipt`.
pub(crate) fn run(args: ReceiptArgs, json: bool) -> ExitCode {
    let Command::Verify(args) = args.command;
    let verdict = args.verdict().unwrap_or_else(Verdict::Unknown);
    let (printed, code) = (verdict.print(json, args.signer.is_some()), verdict.code());
    match printed {
        Ok(()) => code,
        // With nobody to read it, the exit code still says it.
        Err(_) => ExitCode::from(2),
    }
}

impl VerifyArgs {
    fn verdict(&self) -> Result<Verdict, String> {
        let signer = match self.signer.as_deref().map(str::parse::<Payer>) {
            Some(Ok(signer)) => Some(signer.0),
            Some(Err(error)) => cli::usage(format!("--signer {error}")).exit(),
            None => None,
        };
        let files = [Some(&self.file), self.body.as_ref(), self.request.as_ref()];
        if files.into_iter().flatten().filter(|file| is_stdin(file)).count() > 1 {
            cli::usage("only one of the receipt, --body and --request can be standard input".to_owned()).exit();
        }
        let bytes = read(&self.file)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| "this is no text".to_owned())?;
        let verdict = judge(text.trim(), signer);
        let Verdict::Valid(said) = &verdict else { return Ok(verdict) };
        for (name, file) in [("response_hash", &self.body), ("request_hash", &self.request)] {
            let Some(file) = file else { continue };
            if said.form != "receipt" {
                return Err(format!("a receipt in the form {} has no digests to compare with", said.form));
            }
            let found = digest(file)?;
            match said.what["service"].get(name).and_then(Value::as_str) {
                Some(digest) if digest == found => {}
                Some(digest) => {
                    let file = file.display();
                    return Ok(Verdict::Invalid(format!("service.{name} is {digest}, and {file} has {found}")));
                }
                None => {
                    return Ok(Verdict::Invalid(format!(
                        "it has no service.{name}: that body was not read to its end"
                    )));
                }
            }
        }
        Ok(verdict)
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if is_stdin(path) { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) })
}

/// Reads a receipt.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let taken = open(path).and_then(|file| file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes));
    taken.map_err(|error| unreadable(path, &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|count| count <= MAX_BYTES) {
        Ok(bytes)
    } else {
        Err(format!("{} is larger than any receipt ({MAX_BYTES} bytes)", path.display()))
    }
}

/// The digest of a body, however long it is.
fn digest(path: &Path) -> Result<String, String> {
    let mut digested = Digested(Sha256::new());
    open(path).and_then(|mut file| io::copy(&mut file, &mut digested)).map_err(|error| unreadable(path, &error))?;
    Ok(print_sha256(B256::from_slice(&digested.0.finalize())))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

/// Digests what is written to it.
struct Digested(Sha256);

impl Write for Digested {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says whether a text is a valid receipt, by `signer` where he is named.
fn judge(text: &str, signer: Option<Address>) -> Verdict {
    let said = if text.starts_with('{') {
        object(text, signer.is_some())
    } else if text.contains('.') {
        jws(text)
    } else {
        match STANDARD.decode(text).map(String::from_utf8) {
            Ok(Ok(text)) => object(&text, signer.is_some()),
            Ok(Err(_)) | Err(_) => return Verdict::Unknown("this is neither JSON, nor base64, nor a JWS".to_owned()),
        }
    };
    match (said, signer) {
        (Verdict::Valid(said), Some(signer)) if said.signer != signer => {
            Verdict::Invalid(format!("it is signed by {}, not by {signer}", said.signer))
        }
        (verdict, _) => verdict,
    }
}

fn object(text: &str, signer_is_named: bool) -> Verdict {
    if let Some(name) = repeated_member(text) {
        return twice(&name);
    }
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return Verdict::Unknown("this is no JSON".to_owned());
    };
    // The whole PAYMENT-RESPONSE has it deep within.
    if let Some(within) = value.pointer_mut("/extensions/offer-receipt/info/receipt").map(Value::take) {
        if value.get("receipt").is_some() || value.get("format").is_some() {
            return Verdict::Unknown("this JSON holds two receipts".to_owned());
        }
        value = within;
    }
    match value.get("format").and_then(Value::as_str) {
        Some("eip712") => return typed(&value, signer_is_named),
        Some("jws") => {
            let text = value.get("signature").and_then(Value::as_str).unwrap_or_default();
            if value != json!({ "format": "jws", "signature": text }) {
                return Verdict::Invalid("it is not written as its signer writes it".to_owned());
            }
            return jws(text);
        }
        Some(_) | None => {}
    }
    if value.get("receipt").is_none() {
        return Verdict::Unknown("this JSON holds no receipt".to_owned());
    }
    match SignedReceipt::parse(&value) {
        Some(signed) if signed.is_valid() => match signed.misshapen() {
            None => Verdict::Valid(Said { form: "receipt", signer: signed.public_key.address(), what: signed.receipt }),
            Some(at) => Verdict::Unknown(format!("what is signed is no receipt of a call: see {at}")),
        },
        Some(_) => Verdict::Invalid("its signature is not that of server_public_key over this receipt".to_owned()),
        None => Verdict::Invalid("it is not written as its signer writes it".to_owned()),
    }
}

/// This form does not name its signer: another text has another one, and is as good.
fn typed(value: &Value, signer_is_named: bool) -> Verdict {
    let signed = Signed::<ReceiptClaim>::parse(value).filter(|signed| signed.to_json() == *value);
    let Some((signer, what)) = signed.and_then(|signed| Some((signed.signer()?, value["payload"].clone()))) else {
        return Verdict::Invalid("it is not written as its signer writes it, or nobody's signature".to_owned());
    };
    if signer_is_named {
        return Verdict::Valid(Said { form: "eip712", signer, what });
    }
    Verdict::Unknown(format!("this form does not name its signer: if that must be {signer}, say --signer {signer}"))
}

fn twice(name: &str) -> Verdict {
    Verdict::Unknown(format!("the member {name:?} is there twice: readers differ in which of the two counts"))
}

fn jws(text: &str) -> Verdict {
    let parts = text.split('.').filter_map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).ok()?).ok());
    if let Some(name) = parts.take(2).find_map(|part| repeated_member(&part)) {
        return twice(&name);
    }
    match Jws::parse(text) {
        Some(jws) if is_claim(&jws.payload) => {
            Verdict::Valid(Said { form: "jws", signer: jws.signer.address(), what: jws.payload })
        }
        // A gate signs its offers with the same key.
        Some(_) => Verdict::Unknown("what is signed is no receipt".to_owned()),
        None => Verdict::Invalid("it is not signed under ES256K by the did:key that it names".to_owned()),
    }
}

/// Whether a payload is a receipt of x402's extension, and nothing besides.
fn is_claim(payload: &Value) -> bool {
    let (claim, said) = (ReceiptClaim::parse(payload).map(|claim| claim.to_json()), payload.as_object());
    claim.zip(said).is_some_and(|(claim, said)| said.iter().all(|(name, value)| claim.get(name) == Some(value)))
}

impl Verdict {
    fn code(&self) -> ExitCode {
        match self {
            Self::Valid(_) => ExitCode::SUCCESS,
            Self::Invalid(_) => ExitCode::FAILURE,
            Self::Unknown(_) => ExitCode::from(2),
        }
    }

    fn print(&self, json: bool, signer_is_named: bool) -> anyhow::Result<()> {
        match self {
            Self::Valid(said) if json => {
                let Said { form, signer, what } = said;
                say(&json!({ "valid": true, "form": form, "signer": signer.to_string(), "said": what }).to_string())
            }
            Self::Invalid(why) if json => say(&json!({ "valid": false, "why": why }).to_string()),
            Self::Unknown(why) if json => say(&json!({ "valid": null, "why": why }).to_string()),
            Self::Valid(said) => say(said.lines(signer_is_named).trim_end()),
            Self::Invalid(why) => say(&format!("invalid: {why}")),
            Self::Unknown(why) => Ok(writeln!(io::stderr(), "pontage: {why}")?),
        }
    }
}

impl Said {
    fn lines(&self, signer_is_named: bool) -> String {
        let named = if signer_is_named { "" } else { " (--signer says who it must be)" };
        let mut lines = format!("valid\nsigned by  {}{named}\n", self.signer);
        list("", &self.what, &mut lines);
        lines
    }
}

/// One line for each value, under its whole name.
fn list(name: &str, value: &Value, lines: &mut String) {
    match value {
        Value::Object(members) => {
            let dot = if name.is_empty() { "" } else { "." };
            members.iter().for_each(|(member, value)| list(&format!("{name}{dot}{member}"), value, lines));
        }
        Value::String(text) => writeln!(lines, "  {name}  {}", text.escape_debug()).unwrap_or_default(),
        _ => writeln!(lines, "  {name}  {value}").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Key, Signer as _};

    use super::*;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    /// One of each form, as it stands in a file.
    fn forms() -> Vec<(&'static str, String)> {
        let key = Key::from_hex(KEY).unwrap();
        let receipt = json!({
            "id": "rcpt_0a0b0c0d0e0f", "version": "1.0", "timestamp": "2030-03-17T17:46:40Z",
            "payment": { "id": "", "payer": "", "recipient": "", "token": "", "nonce": "", "amount": "10000", "chainId": 84532 },
            "service": { "method": "GET", "endpoint": "/paid/a", "url_hash": "", "complete": true },
            "settlement": { "state": "held", "as_of": "" },
        });
        let signed = SignedReceipt::sign(receipt, &key).unwrap().to_json();
        let claim = ReceiptClaim {
            network: "eip155:84532".to_owned(),
            resource_url: "https://api.example/paid".to_owned(),
            payer: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".to_owned(),
            issued_at_s: 1_900_000_000,
            transaction: String::new(),
        };
        let typed = Signed { signature: key.sign_now(claim.digest()).unwrap(), claim };
        let jws = Jws::sign(typed.claim.to_json(), &key).unwrap();
        let response = |receipt: &Value| {
            let value =
                json!({ "extensions": { "offer-receipt": { "info": { "receipt": receipt } } }, "success": true });
            STANDARD.encode(value.to_string())
        };
        vec![
            ("receipt", signed.to_string()),
            ("receipt", STANDARD.encode(signed.to_string())),
            ("eip712", typed.to_json().to_string()),
            ("eip712", response(&typed.to_json())),
            ("jws", jws.text.clone()),
            ("jws", jws.to_json().to_string()),
            ("jws", response(&jws.to_json())),
        ]
    }

    #[test]
    fn every_form_is_read_and_its_signer_told() {
        let signer = Key::from_hex(KEY).unwrap().address();
        for (form, text) in forms() {
            let Verdict::Valid(said) = judge(&text, Some(signer)) else { panic!("{form}: {text}") };
            assert_eq!((said.form, said.signer), (form, signer));
            assert!(matches!(judge(&text, Some(Address::ZERO)), Verdict::Invalid(_)), "{form}");
            let unpinned = judge(&text, None);
            assert_eq!(matches!(unpinned, Verdict::Valid(_)), form != "eip712", "{form}: {unpinned:?}");
        }
        for text in ["", "{}", "[]", "{", "abc", "e30=", "{\"format\":\"pdf\"}", "0x00"] {
            assert!(matches!(judge(text, None), Verdict::Unknown(_)), "{text}");
        }
        for text in ["a.b.c", "{\"receipt\":{}}", "{\"format\":\"jws\"}", "{\"format\":\"eip712\"}"] {
            assert!(matches!(judge(text, None), Verdict::Invalid(_)), "{text}");
        }
    }

    /// Who reads the first of two members, as a human may, would read what nobody signed.
    #[test]
    fn a_member_that_is_there_twice_is_refused_in_every_form() {
        let signer = Key::from_hex(KEY).unwrap().address();
        let refused = |text: &str, name: &str| match judge(text, Some(signer)) {
            Verdict::Unknown(why) => assert!(why.contains(name), "{text}: {why}"),
            verdict => panic!("{text}: {verdict:?}"),
        };
        for (form, text) in forms() {
            if !text.starts_with('{') {
                // The same in base64, as the header has it, or a JWS.
                continue;
            }
            let value: Value = serde_json::from_str(&text).unwrap();
            for name in value.as_object().unwrap().keys() {
                let forged = format!("{{\"{name}\":{{\"payment\":{{\"amount\":\"999999\"}}}},{}", &text[1..]);
                refused(&forged, name);
                refused(&STANDARD.encode(&forged), name);
                let response =
                    format!("{{\"extensions\":{{\"offer-receipt\":{{\"info\":{{\"receipt\":{forged}}}}}}}}}");
                refused(&response, name);
            }
            let deep = if form == "receipt" { "amount" } else { "payer" };
            let forged = text.replacen(&format!("\"{deep}\":"), &format!("\"{deep}\":\"999999\",\"{deep}\":"), 1);
            if form != "jws" {
                refused(&forged, deep);
            }
        }
        let both = format!("{{\"receipt\":{{}},{}", &forms_in_json("eip712")[1..]);
        refused(&both, "two receipts");
    }

    /// The signer of a JWS signs the text itself, so it may hold what no object can.
    #[test]
    fn a_payload_with_a_member_twice_is_refused_though_it_is_signed() {
        let key = Key::from_hex(KEY).unwrap();
        let head =
            forms().into_iter().find(|(form, _)| *form == "jws").unwrap().1.split('.').next().unwrap().to_owned();
        let sign = |payload: &str| {
            let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(payload));
            let signature = key.sign_now(B256::from_slice(&Sha256::digest(&signed))).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature.as_bytes()[..64]))
        };
        let payload = r#"{"version":1,"network":"a","resourceUrl":"b","payer":"c","issuedAt":5}"#;
        assert!(matches!(judge(&sign(payload), None), Verdict::Valid(_)));
        let forged = payload.replacen("\"payer\"", "\"payer\":\"d\",\"payer\"", 1);
        for text in [sign(&forged), json!({ "format": "jws", "signature": sign(&forged) }).to_string()] {
            let Verdict::Unknown(why) = judge(&text, None) else { panic!("{text}") };
            assert!(why.contains("payer"), "{why}");
        }
    }

    /// A whole PAYMENT-RESPONSE.
    fn forms_in_json(form: &str) -> String {
        let texts = forms().into_iter().filter(|(known, _)| *known == form);
        let mut texts = texts.filter_map(|(_, text)| String::from_utf8(STANDARD.decode(text).ok()?).ok());
        texts.next().unwrap()
    }

    /// The key of a gate signs more than receipts.
    #[test]
    fn what_the_same_key_signed_besides_is_no_receipt() {
        let key = Key::from_hex(KEY).unwrap();
        let jws = |payload: &Value| Jws::sign(payload.clone(), &key).unwrap().text;
        let claim = json!({ "version": 1, "network": "eip155:84532", "resourceUrl": "https://api.example/paid",
            "payer": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C", "issuedAt": 5 });
        assert!(matches!(judge(&jws(&claim), None), Verdict::Valid(_)), "the transaction need not be said");
        let mut offer = claim.clone();
        offer.as_object_mut().unwrap().remove("payer");
        let mut more = claim;
        more["amount"] = "10000".into();
        for payload in [&offer, &more, &json!({})] {
            assert!(matches!(judge(&jws(payload), None), Verdict::Unknown(_)), "{payload}");
        }
        let empty = SignedReceipt::sign(json!({}), &key).unwrap().to_json().to_string();
        assert!(matches!(judge(&empty, None), Verdict::Unknown(_)), "{empty}");
        // A payload besides is signed by nobody.
        let mut besides = Jws::sign(offer, &key).unwrap().to_json();
        besides["payload"] = more;
        assert!(matches!(judge(&besides.to_string(), None), Verdict::Invalid(_)));
    }

    /// Each byte of each form is put in the place of others. What a PAYMENT-RESPONSE says besides is signed by nobody.
    #[test]
    fn none_of_them_can_be_changed_in_any_byte() {
        let signer = Key::from_hex(KEY).unwrap().address();
        for (form, text) in forms() {
            let is_response = STANDARD.decode(&text).is_ok_and(|bytes| bytes.starts_with(b"{\"extensions"));
            for at in (0..text.len()).filter(|_| !is_response) {
                for other in *b"0aA\"/-=." {
                    let mut bytes = text.clone().into_bytes();
                    if std::mem::replace(&mut bytes[at], other) == other {
                        continue;
                    }
                    let changed = String::from_utf8(bytes).unwrap();
                    let verdict = judge(&changed, Some(signer));
                    assert!(!matches!(verdict, Verdict::Valid(_)), "{form}, byte {at}: {changed}");
                }
            }
        }
    }
}
