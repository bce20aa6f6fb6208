use proptest::prelude::*;

use super::*;

fn info(input: Value) -> Info {
    Info::check(json!({ "input": input })).unwrap()
}

#[test]
fn what_an_operator_may_write() {
    let tool = json!({"type": "mcp", "tool": "t", "inputSchema": {"type": "object"}});
    for input in [
        json!({"type": "http"}),
        json!({"type": "http", "method": "GET"}),
        json!({"type": "http", "method": "head", "queryParams": {"q": "x"}}),
        json!({"type": "http", "method": "DELETE", "pathParams": {"id": "1"}, "headers": {"x-a": "b"}}),
        json!({"type": "http", "method": "POST", "bodyType": "json", "body": {"a": 1}}),
        json!({"type": "http", "method": "put", "bodyType": "form-data", "body": {}}),
        json!({"type": "http", "method": "PATCH", "bodyType": "text", "body": "words"}),
        json!({"type": "http", "bodyType": "json", "body": []}),
        tool,
        json!({"type": "mcp", "toolName": "t", "inputSchema": {}, "transport": "sse"}),
    ] {
        assert!(Info::check(json!({ "input": input, "output": {"type": "json"} })).is_ok(), "{input}");
    }
    for (value, path) in [
        (json!(null), "info"),
        (json!("x"), "info"),
        (json!({}), "info.input"),
        (json!({"input": []}), "info.input"),
        (json!({"input": {"type": "http"}, "output": "json"}), "info.output"),
    ] {
        assert_eq!(Info::check(value.clone()).unwrap_err().path, path, "{value}");
    }
    for (input, path) in [
        (json!({}), "info.input.type"),
        (json!({"type": "grpc"}), "info.input.type"),
        (json!({"type": 1}), "info.input.type"),
        (json!({"type": "http", "method": "OPTIONS"}), "info.input.method"),
        (json!({"type": "http", "method": 1}), "info.input.method"),
        (json!({"type": "http", "method": null}), "info.input.method"),
        (json!({"type": "http", "method": "GET", "bodyType": "json"}), "info.input.bodyType"),
        (json!({"type": "http", "method": "DELETE", "body": {}}), "info.input.body"),
        (json!({"type": "http", "queryParams": ["q"]}), "info.input.queryParams"),
        (json!({"type": "http", "method": "POST"}), "info.input.bodyType"),
        (json!({"type": "http", "method": "POST", "bodyType": "xml", "body": {}}), "info.input.bodyType"),
        (json!({"type": "http", "method": "POST", "bodyType": "json"}), "info.input.body"),
        (json!({"type": "http", "method": "POST", "bodyType": "json", "body": null}), "info.input.body"),
        (json!({"type": "http", "body": {}}), "info.input.bodyType"),
        (json!({"type": "mcp"}), "info.input.tool"),
        (json!({"type": "mcp", "tool": "", "inputSchema": {}}), "info.input.tool"),
        (json!({"type": "mcp", "tool": "t"}), "info.input.inputSchema"),
        (json!({"type": "mcp", "tool": "t", "inputSchema": "x"}), "info.input.inputSchema"),
    ] {
        let got = Info::check(json!({ "input": input })).unwrap_err();
        assert_eq!(got.path, path, "{input}");
        assert!(got.to_string().starts_with(path), "{got}");
    }
}

#[test]
fn what_counts_as_required() {
    for (described, want) in [
        (json!({}), &[][..]),
        (json!({"a": 1, "b": "x", "c": {}, "d": []}), &["a", "b", "c", "d"]),
        (json!({"a": null, "b": false}), &["b"]),
        (json!({"a": {"type": "string", "required": true}, "b": {"type": "string", "required": false}}), &["a"]),
        (json!({"a": {"type": "string"}, "b": {"type": "string", "optional": true}}), &["a"]),
        (json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}), &["b"]),
        (json!({"type": "object", "properties": {"a": {}}}), &[]),
        (json!({"properties": {"a": {}}, "required": ["a", 7]}), &["a"]),
        // Members of these names that are no schema's.
        (json!({"type": "object", "required": "yes"}), &["required", "type"]),
        (json!({"type": "house", "properties": {"a": 1}}), &["properties", "type"]),
    ] {
        let mut got = required_names(described.as_object().unwrap());
        got.sort_unstable();
        assert_eq!(got, want, "{described}");
    }
}

#[test]
fn queries() {
    let get =
        info(json!({"type": "http", "method": "GET", "queryParams": {"city": "Bern", "two words": 1, "opt": null}}));
    for (method, query, want) in [
        ("GET", "city=Bern&two%20words=1", None),
        ("GET", "two+words=&city", None),
        ("HEAD", "", Some("query.city")),
        ("GET", "", Some("query.city")),
        ("GET", "City=Bern&two+words=1", Some("query.city")),
        ("GET", "city=Bern", Some("query.two words")),
        ("GET", "xcity=Bern&two+words", Some("query.city")),
        ("GET", "%63ity=1&two+words", None),
        ("GET", "%ff=1&%=2&city&two+words", None),
        ("POST", "", None),
    ] {
        let got = get.check_request(method, query, None, None);
        assert_eq!(got.err().map(|mistake| mistake.field).as_deref(), want, "{method} {query}");
    }
    assert!(!get.needs_body("GET"));
}

#[test]
fn bodies() {
    let post = info(json!({"type": "http", "method": "POST", "bodyType": "json", "body": {"a": 1, "b": null}}));
    let json = Some("application/json");
    for (content_type, body, want) in [
        (json, Some(r#"{"a": 1}"#), None),
        (json, Some(r#"{"a": null, "z": [{}]}"#), None),
        (Some("Application/JSON ; charset=utf-8"), Some(r#"{"a":1}"#), None),
        (json, Some(r#"{"b": 1}"#), Some("body.a")),
        (json, Some("{}"), Some("body.a")),
        (json, Some("[]"), Some("body")),
        (json, Some("{"), Some("body")),
        (json, Some(""), Some("body")),
        (json, None, Some("body")),
        (None, Some(r#"{"a": 1}"#), Some("content-type")),
        (Some(""), Some(r#"{"a": 1}"#), Some("content-type")),
        (Some("text/json"), Some(r#"{"a": 1}"#), Some("content-type")),
        (Some("application/jsonp"), Some(r#"{"a": 1}"#), Some("content-type")),
    ] {
        let got = post.check_request("POST", "", content_type, body.map(str::as_bytes));
        assert_eq!(got.err().map(|mistake| mistake.field).as_deref(), want, "{content_type:?} {body:?}");
    }
    assert!(post.needs_body("POST") && !post.needs_body("GET"));
    assert_eq!(post.check_request("GET", "", None, None), Ok(()));

    let form = info(json!({"type": "http", "method": "PUT", "bodyType": "form-data", "body": {"file": "x"}}));
    let text = info(json!({"type": "http", "bodyType": "text", "body": "words"}));
    for (info, method, content_type, good) in [
        (&form, "PUT", "multipart/form-data; boundary=x", true),
        (&form, "PUT", "application/x-www-form-urlencoded", false),
        (&form, "POST", "application/json", true),
        (&text, "POST", "text/plain; charset=utf-8", true),
        (&text, "PATCH", "text/markdown", true),
        (&text, "PATCH", "textual", false),
        (&text, "GET", "", true),
    ] {
        assert!(!info.needs_body(method));
        assert_eq!(info.check_request(method, "", Some(content_type), None).is_ok(), good, "{method} {content_type}");
    }
    let deep = format!(r#"{{"a": {}}}"#, "[".repeat(100_000));
    assert!(post.check_request("POST", "", json, Some(deep.as_bytes())).is_err());
    let tool = info(json!({"type": "mcp", "tool": "t", "inputSchema": {"type": "object", "required": ["a"]}}));
    assert_eq!((tool.check_request("POST", "", None, None), tool.needs_body("POST")), (Ok(()), false));
}

#[test]
fn what_is_printed() {
    let query = info(json!({"type": "http", "method": "get", "queryParams": {"city": "Bern", "days": null}}));
    let printed = query.extension(Some("/weather/:country"));
    assert_eq!(printed["routeTemplate"], "/weather/:country");
    assert_eq!(printed["info"]["input"]["method"], "GET");
    let input = &printed["schema"]["properties"]["input"];
    assert_eq!(printed["schema"]["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(input["required"], json!(["type", "method"]));
    assert_eq!(input["properties"]["method"], json!({"type": "string", "enum": ["GET"]}));
    assert_eq!(input["properties"]["queryParams"]["required"], json!(["city"]));
    assert_eq!(input["properties"]["queryParams"]["properties"]["city"], json!({"type": "string"}));

    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let body = info(json!({"type": "http", "method": "POST", "bodyType": "json", "body": schema}));
    let printed = body.extension(None);
    assert_eq!(printed.get("routeTemplate"), None);
    let input = &printed["schema"]["properties"]["input"];
    assert_eq!(input["required"], json!(["type", "method", "bodyType", "body"]));
    assert_eq!(input["properties"]["body"].get("required"), None, "the schema is the example here");

    let tool = info(json!({"type": "mcp", "tool": "t", "inputSchema": {"type": "object"}}));
    let input = &tool.extension(None)["info"]["input"];
    assert_eq!((&input["tool"], &input["toolName"]), (&json!("t"), &json!("t")));
}

proptest! {
    #[test]
    fn no_request_is_too_odd(query in ".{0,60}", kind in ".{0,30}", body: Vec<u8>) {
        let post = info(json!({"type": "http", "bodyType": "json", "body": {"a": 1}, "queryParams": {"q": 1}}));
        prop_assert!(post.check_request("POST", &query, Some(&kind), Some(&body)).is_err());
        prop_assert!(post.check_request("POST", &query, Some(&kind), None).is_err());
    }
}
