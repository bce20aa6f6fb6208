//! `examples/receipts`: a receipt of a real gate passes in both, and with any of its bytes changed in none.

use std::path::PathBuf;

use xtask::peers;

use super::*;
use crate::kit::root;

/// Every text that a value holds, with one of its characters changed, and every name likewise. Each is as good JSON as before.
fn changed(value: &Value, put: &dyn Fn(Value) -> Value, into: &mut Vec<Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let renamed = members.iter().map(|(known, member)| {
                    (if known == name { swapped(known, known.len() / 2) } else { known.clone() }, member.clone())
                });
                into.push(put(Value::Object(renamed.collect())));
                let put = |member: Value| {
                    let mut members = members.clone();
                    members.insert(name.clone(), member);
                    put(Value::Object(members))
                };
                changed(member, &put, into);
            }
        }
        Value::String(text) => into.extend([0, text.len() / 2, text.len() - 1].map(|at| put(swapped(text, at).into()))),
        Value::Number(number) => into.push(put((number.as_u64().expect("whole") ^ 1).into())),
        Value::Bool(truth) => into.push(put((!truth).into())),
        Value::Null | Value::Array(_) => into.push(put(Value::from(0))),
    }
}

/// A text with another character at a place, of the same kind.
fn swapped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = match bytes[at] {
        b'9' => b'8',
        b'0'..=b'8' => bytes[at] + 1,
        b'f' => b'e',
        byte if byte.is_ascii_lowercase() => {
            if byte == b'z' {
                b'y'
            } else {
                byte + 1
            }
        }
        byte if byte.is_ascii_uppercase() => byte.to_ascii_lowercase(),
        _ => b'0',
    };
    String::from_utf8(bytes).expect("ASCII")
}

/// What a verifier says of each file, in their order.
fn said(command: &mut Command, files: &[PathBuf]) -> Vec<bool> {
    let out = command.arg(SETTLER.address).args(files).env("PYTHONDONTWRITEBYTECODE", "1").output().expect("it runs");
    let text = String::from_utf8(out.stdout).expect("text");
    let lines: Vec<_> = text.lines().map(|line| line.starts_with("valid ")).collect();
    assert_eq!(lines.len(), files.len(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.success(), lines.iter().all(|valid| *valid));
    lines
}

/// The example in TypeScript as a program that every Node runs: checked as strictly as a client's own code may be.
fn compiled(folder: &Path) -> PathBuf {
    let packages = peers::npm(&root()).expect("the packages are installed").join("node_modules");
    std::os::unix::fs::symlink(&packages, folder.join("node_modules")).unwrap();
    write(folder, "package.json", r#"{ "type": "module" }"#);
    let example = write(folder, "verify.ts", std::fs::read(root().join("examples/receipts/verify.ts")).unwrap());
    let words = ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "--types", "node"];
    let mut compiler = Command::new("node");
    compiler.arg(packages.join("typescript/bin/tsc")).arg(&example).args(words).current_dir(folder);
    let out = compiler.output().expect("node runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    example.with_extension("js")
}

#[test]
fn m_019_a_receipt_changed_in_any_byte_fails_in_all_three_verifiers() {
    let world = world(ON);
    let answer = buy(&world, "/paid/echo", &[], b"a question");
    let signed = receipt(&answer);
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    changed(&signed, &|value| value, &mut all);
    assert!(all.len() > 70, "{}", all.len());
    let mut fetched = signed.clone();
    fetched["status"] = "valid".into();
    // Escapes are free, and white space.
    let escaped = signed.to_string().replacen("\"version\"", "\"\\u0076ersion\"", 1).replacen("/paid", "\\/paid", 1);
    let good = [signed.to_string(), header(&answer).to_owned(), fetched.to_string(), format!("{signed:#}\n"), escaped];
    fetched["status"] = "revoked".into();
    let mut bad: Vec<String> = all.iter().map(Value::to_string).chain([fetched.to_string()]).collect();
    // The other signature that fits the same digest and key, and the other way to write the same one.
    let signature = signed["signature"].as_str().unwrap();
    for other in [
        signature.to_uppercase().replace("0X", "0x"),
        format!("{}0{}", &signature[..130], if signature.ends_with('b') { '0' } else { '1' }),
    ] {
        let mut twin = signed.clone();
        twin["signature"] = other.into();
        bad.push(twin.to_string());
    }
    bad.push(signed.to_string().replacen("\"version\"", "\"version \"", 1));
    // A member that is there twice: the last one is signed, the first one is seen.
    let text = signed.to_string();
    let forged = r#"{"receipt":{"payment":{"amount":"999999"}},"#;
    bad.push(text.replacen('{', forged, 1));
    bad.push(STANDARD.encode(text.replacen('{', forged, 1)));
    for amount in ["amount", "\\u0061mount"] {
        bad.push(text.replacen("\"amount\":", &format!("\"{amount}\":\"999999\",\"amount\":"), 1));
    }
    let file = |(nth, text): (usize, &String)| write(folder.path(), &format!("{nth}.json"), text);
    let files: Vec<_> = good.iter().chain(&bad).enumerate().map(file).collect();
    let want: Vec<_> = (0..files.len()).map(|nth| nth < good.len()).collect();
    let example = compiled(folder.path());
    assert_eq!(said(Command::new("node").arg(&example), &files), want, "node");
    let python = peers::python(&root()).expect("the packages are installed");
    assert_eq!(said(Command::new(python).arg(root().join("examples/receipts/verify.py")), &files), want, "python");
    for (file, want) in files.iter().zip(want) {
        let (verdict, code) = verify(file, &["--signer", SETTLER.address]);
        assert_eq!(code == 0, want, "{verdict} {}", std::fs::read_to_string(file).unwrap());
    }
    // Whoever else signs is not the one who must have.
    let stranger = Command::new("node").arg(example).arg(PAYER.address).arg(&files[0]).status();
    assert!(!stranger.unwrap().success());
}

/// Recovers both forms of `offer-receipt` with what others wrote: viem for typed data, noble's curve and scure's base58 for the JWS.
const OTHERS: &str = "
import { recoverTypedDataAddress } from 'viem';
import { secp256k1 } from '@noble/curves/secp256k1';
import { sha256 } from '@noble/hashes/sha2';
import { base58 } from '@scure/base';
const { typed, jws } = JSON.parse(process.argv[2]);
const fields = [['version', 'uint256'], ['network', 'string'], ['resourceUrl', 'string'], ['payer', 'string'], ['issuedAt', 'uint256'], ['transaction', 'string']];
const signer = await recoverTypedDataAddress({
  domain: { name: 'x402 receipt', version: '1', chainId: 1 }, primaryType: 'Receipt', message: typed.payload, signature: typed.signature,
  types: { Receipt: fields.map(([name, type]) => ({ name, type })) },
});
const [header, payload, signature] = jws.signature.split('.');
const part = (text) => Buffer.from(text, 'base64url');
const { alg, kid } = JSON.parse(part(header));
const [codec, key] = ((bytes) => [bytes.slice(0, 2), bytes.slice(2)])(base58.decode(kid.split('#')[1].slice(1)));
const digest = sha256(Buffer.from(`${header}.${payload}`));
const valid = alg === 'ES256K' && codec[0] === 0xe7 && codec[1] === 1 && secp256k1.verify(part(signature), digest, key);
console.log(JSON.stringify({ signer, valid, said: JSON.parse(part(payload)) }));
";

#[test]
fn others_read_both_forms_of_x402s_receipt() {
    let certified = |more: &str| {
        let world = world(&ON.replace(" }\n", &format!("{more} }}\n")));
        let answer = buy(&world, "/paid/ok?x=1", &[], b"");
        let certified = answer.receipt()["extensions"]["offer-receipt"]["info"]["receipt"].clone();
        (certified, world.url("/paid/ok?x=1"), answer.receipt()["transaction"].clone())
    };
    let ((typed, ..), (jws, url, transaction)) = (certified(""), certified(", format: jws"));
    let folder = tempfile::tempdir().unwrap();
    let packages = peers::npm(&root()).expect("the packages are installed").join("node_modules");
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
    let program = write(folder.path(), "others.mjs", OTHERS);
    let given = serde_json::json!({ "typed": typed, "jws": jws }).to_string();
    let out = Command::new("node").arg(program).arg(given).output().expect("node runs");
    let said: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    assert_eq!((&said["signer"], &said["valid"]), (&SETTLER.address.into(), &true.into()), "{said}");
    assert_eq!(
        (&said["said"]["transaction"], said["said"]["resourceUrl"].as_str()),
        (&transaction, Some(url.as_str()))
    );
    assert_eq!((&said["said"]["payer"], &said["said"]["network"]), (&PAYER.address.into(), &"eip155:84532".into()));
}
