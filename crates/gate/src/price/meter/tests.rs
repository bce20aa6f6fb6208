use proptest::prelude::*;

use super::*;
use crate::price::{Coin, Part, Pointer, Slice, Unreported, UsageSource};

const CENT: u64 = 10_000;

/// A cent, and a cent for each KB of the answer, up to ten.
fn by_size() -> Tariff {
    Tariff { call: CENT, kb_out: CENT, ceiling: Some(10 * CENT), ..plain() }
}

/// A thousandth of a dollar for each token, up to ten cents.
fn by_tokens(find: Find) -> Tariff {
    let slices = vec![Slice { up_to: None, price: 1_000, each: 1 }];
    Tariff {
        usage: vec![UsageSource { name: "tokens".to_owned(), find }],
        parts: vec![Part { usage: 0, slices }],
        ceiling: Some(10 * CENT),
        ..plain()
    }
}

fn plain() -> Tariff {
    Tariff {
        coin: Coin::Micros,
        call: 0,
        kb_in: 0,
        kb_out: 0,
        usage: Vec::new(),
        parts: Vec::new(),
        formula: None,
        headers: Vec::new(),
        windows: Vec::new(),
        volumes: Vec::new(),
        ceiling: None,
        unreported: Unreported::Nothing,
    }
}

fn meter(tariff: Tariff, unit: Unit) -> Meter {
    Meter::new(Arc::new(tariff), Asked::default(), unit, CENT, KeyTerms::default())
}

fn says<'h>(list: &'h [(&'h str, &'h str)]) -> impl Fn(&str) -> Option<&'h [u8]> {
    |name| list.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
}

#[test]
fn a_started_kb_counts_and_the_ceiling_holds() {
    for (bytes, units, above) in [
        (0, CENT, 0),
        (1, 2 * CENT, 0),
        (1_024, 2 * CENT, 0),
        (1_025, 3 * CENT, 0),
        (9 * 1_024, 10 * CENT, 0),
        (9 * 1_024 + 1, 10 * CENT, CENT),
        (1_000_000, 10 * CENT, 968 * CENT),
    ] {
        let mut meter = meter(by_size(), Unit::Usd);
        assert_eq!(meter.held(), Ok(10 * CENT));
        meter.head(says(&[]));
        meter.note(&vec![0; bytes]);
        assert_eq!((meter.units(), meter.priced().unwrap().above_micros), (units, above), "{bytes} bytes");
    }
}

#[test]
fn what_the_upstream_reports_is_read_where_it_stands() {
    let body = Find::Body(Pointer::parse("/usage/tokens").unwrap());
    let json = b"{\"usage\":{\"tokens\":12}}".as_slice();
    for (find, head, sent, trailers, units) in [
        (Find::Header("x-tokens".to_owned()), vec![("x-tokens", " 12 ")], b"".as_slice(), vec![], 12_000),
        (Find::Header("x-tokens".to_owned()), vec![("x-tokens", "12.5")], b"", vec![], 0),
        (Find::Header("x-tokens".to_owned()), vec![], json, vec![("x-tokens", "12")], 0),
        (Find::Trailer("x-tokens".to_owned()), vec![("x-tokens", "9")], json, vec![("x-tokens", "12")], 12_000),
        (body.clone(), vec![], json, vec![], 12_000),
        (body.clone(), vec![("content-encoding", "identity")], json, vec![], 12_000),
        (body.clone(), vec![("content-encoding", "gzip")], json, vec![], 0),
        (body.clone(), vec![("content-type", "text/event-stream; charset=utf-8")], json, vec![], 0),
        (body, vec![("content-type", "Text/Event-Stream")], b"data: {\"usage\":{\"tokens\":12}}\n\n", vec![], 12_000),
    ] {
        let mut meter = meter(by_tokens(find.clone()), Unit::Usd);
        meter.head(says(&head));
        meter.note(sent);
        meter.end();
        meter.trailers(says(&trailers));
        assert_eq!(meter.units(), units, "{find:?} {head:?} {trailers:?}");
        assert_eq!(meter.is_unreported(), units == 0, "{find:?}");
    }
}

#[test]
fn what_is_not_reported_is_free_or_the_ceiling() {
    for (unreported, units) in [(Unreported::Nothing, 0), (Unreported::Ceiling, 10 * CENT)] {
        let mut meter = meter(Tariff { unreported, ..by_tokens(Find::Header("x".to_owned())) }, Unit::Usd);
        meter.head(says(&[]));
        meter.end();
        assert_eq!(meter.units(), units);
    }
}

#[test]
fn a_key_that_pays_a_fixed_price_and_a_pass_are_not_metered() {
    let terms = KeyTerms { multiplier_millionths: 1, fixed: Some(7) };
    let fixed = Meter::new(Arc::new(by_size()), Asked::default(), Unit::Credit, CENT, terms);
    assert_eq!((fixed.held(), fixed.is_metered(), fixed.units()), (Ok(7), false, 7));
    let pass = meter(by_size(), Unit::Call);
    assert_eq!((pass.held(), pass.is_metered(), pass.units()), (Ok(1), false, 1));
}

proptest! {
    /// The reading is the same however the body comes in pieces, never more than what is held, and never falls.
    #[test]
    fn the_reading_never_falls_and_is_covered(pieces in prop::collection::vec(0..3_000_usize, 0..20), multiplier_millionths in 0..5_000_000_u64) {
        let terms = KeyTerms { multiplier_millionths, fixed: None };
        let mut meter = Meter::new(Arc::new(by_size()), Asked::default(), Unit::Credit, CENT, terms);
        let (held, mut last) = (meter.held().unwrap(), 0);
        for piece in &pieces {
            meter.note(&vec![b'x'; *piece]);
            prop_assert!(meter.units() >= last && meter.units() <= held);
            last = meter.units();
        }
        let mut whole = Meter::new(Arc::new(by_size()), Asked::default(), Unit::Credit, CENT, terms);
        whole.note(&vec![b'x'; pieces.iter().sum()]);
        prop_assert_eq!(meter.units(), whole.units());
    }
}
