use proptest::prelude::*;

use super::*;
use crate::{Pattern, Price};

const NOW_S: u64 = 1_700_000_000;

fn pass(kind: PassKind) -> Pass {
    Pass {
        payment: HoldId([0xab; 16]),
        payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap(),
        expires_at_s: Some(NOW_S + 60),
        scope: "news".to_owned(),
        kind,
    }
}

fn route(id: &str, scope: Option<&str>) -> Route {
    Route {
        id: id.to_owned(),
        pattern: Pattern::parse("/a").unwrap(),
        method: None,
        price: Price::Free,
        allowlist: Vec::new(),
        reentry_ms: 0,
        passes: Vec::new(),
        pass_scope: scope.map(str::to_owned),
    }
}

#[test]
fn what_is_issued_reads_back() {
    let keys = PassKeys::new(b"secret", &[]);
    for kind in PassKind::ALL {
        let pass = pass(kind);
        assert_eq!(keys.read(keys.issue(&pass).as_bytes()), Ok(pass));
    }
    let endless = Pass { expires_at_s: None, ..pass(PassKind::Calls) };
    assert_eq!(keys.read(keys.issue(&endless).as_bytes()), Ok(endless));
    let for_ever = Pass { expires_at_s: None, ..pass(PassKind::Time) };
    assert_eq!(keys.read(keys.issue(&for_ever).as_bytes()), Err(PassRefusal::Bad));
}

/// The text of docs/passes.md, made with another implementation (Python's hmac).
#[test]
fn the_text_is_the_documented_one() {
    let text = PassKeys::new(b"secret", &[]).issue(&pass(PassKind::Time));
    assert_eq!(text, VECTOR);
}

#[test]
fn a_secret_may_be_changed_while_passes_are_out() {
    let (old, new) = (PassKeys::new(b"old", &[]), PassKeys::new(b"new", &[b"old"]));
    let text = old.issue(&pass(PassKind::Time));
    assert!(new.read(text.as_bytes()).is_ok());
    assert_ne!(new.issue(&pass(PassKind::Time)), text);
    assert_eq!(old.read(new.issue(&pass(PassKind::Time)).as_bytes()), Err(PassRefusal::Bad));
    assert_eq!(PassKeys::new(b"new", &[]).read(text.as_bytes()), Err(PassRefusal::Bad));
}

#[test]
fn no_other_text_is_a_pass() {
    let keys = PassKeys::new(b"secret", &[]);
    let text = keys.issue(&pass(PassKind::Calls));
    let (payload, tag) = text.split_once('.').unwrap();
    let longer = Pass { expires_at_s: Some(u64::MAX), ..pass(PassKind::Calls) }.payload();
    let longer = URL_SAFE_NO_PAD.encode(longer);
    for forged in [
        String::new(),
        ".".to_owned(),
        payload.to_owned(),
        format!("{payload}."),
        format!(".{tag}"),
        format!("{longer}.{tag}"),
        format!("{payload}.{tag}="),
        format!("{payload}.{tag}.{tag}"),
        format!("{payload} .{tag}"),
        format!("{payload}.{}", &tag[..tag.len() - 4]),
        "x".repeat(PASS_MAX_BYTES + 1),
    ] {
        assert_eq!(keys.read(forged.as_bytes()), Err(PassRefusal::Bad), "{forged}");
    }
    // What another program of the same secret may sign is none either.
    for payload in ["{}", "[]", "7", r#"{"payer":"0x0","jti":"","scope":"","kind":"time","exp":1}"#] {
        let tag = keys.newest.clone().chain_update(payload.as_bytes()).finalize().into_bytes();
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(keys.read(text.as_bytes()), Err(PassRefusal::Bad), "{payload}");
    }
}

#[test]
fn what_a_pass_opens() {
    let time = pass(PassKind::Time);
    let own = Pass { scope: "GET /a".to_owned(), ..time.clone() };
    for (pass, route, is_revoked, now_s, want) in [
        (&time, route("GET /a", Some("news")), false, NOW_S, None),
        (&own, route("GET /a", Some("news")), false, NOW_S, None),
        (&own, route("GET /a", Some("GET /a")), false, NOW_S, None),
        (&own, route("GET /a", None), false, NOW_S, Some(PassRefusal::WrongRoute)),
        (&own, route("GET /b", Some("news")), false, NOW_S, Some(PassRefusal::WrongRoute)),
        (&time, route("GET /a", Some("sport")), false, NOW_S, Some(PassRefusal::WrongRoute)),
        (&time, route("GET /a", Some("news")), true, NOW_S, Some(PassRefusal::Revoked)),
        (&time, route("GET /a", Some("news")), false, NOW_S + 59, None),
        (&time, route("GET /a", Some("news")), false, NOW_S + 60, Some(PassRefusal::Expired)),
    ] {
        let opened = pass.opens(&route, is_revoked, now_s);
        assert_eq!(opened.as_ref().err().copied(), want, "{} {now_s}", route.id);
        assert!(want.is_some() || matches!(opened, Ok(Admission::Free(_))));
    }
    let counted = pass(PassKind::Calls).opens(&route("GET /a", Some("news")), false, NOW_S);
    assert!(matches!(counted, Ok(Admission::Balance { key: KeyId([0xab, ..]), unit: Unit::Call })));
}

#[test]
fn what_a_payment_has_bought_is_a_pass_or_somebodys_balance() {
    let payer = pass(PassKind::Time).payer;
    let bought = |key, unit, amount| {
        let purchase = Purchase { key: KeyId(key), unit, amount, expires_at_ms: Some(1_999) };
        let pass = Pass::bought(HoldId([1; 16]), payer, "news".to_owned(), &purchase);
        pass.map(|pass| (pass.kind, pass.expires_at_s))
    };
    assert_eq!(bought([1; 16], Unit::Call, 0), Some((PassKind::Time, Some(1))));
    assert_eq!(bought([1; 16], Unit::Call, 5), Some((PassKind::Calls, Some(1))));
    assert_eq!(bought([1; 16], Unit::Usd, 5), Some((PassKind::Amount, Some(1))));
    assert_eq!(bought([2; 16], Unit::Usd, 5), None, "a top-up is nobody's pass");
}

proptest! {
    #[test]
    fn hostile_text_is_refused(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(PassKeys::new(b"secret", &[]).read(&text), Err(PassRefusal::Bad));
    }
}

const VECTOR: &str = "eyJleHAiOjE3MDAwMDAwNjAsImp0aSI6ImFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiIiwia2luZCI6InRpbWUiLCJwYXllciI6IjB4ZjM5RmQ2ZTUxYWFkODhGNkY0Y2U2YUI4ODI3Mjc5Y2ZmRmI5MjI2NiIsInNjb3BlIjoibmV3cyJ9.W-GDJB5ZLwB7hq-DNOfFNRtny1VIp3OOQ0NW0gbPUHM";
