//! From a call to a permit.

use super::*;

fn paid() -> String {
    payment().header()
}

#[test]
fn calls_without_a_credential() {
    let several = Presented::Refused(Refusal::SeveralCredentials);
    for (url, presented, want) in [
        ("http://gate.test/free", Presented::Nothing, "free"),
        ("http://gate.test/free", several, "free"),
        ("http://gate.test/none", Presented::Nothing, "blocked"),
        ("http://gate.test/none", several, "blocked"),
        (URL, Presented::Nothing, "challenge payment_required"),
        (URL, several, "challenge several_credentials"),
        (URL, Presented::Header(b"!"), "challenge invalid_base64"),
        (URL, Presented::Header(b"e30="), "challenge invalid_x402_version"),
    ] {
        let world = World::new();
        assert_eq!(open_word(&world, &snapshot(), &call(url, presented)), want, "{url} {presented:?}");
        assert_eq!(world.calls(), "", "{url} {presented:?}: the unpaid path touches nothing");
    }
}

#[test]
fn a_challenge_offers_what_the_route_costs() {
    let world = World::new();
    let unpaid = call(URL, Presented::Nothing);
    let opened = now(rig(&world).open(&snapshot(), &found(&snapshot(), &unpaid), |_, _| true));
    let Opened::Challenge { refusal: None } = opened else { panic!("{opened:?}") };
    let challenge = rig(&world).challenge(&snapshot(), &found(&snapshot(), &unpaid), None).unwrap();
    assert_eq!(challenge.offers, [offer()]);
    for url in ["http://gate.test/free", "http://gate.test/none"] {
        assert_eq!(rig(&world).challenge(&snapshot(), &call(url, Presented::Nothing), None), None, "{url}");
    }
}

const MAINNET: Network = Network { chain_id: 8453 };

/// What is wrong with a payment, the refusal's code, and the calls that it cost.
type Bad = (fn(&mut Payment), &'static str, &'static str);

#[test]
fn credentials_that_are_refused_before_the_chain_is_read() {
    let rows: &[Bad] = &[
        // v2 names its token, v1 none: without a network of ours there is nothing to look up.
        (|p| p.offer.asset_info.asset.network = MAINNET, "challenge invalid_exact_evm_network_mismatch", "recall"),
        (
            |p| (p.offer.asset_info.asset.network, p.version) = (MAINNET, Version::V1),
            "challenge invalid_exact_evm_network_mismatch",
            "",
        ),
        (|p| p.offer.amount_atomic = 1, "challenge no_matching_payment_requirements", "recall"),
        (|p| p.fields.to = p.fields.from, "challenge invalid_exact_evm_recipient_mismatch", "recall"),
        (
            |p| p.fields.value = U256::from(1),
            "challenge invalid_exact_evm_payload_authorization_value_mismatch",
            "recall",
        ),
        (
            |p| p.fields.valid_before = U256::from(NOW_S + 29),
            "challenge invalid_exact_evm_payload_authorization_valid_before",
            "recall",
        ),
        (
            |p| p.fields.valid_before = U256::from(NOW_S + 66),
            "challenge invalid_exact_evm_payload_authorization_valid_before",
            "recall",
        ),
        (
            |p| p.fields.valid_after = U256::from(NOW_S + 1),
            "challenge invalid_exact_evm_payload_authorization_valid_after",
            "recall",
        ),
        (|p| p.key = STRANGER, "challenge invalid_exact_evm_signature", "recall"),
    ];
    for (bend, want, calls) in rows {
        let world = World::new();
        let header = payment().with(bend).header();
        assert_eq!(open_word(&world, &snapshot(), &call(URL, Presented::Header(header.as_bytes()))), *want);
        assert_eq!(world.calls(), *calls, "{want}");
        assert!(world.records.borrow().is_empty());
    }
}

#[test]
fn the_window_has_both_its_ends() {
    for (valid_before_s, want) in [(NOW_S + 30, "permit"), (NOW_S + 65, "permit")] {
        let header = payment().with(|p| p.fields.valid_before = U256::from(valid_before_s)).header();
        let got = open_word(&World::new(), &snapshot(), &call(URL, Presented::Header(header.as_bytes())));
        assert_eq!(got, want, "{valid_before_s}");
    }
}

const TWICE: &str = "recall, standing, check, recall";

#[test]
fn what_the_chain_and_the_journal_say() {
    let refused = Check::Refused;
    let node = Check::Fault(Fault::untouched(FaultKind::Node));
    let payable = |balance_atomic| match World::new().check.get() {
        Check::Payable(seen) => Check::Payable(Seen { balance_atomic: Some(balance_atomic), ..seen }),
        other @ (Check::Refused(_) | Check::Fault(_)) => other,
    };
    let journal = "journal_unavailable (money: untouched)";
    for (check, failing, want, calls) in [
        // The claim is looked up again: what the chain shows may be our own settlement of it.
        (refused(Refusal::AssetNotDeployed), "", "challenge asset_not_deployed_contract", TWICE),
        (refused(Refusal::NonceAlreadyUsed), "", "challenge invalid_exact_evm_nonce_already_used", TWICE),
        (refused(Refusal::InsufficientBalance), "", "challenge invalid_exact_evm_insufficient_balance", TWICE),
        (refused(Refusal::SimulationFailed), "", "challenge invalid_exact_evm_transaction_simulation_failed", TWICE),
        (node, "", "chain_unavailable (money: untouched)", "recall, standing, check"),
        // It may be a payment that was served before: who cannot look it up cannot say that nothing moved.
        (payable(AMOUNT), "recall", "journal_unavailable (money: unknown)", "recall"),
        // Whether the claim was written is not known: it is let go once the journal is back.
        (payable(AMOUNT), "reserve", journal, "recall, standing, check, reserve, close NotSent"),
        // A claim that the ledger refused is nobody's: there is nothing to close.
        (
            payable(AMOUNT - 1),
            "",
            "challenge invalid_exact_evm_insufficient_balance",
            "recall, standing, check, reserve",
        ),
        // The permit is dropped unused.
        (payable(AMOUNT), "", "permit", "recall, standing, check, reserve, close NotSent"),
    ] {
        let world = World::new();
        world.check.set(check);
        if !failing.is_empty() {
            world.fail(failing);
        }
        let got = open_word(&world, &snapshot(), &call(URL, Presented::Header(paid().as_bytes())));
        assert_eq!(got, want, "{check:?} {failing}");
        assert_eq!(world.calls(), calls, "{want}");
    }
}

#[test]
fn a_permit_holds_what_was_verified() {
    for version in [Version::V1, Version::V2] {
        let world = World::new();
        let payment = payment().with(|p| p.version = version);
        let header = payment.header();
        let call = Call { idempotency: Some(B256::repeat_byte(4)), ..call(URL, Presented::Header(header.as_bytes())) };
        let opened = now(rig(&world).open(&snapshot(), &found(&snapshot(), &call), |_, _| true));
        let Opened::Permit(permit) = opened else { panic!("{opened:?}") };
        let hold = permit.hold().unwrap();
        assert_eq!(hold.authorization, payment.authorization());
        assert_eq!((hold.id, hold.route.as_str()), (HoldId::new(NOW_S * 1_000, [1; 16]), "paid"));
        assert_eq!((hold.fingerprint, hold.idempotency), (call.fingerprint(), call.idempotency));
        assert_eq!((hold.seen.number, hold.opened_at_ms), (5, NOW_S * 1_000));
        assert_eq!((hold.rail, hold.source, hold.exposure_micros), (Rail::Direct, SOURCE, MICROS));
        assert_eq!(world.only(), Record::new(hold.clone()));
    }
}

/// Another call wins between the look-up and the claim. Its hold is not ours to close.
#[test]
fn a_claim_that_was_taken_in_between() {
    for (state, want) in [
        (State::Open, "in flight"),
        (SUBMITTED, "in flight"),
        (LOST, "uncollected"),
        (posted(), "already served"),
        (BURNT, "burnt"),
        (EXPIRED, "expired"),
    ] {
        let world = World::new();
        world.blind_recalls.set(1);
        world.put(&payment(), state, AnswerState::Live);
        let got = open_word(&world, &snapshot(), &call(URL, Presented::Header(paid().as_bytes())));
        assert_eq!(got, want, "{state:?}");
        let calls = world.calls();
        assert!(calls.starts_with("recall, standing, check, reserve") && !calls.contains("close"), "{calls}");
    }
}

/// Another call wins and settles while this one reads the chain: the used nonce, or the empty wallet, is its doing.
#[test]
fn a_claim_that_was_settled_while_the_chain_was_read() {
    for (state, want) in [
        (State::Open, "in flight"),
        (SUBMITTED, "in flight"),
        (LOST, "uncollected"),
        (posted(), "already served"),
        (BURNT, "burnt"),
        (EXPIRED, "expired"),
        (RELEASED, "challenge invalid_exact_evm_nonce_already_used"),
    ] {
        let world = World::new();
        world.blind_recalls.set(1);
        world.check.set(Check::Refused(Refusal::NonceAlreadyUsed));
        world.put(&payment(), state, AnswerState::Live);
        let got = open_word(&world, &snapshot(), &call(URL, Presented::Header(paid().as_bytes())));
        assert_eq!(got, want, "{state:?}");
        assert!(world.calls().starts_with(TWICE), "{state:?}");
    }
}

#[test]
fn a_caller_who_leaves_while_the_journal_works_lets_the_claim_go() {
    let world = World::new();
    world.reserve_hangs.set(true);
    let (flow, snapshot, header) = (rig(&world), snapshot(), paid());
    let call = call(URL, Presented::Header(header.as_bytes()));
    let call = found(&snapshot, &call);
    {
        let mut open = pin!(flow.open(&snapshot, &call, |_, _| true));
        assert!(open.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(world.calls(), "recall, standing, check, reserve");
    }
    assert_eq!(world.calls(), "close NotSent");
    let closes = world.closes.take();
    let [(hold, outcome)] = closes.as_slice() else { panic!("{closes:?}") };
    assert_eq!(hold.id, world.only().hold.id);
    assert_eq!(now(flow.close_hold(hold.clone(), *outcome)), Closed::NothingDue);
    assert_eq!(world.only().state, RELEASED);
}

#[test]
fn a_dropped_permit_closes_by_its_progress() {
    let served = Outcome::Served { reading: None };
    for (reached, want) in [
        (&[][..], Outcome::NotSent),
        (&[Progress::NotSent], Outcome::NotSent),
        (&[Progress::Sent], Outcome::Unanswered),
        (&[Progress::Head], served),
        (&[Progress::Sent, Progress::Head], served),
        // It never goes back.
        (&[Progress::Sent, Progress::NotSent], Outcome::Unanswered),
        (&[Progress::Head, Progress::Sent], served),
        (&[Progress::Head, Progress::NotSent], served),
    ] {
        let (world, _flow, mut permit) = won();
        for progress in reached {
            permit.reached(*progress);
        }
        drop(permit);
        assert_eq!(world.calls(), format!("close {want:?}"), "{reached:?}");
    }
}

#[test]
fn a_released_claim_is_won_again_by_another_hold() {
    for reason in [ReleaseReason::NotSent, ReleaseReason::FreeStatus] {
        let world = World::new();
        world.put(&payment(), State::Released(reason), AnswerState::Live);
        let got = open_word(&world, &snapshot(), &call(URL, Presented::Header(paid().as_bytes())));
        assert_eq!(got, "permit", "{reason:?}");
        assert_eq!(world.records.borrow().len(), 2);
    }
}

/// Request futures live on the heap of every connection. Measured 4,800 and 3,216 bytes (x86-64, debug); the bound is a quarter above.
#[test]
fn the_futures_stay_small() {
    let (world, flow, permit) = won();
    let (snapshot, header) = (snapshot(), paid());
    let call = call(URL, Presented::Header(header.as_bytes()));
    let open = size_of_val(&flow.open(&snapshot, &found(&snapshot, &call), |_, _| true));
    let close = size_of_val(&flow.close(permit, Outcome::Unseen));
    assert!(open <= 6_000, "open has {open} bytes");
    assert!(close <= 4_000, "close has {close} bytes");
    // A close that never ran has closed nothing: the permit in it still does.
    assert_eq!(world.calls(), "close NotSent");
}
