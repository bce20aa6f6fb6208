use std::path::Path;

use gate::price::{Asked, Coin, Find, Pointer, Reading, Tariff, Unreported, Volume, VolumeMeasure};

use super::super::tests::HEAD;
use super::super::{Config, PriceConfig, parse};

fn read(price: &str) -> Result<Config, String> {
    let text = format!("{HEAD}accounts: {{ credit_usd: \"0.01\" }}\nroutes: [{{ path: /a, {price} }}]\n");
    parse(&text, "pontage.yaml", Path::new(""), &|_| None).map_err(|mistakes| mistakes.to_string())
}

fn tariff(price: &str) -> Tariff {
    let config = read(price).unwrap_or_else(|mistakes| panic!("{price}: {mistakes}"));
    let PriceConfig::Due(due) = &config.routes[0].price else { panic!("{price} is free") };
    due.tariff.clone().unwrap_or_else(|| panic!("{price} is fixed"))
}

#[test]
fn a_price_of_every_part() {
    let tariff = tariff(
        "price: { call: \"0.001\", per_kb_in: \"0.0005\", per_kb_out: 0.00025, max: \"$0.10\", unreported: max,
           usage: { in: { pointer: /usage/prompt }, out: { header: X-Out }, t: { trailer: x-t } },
           per: { in: { price: \"0.15\", each: 1000000, tiers: [{ up_to: 100, price: \"0.3\" }] }, out: \"0.00001\" },
           volume: [{ calls: 1000, percent: 80 }],
           times: [{ from: \"22:00\", to: \"06:30\", days: [sat, sun], percent: 50 }] }",
    );
    assert_eq!((tariff.coin, tariff.call, tariff.kb_in, tariff.kb_out), (Coin::Micros, 1_000, 500, 250));
    assert_eq!((tariff.ceiling, tariff.unreported), (Some(100_000), Unreported::Ceiling));
    let find: Vec<_> = tariff.usage.iter().map(|usage| usage.find.clone()).collect();
    let pointer = Pointer::parse("/usage/prompt").unwrap();
    assert_eq!(find, [Find::Body(pointer), Find::Header("x-out".to_owned()), Find::Trailer("x-t".to_owned())]);
    let slices: Vec<_> = tariff.parts[0].slices.iter().map(|slice| (slice.up_to, slice.price, slice.each)).collect();
    assert_eq!(slices, [(Some(100), 300_000, 1_000_000), (None, 150_000, 1_000_000)]);
    assert_eq!((tariff.windows[0].from_minute, tariff.windows[0].to_minute), (22 * 60, 6 * 60 + 30));
    assert_eq!(tariff.windows[0].days, [true, false, false, false, false, false, true]);
    assert_eq!((tariff.volumes[0].measure, tariff.volumes[0].from), (VolumeMeasure::Calls, 1_000));
    assert!(tariff.is_metered() && tariff.reads_body() && tariff.needs_size() && tariff.needs_volume());
    let asked = Asked { size: 1, volume: Volume { calls: 1_000, amount: 0 }, ..Asked::default() };
    let reading = Reading { size: 1, usage: [Some(101), Some(1), None, None] };
    // (1,000 + 500 + 250 + 30 + 1 + 10) at four fifths.
    assert_eq!(tariff.price(&asked, &reading, false).unwrap().cost.micros, 1_433);
}

#[test]
fn credits_and_formulas() {
    let tariff = tariff("price: { in: credits, call: 2, per_kb_in: 5 }");
    assert_eq!((tariff.coin, tariff.call, tariff.kb_in, tariff.is_metered()), (Coin::Credits(10_000), 2, 5, false));
    let by_formula = self::tariff("price: { formula: 'request.headers[\"x-size\"] == \"l\" ? usd(\"0.02\") : 5' }");
    assert_eq!(by_formula.headers, ["x-size"]);
    let config = read("price: \"0.01\", credits: 3").unwrap();
    assert!(matches!(&config.routes[0].price, PriceConfig::Due(due) if due.credits == Some(3)));
}

#[test]
fn who_pays_by_x402_pays_the_offer() {
    let accepts = |price: &str| {
        let config = read(price).unwrap();
        let PriceConfig::Due(due) = &config.routes[0].price else { panic!("a price") };
        due.accepts.iter().map(|accept| accept.price.as_ref().map(|price| price.atomic)).collect::<Vec<_>>()
    };
    assert_eq!(accepts("price: { per_kb_out: \"0.01\", max: \"1\" }"), []);
    assert_eq!(accepts("price: { per_kb_out: \"0.01\", max: \"1\", offer: \"0.5\" }"), [Some(500_000)]);
}

#[test]
fn mistakes_table() {
    for (price, word) in [
        ("price: {}", "nothing costs anything"),
        ("price: { max: \"1\" }", "nothing costs anything"),
        ("price: { call: 0 }", "is not a price"),
        ("price: { call: \"-1\" }", "is not a price"),
        ("price: { call: \"0.0000001\" }", "is not a price"),
        ("price: { in: credits, call: \"0.5\" }", "is not a price"),
        ("price: { in: gold, call: 1 }", "gold"),
        ("price: { per_kb_out: \"0.01\" }", "no `max`"),
        ("price: { call: \"0.01\", max: \"1\" }", "nothing is held"),
        ("price: { call: \"2\", per_kb_out: \"0.01\", max: \"1\" }", "less than `call`"),
        ("price: { call: 1, per: { n: 1 } }", "has no n"),
        ("price: { per: { n: { each: 5 } }, usage: { n: { header: a } }, max: 1 }", "`price` is missing"),
        ("price: { per: { n: 1 }, usage: { n: { header: a, pointer: /b } }, max: 1 }", "one place"),
        ("price: { per: { n: 1 }, usage: { n: {} }, max: 1 }", "one place"),
        ("price: { per: { n: 1 }, usage: { n: { pointer: usage } }, max: 1 }", "JSON pointer"),
        ("price: { per: { n: 1 }, usage: { n: { header: \"a b\" } }, max: 1 }", "name of a header"),
        ("price: { per: { N: 1 }, usage: { N: { header: a } }, max: 1 }", "name of a usage"),
        (
            "price: { per: { n: { price: 1, tiers: [{ up_to: 5, price: 1 }, { up_to: 5, price: 1 }] } }, usage: { n: { header: a } }, max: 1 }",
            "do not rise",
        ),
        ("price: { call: 1, unreported: max }", "nothing is reported"),
        ("price: { call: 1, times: [{ from: \"24:00\", to: \"06:00\", percent: 50 }] }", "24:00"),
        ("price: { call: 1, times: [{ from: \"22:00\", to: \"06:00\", percent: 0 }] }", "out of range"),
        ("price: { call: 1, times: [{ from: \"22:00\", to: \"06:00\", days: [noday], percent: 5 }] }", "noday"),
        ("price: { call: 1, volume: [{ percent: 5 }] }", "at so many calls"),
        ("price: { call: 1, volume: [{ calls: 9, percent: 5 }, { calls: 9, percent: 4 }] }", "do not rise"),
        ("price: { formula: \"0.01\" }", "at character 1: 0.01 is a double"),
        ("price: { formula: \"usage.n * 2\", max: 1 }", "`usage` of this price has no n"),
        ("price: { formula: \"1 +\" }", "no CEL"),
        ("price: { formula: \"response.size\" }", "no `max`"),
        ("price: { formula: \"5\", call: 1 }", "a formula and parts"),
        ("price: { call: 1 }, price_endpoint: \"http://127.0.0.1:1/\"", "one of the two"),
        ("price: { call: 1, prize: 1 }", "prize"),
        ("price: { call: 1 }, credits: 5", "beside a price in dollars"),
        ("price: 1, credits: 0", "out of range"),
        ("free: true, credits: 1", "nothing is settled"),
    ] {
        match read(price) {
            Ok(_) => panic!("{price} was taken"),
            Err(mistakes) => assert!(mistakes.contains(word), "{price}: {mistakes}"),
        }
    }
}

#[test]
fn without_accounts_nobody_pays_in_this_way() {
    for price in ["price: { call: 1 }", "price: 1, credits: 5"] {
        let text = format!("{HEAD}routes: [{{ path: /a, {price} }}]\n");
        let mistakes = parse(&text, "pontage.yaml", Path::new(""), &|_| None).unwrap_err().to_string();
        assert!(mistakes.contains("no `accounts`"), "{mistakes}");
    }
}
