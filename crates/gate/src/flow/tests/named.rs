//! Prices that somebody else says, and payments that have a name.

use super::*;

const ID: &str = "pay_0123456789abcdef";
const PRICE_FAULT: &str = "price_unavailable (money: untouched)";
const NO_MATCH: &str = "challenge no_matching_payment_requirements";

fn terms(amount_atomic: u128) -> Terms {
    let offers = vec![Offer { amount_atomic, ..offer() }];
    Terms { offers, rail: Rail::Direct, exposure_micros: MICROS, settle_first: false, sells: None }
}

fn quoting() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.routes[1].price = Price::Quoted(vec![offer().asset_info]);
    snapshot
}

fn header_for(amount: u128) -> String {
    payment()
        .with(|p| {
            p.offer.amount_atomic = amount;
            p.fields.value = U256::from(amount);
        })
        .header()
}

#[test]
fn quoted_prices() {
    let (newer, older) = (2 * AMOUNT, AMOUNT);
    for (quoted, pays, want) in [
        (vec![], None, PRICE_FAULT),
        (vec![], Some(older), PRICE_FAULT),
        (vec![newer, older], None, "challenge payment_required"),
        (vec![newer, older], Some(newer), "permit"),
        (vec![newer, older], Some(older), "permit"),
        (vec![newer], Some(older), NO_MATCH),
        (vec![newer, older], Some(AMOUNT / 2), NO_MATCH),
    ] {
        let (world, snapshot) = (World::new(), quoting());
        let quoted: Vec<_> = quoted.into_iter().map(terms).collect();
        let header = pays.map(header_for);
        let presented = header.as_ref().map_or(Presented::Nothing, |header| Presented::Header(header.as_bytes()));
        let call = Call { quoted: &quoted, ..call(URL, presented) };
        assert_eq!(open_word(&world, &snapshot, &call), want, "{quoted:?} {pays:?}");
        match pays {
            Some(amount) if want == "permit" => assert_eq!(world.only().hold.authorization.amount_atomic, amount),
            _ => assert!(world.records.borrow().is_empty()),
        }
        // The newest is asked for, and no other.
        if let Some(newest) = quoted.first() {
            let nothing = Call { quoted: &quoted, ..found(&snapshot, &super::call(URL, Presented::Nothing)) };
            let challenge = rig(&world).challenge(&snapshot, &nothing, None).unwrap();
            assert_eq!(challenge.offers, newest.offers);
        }
    }
}

/// What a call costs that nobody is asked the price of is no business of a price endpoint.
#[test]
fn a_fixed_price_is_not_quoted() {
    let quoted = [terms(1)];
    let header = header_for(1);
    let call = Call { quoted: &quoted, ..call(URL, Presented::Header(header.as_bytes())) };
    // It would be honoured beside the fixed one: a front asks for no quote where there is a price.
    let challenge = rig(&World::new()).challenge(&snapshot(), &found(&snapshot(), &call), None).unwrap();
    assert_eq!(challenge.offers, [offer()]);
}

/// The header with an identifier in it.
fn named(payment: &Payment, id: &str) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut json: serde_json::Value = serde_json::from_slice(&engine.decode(payment.header()).unwrap()).unwrap();
    json["extensions"] = serde_json::json!({ "payment-identifier": { "info": { "required": false, "id": id } } });
    engine.encode(json.to_string())
}

#[test]
fn an_identifier_may_be_required() {
    let snapshot = Snapshot { identifier_required: true, ..snapshot() };
    for (header, want, calls) in [
        (payment().header(), "challenge payment_identifier_required", ""),
        (payment().with(|p| p.version = Version::V1).header(), "challenge payment_identifier_required", ""),
        (named(&payment(), ID), "permit", "recall, standing, check, reserve, close NotSent"),
    ] {
        let world = World::new();
        assert_eq!(open_word(&world, &snapshot, &call(URL, Presented::Header(header.as_bytes()))), want);
        assert_eq!(world.calls(), calls);
    }
    assert_eq!(open_word(&World::new(), &snapshot, &call(URL, Presented::Nothing)), "challenge payment_required");
}

/// It is the secret by which the answer is fetched, and comes before the `Idempotency-Key`, which may be of another layer's making.
#[test]
fn an_identifier_is_the_secret() {
    let (id, key) = (secret_digest(ID.as_bytes()), B256::repeat_byte(1));
    for (named_by, shown, want) in
        [(Some(ID), None, Some(id)), (Some(ID), Some(key), Some(id)), (None, Some(key), Some(key)), (None, None, None)]
    {
        let world = World::new();
        let header = named_by.map_or_else(|| payment().header(), |id| named(&payment(), id));
        let call = Call { idempotency: shown, ..call(URL, Presented::Header(header.as_bytes())) };
        assert_eq!(open_word(&world, &snapshot(), &call), "permit");
        assert_eq!(world.only().hold.idempotency, want);
        // The same once more, after it was served and stored.
        {
            let mut records = world.records.borrow_mut();
            (records[0].state, records[0].answer) = (posted(), AnswerState::Kept);
        }
        let again = if want.is_some() { "stored" } else { "already served" };
        assert_eq!(open_word(&world, &snapshot(), &call), again);
        let other = named(&payment(), "another_name_0123456789");
        let other = Call { idempotency: None, ..super::call(URL, Presented::Header(other.as_bytes())) };
        assert_eq!(open_word(&world, &snapshot(), &other), "already served");
    }
}

#[test]
fn one_name_is_of_one_payment() {
    let other = || payment().with(|p| p.fields.nonce = B256::repeat_byte(10));
    for (state, want) in [
        (State::Open, "namesake"),
        (SUBMITTED, "namesake"),
        (posted(), "namesake"),
        (LOST, "namesake"),
        (BURNT, "permit"),
        (RELEASED, "permit"),
        (EXPIRED, "permit"),
    ] {
        let world = World::new();
        world.put(&payment(), state, AnswerState::Live);
        world.records.borrow_mut()[0].hold.idempotency = Some(secret_digest(ID.as_bytes()));
        let header = named(&other(), ID);
        // Whatever is asked for: the name is of a payment, not of a request.
        for url in [URL, "http://gate.test/other"] {
            assert_eq!(
                open_word(&world, &snapshot(), &call(url, Presented::Header(header.as_bytes()))),
                want,
                "{state:?}"
            );
            let calls = world.calls();
            if want == "namesake" {
                assert_eq!(calls, "recall, standing, check, reserve", "nothing is closed, for nothing was won");
                assert_eq!(world.records.borrow().len(), 1);
            } else {
                break;
            }
        }
    }
}
