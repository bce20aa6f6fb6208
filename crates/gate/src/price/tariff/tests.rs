use super::*;
use crate::price::{KeyTerms, Pointer, units};
use ledger::Unit;

const CENT: u64 = 10_000;

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

fn micros(tariff: &Tariff, asked: &Asked, reading: &Reading) -> u64 {
    tariff.price(asked, reading, false).unwrap().cost.micros
}

/// 2 credits and 5 for each KB: 3 KB are 17.
#[test]
fn two_and_five_for_each_kb_are_seventeen_for_three() {
    let tariff = Tariff { coin: Coin::Credits(CENT), call: 2, kb_in: 5, ..plain() };
    for (size, credits) in [(0, 2), (1, 7), (1_024, 7), (1_025, 12), (3_072, 17), (3_073, 22)] {
        let cost = tariff.price(&Asked { size, ..Asked::default() }, &Reading::default(), false).unwrap().cost;
        assert_eq!(units(cost, Unit::Credit, CENT, KeyTerms::default()), credits, "{size} bytes");
        assert_eq!(cost.micros, credits * CENT);
    }
}

#[test]
fn slices_are_priced_one_after_the_other_and_rounded_up() {
    let slice = |up_to, price, each| Slice { up_to, price, each };
    let part = Part {
        usage: 0,
        slices: vec![slice(Some(1_000), 3, 1), slice(Some(1_500), 2, 1), slice(None, 150_000, 1_000_000)],
    };
    for (count, want) in
        [(0, 0), (1, 3), (1_000, 3_000), (1_001, 3_002), (1_500, 4_000), (1_501, 4_001), (1_506, 4_001), (1_507, 4_002)]
    {
        assert_eq!(part.price(count), want, "{count}");
    }
    assert_eq!(part.price(u64::MAX), 4_000 + (u128::from(u64::MAX - 1_500) * 150_000).div_ceil(1_000_000));
}

#[test]
fn windows_are_of_the_day_on_which_they_begin() {
    // From ten in the evening to six, begun on Friday or Saturday.
    let days = [false, false, false, false, false, true, true];
    let night = Window { from_minute: 22 * 60, to_minute: 6 * 60, days, percent: 50 };
    let tariff = Tariff { call: 100, windows: vec![night], ..plain() };
    // 2026-11-20 is a Friday.
    let friday_ms = 1_795_132_800_000;
    let at = |day: u64, hour: u64, minute: u64| friday_ms + day * DAY_MS + (hour * 60 + minute) * MINUTE_MS;
    for (at_ms, want) in [
        (at(0, 0, 0), 100),
        (at(0, 5, 59), 100),
        (at(0, 21, 59), 100),
        (at(0, 22, 0), 50),
        (at(1, 5, 59), 50),
        (at(1, 6, 0), 100),
        (at(1, 22, 0), 50),
        (at(2, 5, 59), 50),
        (at(2, 22, 0), 100),
        (at(3, 1, 0), 100),
    ] {
        assert_eq!(micros(&tariff, &Asked { at_ms, ..Asked::default() }, &Reading::default()), want, "{at_ms}");
    }
    assert_eq!(Asked { at_ms: friday_ms, ..Asked::default() }.weekday(), 5);
    assert_eq!(Asked::default().weekday(), 4);
}

#[test]
fn a_month_of_many_calls_makes_them_cheaper() {
    let step = |measure, from, percent| VolumeStep { measure, from, percent };
    let volumes = vec![step(VolumeMeasure::Calls, 10, 80), step(VolumeMeasure::Calls, 100, 33)];
    let tariff = Tariff { call: 100, volumes, ..plain() };
    for (calls, want) in [(0, 100), (9, 100), (10, 80), (99, 80), (100, 33), (u64::MAX, 33)] {
        let asked = Asked { volume: Volume { calls, amount: 0 }, ..Asked::default() };
        assert_eq!(micros(&tariff, &asked, &Reading::default()), want, "{calls}");
    }
    assert!(tariff.needs_volume());
    // Both shares are one fraction, rounded up once.
    let always = Window { from_minute: 0, to_minute: 0, days: [true; 7], percent: 10 };
    let both = Tariff { windows: vec![always], ..tariff };
    let asked = Asked { volume: Volume { calls: 100, amount: 0 }, ..Asked::default() };
    assert_eq!(micros(&both, &asked, &Reading::default()), 4);
}

#[test]
fn a_formula_stands_for_all_parts() {
    let product = Formula::Product(Box::new([Formula::Of(Field::Usage(0)), Formula::Whole(3)]));
    let usage = vec![UsageSource { name: "n".to_owned(), find: Find::Body(Pointer::parse("/n").unwrap()) }];
    let tariff = Tariff { formula: Some(product), usage, ceiling: Some(10), ..plain() };
    assert!(tariff.is_metered() && tariff.reads_body() && !tariff.needs_size());
    let reading = |count| Reading { size: 0, usage: [Some(count), None, None, None] };
    let price = |count| tariff.price(&Asked::default(), &reading(count), false);
    assert_eq!(price(3).unwrap(), Priced { cost: Cost { micros: 9, credits: None }, above_micros: 0 });
    assert_eq!(price(4).unwrap(), Priced { cost: Cost { micros: 10, credits: None }, above_micros: 2 });
    let below = Formula::Negative(Box::new(Formula::Of(Field::Usage(0))));
    let below = Tariff { formula: Some(below), ..tariff };
    assert_eq!(below.price(&Asked::default(), &reading(1), false), Err(NoPrice::Negative));
}
