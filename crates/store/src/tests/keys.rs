//! Keys, their secrets, plans and tokens, and what the money's side is told of them.

use ::ledger::{Charge, Grant, GrantId, GrantSource, Guards, KeyId, Unit};
use gate::{
    Accounts as _, Charging, KeyChange, KeyRecord, KeyRefusal, KeyStanding, KeyState, KeyStep, Plan, Policy, Scheduled,
    ScheduledAct, SecretDigest,
};

use super::*;

/// What the journal's clock says.
const NOW: u64 = 1_000_000;

const ALL: Brought = Brought { secret: true, state: true };

fn digest(secret: u8) -> SecretDigest {
    SecretDigest([secret; 32])
}

fn record(id: u8) -> KeyRecord {
    KeyRecord::new(KeyId([id; 16]), Unit::Credit, format!("key {id:03}"), NOW + u64::from(id))
}

fn make_of(record: KeyRecord, credits: u64) -> KeyToMake {
    let id = record.id;
    let opening = (credits > 0).then(|| Grant {
        id: GrantId(id.0),
        key: id,
        unit: record.unit,
        source: GrantSource::Operator,
        label: "opening".to_owned(),
        priority: 100,
        granted: credits,
        left: credits,
        granted_at_ms: NOW,
        expires_at_ms: None,
    });
    KeyToMake { record, secret: digest(id.0[0]), shown: format!("pg_{:08x}", id.0[0]), opening }
}

impl Journalled {
    async fn one(&self, task: KeyTask) -> KeyOutcome {
        self.handle.change_keys(vec![task], Together::default()).await.unwrap().remove(0)
    }

    async fn make(&self, id: u8, credits: u64) -> KeyId {
        self.one(KeyTask::Make(make_of(record(id), credits))).await.unwrap();
        KeyId([id; 16])
    }

    async fn step_key(&self, id: u8, step: KeyStep) -> KeyOutcome {
        self.one(KeyTask::Step(KeyId([id; 16]), step)).await
    }

    async fn may_pay(&self, id: u8, at_ms: u64) -> bool {
        let charge = Charge {
            id: HoldId::new(at_ms, [id; 16]),
            key: KeyId([id; 16]),
            unit: Unit::Credit,
            amount: 1,
            route: "GET /paid".to_owned(),
            fingerprint: B256::ZERO,
            idempotency: None,
            opened_at_ms: at_ms,
            micros: 10_000,
            tags: None,
        };
        match self.handle.charge(charge, Guards::default()).await.unwrap() {
            Charging::Won { .. } => true,
            Charging::Closed => false,
            other => panic!("{other:?}"),
        }
    }

    fn holds(&self, secret: u8) -> bool {
        self.handle.secret_holder(digest(secret)).unwrap().is_some()
    }
}

#[tokio::test]
async fn a_key_is_made_whole_or_not_at_all() {
    let j = journal();
    let before = j.handle.access_generation();
    let id = j.make(1, 50).await;
    assert!(j.handle.access_generation() > before);
    let holder = j.handle.secret_holder(digest(1)).unwrap().unwrap();
    assert_eq!((holder.record, holder.valid_until_ms), (record(1), None));
    assert!(!j.holds(2));
    assert_eq!(j.handle.balance(id, NOW).unwrap().unwrap().1, 50);

    let alias = |id: u8| KeyRecord { alias: Some("shop".to_owned()), ..record(id) };
    assert!(j.one(KeyTask::Make(make_of(alias(2), 0))).await.is_ok());
    let planned = KeyRecord { plan: Some("none".to_owned()), ..record(3) };
    let same_secret = KeyToMake { secret: digest(1), ..make_of(record(3), 0) };
    for (make, want) in [
        (make_of(record(1), 0), KeyRefusal::Exists),
        (same_secret, KeyRefusal::Exists),
        (make_of(alias(3), 0), KeyRefusal::AliasTaken),
        (make_of(planned, 0), KeyRefusal::UnknownPlan),
        (make_of(record(3), 2_000_000_000_000_000), KeyRefusal::Balance),
    ] {
        assert_eq!(j.one(KeyTask::Make(make)).await, Err(want));
    }
    // Nothing of the third is there: it can be made.
    assert_eq!(j.handle.key(KeyId([3; 16])).unwrap(), None);
    assert!(j.handle.balance(KeyId([3; 16]), NOW).unwrap().is_none());
    j.make(3, 1).await;
    assert_eq!(j.handle.key_by_alias("shop").unwrap(), Some(KeyId([2; 16])));
}

#[tokio::test]
async fn the_money_knows_of_each_change_in_its_step() {
    let j = journal();
    j.make(1, 100).await;
    assert!(j.may_pay(1, NOW).await);
    for (step, at_ms, want) in [
        (KeyStep::Suspend, NOW + 1, false),
        (KeyStep::Resume, NOW + 2, true),
        (KeyStep::Schedule(NOW + 50, ScheduledAct::Suspend), NOW + 49, true),
        (KeyStep::Resume, NOW + 50, false),
        (KeyStep::Unschedule(1), NOW + 51, true),
        (KeyStep::Change(expires(NOW + 100, 10)), NOW + 109, true),
        (KeyStep::Resume, NOW + 110, false),
        (KeyStep::Change(expires(NOW + 500, 0)), NOW + 111, true),
        (KeyStep::Revoke, NOW + 112, false),
    ] {
        j.step_key(1, step.clone()).await.unwrap();
        assert_eq!(j.may_pay(1, at_ms).await, want, "{step:?} {at_ms}");
    }
    assert_eq!(j.step_key(1, KeyStep::Resume).await, Err(KeyRefusal::Revoked));
    assert_eq!(j.step_key(9, KeyStep::Resume).await, Err(KeyRefusal::UnknownKey));
}

fn expires(at_ms: u64, grace_ms: u64) -> KeyChange {
    KeyChange { expires_at_ms: Some(Some(at_ms)), grace_ms: Some(grace_ms), ..KeyChange::default() }
}

#[tokio::test]
async fn what_is_only_tried_says_the_same_and_writes_nothing() {
    let j = journal();
    j.make(1, 5).await;
    let tasks = || {
        vec![
            KeyTask::Step(KeyId([1; 16]), KeyStep::Suspend),
            KeyTask::Make(make_of(record(2), 7)),
            KeyTask::Make(make_of(record(2), 7)),
            KeyTask::Step(KeyId([9; 16]), KeyStep::Suspend),
        ]
    };
    let dry = Together { dry_run: true, all_or_none: false };
    let tried = j.handle.change_keys(tasks(), dry).await.unwrap();
    assert!(j.may_pay(1, NOW).await && !j.holds(2));
    assert_eq!(j.handle.key(KeyId([1; 16])).unwrap(), Some(record(1)));
    let all = Together { dry_run: false, all_or_none: true };
    assert_eq!(j.handle.change_keys(tasks(), all).await.unwrap(), tried);
    assert!(j.may_pay(1, NOW + 1).await && !j.holds(2), "one was refused: none is done");
    let done = j.handle.change_keys(tasks(), Together::default()).await.unwrap();
    assert_eq!(done, tried);
    let words: Vec<_> =
        done.iter().map(|outcome| outcome.as_ref().map(|(done, _)| *done).map_err(|why| *why)).collect();
    let want = [Ok(Done::Changed), Ok(Done::Made), Err(KeyRefusal::Exists), Err(KeyRefusal::UnknownKey)];
    assert_eq!(words, want);
    assert!(!j.may_pay(1, NOW + 2).await && j.holds(2));
}

#[tokio::test]
async fn a_replaced_secret_holds_for_a_while() {
    let j = journal();
    let id = j.make(1, 0).await;
    let new = |secret: u8, old_until_ms: u64, by_holder: bool| {
        KeyTask::Rotate(id, NewSecret { secret: digest(secret), shown: "pg_".to_owned(), old_until_ms, by_holder })
    };
    j.one(new(2, NOW + 100, true)).await.unwrap();
    assert_eq!(j.handle.secret_holder(digest(1)).unwrap().unwrap().valid_until_ms, Some(NOW + 100));
    assert_eq!(j.handle.secret_holder(digest(2)).unwrap().unwrap().valid_until_ms, None);
    assert_eq!(j.one(new(3, NOW, true)).await, Err(KeyRefusal::RotatedLately), "five minutes are not over");
    assert_eq!(j.one(new(2, NOW, false)).await, Err(KeyRefusal::Exists));
    // The operator may, and an end that was set before is not put off.
    j.one(new(3, NOW + 200, false)).await.unwrap();
    assert_eq!(j.handle.secret_holder(digest(1)).unwrap().unwrap().valid_until_ms, Some(NOW + 100));
    for secret in 4..6 {
        j.one(new(secret, NOW + 200, false)).await.unwrap();
    }
    let most = KeyRefusal::TooMany { field: "overlap_s", most: 5 };
    assert_eq!(j.one(new(6, NOW + 200, false)).await, Err(most));
    assert!(j.holds(5) && !j.holds(6));
    // Without an overlap all others end at once.
    j.one(new(7, NOW, false)).await.unwrap();
    assert_eq!((1..8).filter(|secret| j.holds(*secret)).collect::<Vec<_>>(), [7]);
    assert_eq!(j.handle.key(id).unwrap().unwrap().rotated_at_ms, Some(NOW));
}

#[tokio::test]
async fn scheduled_changes_are_carried_out_once() {
    let j = journal();
    j.make(1, 10).await;
    j.make(2, 0).await;
    for (id, at_ms, act) in [
        (1, NOW + 10, ScheduledAct::TopUp(5)),
        (1, NOW + 20, ScheduledAct::Suspend),
        (1, NOW + 30, ScheduledAct::TopUp(7)),
        (2, NOW + 40, ScheduledAct::Revoke),
    ] {
        j.step_key(id, KeyStep::Schedule(at_ms, act)).await.unwrap();
    }
    let balance = || j.handle.balance(KeyId([1; 16]), NOW).unwrap().unwrap().1;
    assert_eq!(j.handle.sweep_keys(NOW + 9).await.unwrap(), []);
    assert_eq!((j.handle.sweep_keys(NOW + 25).await.unwrap().len(), balance()), (1, 15));
    assert_eq!((j.handle.sweep_keys(NOW + 25).await.unwrap().len(), balance()), (0, 15));
    assert!(!j.may_pay(1, NOW + 25).await);
    let swept = j.handle.sweep_keys(NOW + 100).await.unwrap();
    assert_eq!((swept.len(), balance()), (2, 22), "a suspended key is topped up as well");
    assert_eq!(j.step_key(2, KeyStep::Resume).await, Err(KeyRefusal::Revoked));
    // The same change from an older backup of the record grants nothing again.
    let grants = j.handle.grants(KeyId([1; 16])).unwrap();
    assert_eq!(
        grants.iter().map(|grant| (grant.granted, grant.label.as_str())).collect::<Vec<_>>(),
        [(10, "opening"), (5, "scheduled"), (7, "scheduled")]
    );
}

#[tokio::test]
async fn what_is_due_comes_before_the_next_step() {
    let j = journal();
    for id in 1..=4 {
        let last = if id == 4 { ScheduledAct::Expire } else { ScheduledAct::Resume };
        let acts = [(1, ScheduledAct::TopUp(5)), (2, last)];
        let schedule = acts.map(|(id, act)| Scheduled { id, at_ms: NOW - 1, act }).to_vec();
        j.one(KeyTask::Make(make_of(KeyRecord { schedule, numbered: 2, ..record(id) }, 0))).await.unwrap();
    }
    let (_, suspended) = j.step_key(1, KeyStep::Suspend).await.unwrap();
    assert_eq!((suspended.standing(NOW), suspended.schedule.len()), (KeyStanding::Suspended, 0));
    let new = NewSecret { secret: digest(9), shown: String::new(), old_until_ms: 0, by_holder: false };
    j.one(KeyTask::Rotate(KeyId([2; 16]), new)).await.unwrap();
    let import = make_of(KeyRecord { state: KeyState::Suspended, ..record(3) }, 0);
    j.one(KeyTask::Import(import, Conflict::Overwrite, ALL)).await.unwrap();
    j.step_key(4, KeyStep::Change(expires(NOW + 99, 0))).await.unwrap();
    j.handle.sweep_keys(NOW).await.unwrap();
    let standing = |id| j.handle.key(KeyId([id; 16])).unwrap().unwrap().standing(NOW + 40);
    assert_eq!(
        [1, 2, 3, 4].map(standing),
        [KeyStanding::Suspended, KeyStanding::Active, KeyStanding::Suspended, KeyStanding::Active]
    );
    let balance = |id| j.handle.balance(KeyId([id; 16]), NOW).unwrap().unwrap().1;
    assert_eq!([1, 2, 3, 4].map(balance), [5; 4], "once");
}

#[tokio::test]
async fn plans_are_shared_and_bounded() {
    let j = journal();
    let policy = |text: &str| serde_json::from_str::<Policy>(text).unwrap();
    let plan = |name: &str, text: &str| Plan { name: name.to_owned(), policy: policy(text) };
    j.handle.put_plan(plan("pro", r#"{"priority":1}"#), false).await.unwrap().unwrap();
    let keyed = KeyRecord { plan: Some("pro".to_owned()), ..record(1) };
    j.one(KeyTask::Make(make_of(keyed, 0))).await.unwrap();
    let generation = j.handle.access_generation();
    j.handle.put_plan(plan("pro", r#"{"priority":2}"#), true).await.unwrap().unwrap();
    assert_eq!(j.handle.secret_holder(digest(1)).unwrap().unwrap().plan.priority, Some(1), "it was only tried");
    j.handle.put_plan(plan("pro", r#"{"priority":3}"#), false).await.unwrap().unwrap();
    assert_eq!(j.handle.secret_holder(digest(1)).unwrap().unwrap().plan.priority, Some(3));
    assert!(j.handle.access_generation() > generation, "who has read the plan must read it again");
    let delete = |name: &'static str| j.handle.delete_plan(name.to_owned(), false);
    assert_eq!(delete("pro").await.unwrap(), Err(KeyRefusal::PlanInUse));
    assert_eq!(delete("none").await.unwrap(), Err(KeyRefusal::UnknownPlan));
    assert_eq!(j.handle.put_plan(plan("No", "{}"), false).await.unwrap(), Err(KeyRefusal::BadValue("name")));
    for number in 1..100 {
        j.handle.put_plan(plan(&format!("p{number}"), "{}"), false).await.unwrap().unwrap();
    }
    let more = j.handle.put_plan(plan("more", "{}"), false).await.unwrap();
    assert_eq!(more, Err(KeyRefusal::TooMany { field: "plans", most: 100 }));
    j.handle.put_plan(plan("p1", r#"{"priority":9}"#), false).await.unwrap().unwrap();
    delete("p2").await.unwrap().unwrap();
    let plans = j.handle.plans().unwrap();
    assert_eq!((plans.len(), plans.iter().map(|(_, keys)| keys).sum::<u64>()), (99, 1));

    for number in 0..100 {
        j.handle.put_template(format!("t{number}"), "{}".to_owned(), false).await.unwrap().unwrap();
    }
    let more = j.handle.put_template("more".to_owned(), "{}".to_owned(), false).await.unwrap();
    assert_eq!(more, Err(KeyRefusal::TooMany { field: "templates", most: 100 }));
    j.handle.delete_template("t1".to_owned(), false).await.unwrap().unwrap();
    let gone = j.handle.delete_template("t1".to_owned(), false).await.unwrap();
    assert_eq!(gone, Err(KeyRefusal::UnknownTemplate));
}

#[tokio::test]
async fn an_import_meets_what_is_there() {
    let j = journal();
    let there = KeyRecord { alias: Some("shop".to_owned()), ..record(1) };
    j.one(KeyTask::Make(make_of(there, 5))).await.unwrap();
    let by = |id: u8, alias: Option<&str>, secret: u8| {
        let record = KeyRecord { alias: alias.map(str::to_owned), name: "imported".to_owned(), ..record(id) };
        KeyToMake { secret: digest(secret), ..make_of(record, 9) }
    };
    for make in [by(1, None, 8), by(7, Some("shop"), 8), by(7, None, 1)] {
        let import = |conflict| j.one(KeyTask::Import(make.clone(), conflict, ALL));
        assert_eq!(import(Conflict::Refuse).await, Err(KeyRefusal::Exists));
        assert_eq!(import(Conflict::Skip).await.map(|(done, _)| done), Ok(Done::Skipped));
    }
    assert_eq!(j.handle.key(KeyId([1; 16])).unwrap().unwrap().name, "key 001");
    let over = j.one(KeyTask::Import(by(7, Some("shop"), 8), Conflict::Overwrite, ALL)).await.unwrap();
    assert_eq!((over.0, over.1.id, over.1.name.as_str()), (Done::Overwritten, KeyId([1; 16]), "imported"));
    assert!(j.holds(8) && !j.holds(1), "its secret is the one that was brought");
    assert_eq!(j.handle.balance(KeyId([1; 16]), NOW).unwrap().unwrap().1, 5, "no money is imported over money");
    let unit = |unit| {
        let make = by(1, None, 8);
        KeyTask::Import(KeyToMake { record: KeyRecord { unit, ..make.record }, ..make }, Conflict::Overwrite, ALL)
    };
    assert_eq!(j.one(unit(Unit::Usd)).await, Err(KeyRefusal::OtherUnit));
    let drawn = j.one(KeyTask::Import(by(1, None, 9), Conflict::Overwrite, Brought { secret: false, ..ALL })).await;
    assert!(drawn.is_ok() && j.holds(8) && !j.holds(9), "a secret that was only drawn replaces none");
    j.make(2, 0).await;
    let two = j.one(KeyTask::Import(by(1, None, 2), Conflict::Overwrite, ALL)).await;
    assert_eq!(two, Err(KeyRefusal::Exists), "the id of one and the secret of another");
    let made = j.one(KeyTask::Import(by(3, None, 3), Conflict::Refuse, ALL)).await.unwrap();
    assert_eq!((made.0, j.handle.balance(KeyId([3; 16]), NOW).unwrap().unwrap().1), (Done::Made, 9));
    j.step_key(1, KeyStep::Revoke).await.unwrap();
    let revoked = j.one(KeyTask::Import(by(1, None, 8), Conflict::Overwrite, ALL)).await;
    assert_eq!(revoked, Err(KeyRefusal::Revoked));
}

#[tokio::test]
async fn an_import_does_not_undo_what_was_done_to_a_key() {
    let j = journal();
    j.make(1, 0).await;
    j.step_key(1, KeyStep::Schedule(NOW + 10, ScheduledAct::Suspend)).await.unwrap();
    j.step_key(1, KeyStep::VoidTokens).await.unwrap();
    let new = NewSecret { secret: digest(9), shown: String::new(), old_until_ms: 0, by_holder: true };
    j.one(KeyTask::Rotate(KeyId([1; 16]), new)).await.unwrap();
    let (_, before) = j.step_key(1, KeyStep::Suspend).await.unwrap();
    let without = Brought { state: false, ..ALL };
    for (brought, state) in [(without, KeyState::Suspended), (ALL, KeyState::Active)] {
        let task = KeyTask::Import(make_of(record(1), 0), Conflict::Overwrite, brought);
        let (_, after) = j.one(task).await.unwrap();
        assert_eq!(after, KeyRecord { state, ..before.clone() });
    }
    assert_eq!((before.tokens_after_ms, before.rotated_at_ms, before.schedule.len()), (NOW, Some(NOW), 1));
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_whole() {
    let j = journal();
    for id in 1..=20u8 {
        let record = KeyRecord {
            tags: [("team".to_owned(), format!("t{}", id % 3))].into(),
            sandbox: id % 5 == 0,
            name: format!("Key {}", id % 4),
            expires_at_ms: (id % 7 == 0).then_some(NOW + u64::from(id)),
            ..record(id)
        };
        j.one(KeyTask::Make(make_of(record, u64::from(id % 6)))).await.unwrap();
    }
    j.step_key(4, KeyStep::Suspend).await.unwrap();
    j.step_key(5, KeyStep::Revoke).await.unwrap();
    j.step_key(6, KeyStep::Note("Says 50% 'off'".to_owned())).await.unwrap();
    let ids = |filter: KeyFilter, now_ms: u64| {
        let order = KeyOrder { most: 100, ..KeyOrder::default() };
        let rows = j.handle.keys(&filter, &order, now_ms).unwrap();
        rows.iter().map(|row| row.record.id.0[0]).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let all = KeyFilter::default;
    for (filter, now_ms, want) in [
        (KeyFilter { status: Some(KeyStatus::Suspended), ..all() }, NOW, vec![4]),
        (KeyFilter { status: Some(KeyStatus::Revoked), ..all() }, NOW, vec![5]),
        (KeyFilter { status: Some(KeyStatus::Expired), ..all() }, NOW + 14, vec![7, 14]),
        (KeyFilter { ends_before_ms: Some(NOW + 14), ..all() }, NOW, vec![7]),
        (KeyFilter { sandbox: Some(true), ..all() }, NOW, vec![5, 10, 15, 20]),
        (KeyFilter { name_prefix: text("Key 0"), ..all() }, NOW, vec![4, 8, 12, 16, 20]),
        (KeyFilter { tag: Some(("team".to_owned(), text("t0"))), sandbox: Some(true), ..all() }, NOW, vec![15]),
        (KeyFilter { tag: Some(("team".to_owned(), text("t9"))), ..all() }, NOW, vec![]),
        (KeyFilter { balance_min: Some(5), ..all() }, NOW, vec![5, 11, 17]),
        (KeyFilter { balance_max: Some(0), ..all() }, NOW, vec![6, 12, 18]),
        (KeyFilter { words: text("50% 'off'"), ..all() }, NOW, vec![6]),
        (KeyFilter { words: text("key 3"), ..all() }, NOW, vec![3, 7, 11, 15, 19]),
        (KeyFilter { words: text("t0"), balance_max: Some(0), ..all() }, NOW, vec![6, 12, 18]),
        (KeyFilter { words: text("' OR 1=1 --"), ..all() }, NOW, vec![]),
        (KeyFilter { plan: text("%"), ..all() }, NOW, vec![]),
        (KeyFilter { id: Some(KeyId([3; 16])), ..all() }, NOW, vec![3]),
    ] {
        assert_eq!(ids(filter.clone(), now_ms), want, "{filter:?}");
    }
    let active = ids(KeyFilter { status: Some(KeyStatus::Active), ..all() }, NOW + 14);
    assert_eq!(active.len(), 16);
    assert_eq!(ids(KeyFilter { tag: Some(("team".to_owned(), None)), ..all() }, NOW).len(), 20);
    for sort in [KeySort::Created, KeySort::Name, KeySort::Balance, KeySort::Used, KeySort::Spent, KeySort::Calls] {
        for descending in [false, true] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let order = KeyOrder { sort, descending, after, most: 7 };
                let rows = j.handle.keys(&all(), &order, NOW).unwrap();
                let Some(last) = rows.last() else { break };
                after = Some((last.place.clone(), last.record.id));
                seen.extend(rows.into_iter().map(|row| (row.record.name.clone(), row.balance, row.record.id)));
            }
            assert_eq!(seen.len(), 20, "{sort:?} {descending}");
            let mut sorted = seen.clone();
            match sort {
                KeySort::Name => sorted.sort_by_key(|(name, _, id)| (name.clone(), *id)),
                KeySort::Balance => sorted.sort_by_key(|(_, balance, id)| (*balance, *id)),
                KeySort::Created | KeySort::Used | KeySort::Spent | KeySort::Calls => {
                    sorted.sort_by_key(|(_, _, id)| *id)
                }
            }
            if descending {
                sorted.reverse();
            }
            assert_eq!(seen, sorted, "{sort:?} {descending}");
        }
    }
}

#[tokio::test]
async fn token_keys_and_void_tokens() {
    let j = journal();
    assert_eq!(j.handle.token_keys(NOW).unwrap(), []);
    for (number, secret) in (1..).zip([1u8, 2, 3]) {
        assert_eq!(j.handle.rotate_token_key([secret; 32], NOW + 100).await.unwrap(), number);
    }
    let secrets = |at_ms: u64| j.handle.token_keys(at_ms).unwrap().iter().map(|key| key.secret[0]).collect::<Vec<_>>();
    assert_eq!((secrets(NOW), secrets(NOW + 100)), (vec![3, 2, 1], vec![3]));
    j.handle.rotate_token_key([4; 32], NOW).await.unwrap();
    assert_eq!(secrets(NOW), [4], "the others ended at once");
    for secret in 5..10 {
        j.handle.rotate_token_key([secret; 32], NOW + 100).await.unwrap();
    }
    assert_eq!(secrets(NOW), [9, 8, 7, 6]);

    assert_eq!(j.handle.signing_master().unwrap(), None);
    assert_eq!(j.handle.make_signing_master([1; 32]).await.unwrap(), [1; 32]);
    assert_eq!(j.handle.make_signing_master([2; 32]).await.unwrap(), [1; 32]);
    assert_eq!(secrets(NOW), [9, 8, 7, 6], "it signs no tokens");

    let void = |token: u8, key: u8, expires_at_ms: u64| RevokedToken {
        token: [token; 16],
        key: KeyId([key; 16]),
        expires_at_ms,
        revoked_at_ms: NOW,
    };
    let generation = j.handle.access_generation();
    j.handle.revoke_token(void(1, 1, NOW + 50)).await.unwrap().unwrap();
    assert!(j.handle.access_generation() > generation);
    j.handle.revoke_token(void(2, 2, NOW + 60)).await.unwrap().unwrap();
    j.handle.revoke_token(void(2, 2, NOW + 60)).await.unwrap().unwrap();
    assert!(j.handle.is_revoked([1; 16]).unwrap() && !j.handle.is_revoked([3; 16]).unwrap());
    let listed =
        |key: Option<u8>, at_ms| j.handle.revoked_tokens(key.map(|key| KeyId([key; 16])), at_ms, 9).unwrap().len();
    assert_eq!((listed(None, NOW), listed(Some(2), NOW), listed(None, NOW + 50)), (2, 1, 1));
}
