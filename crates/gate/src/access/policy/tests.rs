use super::*;

fn policy(json: &str) -> Policy {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_field_of_the_key_takes_the_place_of_the_plans() {
    let plan = policy(
        r#"{"rates":[{"calls":10,"span_s":60}],"price_multiplier":"0.5","priority":3,"addresses":["10.0.0.0/8"],
            "routes":{"allow":["/v1/*"],"deny":["/v1/admin/*"]},"tools":{"deny":["delete_*"]}}"#,
    );
    let key = policy(
        r#"{"rates":[{"calls":1,"span_s":1,"routes":"POST /v1/run"}],"routes":{"allow":["/v2/*","/v1/admin/x"],"deny":["/v2/b"]}}"#,
    );
    let merged = key.over(&plan);
    assert_eq!(merged.rates, key.rates);
    assert_eq!((merged.price_multiplier, merged.priority), (plan.price_multiplier, Some(3)));
    for (path, want) in [("/v2/a", true), ("/v2/b", false), ("/v1/a", false), ("/v1/admin/x", false)] {
        assert_eq!(merged.may_call("GET", path), want, "{path}");
    }
    assert!(merged.may_call_tool("search") && !merged.may_call_tool("delete_all"));
    assert!(merged.may_come_from([10, 0, 0, 1].into()) && !merged.may_come_from([11, 0, 0, 1].into()));
    let open = policy("{}").over(&policy("{}"));
    assert!(open.may_call("GET", "/") && open.may_call_tool("x") && open.may_come_from([1, 1, 1, 1].into()));
    let shut = policy(r#"{"routes":{"allow":[]},"addresses":[]}"#).over(&plan);
    assert!(!shut.may_call("GET", "/v1/a") && !shut.may_come_from([10, 0, 0, 1].into()));
}

#[test]
fn what_is_written_is_read_back() {
    let text = r#"{"rates":[{"calls":10,"span_s":60,"burst":20}],"budgets":[{"span":"day","measure":"amount","limit":500,"burst_percent":10,"action":"deny","routes":"GET /a"}],"price_multiplier":"1.25","prices":[{"routes":"/a","amount":3},{"routes":"/b","free":true}],"routes":{"allow":["/a","GET /b"]},"addresses":["::/0"],"in_flight_max":4,"priority":0,"auto_topup":{"below":5,"amount":100,"per_day":2},"signed":true}"#;
    assert_eq!(serde_json::to_string(&policy(text)).unwrap(), text);
    assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), "{}");
    assert_eq!(policy(text).check(), Ok(()));
}

#[test]
fn a_factor_is_exact_and_rounds_up() {
    for (text, amount, want) in [
        ("0.5", 3, Some(2)),
        ("1", 7, Some(7)),
        ("0.000001", 1, Some(1)),
        ("1000", 2, Some(2_000)),
        ("1.1", 10, Some(11)),
        ("1000", u64::MAX, None),
    ] {
        let factor = Multiplier::try_from(text.to_owned()).unwrap();
        assert_eq!(factor.of(amount), want, "{text} x {amount}");
        assert_eq!(String::from(factor), text);
    }
    for text in ["", "0", "0.0", "-1", "+1", "1.", ".5", "1e3", "1000.1", "0.0000001", "1,5", "NaN", "10000"] {
        assert_eq!(Multiplier::try_from(text.to_owned()), Err(KeyRefusal::BadValue("price_multiplier")), "{text}");
    }
}

#[test]
fn prices_of_its_own_come_in_order() {
    let policy = policy(r#"{"prices":[{"routes":"POST /a","amount":5},{"routes":"/a","free":true}]}"#);
    assert_eq!(policy.price("POST", "/a").and_then(|rule| rule.amount), Some(5));
    assert!(policy.price("GET", "/a").unwrap().free);
    assert_eq!(policy.price("GET", "/b"), None);
}

#[test]
fn what_is_out_of_bounds_is_refused_with_its_field() {
    for (text, field) in [
        (r#"{"rates":[{"calls":0,"span_s":1}]}"#.to_owned(), "rates"),
        (r#"{"rates":[{"calls":1,"span_s":86401}]}"#.to_owned(), "rates"),
        (r#"{"rates":[{"calls":1,"span_s":1,"burst":0}]}"#.to_owned(), "rates"),
        (
            r#"{"budgets":[{"span":"day","measure":"calls","limit":1000000000000001,"action":"deny"}]}"#.to_owned(),
            "budgets",
        ),
        (r#"{"prices":[{"routes":"/a","amount":0}]}"#.to_owned(), "prices"),
        (r#"{"prices":[{"routes":"/a"}]}"#.to_owned(), "prices"),
        (r#"{"prices":[{"routes":"/a","amount":1,"free":true}]}"#.to_owned(), "prices"),
        (r#"{"in_flight_max":0}"#.to_owned(), "in_flight_max"),
        (r#"{"priority":10}"#.to_owned(), "priority"),
        (r#"{"auto_topup":{"below":1,"amount":100000001,"per_day":1}}"#.to_owned(), "auto_topup"),
        (r#"{"auto_topup":{"below":1000000001,"amount":1,"per_day":1}}"#.to_owned(), "auto_topup"),
        (r#"{"auto_topup":{"below":1,"amount":0,"per_day":1}}"#.to_owned(), "auto_topup"),
        (r#"{"auto_topup":{"below":1,"amount":1,"per_day":0}}"#.to_owned(), "auto_topup"),
        (
            r#"{"budgets":[{"span":"day","measure":"calls","limit":1,"action":"deny","every_s":5}]}"#.to_owned(),
            "budgets",
        ),
        (format!(r#"{{"addresses":[{}"::1"]}}"#, r#""::1","#.repeat(200)), "addresses"),
        (format!(r#"{{"routes":{{"deny":[{}"/a"]}}}}"#, r#""/a","#.repeat(1_000)), "routes"),
    ] {
        assert_eq!(policy(&text).check().unwrap_err().field(), Some(field), "{text:.80}");
    }
    for text in [
        r#"{"rate":[]}"#,
        r#"{"routes":{"allowed":[]}}"#,
        r#"{"price_multiplier":1.5}"#,
        r#"{"rates":[{"calls":1.5,"span_s":1}]}"#,
        r#"{"rates":[{"calls":-1,"span_s":1}]}"#,
        r#"{"addresses":["nowhere"]}"#,
        r#"{"routes":{"allow":["no slash"]}}"#,
    ] {
        assert!(serde_json::from_str::<Policy>(text).is_err(), "{text}");
    }
}
