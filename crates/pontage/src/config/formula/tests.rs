use gate::price::{Asked, Find, NoPrice, Pointer, Reading, Volume};
use proptest::prelude::*;

use super::*;

fn usage() -> Vec<UsageSource> {
    let find = Find::Body(Pointer::parse("/n").unwrap());
    vec![UsageSource { name: "tokens".to_owned(), find }]
}

fn read(text: &str) -> Result<(Formula, Vec<String>), Wrong> {
    formula(text, &usage(), Coin::Micros)
}

fn asked() -> Asked {
    Asked {
        method: "POST".to_owned(),
        path: "/v1/chat".to_owned(),
        query: "model=large".to_owned(),
        headers: vec!["big".to_owned()],
        size: 3_000,
        // 2026-11-20 21:30 UTC, a Friday.
        at_ms: 1_795_132_800_000 + (21 * 60 + 30) * 60_000,
        volume: Volume { calls: 7, amount: 1_234 },
    }
}

fn reading() -> Reading {
    Reading { size: 2_048, usage: [Some(12), None, None, None] }
}

fn value(text: &str) -> Result<i64, NoPrice> {
    let (formula, _) = read(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
    formula.value(&asked(), &reading())
}

#[test]
fn formulas_table() {
    for (text, want) in [
        ("2 + 5 * ceil_div(request.size, 1024)", 17),
        ("usd('0.01') + usage.tokens * 3", 10_036),
        ("request.size / 1024", 2),
        ("-7 % 3", -1),
        ("request.headers['X-Model'] == 'big' ? 9 : 1", 9),
        ("request.path.startsWith('/v1/') && !(request.method in ['GET', 'HEAD']) ? 4 : 2", 4),
        ("request.query.contains('large') || 1 / 0 == 1 ? 8 : 2", 8),
        ("time.hour >= 22 || time.hour < 6 ? 1 : time.weekday * 100 + time.minute", 530),
        ("volume.calls > 5 ? max(1, volume.amount / 100) : min(3, 4)", 12),
        ("size(request.method) + response.size", 2_052),
        ("usage.tokens in [11, 12] ? 1 : 0", 1),
    ] {
        assert_eq!(value(text), Ok(want), "{text}");
    }
    assert_eq!(value("1 / (usage.tokens - 12)"), Err(NoPrice::DividesByZero));
    assert_eq!(value("9223372036854775807 + usage.tokens"), Err(NoPrice::TooLarge));
    assert_eq!(read("request.headers['A'] == request.headers['b'] ? 1 : 2").unwrap().1, ["a", "b"]);
}

#[test]
fn what_could_come_to_a_double_is_refused_with_its_place() {
    for (text, character, word) in [
        ("0.01", 1, "double"),
        ("1 + 0.5", 5, "double"),
        ("usage.tokens * 1e-3", 16, "double"),
        ("time.hour < 6 ? 1 : 2.0", 21, "double"),
        ("1.5 < 2.0 ? 1 : 2", 1, "double"),
        ("usage.tokens in [1, 2.5] ? 1 : 2", 21, "double"),
    ] {
        let wrong = read(text).unwrap_err();
        assert_eq!((wrong.character, wrong.what.contains(word)), (character, true), "{text}: {wrong:?}");
    }
    let wrong = read("double(usage.tokens)").unwrap_err();
    assert!(wrong.what.contains("double()"), "{wrong:?}");
}

#[test]
fn what_is_no_price_is_refused() {
    for text in [
        "",
        "1 +",
        "true",
        "'x'",
        "request.size > 1",
        "1 + true",
        "1 + 'x'",
        "'a' + 'b' == 'ab' ? 1 : 2",
        "'a' < 'b' ? 1 : 2",
        "true == false ? 1 : 2",
        "true ? 1 : 'x'",
        "1 ? 1 : 2",
        "1u",
        "null",
        "b'x'",
        "x",
        "request",
        "request.cookie",
        "request.size.x",
        "usage.words",
        "has(request.size) ? 1 : 2",
        "[1, 2].map(x, x)[0]",
        "[1, 2].all(x, x > 0) ? 1 : 2",
        "[1, 2][0]",
        "{'a': 1}.a",
        "1 in request.headers ? 1 : 2",
        "request.headers['authorization'] == 'x' ? 1 : 2",
        "request.headers['X-API-Key'] == 'x' ? 1 : 2",
        "request.headers[request.path] == 'x' ? 1 : 2",
        "request.headers['a b'] == 'x' ? 1 : 2",
        "usd(0.01)",
        "usd('-1')",
        "usd('0.0000001')",
        "int('7')",
        "size([1])",
        "request.path.matches('x') ? 1 : 2",
        "timestamp('2026-01-01T00:00:00Z')",
        "min(1)",
        "unknown(1, 2)",
        "1 == 2 == true ? 1 : 2",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(formula("usd('1')", &[], Coin::Credits(10_000)).is_err());
    assert!(read(&format!("1{}", " + 1".repeat(300))).is_err(), "too long");
    assert!(read(&format!("{}1{}", "(".repeat(200), ")".repeat(200))).is_err(), "too deep");
    let headers: Vec<_> = (0..9).map(|number| format!("request.headers['h{number}'] == ''")).collect();
    assert!(read(&format!("{} ? 1 : 2", headers.join(" && "))).is_err(), "too many headers");
}

/// Formulas of whole numbers, in words that an interpreter of CEL reads as well.
fn words() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0..5_i64).prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| format!("({number})")),
        Just("usage.tokens".to_owned()),
        Just("request.size".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (two, prop::sample::select(vec!["+", "-", "*", "/", "%"]))
                .prop_map(|((l, r), op)| format!("({l} {op} {r})")),
            inner.clone().prop_map(|inner| format!("-({inner})")),
            (
                inner.clone(),
                inner.clone(),
                inner.clone(),
                inner,
                prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="])
            )
                .prop_map(|(a, b, c, d, op)| format!("({a} {op} {b} ? {c} : {d})")),
        ]
    })
}

proptest! {
    /// The tree comes to what the interpreter of the `cel` crate comes to.
    #[test]
    fn as_the_interpreter_of_cel(text in words()) {
        prop_assume!(text.len() <= FORMULA_MAX_BYTES);
        let mut context = cel::Context::default();
        for (name, field, number) in [("usage", "tokens", 12_i64), ("request", "size", 3_000)] {
            let fields = std::collections::HashMap::from([(field.to_owned(), number)]);
            context.add_variable_from_value(name, fields);
        }
        let want = cel::Program::compile(&text).unwrap().execute(&context);
        match (value(&text), want) {
            (Ok(got), Ok(cel::Value::Int(want))) => prop_assert_eq!(got, want, "{}", text),
            (Err(_), Err(_)) => {}
            (got, want) => prop_assert!(false, "{}: {:?}, and of the interpreter {:?}", text, got, want),
        }
    }

    /// Whatever is written, it is read or refused.
    #[test]
    fn any_text(text in "[a-z0-9.()\\[\\]{}\"'+*/%<>=!&|?: ,-]{0,60}") {
        drop(read(&text));
    }
}
