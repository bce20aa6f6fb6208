//! Whatever is sent: nothing panics, and what is read is printed as it was.

use proptest::prelude::*;

use super::*;

/// Texts that come near to what is read.
fn near() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,200}",
        "(pgt_|pg_)[A-Za-z0-9_.=-]{0,120}",
        "(t=[0-9]{0,25}|n=[a-z0-9-]{0,70}|s=[0-9a-f]{0,70}|,| ){0,8}",
        "[0-9a-fA-F.:]{0,40}/?[0-9]{0,4}",
        "(GET |\\* |)/[a-z*:/%.;]{0,40}",
        "[0-9]{0,5}\\.?[0-9]{0,8}",
        "\\{\"[a-z_]{1,12}\":(\\[|\\{|[0-9]{1,22}|\"[a-z/*]{0,9}\"|null|true){1,3}[\\]}]{0,4}",
    ]
}

proptest! {
    #[test]
    fn hostile_texts_are_refused_or_read_exactly(text in near()) {
        if let Ok(rule) = text.parse::<AddressRule>() {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        if let Ok(rule) = RouteRule::try_from(text.clone()) {
            prop_assert_eq!(RouteRule::try_from(rule.to_string()), Ok(rule));
        }
        if let Ok(rule) = ToolRule::try_from(text.clone()) {
            prop_assert!(rule.covers(&text.replace('*', "x")));
        }
        if let Ok(factor) = Multiplier::try_from(text.clone()) {
            prop_assert_eq!(Multiplier::try_from(String::from(factor)), Ok(factor));
        }
        if let Ok(policy) = serde_json::from_str::<Policy>(&text) {
            let printed = serde_json::to_string(&policy).unwrap();
            prop_assert_eq!(serde_json::from_str::<Policy>(&printed).unwrap(), policy);
        }
        drop(serde_json::from_str::<KeyChange>(&text));
        drop(serde_json::from_str::<KeyRecord>(&text));
        prop_assert!(RequestSignature::parse(&text).is_none_or(|signature| (8..=64).contains(&signature.nonce.len())));
        prop_assert!(Token::verify(&text, [&[7; 32]]).is_none(), "nobody has signed it");
        prop_assert_eq!(SecretDigest::of_secret(&text).is_some(), text.len() == 51 && text.starts_with("pg_")
            && text[3..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    /// However a schedule is written: what counts at a time is what carrying it out by then makes of the key, and the money closes no
    /// later than the key does.
    #[test]
    fn what_is_due_counts_as_if_it_were_carried_out(
        schedule in prop::collection::vec((1u64..60, 0u8..5), 0..8),
        (expires, grace, sunset) in (prop::option::of(1u64..60), 0u64..20, prop::option::of(1u64..60)),
        (swept, at) in (0u64..80, 0u64..80),
    ) {
        let mut key = KeyRecord::new(ledger::KeyId([1; 16]), ledger::Unit::Credit, "k".to_owned(), 0);
        (key.expires_at_ms, key.grace_ms, key.sunset_at_ms) = (expires, grace, sunset);
        for (at_ms, act) in schedule {
            let acts = [ScheduledAct::Suspend, ScheduledAct::Resume, ScheduledAct::Revoke, ScheduledAct::Expire, ScheduledAct::TopUp(1)];
            key = key.step(KeyStep::Schedule(at_ms, acts[usize::from(act)]), 0).unwrap();
        }
        let (after, granted) = key.carried_out(swept);
        let later = swept.max(at);
        prop_assert_eq!(key.standing(later), after.standing(later));
        let (all, rest) = (key.carried_out(80).1, after.carried_out(80).1);
        prop_assert_eq!(all, [granted, rest].concat(), "each top-up once, whenever it is swept");
        match key.closes_at_ms(at) {
            Some(closes) => {
                prop_assert!(closes > at && !key.standing(closes).is_usable());
                if key.standing(at).is_usable() {
                    prop_assert!((at..closes).all(|at_ms| key.standing(at_ms).is_usable()));
                }
            }
            None => prop_assert!((at + 1..200).all(|at_ms| key.standing(at_ms).is_usable() || !key.standing(at).is_usable())),
        }
    }
}
