use super::*;

const DAY: u64 = 86_400_000;

fn key() -> KeyRecord {
    KeyRecord::new(KeyId([7; 16]), Unit::Credit, "acme".to_owned(), 0)
}

#[test]
fn a_key_lives_by_the_clock() {
    let key = KeyRecord { expires_at_ms: Some(10 * DAY), grace_ms: 2 * DAY, ..key() };
    let sunset = KeyRecord { sunset_at_ms: Some(11 * DAY), ..key.clone() };
    for (record, at_ms, want) in [
        (&key, 0, KeyStanding::Active),
        (&key, 10 * DAY - 1, KeyStanding::Active),
        (&key, 10 * DAY, KeyStanding::Grace),
        (&key, 12 * DAY - 1, KeyStanding::Grace),
        (&key, 12 * DAY, KeyStanding::Expired),
        (&key, u64::MAX, KeyStanding::Expired),
        (&sunset, 11 * DAY - 1, KeyStanding::Grace),
        (&sunset, 11 * DAY, KeyStanding::Expired),
    ] {
        assert_eq!(record.standing(at_ms), want, "{at_ms}");
    }
    assert_eq!((key.closes_at_ms(0), sunset.closes_at_ms(0)), (Some(12 * DAY), Some(11 * DAY)));
    assert_eq!(KeyRecord { grace_ms: u64::MAX, ..key }.standing(u64::MAX - 1), KeyStanding::Grace);
}

#[test]
fn what_is_scheduled_counts_from_its_time_on_and_is_carried_out_once() {
    let mut key = key();
    for (at_ms, act) in [
        (40, ScheduledAct::Revoke),
        (10, ScheduledAct::Suspend),
        (20, ScheduledAct::Resume),
        (15, ScheduledAct::TopUp(5)),
        (50, ScheduledAct::TopUp(6)),
    ] {
        key = key.step(KeyStep::Schedule(at_ms, act), 0).unwrap();
    }
    for (at_ms, want) in [
        (9, KeyStanding::Active),
        (10, KeyStanding::Suspended),
        (20, KeyStanding::Active),
        (39, KeyStanding::Active),
        (40, KeyStanding::Revoked),
        (99, KeyStanding::Revoked),
    ] {
        assert_eq!(key.standing(at_ms), want, "{at_ms}");
        assert_eq!(key.carried_out(at_ms).0.standing(at_ms), want, "{at_ms} carried out");
    }
    assert_eq!((key.closes_at_ms(0), key.closes_at_ms(15), key.closes_at_ms(20)), (Some(10), Some(40), Some(40)));
    let (after, grants) = key.carried_out(30);
    assert_eq!((after.schedule.len(), grants), (2, vec![(4, 5)]));
    assert_eq!(after.carried_out(30).1, vec![], "not again");
    assert_eq!(after.carried_out(60).1, vec![], "nothing is granted to a revoked key");
}

#[test]
fn a_scheduled_end_never_lengthens_a_life() {
    let key = KeyRecord { expires_at_ms: Some(10), ..key() };
    let key = key.step(KeyStep::Schedule(20, ScheduledAct::Expire), 0).unwrap();
    assert_eq!(key.carried_out(20).0.expires_at_ms, Some(10));
    let key = KeyRecord { grace_ms: 5, ..self::key() }.step(KeyStep::Schedule(20, ScheduledAct::Expire), 0).unwrap();
    assert_eq!((key.standing(20), key.standing(25)), (KeyStanding::Grace, KeyStanding::Expired));
    assert_eq!(key.closes_at_ms(0), Some(25));
}

#[test]
fn revoked_is_for_good() {
    let revoked = key().step(KeyStep::Revoke, 1).unwrap();
    assert_eq!(revoked.step(KeyStep::Revoke, 2).as_ref(), Ok(&revoked));
    for step in [KeyStep::Resume, KeyStep::Suspend, KeyStep::Change(KeyChange::default()), KeyStep::RotateSigning] {
        assert_eq!(revoked.step(step, 2), Err(KeyRefusal::Revoked));
    }
    assert_eq!(revoked.step(KeyStep::Note("why".to_owned()), 3).unwrap().notes.len(), 1);
    let suspended = key().step(KeyStep::Suspend, 1).unwrap();
    assert_eq!(suspended.step(KeyStep::Suspend, 2).as_ref(), Ok(&suspended));
    assert_eq!(suspended.step(KeyStep::Resume, 2), Ok(key()));
    assert!(
        suspended.step(KeyStep::Change(KeyChange { name: Some("new".to_owned()), ..KeyChange::default() }), 2).is_ok()
    );
}

#[test]
fn a_change_sets_takes_away_and_leaves() {
    let read = |json: &str| serde_json::from_str::<KeyChange>(json).unwrap();
    let first =
        read(r#"{"alias":"acme","expires_at_ms":5,"plan":"pro","tags":{"env":"test","team":"a"},"sandbox":true}"#);
    let key = key().step(KeyStep::Change(first), 0).unwrap();
    assert_eq!((key.alias.as_deref(), key.expires_at_ms, key.plan.as_deref()), (Some("acme"), Some(5), Some("pro")));
    let key = key.step(KeyStep::Change(read(r#"{"alias":null,"tags":{"env":null}}"#)), 0).unwrap();
    assert_eq!((key.alias.as_deref(), key.expires_at_ms, key.tags.len(), key.sandbox), (None, Some(5), 1, true));
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<KeyRecord>(&text).unwrap(), key);
    for nonsense in [r#"{"nam":"x"}"#, r#"{"name":null,"x":1}"#, r#"{"grace_ms":-1}"#, r#"{"expires_at_ms":1.5}"#] {
        assert!(serde_json::from_str::<KeyChange>(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn sizes_are_bounded() {
    let changed = |change: KeyChange| key().step(KeyStep::Change(change), 0).unwrap_err();
    let alias = |alias: &str| changed(KeyChange { alias: Some(Some(alias.to_owned())), ..KeyChange::default() });
    for text in
        ["", "A", "a b", "-a", "pg_abc", "0123456789abcdef0123456789abcdef", &"a".repeat(65), "caf\u{e9}", "a/b"]
    {
        assert_eq!(alias(text), KeyRefusal::BadValue("alias"), "{text}");
    }
    let name = |name: String| changed(KeyChange { name: Some(name), ..KeyChange::default() });
    assert_eq!(name("x".repeat(201)), KeyRefusal::TooLong { field: "name", most: 200 });
    assert_eq!(name("a\nb".to_owned()), KeyRefusal::BadValue("name"));
    let tags = (0..21).map(|tag| (tag.to_string(), Some(String::new()))).collect();
    assert_eq!(changed(KeyChange { tags, ..KeyChange::default() }), KeyRefusal::TooMany { field: "tags", most: 20 });
    let mut noted = key();
    for _ in 0..50 {
        noted = noted.step(KeyStep::Note("x".repeat(1_000)), 0).unwrap();
    }
    assert_eq!(noted.step(KeyStep::Note("x".to_owned()), 0), Err(KeyRefusal::TooMany { field: "notes", most: 50 }));
    assert_eq!(
        key().step(KeyStep::Note("x".repeat(1_001)), 0),
        Err(KeyRefusal::TooLong { field: "notes", most: 1_000 })
    );
    assert_eq!(noted.step(KeyStep::Unnote(7), 0).unwrap().notes.len(), 49);
    assert_eq!(noted.step(KeyStep::Unnote(51), 0), Err(KeyRefusal::UnknownItem("notes")));
    let mut scheduled = key();
    for at_ms in 0..20 {
        scheduled = scheduled.step(KeyStep::Schedule(at_ms, ScheduledAct::Suspend), 0).unwrap();
    }
    let more = scheduled.step(KeyStep::Schedule(9, ScheduledAct::Suspend), 0);
    assert_eq!(more, Err(KeyRefusal::TooMany { field: "schedule", most: 20 }));
    for (at_ms, act) in [(1, ScheduledAct::Suspend), (u64::MAX, ScheduledAct::Suspend), (9, ScheduledAct::TopUp(0))] {
        assert!(key().step(KeyStep::Schedule(at_ms, act), 2).is_err());
    }
}
