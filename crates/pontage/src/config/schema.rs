//! The JSON Schema of the file, made from the table of keys: for editors. It knows what a value looks like; whether values go
//! together is for the readers.

use serde_json::{Map, Value, json};

use super::env;
use super::keys::{KEYS, Key, MUST, Shape, beneath};

/// docs/pontage.schema.json. A test compares it.
pub(crate) fn schema() -> Value {
    let mut root = object("");
    // A file with `service` is a facilitator's, and needs nothing that a gate sells.
    let gate: Vec<Value> =
        root["required"].as_array().into_iter().flatten().filter(|name| *name != "version").cloned().collect();
    root["required"] = json!(["version"]);
    root["if"] = json!({ "required": ["service"] });
    root["then"] = json!({ "required": ["networks"] });
    root["else"] = json!({ "required": gate });
    let about = "A text with an environment variable in it.";
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "pontage.yaml".into();
    root["$defs"] = json!({ "variable": { "type": "string", "pattern": r"\$\{", "description": about } });
    root
}

/// What stands at a path of the table.
fn at(path: &str) -> Value {
    let own = KEYS.iter().find(|key| key.path == path);
    let starts =
        |end: &str| KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with(end)));
    let structure = match () {
        () if starts("[]") => Some(json!({ "type": "array", "items": at(&format!("{path}[]")) })),
        () if starts(".") => Some(object(path)),
        () => None,
    };
    let mut value = match (own.map(|key| &key.shape), structure) {
        (Some(Shape::Secret), Some(mut place)) => {
            place["minProperties"] = 1.into();
            place["maxProperties"] = 1.into();
            place
        }
        (Some(Shape::Signer), Some(mut place)) => {
            let forms = [&["env"][..], &["file"], &["keystore", "password"], &["socket"]];
            place["oneOf"] = forms.iter().map(|required| json!({ "required": required })).collect();
            place["dependentRequired"] = json!({ "password": ["keystore"], "keystore": ["password"] });
            place
        }
        (None | Some(Shape::Section), Some(structure)) => structure,
        (Some(shape), Some(structure)) => json!({ "anyOf": [of(shape), structure] }),
        (Some(shape), None) => of(shape),
        (None, None) => json!({}),
    };
    if let Some(Key { default, limits, about, .. }) = own {
        value["description"] = format!("{about} Value: {limits}. Default: {default}.").into();
    }
    value
}

/// The mapping at a path of the table.
fn object(level: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for name in beneath(level) {
        let path = if level.is_empty() { name.to_owned() } else { format!("{level}.{name}") };
        match name {
            "<caip2>" => {
                return json!({ "type": "object", "patternProperties": { "^eip155:[1-9][0-9]*$": at(&path) }, "additionalProperties": false });
            }
            "<name>" => return json!({ "type": "object", "additionalProperties": at(&path) }),
            _ => {}
        }
        let must = KEYS.iter().any(|key| key.path == path && key.default == MUST);
        // The environment may say it in the file's place.
        if must && !env::may_override(&path) {
            required.push(name);
        }
        properties.insert(name.to_owned(), at(&path));
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn of(shape: &Shape) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let forms = match shape {
        Shape::Word(words) => {
            let forms = words.iter().flat_map(|word| [json!(word), json!(word.to_ascii_lowercase())]);
            let mut forms: Vec<Value> =
                forms.chain(words.iter().filter_map(|word| Some(word.parse::<u64>().ok()?.into()))).collect();
            forms.dedup();
            vec![json!({ "enum": forms })]
        }
        Shape::Whole(least, most) => {
            vec![json!({ "type": "integer", "minimum": least, "maximum": most }), text("^[0-9]+$")]
        }
        Shape::Truth => vec![json!({ "type": "boolean" }), text("^([Tt]rue|TRUE|[Ff]alse|FALSE)$")],
        Shape::Address => vec![text("^0x[0-9a-fA-F]{40}$")],
        Shape::Dollars => {
            vec![json!({ "type": "number", "minimum": 0 }), text(r"^\$?(0|[1-9][0-9]*)(\.[0-9]+)?$")]
        }
        Shape::Gwei => vec![json!({ "type": "number", "exclusiveMinimum": 0 }), text(r"^(0|[1-9][0-9]*)(\.[0-9]+)?$")],
        Shape::Rate => vec![text("^([0-9]+/(s|sec|second|m|min|minute)|off)$")],
        Shape::Span => vec![text("^[0-9]+(ms|s|m)$")],
        Shape::Listen => vec![json!({ "type": "integer", "minimum": 0, "maximum": 65535 }), text(":?[0-9]+$")],
        Shape::Url => vec![text("^https?://")],
        Shape::Mark => vec![text(r"^(\*|https?://.+)$")],
        Shape::Name => vec![text("^[A-Za-z_][A-Za-z0-9_]*$")],
        Shape::Path => vec![text(".")],
        Shape::Text(most) => vec![json!({ "type": ["string", "number", "boolean"], "maxLength": most })],
        Shape::List(items) => return json!({ "type": "array", "items": of(items) }),
        Shape::Any | Shape::Secret | Shape::Signer | Shape::Section => return json!({ "type": "object" }),
    };
    let variable = json!({ "$ref": "#/$defs/variable" });
    json!({ "anyOf": forms.into_iter().chain([variable]).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use saphyr::{LoadableYamlNode, Scalar, Yaml};

    use super::super::TEMPLATE;
    use super::super::compat_tests::{FULL, MINIMAL};
    use super::super::tests::{FREE, HEAD};
    use super::*;

    /// What an editor makes of a file.
    fn value(yaml: &Yaml<'_>) -> Value {
        match yaml {
            Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
            Yaml::Value(Scalar::Integer(number)) => (*number).into(),
            Yaml::Value(Scalar::FloatingPoint(number)) => number.0.into(),
            Yaml::Value(Scalar::Boolean(truth)) => (*truth).into(),
            Yaml::Sequence(items) => items.iter().map(value).collect(),
            Yaml::Mapping(entries) => {
                entries.iter().map(|(key, found)| (key.as_str().unwrap_or_default().to_owned(), value(found))).collect()
            }
            _ => Value::Null,
        }
    }

    fn refused(text: &str) -> Vec<String> {
        let found = value(&Yaml::load_from_str(text).unwrap()[0]);
        let validator = jsonschema::draft202012::new(&schema()).expect("the schema is one");
        validator.iter_errors(&found).map(|error| error.instance_path().to_string()).collect()
    }

    #[test]
    fn the_schema_takes_good_files() {
        let docs = include_str!("../../../../docs/config.md");
        let examples = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let variables = r#"
version: "1"
provider_address: ${PAYEE}
listen: "${HOST:-127.0.0.1}:8402"
trusted_proxies: ${HOPS}
proxy: { target: "${TARGET}", timeout: "${SECONDS}s" }
routes:
- { path: "/${VERSION}/*", method: get, price: "$${PRICE}", settle_first: "${FIRST}" }
- { path: /b, method: "${METHOD}", price: 0.5, rate_limit: "${CALLS}/s", allowlist: ["${ADMIN}"] }
networks: { "eip155:8453": { rpc_urls: ["${RPC}"], assets: ["${ASSET}"] } }
tab: { batch_max: "${BATCH}", verify: "${VERIFY}" }
"#;
        for text in [TEMPLATE, MINIMAL, FULL, variables].into_iter().chain(examples) {
            assert_eq!(refused(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn the_schema_refuses_what_the_reader_refuses() {
        let whole = format!("{HEAD}{FREE}");
        let route = |lines: &str| format!("{HEAD}routes: [{{ path: /a, {lines} }}]\n");
        for (text, at) in [
            (whole.replace("version: 1", "vresion: 1"), ""),
            (whole.replace("version: 1", "version: 2"), "/version"),
            (whole.replace("0x2096", "0x"), "/provider_address"),
            (whole.replace("target", "targt"), "/proxy"),
            (whole.replace("eip155:84532", "base"), "/networks"),
            (HEAD.to_owned(), ""),
            (format!("{whole}listen: here\n"), "/listen"),
            (format!("{whole}tab: {{ batch_max: 101 }}\n"), "/tab/batch_max"),
            (format!("{whole}rate_limits: {{ per_agent: banana }}\n"), "/rate_limits/per_agent"),
            (format!("{whole}facilitator: {{ signer: key }}\n"), "/facilitator/signer"),
            (format!("{whole}facilitator: {{ signer: {{ env: A, file: b }} }}\n"), "/facilitator/signer"),
            (format!("{whole}log: {{ level: trace }}\n"), "/log/level"),
            (route("price: free"), "/routes/0/price"),
            (route("free: maybe"), "/routes/0/free"),
            (route("price: 1, prize: 2"), "/routes/0"),
            (route("price: 1, method: HEAD"), "/routes/0/method"),
            (route("price: 1, accepts: [{ asset: usdc }]"), "/routes/0/accepts/0"),
            (route("price_endpoint: { timeout_ms: 1 }"), "/routes/0/price_endpoint"),
            (route("price: 1, proxy_params: { a: [b] }"), "/routes/0/proxy_params/a"),
        ] {
            assert!(refused(&text).iter().any(|found| found == at), "{at}: {:?}\n{text}", refused(&text));
        }
    }

    /// Compares a file with what it is made of; `PONTAGE_WRITE_GENERATED=1` writes it instead.
    fn compare(name: &str, want: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var_os("PONTAGE_WRITE_GENERATED").is_some() {
            std::fs::write(&path, want).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == want, "docs/{name} is not what it is made of: run this test with PONTAGE_WRITE_GENERATED=1");
    }

    #[test]
    fn the_committed_schema_is_the_table() {
        compare("pontage.schema.json", &format!("{:#}\n", schema()));
    }

    #[test]
    fn the_table_of_the_docs_is_the_table() {
        let docs = include_str!("../../../../docs/config.md");
        let (before, rest) = docs.split_once("\n| key |").expect("the page has the table");
        let after = rest.split_once("\n\n").expect("something follows the table").1;
        let mut table = "| key | default | unit and limits | what it does |\n|---|---|---|---|\n".to_owned();
        for Key { path, default, limits, about, .. } in KEYS {
            table.push_str(&format!("| `{path}` | {default} | {limits} | {about} |\n"));
        }
        compare("config.md", &format!("{before}\n{table}\n{after}"));
    }
}
