use proptest::prelude::*;

use super::*;
use crate::exact::tests::KEY_0;
use crate::x402::HEADER_MAX_BYTES;
use crate::{Key, Signer};

const NOW_S: u64 = 1_900_000_000;
const SECRET: SignInSecret = SignInSecret::new([7; 32]);
const TERMS: SignInTerms<'_> = SignInTerms {
    domain: "api.example.com:8402",
    origin: "https://api.example.com:8402",
    chains: &[Network::BASE_SEPOLIA, Network { chain_id: 8453 }],
    secret: &SECRET,
    age_max_s: 300,
    skew_s: 5,
};

fn nonce(issued_at_s: u64) -> SignInNonce {
    SignInNonce { issued_at_s, random: [9; 8] }
}

fn key() -> Key {
    Key::from_hex(KEY_0).unwrap()
}

fn message() -> SignInMessage {
    let offer = SignInOffer {
        domain: TERMS.domain.to_owned(),
        uri: format!("{}/paid?q=1", TERMS.origin),
        statement: Some("Sign in.".to_owned()),
        nonce: nonce(NOW_S - 10).print(&SECRET),
        issued_at_s: NOW_S - 10,
        expires_at_s: Some(NOW_S + 290),
        resources: vec![format!("{}/paid?q=1", TERMS.origin)],
        chains: vec![Network::BASE_SEPOLIA],
    };
    offer.message(key().address(), Network::BASE_SEPOLIA)
}

fn signed(message: &SignInMessage) -> String {
    message.to_header(&key().sign_now(message.digest()).unwrap())
}

fn good() -> Value {
    decode_header(signed(&message()).as_bytes()).unwrap()
}

fn verify(header: impl AsRef<[u8]>) -> Result<SignedIn, SignInRefusal> {
    verify_sign_in(header.as_ref(), &TERMS, NOW_S)
}

fn with(member: &str, to: Value) -> Result<SignedIn, SignInRefusal> {
    let mut value = good();
    value[member] = to;
    verify(encode_header(&value))
}

#[test]
fn a_good_one() {
    let want = SignedIn { address: Payer(key().address()), nonce: nonce(NOW_S - 10), issued_at_s: NOW_S - 10 };
    assert_eq!(verify(signed(&message())), Ok(want));
    // The case in which the address is written is the signer's choice.
    let lower = SignInMessage { address: message().address.to_lowercase(), ..message() };
    assert_eq!(verify(signed(&lower)), Ok(want));
    let bare = SignInMessage {
        statement: None,
        expiration_time: None,
        resources: None,
        chain: Network { chain_id: 8453 },
        ..message()
    };
    assert_eq!(verify(signed(&bare)), Ok(want));
    let full = SignInMessage {
        not_before: Some(time::print(NOW_S - 20)),
        request_id: Some(String::new()),
        resources: Some(Vec::new()),
        ..message()
    };
    assert_eq!(verify(signed(&full)), Ok(want));
}

#[test]
fn headers_that_are_none() {
    let long = "A".repeat(HEADER_MAX_BYTES + 4);
    for header in ["", "%", "e30=e30=", "bnVsbA==", "W10=", "{}", "eyJ4Ijox", &long] {
        assert_eq!(verify(header), Err(SignInRefusal::Header), "{header:.20}");
    }
    assert_eq!(verify("e30="), Err(SignInRefusal::Malformed("domain")));
}

/// In the order of the answers: each row's fault wins over those of all rows below it.
fn faults() -> Vec<(&'static str, Value, SignInRefusal)> {
    use SignInRefusal as R;
    let at = |at_s: u64| json!(time::print(at_s));
    vec![
        ("version", json!("2"), R::Malformed("version")),
        ("domain", json!("evil.example"), R::Domain),
        ("uri", json!("https://evil.example/paid"), R::Uri),
        ("issuedAt", at(NOW_S - 301), R::TooOld),
        ("expirationTime", at(NOW_S), R::Expired),
        ("notBefore", at(NOW_S + 6), R::NotYetValid),
        ("nonce", json!("0123456789abcdef"), R::Nonce),
        ("chainId", json!("eip155:1"), R::UnsupportedChain),
        ("signature", json!("0x00"), R::SignatureShape),
        ("statement", json!("Another text."), R::Signature),
    ]
}

#[test]
fn the_earlier_of_two_faults_is_reported() {
    for (first, (member, to, want)) in faults().into_iter().enumerate() {
        assert_eq!(with(member, to.clone()), Err(want), "{member}");
        for (other, value, later) in faults().into_iter().skip(first + 1) {
            let mut both = good();
            both[member] = to.clone();
            both[other] = value;
            assert_eq!(verify(encode_header(&both)), Err(want), "{want:?} before {later:?}");
        }
    }
}

#[test]
fn members_of_other_shapes() {
    let required = ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"];
    for name in required {
        for to in [json!(null), json!(7), json!([]), json!({}), json!("a\nb"), json!("a\u{7f}"), json!("a\u{85}b")] {
            assert_eq!(with(name, to.clone()), Err(SignInRefusal::Malformed(name)), "{name} {to}");
        }
    }
    for name in ["statement", "expirationTime", "notBefore", "requestId", "resources"] {
        for to in [json!(7), json!({}), json!("a\nb")] {
            assert_eq!(with(name, to.clone()), Err(SignInRefusal::Malformed(name)), "{name} {to}");
        }
    }
    for to in [json!([7]), json!([null]), json!(["https://a", "b\n- c"])] {
        assert_eq!(with("resources", to), Err(SignInRefusal::Malformed("resources")));
    }
    for to in ["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226", "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266", ""] {
        assert_eq!(with("address", json!(to)), Err(SignInRefusal::Malformed("address")), "{to}");
    }
    assert_eq!(with("type", json!("ed25519")), Err(SignInRefusal::Malformed("type")));
    // An absent optional member is not one that was signed.
    for name in ["statement", "expirationTime", "resources"] {
        assert_eq!(with(name, json!(null)), Err(SignInRefusal::Signature), "{name}");
    }
    assert!(with("unknown", json!([{}])).is_ok());
    assert!(with("notBefore", json!(null)).is_ok());
}

#[test]
fn every_rule_at_its_edge() {
    use SignInRefusal as R;
    let origin = TERMS.origin;
    let at = time::print;
    let text = |text: &str| json!(text);
    for (member, to, want) in [
        ("uri", text(origin), None),
        ("uri", text(&format!("{origin}?q")), None),
        ("uri", text(&format!("{origin}#f")), None),
        ("uri", text(&format!("{origin}@evil.example/")), Some(R::Uri)),
        ("uri", text(&format!("{origin}.evil.example/")), Some(R::Uri)),
        ("uri", text(&format!("{origin}0/")), Some(R::Uri)),
        ("uri", text("http://api.example.com:8402/paid"), Some(R::Uri)),
        ("uri", text("/paid"), Some(R::Uri)),
        ("domain", text("API.example.com:8402"), Some(R::Domain)),
        ("domain", text("api.example.com"), Some(R::Domain)),
        ("issuedAt", text(&at(NOW_S - 300)), None),
        ("issuedAt", text(&at(NOW_S + 5)), None),
        ("issuedAt", text(&at(NOW_S + 6)), Some(R::InFuture)),
        ("issuedAt", text("yesterday"), Some(R::IssuedAt)),
        ("expirationTime", text(&at(NOW_S + 1)), None),
        ("expirationTime", text(""), Some(R::ExpirationTime)),
        ("notBefore", text(&at(NOW_S + 5)), None),
        ("notBefore", text("0"), Some(R::NotBefore)),
        ("nonce", text(&nonce(NOW_S - 300).print(&SECRET)), None),
        ("nonce", text(&nonce(NOW_S - 301).print(&SECRET)), Some(R::Nonce)),
        ("nonce", text(&nonce(NOW_S + 5).print(&SECRET)), None),
        ("nonce", text(&nonce(NOW_S + 6).print(&SECRET)), Some(R::Nonce)),
        ("nonce", text(&nonce(NOW_S).print(&SignInSecret::new([8; 32]))), Some(R::Nonce)),
        ("chainId", text("eip155:8453"), None),
        ("chainId", text("eip155:"), Some(R::ChainId)),
        ("chainId", text("eip155:08453"), Some(R::ChainId)),
        ("chainId", text("8453"), Some(R::UnsupportedChain)),
        ("chainId", text("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), Some(R::UnsupportedChain)),
        ("address", text("0x209693Bc6afc0C5328bA36FaF03C514EF312287C"), Some(R::Signature)),
        ("signature", text(&format!("0x{}", "11".repeat(64))), Some(R::SignatureShape)),
        ("signature", text(&format!("0x0x{}", "1".repeat(128))), Some(R::SignatureShape)),
        ("signature", text(&format!("0x{}1b", "00".repeat(64))), Some(R::Signature)),
    ] {
        // What holds but for the text that was signed gets as far as the signature.
        let got = with(member, to.clone()).unwrap_err();
        assert_eq!(got, want.unwrap_or(R::Signature), "{member} {to}");
    }
}

#[test]
fn codes_are_the_references_and_every_one_has_a_sentence() {
    let mut seen = std::collections::BTreeSet::new();
    for refusal in faults().into_iter().map(|(.., refusal)| refusal).chain([
        SignInRefusal::Header,
        SignInRefusal::IssuedAt,
        SignInRefusal::InFuture,
        SignInRefusal::ExpirationTime,
        SignInRefusal::NotBefore,
        SignInRefusal::ChainId,
    ]) {
        assert!(refusal.code().starts_with("invalid_siwx_") && seen.insert(refusal.code()), "{refusal:?}");
        assert!(refusal.message().ends_with('.'), "{refusal:?}");
        assert_eq!(refusal.field().is_none(), refusal == SignInRefusal::Header, "{refusal:?}");
    }
    assert_eq!(seen.len(), 16);
}

proptest! {
    #[test]
    fn one_changed_byte_is_refused(at in 0usize..2_000, to: u8) {
        let header = signed(&message());
        let good = verify(&header);
        let mut bytes = header.into_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        // Another text of the same fields, such as padding, is the same sign-in; nothing else is one.
        if let Ok(read) = verify(&bytes) {
            prop_assert_eq!(Ok(read), good);
        }
    }

    #[test]
    fn texts_of_two_sign_ins_differ(a in fields(), b in fields()) {
        prop_assert_eq!(a == b, a.text() == b.text());
    }
}

/// Fields as they pass the check of their shape: few words, so that two are often alike.
fn fields() -> impl Strategy<Value = SignInMessage> {
    let word = || prop::sample::select(vec!["", "a", "URI: b", "Resources:", "- a"]);
    let maybe = || prop::option::of(word());
    let resources = || prop::option::of(prop::collection::vec(word(), 0..3));
    (word(), maybe(), maybe(), maybe(), resources()).prop_map(|(uri, statement, not_before, request_id, resources)| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        SignInMessage {
            uri: uri.to_owned(),
            statement: own(statement),
            not_before: own(not_before),
            request_id: own(request_id),
            resources: resources.map(|list| list.into_iter().map(str::to_owned).collect()),
            ..message()
        }
    })
}
