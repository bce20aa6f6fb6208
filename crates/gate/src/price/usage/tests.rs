use proptest::prelude::*;

use super::*;

fn search(pointer: &str, is_events: bool, body: &[u8]) -> Option<u64> {
    let mut search = Search::new(Pointer::parse(pointer).unwrap(), is_events);
    search.read(body);
    search.end();
    search.found()
}

#[test]
fn pointers_table() {
    let keys = |text: &str| Pointer::parse(text).map(|pointer| pointer.0);
    for (text, want) in [
        ("/usage/total_tokens", Some(vec!["usage", "total_tokens"])),
        ("/", Some(vec![""])),
        ("/a~1b/m~0n", Some(vec!["a/b", "m~n"])),
        ("", None),
        ("usage", None),
        ("/a~", None),
        ("/a~2", None),
    ] {
        assert_eq!(keys(text), want.map(|keys| keys.into_iter().map(str::to_owned).collect()), "{text}");
    }
    assert!(Pointer::parse(&format!("/{}", "x".repeat(KEY_MAX + 1))).is_none());
    assert!(Pointer::parse(&"/x".repeat(DEPTH_MAX + 1)).is_none());
}

#[test]
fn documents_table() {
    for (pointer, body, want) in [
        ("/usage/total_tokens", r#"{"id":"x","usage":{"prompt_tokens":3,"total_tokens":12}}"#, Some(12)),
        ("/usage/total_tokens", "{ \"usage\" : { \"total_tokens\" : 12 } }\n", Some(12)),
        // Of the same name elsewhere, in a text, in a list, deeper or higher.
        ("/usage/total_tokens", r#"{"total_tokens":1,"other":{"total_tokens":2},"usage":3}"#, None),
        ("/usage/total_tokens", r#"{"text":"\"usage\":{\"total_tokens\":7}"}"#, None),
        ("/usage/total_tokens", r#"{"usage":[{"total_tokens":7}]}"#, None),
        ("/usage/total_tokens", r#"{"usage":{"x":{"total_tokens":7}}}"#, None),
        ("/usage/total_tokens", r#"{"x":{"usage":{"total_tokens":7}}}"#, None),
        ("/usage/total_tokens", r#"{"usage":{"a":[1,{"b":2}],"total_tokens":7,"c":9}}"#, Some(7)),
        ("/a", r#"{"a":1,"a":2}"#, Some(2)),
        ("/a", r#"{"a":1}{"a":2}"#, Some(2)),
        ("/a", "{\"a\":1}\n{\"a\":2}\n{\"b\":3}\n", Some(2)),
        ("/0/n", r#"[{"n":4},{"n":5}]"#, Some(4)),
        ("/1/n", r#"[{"n":4},{"n":5}]"#, Some(5)),
        ("/1", "[[9,9],8]", Some(8)),
        ("/0/1", "[[9,7],8]", Some(7)),
        ("/a", r#"{"a":18446744073709551615}"#, Some(u64::MAX)),
        ("/a", r#"{"\u0061":5}"#, Some(5)),
        ("/a\"b", r#"{"a\"b":5}"#, Some(5)),
        // Not a reading.
        ("/a", r#"{"a":18446744073709551616}"#, None),
        ("/a", r#"{"a":1.5}"#, None),
        ("/a", r#"{"a":1e3}"#, None),
        ("/a", r#"{"a":-1}"#, None),
        ("/a", r#"{"a":"7"}"#, None),
        ("/a", r#"{"a":null}"#, None),
        ("/a", r#"{"a":{}}"#, None),
        ("/a", r#"{"b":"a","c":7}"#, None),
        ("/a", "a: 7", None),
        ("/a", "", None),
    ] {
        assert_eq!(search(pointer, false, body.as_bytes()), want, "{pointer} in {body}");
    }
}

#[test]
fn the_last_event_that_has_it_counts() {
    let body = "event: m\ndata: {\"usage\":{\"n\":1}}\n\ndata:{\"usage\":\r\ndata:{\"n\":2}}\r\n\r\n: data: {\"usage\":{\"n\":9}}\n\
                id: 4\n\ndata: {\"usage\":null}\n\ndata: [DONE]\n\n";
    assert_eq!(search("/usage/n", true, body.as_bytes()), Some(2));
    // An event that is cut off does not spoil the next one.
    assert_eq!(search("/n", true, b"data: {\"x\": [\n\ndata: {\"n\": 3}\n\n"), Some(3));
    assert_eq!(search("/n", true, b"{\"n\": 3}\n\n"), None);
}

#[test]
fn what_is_deep_is_passed_over() {
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let body = format!("{{\"x\":{deep},\"n\":3}}");
    assert_eq!(search("/n", false, body.as_bytes()), Some(3));
    let mut endless = Search::new(Pointer::parse("/n").unwrap(), false);
    endless.read(&vec![b'['; 1_000_000]);
    assert!(endless.document.open.len() <= DEPTH_MAX);
    endless.read(b"\"");
    endless.read(&vec![b'x'; 1_000_000]);
    assert!(endless.document.key.bytes.len() <= KEY_MAX);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[\\PC\"\\\\{}\\[\\],:]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[ab\"/~é]{1,2}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// It finds what a reader of whole documents finds, however the body comes in pieces.
    #[test]
    fn as_a_reader_of_whole_documents(
        document in json(),
        keys in prop::collection::vec("[ab\"/~é]{1,2}|[0-3]", 1..4),
        pieces in prop::collection::vec(1..9_usize, 1..20),
        is_pretty: bool,
    ) {
        let escaped = keys.iter().map(|key| key.replace('~', "~0").replace('/', "~1"));
        let pointer = escaped.fold(String::new(), |all, key| format!("{all}/{key}"));
        let text = if is_pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let text = text.unwrap();
        let mut search = Search::new(Pointer::parse(&pointer).unwrap(), false);
        let (mut rest, mut sizes) = (text.as_bytes(), pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            search.read(piece);
            rest = after;
        }
        search.end();
        prop_assert_eq!(search.found(), document.pointer(&pointer).and_then(serde_json::Value::as_u64), "{} in {}", pointer, text);
    }

    /// Whatever comes, it comes through.
    #[test]
    fn any_bytes(body: Vec<u8>, is_events: bool) {
        search("/a/b", is_events, &body);
    }
}
