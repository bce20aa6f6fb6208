//! `/openapi.json`: the routes as OpenAPI 3.1, with prices where x402's directories look for them (`x-payment-info`).

use std::collections::BTreeSet;

use gate::DefaultAction;
use protocol::x402::PAYMENTS;
use serde_json::{Map, Value, json};

use super::describe::{dollars, rail};
use crate::config::{AcceptConfig, Config, DueConfig, PriceConfig, RouteConfig};

/// What a route for every method is described by.
const ANY: [&str; 2] = ["get", "post"];

/// Renders the document.
pub(super) fn openapi(config: &Config) -> Value {
    let discovery = &config.discovery;
    let mut info = Map::from_iter([
        ("title".to_owned(), discovery.name.as_deref().unwrap_or("Paid API").into()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
        ("x-guidance".to_owned(), GUIDANCE.into()),
    ]);
    if let Some(description) = &discovery.description {
        info.insert("description".to_owned(), description.as_str().into());
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": info,
        "paths": paths(config),
        "components": components(),
    });
    if let Some(url) = config.public_url.as_deref().or(discovery.base_url.as_deref()) {
        document["servers"] = json!([{ "url": url }]);
    }
    if let Some(url) = discovery.docs_url.as_deref().or(discovery.website.as_deref()) {
        document["externalDocs"] = json!({ "url": url });
    }
    document
}

const GUIDANCE: &str = "Call a paid operation without a payment to get a 402 whose PAYMENT-REQUIRED header has the offers. Sign one of \
                        them and repeat the call with PAYMENT-SIGNATURE. What the 402 says goes before what stands here.";

fn paths(config: &Config) -> Map<String, Value> {
    let mut paths = Map::new();
    let mut shapes = BTreeSet::new();
    for route in &config.routes {
        let (path, variables) = template(route.path.as_str());
        let shape: String = path.split('/').map(|part| if part.starts_with('{') { "/{}" } else { part }).collect();
        let methods: Vec<String> = match &route.method {
            Some(method) => vec![method.as_str().to_ascii_lowercase()],
            None => ANY.map(str::to_owned).to_vec(),
        };
        for method in methods {
            // The first route that matches decides, so a later one of the same shape is not what a caller meets.
            if shapes.insert(format!("{method} {shape}").to_ascii_lowercase()) {
                let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
                item[method.as_str()] = operation(config, route, &method, &path, &variables);
            }
        }
    }
    for (path, summary, schema) in OWN {
        let answer =
            json!({ "description": summary, "content": { "application/json": { "schema": { "type": schema } } } });
        let mut operation = json!({ "operationId": id("get", path), "summary": summary, "tags": ["gate"], "responses": { "200": answer } });
        if path.contains('{') {
            operation["parameters"] = json!([path_parameter("payment", None)]);
        }
        paths.entry(path).or_insert_with(|| json!({ "get": operation }));
    }
    paths
}

const OWN: [(&str, &str, &str); 4] = [
    ("/__pay/health", "How the gate is doing.", "object"),
    ("/__pay/manifest", "Routes and prices.", "object"),
    ("/.well-known/x402", "Paid endpoints and what they take, for x402 clients.", "object"),
    ("/__pay/payments/{payment}", "What became of a payment. Its name came with the receipt.", "object"),
];

/// A pattern as an OpenAPI path, and its variables.
fn template(pattern: &str) -> (String, Vec<String>) {
    let mut variables: Vec<String> = Vec::new();
    let last = pattern.split('/').count().saturating_sub(1);
    let mut parts = Vec::new();
    for (at, part) in pattern.split('/').enumerate() {
        let wanted = match part {
            "*" | "**" if at == last => Some("rest".to_owned()),
            part if part.starts_with(':') => Some(part.replacen(':', "", 1).replace(['{', '}'], "")),
            part if part.contains('*') => Some("part".to_owned()),
            _ => None,
        };
        let Some(wanted) = wanted else {
            // A brace of the pattern's own would be read as a variable.
            parts.push(part.replace('{', "%7B").replace('}', "%7D"));
            continue;
        };
        let taken = variables.contains(&wanted);
        let name = if taken || wanted.is_empty() { format!("{wanted}{at}") } else { wanted };
        parts.push(match part.split_once('*').filter(|_| !matches!(part, "*" | "**")) {
            Some((before, after)) => format!("{before}{{{name}}}{}", after.replace('*', "")),
            None => format!("{{{name}}}"),
        });
        variables.push(name);
    }
    (parts.join("/"), variables)
}

fn operation(config: &Config, route: &RouteConfig, method: &str, path: &str, variables: &[String]) -> Value {
    let input = route.info.as_ref().and_then(|info| info.get("input")).filter(|input| input["type"] == "http");
    let example = |name: &str| input.and_then(|input| input["pathParams"].get(name)).cloned();
    let mut parameters: Vec<_> = variables.iter().map(|name| path_parameter(name, example(name))).collect();
    let query = input.and_then(|input| input["queryParams"].as_object()).into_iter().flatten();
    parameters.extend(query.map(|(name, value)| parameter("query", name, false, Some(value.clone()))));
    let mime = route.mime_type.as_deref().unwrap_or("application/json");
    let output = route.info.as_ref().and_then(|info| info.get("output")).and_then(|output| output.get("example"));
    let mut served = json!({ "schema": {} });
    if let Some(example) = output {
        served["example"] = example.clone();
    }
    let mut operation = json!({
        "operationId": id(method, path),
        "parameters": parameters,
        "responses": { "200": { "description": "The answer.", "content": { mime: served } } },
    });
    if let Some(description) = &route.description {
        operation["summary"] = description.as_str().into();
    }
    if let Some(body) = input.and_then(|input| input.get("body")).filter(|_| !matches!(method, "get" | "delete")) {
        let schema = json!({ "type": kind(body) });
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema, "example": body } } });
    }
    match &route.price {
        PriceConfig::Free if !route.allowlist.is_empty() => {
            operation["responses"]["403"] = json!({ "$ref": "#/components/responses/Forbidden" });
        }
        PriceConfig::Free => {}
        PriceConfig::Due(due) => {
            operation["x-payment-info"] = payment_info(due);
            for (status, name) in [("402", "PaymentRequired"), ("429", "RateLimited"), ("503", "Unavailable")] {
                operation["responses"][status] = json!({ "$ref": format!("#/components/responses/{name}") });
            }
        }
    }
    if config.default_action == DefaultAction::Block && route.method.is_none() {
        operation["x-any-method"] = true.into();
    }
    operation
}

/// The price in dollars and who takes it in what, as directories of paid APIs read it.
fn payment_info(due: &DueConfig) -> Value {
    let price = match (dollars(due), due.endpoint.is_some()) {
        (Some(amount), false) => json!({ "mode": "fixed", "currency": "USD", "amount": amount }),
        (Some(amount), true) => json!({ "mode": "dynamic", "currency": "USD", "fallback": amount }),
        (None, _) => json!({ "mode": "dynamic", "currency": "USD" }),
    };
    let protocol = |accept: &AcceptConfig| {
        json!({ "x402": {
            "version": 2,
            "scheme": "exact",
            "network": accept.token.asset.network.to_string(),
            "asset": accept.token.asset.address.to_string(),
            "payTo": accept.payee.to_string(),
        } })
    };
    json!({
        "price": price,
        "protocols": due.accepts.iter().map(protocol).collect::<Vec<_>>(),
        "settlement": rail(due),
    })
}

fn path_parameter(name: &str, example: Option<Value>) -> Value {
    parameter("path", name, true, example)
}

fn parameter(place: &str, name: &str, required: bool, example: Option<Value>) -> Value {
    let schema = json!({ "type": example.as_ref().map_or("string", kind) });
    let mut parameter = json!({ "name": name, "in": place, "required": required, "schema": schema });
    if let Some(example) = example {
        parameter["example"] = example;
    }
    parameter
}

/// The type of an example.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A name for an operation that no other has: two paths that differ in letters alone are one route.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_");
    let digest = crc(path);
    if name.is_empty() { format!("{method}_root") } else { format!("{method}_{name}_{digest:04x}") }
}

/// Two bytes that tell paths apart whose words are the same.
fn crc(path: &str) -> u16 {
    path.bytes().fold(0xffff, |sum, byte| sum.rotate_left(5) ^ u16::from(byte))
}

fn components() -> Value {
    let problem = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let seconds = json!({ "Retry-After": { "description": "Seconds.", "schema": { "type": "integer" } } });
    let payments = format!("{PAYMENTS}{{payment}}");
    json!({
        "schemas": { "Problem": {
            "type": "object",
            "required": ["status", "error", "message", "money"],
            "properties": {
                "status": { "type": "integer" },
                "error": { "type": "string", "description": "A stable code." },
                "message": { "type": "string" },
                "money": { "type": "string", "enum": ["untouched", "held", "moved", "unknown"] },
            },
        } },
        "responses": {
            "PaymentRequired": {
                "description": "Not paid, or the payment was refused; the money is untouched.",
                "headers": { "PAYMENT-REQUIRED": {
                    "description": "x402 v2: base64 of the JSON with the offers.",
                    "schema": { "type": "string" },
                } },
                "content": problem,
            },
            "Forbidden": { "description": "For some callers only.", "content": problem },
            "RateLimited": { "description": "Too many requests.", "headers": seconds, "content": problem },
            "Unavailable": {
                "description": format!("Cannot be paid for now, or it is not known yet whether the money moved ({payments})."),
                "headers": seconds,
                "content": problem,
            },
        },
    })
}
