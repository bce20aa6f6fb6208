//! The OpenAPI 3.1 document of the admin API, and a page for people that is made of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::endpoint::{Endpoint, Shape};
use super::table::ENDPOINTS;

/// Why a request was not carried out.
#[derive(Serialize, ToSchema)]
struct Problem {
    status: u16,
    /// A stable word for programs.
    error: &'static str,
    /// For people.
    message: String,
    /// What happened to the money: `untouched`, or `unknown` where the journal did not answer.
    money: &'static str,
    /// What of the request is wrong.
    field: Option<String>,
}

/// What a request with `dry_run=true` would change. Nothing was changed.
#[derive(Serialize, ToSchema)]
struct DryRun {
    dry_run: bool,
    /// Whether anything would change.
    changes: bool,
    /// What its subject is now.
    before: Value,
    /// What it would be.
    after: Value,
}

/// The statuses that a refusal may have.
const REFUSALS: [(u16, &str); 9] = [
    (400, "Something of the request is not taken."),
    (401, "No token, or one that nobody has."),
    (403, "The admin's role does not allow it."),
    (404, "There is no such thing."),
    (409, "It cannot be done as things stand."),
    (413, "The body is too large."),
    (415, "The body is no JSON."),
    (422, "The Idempotency-Key named another request."),
    (429, "Too many tokens that nobody has."),
];

/// The document.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas = Vec::new();
    Shape::of::<Problem>().collect(&mut schemas);
    Shape::of::<DryRun>().collect(&mut schemas);
    for endpoint in ENDPOINTS {
        endpoint.answer.1.collect(&mut schemas);
        if let Some(body) = endpoint.body {
            body.collect(&mut schemas);
        }
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint);
    }
    let schemas: BTreeMap<String, Value> = schemas.into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pontage admin API",
            "version": "1",
            "description": "Keys, balances, usage and the gate itself. It is served on `admin.listen`; docs/admin.md has the words around it.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:9402" }],
        "security": [{ "bearer": [] }, { "admin_key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "admin_key": { "type": "apiKey", "in": "header", "name": "X-Admin-Key" },
            },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for word in endpoint.path.split('/') {
        let schema = match word {
            "{id}" => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
            // A key is called by its id or its alias.
            "{name}" | "{key}" => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$" }),
            "{number}" => json!({ "type": "integer", "minimum": 0, "maximum": 999_999_999 }),
            _ => continue,
        };
        let name = word.trim_matches(['{', '}']);
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    for param in endpoint.query {
        parameters.push(json!({
            "name": param.name, "in": "query", "description": param.about, "schema": param.kind.schema(),
        }));
    }
    let mut answer = endpoint.answer.1.reference();
    if endpoint.mutates() {
        let about = "Say what would change, and change nothing.";
        parameters
            .push(json!({ "name": "dry_run", "in": "query", "description": about, "schema": { "type": "boolean" } }));
        let about = "Names the request: asked for again with the same key it is done once, and answered as it was.";
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" });
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "description": about, "schema": schema }));
        answer = json!({ "anyOf": [answer, Shape::of::<DryRun>().reference()] });
    }
    let mut content = json!({ "application/json": { "schema": answer } });
    if endpoint.csv {
        content["text/csv"] = json!({ "schema": { "type": "string" } });
    }
    let mut responses = json!({ (endpoint.answer.0.to_string()): { "description": "Done.", "content": content } });
    let problem = json!({ "application/problem+json": { "schema": Shape::of::<Problem>().reference() } });
    for (status, about) in REFUSALS {
        let concerns = match status {
            422 => endpoint.mutates(),
            413 | 415 => endpoint.body.is_some(),
            _ => true,
        };
        if concerns {
            responses[status.to_string()] = json!({ "description": about, "content": problem });
        }
    }
    responses["503"] = json!({ "description": "The journal does not answer. Ask again.", "content": problem });
    let mut operation = json!({
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.about,
        "description": format!("Takes the role {}.", endpoint.role.code()),
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = endpoint.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": body.reference() } } });
    }
    operation
}

/// The page. It asks for nothing from elsewhere and runs no script.
pub(super) fn page() -> String {
    let mut html = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>pontage admin API</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
         padding:0 1rem}code{background:#8882;padding:0 .2em;border-radius:3px}section{border-top:1px solid #8884;\
         padding:.5rem 0}h3{margin:.5rem 0}table{border-collapse:collapse}td{padding:0 1em .2em 0;vertical-align:top}</style>\
         <h1>pontage admin API</h1><p>The document for programs: <a href=/admin/v1/openapi.json>openapi.json</a>. \
         Show a token with <code>Authorization: Bearer</code> or <code>X-Admin-Key</code>. What changes something takes \
         <code>?dry_run=true</code> and an <code>Idempotency-Key</code>.</p>",
    );
    let document = document();
    for endpoint in ENDPOINTS {
        let operation = &document["paths"][endpoint.path][endpoint.method.to_ascii_lowercase()];
        let path = escape(endpoint.path);
        // Writing into a string does not fail.
        write!(
            html,
            "<section><h3><code>{} {path}</code></h3><p>{} Role: {}.</p><table>",
            endpoint.method,
            escape(endpoint.about),
            endpoint.role.code()
        )
        .ok();
        for param in endpoint.query {
            write!(html, "<tr><td><code>{}</code><td>{}", escape(param.name), escape(param.about)).ok();
        }
        html.push_str("</table>");
        let schema = |reference: &Value| {
            let name = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            members(&document["components"]["schemas"][name])
        };
        if endpoint.body.is_some() {
            let body = schema(&operation["requestBody"]["content"]["application/json"]["schema"]);
            write!(html, "<p>Body:</p>{body}").ok();
        }
        write!(html, "<p>Answer:</p>{}</section>", schema(&endpoint.answer.1.reference())).ok();
    }
    html
}

fn members(schema: &Value) -> String {
    let mut html = String::from("<table>");
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let kind = match (&member["type"], member["$ref"].as_str()) {
            (Value::String(kind), _) => kind.clone(),
            (Value::Array(kinds), _) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            (_, Some(path)) => path.rsplit('/').next().unwrap_or_default().to_owned(),
            _ => "any".to_owned(),
        };
        let about = member["description"].as_str().unwrap_or_default();
        write!(html, "<tr><td><code>{}</code><td>{}<td>{}", escape(name), escape(&kind), escape(about)).ok();
    }
    html.push_str("</table>");
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares docs/admin-openapi.json with the table; `PONTAGE_WRITE_GENERATED=1` writes it instead.
    #[test]
    fn the_committed_document_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/admin-openapi.json");
        let want = format!("{:#}\n", document());
        if std::env::var_os("PONTAGE_WRITE_GENERATED").is_some() {
            std::fs::write(&path, &want).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == want,
            "docs/admin-openapi.json is not what it is made of: run this test with PONTAGE_WRITE_GENERATED=1"
        );
    }

    #[test]
    fn names_are_taken_once_and_references_lead_somewhere() {
        let mut names: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let document = document();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let page = page();
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{page}");
    }
}
