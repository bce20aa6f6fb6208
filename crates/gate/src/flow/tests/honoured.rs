//! What a call cost before a change of configuration, for payers who have signed for it already.

use std::sync::Arc;

use super::*;
use crate::Honoured;

const UNTIL_MS: u64 = (NOW_S + 60) * 1_000;
const NO_MATCH: &str = "challenge no_matching_payment_requirements";
const VALUE: &str = "challenge invalid_exact_evm_payload_authorization_value_mismatch";
const TIMES: &str = "challenge invalid_exact_evm_payload_authorization_valid_before";

/// What the call costs now.
fn dearer() -> Offer {
    Offer { amount_atomic: 2 * AMOUNT, ..offer() }
}

fn honoured(snapshot: Snapshot, until_ms: u64) -> Honoured {
    Honoured { snapshot: Arc::new(snapshot), until_ms }
}

/// A gate that has become dearer; `payment` pays the old price.
fn gate(until_ms: u64) -> Snapshot {
    Snapshot { honoured: vec![honoured(snapshot(), until_ms)], ..snapshot_of(vec![dearer()]) }
}

fn open(world: &Rc<World>, snapshot: &Snapshot, payment: &Payment) -> String {
    open_word(world, snapshot, &call(URL, Presented::Header(payment.header().as_bytes())))
}

#[test]
fn the_old_price_is_taken_until_the_end_of_its_offers() {
    for (until_ms, v2, v1) in [
        (UNTIL_MS, "permit", "permit"),
        (NOW_S * 1_000 + 1, "permit", "permit"),
        // What is refused is refused in the words of what is asked for now.
        (NOW_S * 1_000, NO_MATCH, VALUE),
        (0, NO_MATCH, VALUE),
    ] {
        for (version, want) in [(Version::V2, v2), (Version::V1, v1)] {
            let world = World::new();
            let payment = payment().with(|p| p.version = version);
            assert_eq!(open(&world, &gate(until_ms), &payment), want, "{until_ms} {version:?}");
            let calls = if want == "permit" { "recall, standing, check, reserve, close NotSent" } else { "recall" };
            assert_eq!(world.calls(), calls, "{until_ms} {version:?}");
            if want == "permit" {
                assert_eq!(world.only().hold.authorization, payment.authorization());
            }
        }
    }
}

#[test]
fn the_new_price_is_taken_as_well() {
    for version in [Version::V2, Version::V1] {
        let payment = payment().with(|p| {
            (p.version, p.offer) = (version, dearer());
            p.fields.value = U256::from(2 * AMOUNT);
        });
        let world = World::new();
        assert_eq!(open(&world, &gate(UNTIL_MS), &payment), "permit", "{version:?}");
        assert_eq!(world.only().hold.authorization.amount_atomic, 2 * AMOUNT);
    }
}

/// A challenge never names an old price.
#[test]
fn only_the_new_price_is_asked_for() {
    let (world, snapshot) = (World::new(), gate(UNTIL_MS));
    for header in [None, Some(payment().with(|p| p.key = STRANGER).header())] {
        let presented = header.as_ref().map_or(Presented::Nothing, |header| Presented::Header(header.as_bytes()));
        let call = call(URL, presented);
        let opened = now(rig(&world).open(&snapshot, &found(&snapshot, &call), |_, _| true));
        let Opened::Challenge { refusal } = opened else { panic!("{opened:?}") };
        let challenge = rig(&world).challenge(&snapshot, &found(&snapshot, &call), refusal).unwrap();
        assert_eq!(challenge.offers, [dearer()]);
    }
}

/// What is wrong with a payment of the old price; the refusal in v2 and v1.
#[test]
fn refusals_are_those_of_the_current_offers() {
    type Bend = fn(&mut Payment);
    let rows: [(&str, Bend, &str, &str); 5] = [
        ("a stranger's signature", |p| p.key = STRANGER, NO_MATCH, VALUE),
        ("too short", |p| p.fields.valid_before = U256::from(NOW_S + 1), NO_MATCH, VALUE),
        ("too long", |p| p.fields.valid_before = U256::from(NOW_S + 66), NO_MATCH, VALUE),
        ("neither price", |p| p.fields.value = U256::from(AMOUNT + 1), NO_MATCH, VALUE),
        ("another payee", |p| p.fields.to = p.fields.from, NO_MATCH, "challenge invalid_exact_evm_recipient_mismatch"),
    ];
    for (what, bend, v2, v1) in rows {
        for (version, want) in [(Version::V2, v2), (Version::V1, v1)] {
            let payment = payment().with(bend).with(|p| p.version = version);
            assert_eq!(open(&World::new(), &gate(UNTIL_MS), &payment), want, "{what} {version:?}");
        }
    }
}

/// Everything of a hold comes from the snapshot that the payment matches, but how long it must still be valid.
#[test]
fn rail_route_and_exposure_are_those_of_the_old_snapshot() {
    for (old, new) in [(Rail::Tab, Rail::Direct), (Rail::Direct, Rail::Tab)] {
        let mut earlier = snapshot_on(old, vec![offer()]);
        earlier.routes[1].id = "before".to_owned();
        earlier.routes[1].price = Price::Due(Terms {
            offers: vec![offer()],
            rail: old,
            exposure_micros: 7,
            settle_first: false,
            sells: None,
        });
        let snapshot = Snapshot { honoured: vec![honoured(earlier, UNTIL_MS)], ..snapshot_on(new, vec![dearer()]) };
        let world = World::new();
        assert_eq!(open(&world, &snapshot, &payment()), "permit");
        let hold = world.only().hold;
        assert_eq!((hold.rail, hold.route.as_str(), hold.exposure_micros), (old, "before", 7));
    }
    // An old offer that is not valid for long enough to wait on the tab is settled at once, too.
    let snapshot =
        Snapshot { honoured: vec![honoured(tab_snapshot(), UNTIL_MS)], ..snapshot_on(Rail::Direct, vec![dearer()]) };
    for (remaining_s, want) in [(45, "tab"), (44, "direct"), (30, "direct"), (29, NO_MATCH)] {
        let world = World::new();
        let payment = payment().with(|p| p.fields.valid_before = U256::from(NOW_S + remaining_s));
        let got = open(&world, &snapshot, &payment);
        let rail = |record: &Record| if record.hold.rail == Rail::Tab { "tab" } else { "direct" };
        let got = world.records.borrow().first().map_or(got.as_str(), rail).to_owned();
        assert_eq!(got, want, "{remaining_s}");
    }
}

#[test]
fn which_of_several_earlier_ones() {
    let with = |rail, amount_atomic| snapshot_on(rail, vec![Offer { amount_atomic, ..offer() }]);
    let inner = Snapshot { honoured: vec![honoured(snapshot(), UNTIL_MS)], ..with(Rail::Direct, 1) };
    for (what, earlier, want) in [
        ("none", vec![], NO_MATCH),
        ("the only one", vec![(with(Rail::Tab, AMOUNT), UNTIL_MS)], "tab"),
        ("the second", vec![(with(Rail::Tab, 1), UNTIL_MS), (with(Rail::Direct, AMOUNT), UNTIL_MS)], "direct"),
        ("the newest", vec![(with(Rail::Tab, AMOUNT), UNTIL_MS), (with(Rail::Direct, AMOUNT), UNTIL_MS)], "tab"),
        ("the newest is over", vec![(with(Rail::Tab, AMOUNT), 1), (with(Rail::Direct, AMOUNT), UNTIL_MS)], "direct"),
        ("an earlier one's earlier one", vec![(inner, UNTIL_MS)], NO_MATCH),
    ] {
        let world = World::new();
        let honoured = earlier.into_iter().map(|(snapshot, until_ms)| honoured(snapshot, until_ms)).collect();
        let snapshot = Snapshot { honoured, ..snapshot_of(vec![dearer()]) };
        let got = open(&world, &snapshot, &payment());
        let rail = |record: &Record| if record.hold.rail == Rail::Tab { "tab" } else { "direct" };
        let got = world.records.borrow().first().map_or(got.as_str(), rail).to_owned();
        assert_eq!(got, want, "{what}");
    }
}

/// What is free now is free, what is blocked now is blocked, and what was free before is due now.
#[test]
fn earlier_snapshots_only_say_what_was_asked_for() {
    let free = |snapshot: Snapshot| {
        let mut snapshot = snapshot;
        snapshot.routes[1].price = Price::Free;
        snapshot
    };
    let none = |mut snapshot: Snapshot| {
        snapshot.routes.remove(1);
        snapshot
    };
    for (now, before, want) in [
        (free(snapshot_of(vec![dearer()])), snapshot(), "free"),
        (none(snapshot_of(vec![dearer()])), snapshot(), "blocked"),
        (snapshot_of(vec![dearer()]), free(snapshot()), NO_MATCH),
        (snapshot_of(vec![dearer()]), none(snapshot()), NO_MATCH),
    ] {
        let snapshot = Snapshot { honoured: vec![honoured(before, UNTIL_MS)], ..now };
        assert_eq!(open(&World::new(), &snapshot, &payment()), want);
    }
}

/// A retry finds its claim after its price has gone, in either version.
#[test]
fn a_claim_of_the_old_price_is_recalled_afterwards() {
    for version in [Version::V2, Version::V1] {
        for until_ms in [UNTIL_MS, 0] {
            let world = World::new();
            world.put_on(Rail::Tab, &payment(), State::Answered, AnswerState::Delivered);
            let payment = payment().with(|p| p.version = version);
            assert_eq!(open(&world, &gate(until_ms), &payment), "already served on the tab", "{version:?} {until_ms}");
            assert_eq!(world.calls(), "recall", "{version:?} {until_ms}");
        }
    }
}

/// A token that was taken only before. v1 names none: the claim is that of the token which the signature is for.
#[test]
fn an_old_token_is_taken_until_the_end_of_its_offers() {
    let mut euro = offer();
    euro.asset_info.asset.address = protocol::AssetAddress(address!("808456652fdb597867f38412077A9182bf77359F"));
    for (version, until_ms, want) in [
        (Version::V2, UNTIL_MS, "permit"),
        (Version::V1, UNTIL_MS, "permit"),
        (Version::V2, 0, NO_MATCH),
        (Version::V1, 0, "challenge invalid_exact_evm_signature"),
    ] {
        let world = World::new();
        let before = snapshot_of(vec![euro.clone()]);
        let snapshot = Snapshot { honoured: vec![honoured(before, until_ms)], ..snapshot() };
        let payment = payment().with(|p| (p.version, p.offer) = (version, euro.clone()));
        assert_eq!(open(&world, &snapshot, &payment), want, "{version:?} {until_ms}");
        if want != "permit" {
            continue;
        }
        assert_eq!(world.only().hold.authorization.key.asset, euro.asset_info.asset);
        // Its second call finds the claim of the first, whatever was accepted first.
        let id = world.only().hold.id;
        world.take_step(id, Step::Post(settled())).unwrap();
        assert_eq!(open(&world, &snapshot, &payment), "already served", "{version:?}");
    }
}

#[test]
fn times_are_judged_by_what_is_asked_for_now_when_both_match() {
    let snapshot = Snapshot { honoured: vec![honoured(snapshot(), UNTIL_MS)], ..snapshot() };
    let payment = payment().with(|p| p.fields.valid_before = U256::from(NOW_S + 29));
    assert_eq!(open(&World::new(), &snapshot, &payment), TIMES);
}
