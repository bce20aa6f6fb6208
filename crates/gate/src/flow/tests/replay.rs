//! An authorization that was claimed before.

use super::*;

const OTHER_URL: &str = "http://gate.test/other";

/// What happens to a world, and to a payment before it is signed.
type Event = fn(&World);
type Bend = fn(&mut Payment);

fn reopen(world: &Rc<World>, payment: &Payment) -> String {
    open_word(world, &snapshot(), &call(URL, Presented::Header(payment.header().as_bytes())))
}

#[test]
fn what_a_replay_is_told_by_state_and_answer() {
    use AnswerState::{Kept, Live, Lost, Pending};
    let released = |reason| State::Released(reason);
    for (state, answer, want, calls) in [
        (State::Open, Live, "in flight", "recall, ended 700"),
        (State::Open, Pending, "pending", "recall"),
        (State::Open, Kept, "pending", "recall"),
        (State::Open, Lost, "pending", "recall"),
        (SUBMITTED, Live, "in flight", "recall, ended 700"),
        (SUBMITTED, Pending, "pending with hash", "recall"),
        (SUBMITTED, Kept, "pending with hash", "recall"),
        (SUBMITTED, Lost, "pending with hash", "recall"),
        (posted(), Live, "already served", "recall"),
        (posted(), Pending, "already served", "recall"),
        (posted(), Kept, "already served", "recall"),
        (BURNT, Live, "burnt", "recall"),
        (State::Burnt(BurnReason::Interrupted), Lost, "burnt", "recall"),
        (State::Burnt(BurnReason::SettlementRefused), Kept, "burnt", "recall"),
        (State::Burnt(BurnReason::ForeignTransfer), Live, "burnt", "recall"),
        (EXPIRED, Live, "expired", "recall"),
        // May be claimed again, and is.
        (released(ReleaseReason::NotSent), Live, "permit", "recall, standing, check, reserve, close NotSent"),
        (released(ReleaseReason::FreeStatus), Live, "permit", "recall, standing, check, reserve, close NotSent"),
    ] {
        let world = World::new();
        world.put(&payment(), state, answer);
        assert_eq!(reopen(&world, &payment()), want, "{state:?} {answer:?}");
        assert_eq!(world.calls(), calls, "{state:?} {answer:?}");
    }
}

#[test]
fn money_that_came_late_or_is_owed_back_is_said_first() {
    let (late, owed) = ("in suspense", "owed back");
    for (state, is_late, refund_due, want) in [
        (posted(), false, true, owed),
        (RELEASED, true, false, late),
        (State::Released(ReleaseReason::FreeStatus), true, false, late),
        (EXPIRED, true, false, late),
        (BURNT, true, false, late),
        (State::Burnt(BurnReason::ForeignTransfer), true, false, late),
    ] {
        let world = World::new();
        world.put(&payment(), state, AnswerState::Lost);
        {
            let mut records = world.records.borrow_mut();
            (records[0].late, records[0].refund_due) = (is_late, refund_due);
        }
        assert_eq!(reopen(&world, &payment()), want, "{state:?}");
        assert_eq!(world.calls(), "recall", "{state:?}");
    }
}

#[test]
fn a_duplicate_waits_for_the_end_of_the_first_call_and_never_runs_itself() {
    for (state, step, want) in [
        (State::Open, Step::Post(settled()), "already served"),
        (SUBMITTED, Step::Post(settled()), "already served"),
        (State::Open, Step::Burn(BurnReason::Unanswered), "burnt"),
        (SUBMITTED, Step::Refuse(LossReason::Failed), "burnt"),
        (State::Open, Step::Release(ReleaseReason::NotSent), "released"),
        (State::Open, Step::Release(ReleaseReason::FreeStatus), "released"),
        (SUBMITTED, Step::Expire, "expired"),
        (State::Open, Step::Submit(CHAIN_TX), "in flight"),
        (SUBMITTED, Step::Pend, "pending with hash"),
    ] {
        let world = World::new();
        world.put(&payment(), state, AnswerState::Live);
        world.while_waiting.set(Some(step));
        assert_eq!(reopen(&world, &payment()), want, "{state:?} {step:?}");
        assert_eq!(world.calls(), "recall, ended 700", "{state:?} {step:?}");
    }
}

#[test]
fn a_wait_that_fails_says_that_the_money_is_held() {
    for state in [State::Open, SUBMITTED] {
        let world = World::new();
        world.put(&payment(), state, AnswerState::Live);
        world.fail("ended");
        assert_eq!(reopen(&world, &payment()), "journal_unavailable (money: held)", "{state:?}");
    }
}

/// What has changed since the first call, in the gate or in the caller's second header.
type Since = (&'static str, Event, fn(&mut Offer), Bend);

/// A retry after our own settlement is never told to pay again, whatever offer and times say now, and no chain is read for it.
#[test]
fn a_known_claim_is_answered_before_offer_times_and_chain() {
    let same = |_: &mut Payment| {};
    let rows: &[Since] = &[
        ("nothing", |_| {}, |_| {}, same),
        ("expired", |world| world.now_s.set(NOW_S + 3_600), |_| {}, same),
        ("clock went back", |world| world.now_s.set(NOW_S - 3_600), |_| {}, same),
        ("price", |_| {}, |offer| offer.amount_atomic = 1, same),
        ("payee", |_| {}, |offer| offer.payee = Payee(settled().payer.0), same),
        ("timeout", |_| {}, |offer| offer.max_timeout_s = 1, same),
        ("domain", |_| {}, |offer| offer.asset_info.name = "New Dollar".to_owned(), same),
        ("terms of the header", |_| {}, |_| {}, |payment| payment.offer.amount_atomic = 1),
        ("v1", |_| {}, |_| {}, |payment| payment.version = Version::V1),
        ("v1, expired", |world| world.now_s.set(NOW_S + 3_600), |_| {}, |payment| payment.version = Version::V1),
        ("v1, price", |_| {}, |offer| offer.amount_atomic = 1, |payment| payment.version = Version::V1),
    ];
    for (what, world_since, offer_since, payment_since) in rows {
        for (state, want) in [(posted(), "already served"), (BURNT, "burnt"), (EXPIRED, "expired")] {
            let world = World::new();
            world.put(&payment(), state, AnswerState::Live);
            world_since(&world);
            let mut offer = offer();
            offer_since(&mut offer);
            let header = payment().with(payment_since).header();
            let call = call(URL, Presented::Header(header.as_bytes()));
            assert_eq!(open_word(&world, &snapshot_of(vec![offer]), &call), want, "{what}");
            assert_eq!(world.calls(), "recall", "{what}: no chain is read");
        }
    }
}

/// The nonce is public once it was on a chain. Whoever knows it alone learns nothing from it.
#[test]
fn a_stranger_gets_the_ordinary_refusal() {
    let late = |world: &World| world.now_s.set(NOW_S + 3_600);
    let signature = "challenge invalid_exact_evm_signature";
    let times = "challenge invalid_exact_evm_payload_authorization_valid_before";
    let rows: [(Event, &str); 2] = [(|_| {}, signature), (late, times)];
    for (since, want) in rows {
        for state in [State::Open, SUBMITTED, posted(), BURNT, EXPIRED, RELEASED] {
            let world = World::new();
            world.put(&payment(), state, AnswerState::Live);
            since(&world);
            let got = reopen(&world, &payment().with(|p| p.key = STRANGER));
            assert_eq!(got, want, "{state:?}");
            assert_eq!(world.calls(), "recall");
        }
    }
}

#[test]
fn another_request_or_other_signed_fields_are_a_conflict() {
    let rows: &[(&str, Bend, &str)] = &[
        (URL, |_| {}, "already served"),
        ("http://gate.test/paid?q=2", |_| {}, "conflict"),
        (OTHER_URL, |_| {}, "conflict"),
        (URL, |p| p.fields.value = U256::from(AMOUNT + 1), "conflict"),
        (URL, |p| p.fields.to = p.fields.from, "conflict"),
        (URL, |p| p.fields.valid_after = U256::ZERO, "conflict"),
        (URL, |p| p.fields.valid_before = U256::from(NOW_S + 59), "conflict"),
    ];
    for (url, bend, want) in rows {
        for (state, money) in [
            (posted(), "moved"),
            (BURNT, "untouched"),
            (EXPIRED, "untouched"),
            (State::Open, "held"),
            (SUBMITTED, "unknown"),
        ] {
            let world = World::new();
            world.put(&payment(), state, AnswerState::Live);
            let header = payment().with(bend).header();
            let got = open_word(&world, &snapshot(), &call(url, Presented::Header(header.as_bytes())));
            let calls = world.calls();
            if *want == "conflict" {
                assert_eq!(got, format!("conflict, money {money}"), "{url} {state:?}");
                assert_eq!(calls, "recall", "a conflict does not wait");
            } else if state == posted() {
                assert_eq!(got, *want);
            }
        }
    }
}

/// Money that came late is with the payee, whatever became of the hold.
#[test]
fn a_conflict_with_late_money_says_that_it_moved() {
    for state in [RELEASED, EXPIRED, BURNT] {
        let world = World::new();
        world.put(&payment(), state, AnswerState::Live);
        world.records.borrow_mut()[0].late = true;
        let header = payment().header();
        let got = open_word(&world, &snapshot(), &call(OTHER_URL, Presented::Header(header.as_bytes())));
        assert_eq!(got, "conflict, money moved", "{state:?}");
    }
}

#[test]
fn another_method_is_another_request() {
    let world = World::new();
    world.put(&payment(), posted(), AnswerState::Live);
    let header = payment().header();
    let post = Call { method: "POST", ..call(URL, Presented::Header(header.as_bytes())) };
    assert_eq!(open_word(&world, &snapshot(), &post), "conflict, money moved");
}

#[test]
fn a_stored_answer_is_given_only_for_the_secret_of_the_first_call() {
    use AnswerState::{Kept, Live, Lost, Pending};
    let (mine, other) = (Some(B256::repeat_byte(1)), Some(B256::repeat_byte(2)));
    for (first, second, answer, want) in [
        (mine, mine, Kept, "stored"),
        (mine, other, Kept, "already served"),
        (mine, None, Kept, "already served"),
        (None, mine, Kept, "already served"),
        // Two calls without a key do not share a secret.
        (None, None, Kept, "already served"),
        (mine, mine, Live, "already served"),
        (mine, mine, Pending, "already served"),
        (mine, mine, Lost, "already served"),
    ] {
        let world = World::new();
        world.put(&payment(), posted(), answer);
        world.records.borrow_mut()[0].hold.idempotency = first;
        let header = payment().header();
        let call = Call { idempotency: second, ..call(URL, Presented::Header(header.as_bytes())) };
        assert_eq!(open_word(&world, &snapshot(), &call), want, "{first:?} {second:?} {answer:?}");
    }
}

/// Before the money has moved nobody gets the answer, secret or not.
#[test]
fn a_kept_answer_waits_for_the_money() {
    let secret = Some(B256::repeat_byte(1));
    for (state, want) in
        [(State::Open, "pending"), (SUBMITTED, "pending with hash"), (BURNT, "burnt"), (EXPIRED, "expired")]
    {
        let world = World::new();
        world.put(&payment(), state, AnswerState::Kept);
        world.records.borrow_mut()[0].hold.idempotency = secret;
        let header = payment().header();
        let call = Call { idempotency: secret, ..call(URL, Presented::Header(header.as_bytes())) };
        assert_eq!(open_word(&world, &snapshot(), &call), want, "{state:?}");
    }
}

/// While a duplicate waits, the claim is let go and won by another request of the same payer. Its answer is not this request's.
#[test]
fn the_claim_that_a_wait_ends_with_is_judged_again() {
    let secret = Some(B256::repeat_byte(1));
    let world = World::new();
    world.put(&payment(), State::Open, AnswerState::Live);
    {
        let mut records = world.records.borrow_mut();
        records[0].hold.idempotency = secret;
        let mut second = records[0].clone();
        second.hold.id = HoldId([0xef; 16]);
        second.hold.fingerprint = call(OTHER_URL, Presented::Nothing).fingerprint();
        (second.state, second.answer) = (posted(), AnswerState::Kept);
        records.push(second);
    }
    let record = world.records.borrow()[0].clone();
    let header = payment().header();
    let call = Call { idempotency: secret, ..call(URL, Presented::Header(header.as_bytes())) };
    let credential = Credential::parse(header.as_bytes()).unwrap();
    let opened = now(rig(&world).replay(&snapshot(), &call, &credential, record));
    let Opened::Replay(replay) = opened else { panic!("{opened:?}") };
    assert_eq!(replay_word(&replay), "conflict, money moved");
}

/// v1 names no asset. A retry must find its claim by whatever token the route took first.
#[test]
fn a_v1_retry_finds_its_claim_on_a_route_with_another_token() {
    let mut euro = offer();
    euro.asset_info.asset.address = protocol::AssetAddress(address!("808456652fdb597867f38412077A9182bf77359F"));
    let mut snapshot = snapshot_of(vec![offer()]);
    snapshot.routes[2].price = Price::Due(Terms {
        offers: vec![euro.clone()],
        rail: Rail::Direct,
        exposure_micros: MICROS,
        settle_first: false,
        sells: None,
    });
    let payment = payment().with(|p| {
        p.version = Version::V1;
        p.offer = euro;
    });
    let world = World::new();
    world.put(&payment, posted(), AnswerState::Live);
    world.records.borrow_mut()[0].hold.fingerprint = call(OTHER_URL, Presented::Nothing).fingerprint();
    world.now_s.set(NOW_S + 3_600);
    let header = payment.header();
    let got = open_word(&world, &snapshot, &call(OTHER_URL, Presented::Header(header.as_bytes())));
    assert_eq!(got, "already served");
}

/// The same for a token that is no longer accepted at all: the claim is older than the configuration.
#[test]
fn a_retry_finds_its_claim_when_its_token_is_no_longer_accepted() {
    let mut euro = offer();
    euro.asset_info.asset.address = protocol::AssetAddress(address!("808456652fdb597867f38412077A9182bf77359F"));
    let world = World::new();
    world.put(&payment(), posted(), AnswerState::Live);
    let header = payment().header();
    let got = open_word(&world, &snapshot_of(vec![euro]), &call(URL, Presented::Header(header.as_bytes())));
    assert_eq!(got, "already served");
}
