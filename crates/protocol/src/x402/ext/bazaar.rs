//! `bazaar`: what a route takes and gives, for catalogues and agents. The same words, written by the operator, are checked
//! against a request before the upstream runs.

mod request;
mod template;

use serde_json::{Map, Value, json};

use super::schema;

pub use request::RequestMistake;
pub use template::{NotATemplate, check_route_template};

/// Its key in `extensions`.
pub const BAZAAR: &str = "bazaar";

const QUERY_METHODS: [&str; 3] = ["GET", "HEAD", "DELETE"];
const BODY_METHODS: [&str; 3] = ["POST", "PUT", "PATCH"];

/// How deep the printed schema follows an example.
const SCHEMA_DEPTH: usize = 4;

/// `info` as the operator wrote it, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    value: Value,
    input: Input,
}

/// What a call must bring along.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Input {
    Http {
        method: Option<String>,
        /// Names of required query parameters.
        query: Vec<String>,
        body: Option<Body>,
    },
    Mcp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Body {
    kind: BodyType,
    /// Names of required fields of a JSON object.
    fields: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyType {
    Json,
    FormData,
    Text,
}

/// A mistake of the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {what}")]
pub struct InfoMistake {
    /// The place, counted from `info`.
    pub path: &'static str,
    /// What is wrong and what to write.
    pub what: &'static str,
}

impl Info {
    /// Checks what the operator wrote. `input.type` is `http` or `mcp`. With `http`, POST, PUT and PATCH need `bodyType` and
    /// `body`, GET, HEAD and DELETE may have neither, and without `method` the one is known by the other. `mcp` needs `tool`
    /// and `inputSchema`. Other members are printed as they are.
    ///
    /// # Errors
    /// The first [`InfoMistake`].
    pub fn check(mut value: Value) -> Result<Self, InfoMistake> {
        if !value.is_object() {
            return Err(mistake("info", "must be a map"));
        }
        let object_or_none = |parent: &Value, name| parent.get(name).is_none_or(Value::is_object);
        if !object_or_none(&value, "output") {
            return Err(mistake("info.output", "must be a map"));
        }
        let input = value.get_mut("input").and_then(Value::as_object_mut);
        let input = input.ok_or(mistake("info.input", "must be a map with `type`"))?;
        let input = match input.get("type").and_then(Value::as_str) {
            Some("http") => http(input)?,
            Some("mcp") => mcp(input)?,
            Some(_) | None => return Err(mistake("info.input.type", "must be http or mcp")),
        };
        Ok(Self { value, input })
    }

    /// The object in a 402's `extensions`. The template is one that [`check_route_template`] took.
    #[must_use]
    pub fn extension(&self, route_template: Option<&str>) -> Value {
        let mut extension = json!({ "info": self.value, "schema": self.schema() });
        if let (Some(template), Some(members)) = (route_template, extension.as_object_mut()) {
            members.insert("routeTemplate".to_owned(), template.into());
        }
        extension
    }

    /// What the operator wrote.
    #[must_use]
    pub fn as_json(&self) -> &Value {
        &self.value
    }

    /// Describes `info` itself, as catalogues check it. What of a query or a body is required stands here, too.
    fn schema(&self) -> Value {
        let mut properties = Map::new();
        for (name, value) in self.value.as_object().into_iter().flatten() {
            properties.insert(name.clone(), describe(value, SCHEMA_DEPTH));
        }
        if let Some(input) = properties.get_mut("input") {
            self.describe_input(input);
        }
        schema(&properties.into(), &["input"])
    }

    fn describe_input(&self, input: &mut Value) {
        let constant = |value: &str| json!({ "type": "string", "const": value });
        let (fixed, required): (Vec<_>, Vec<_>) = match &self.input {
            Input::Mcp => (vec![("type", constant("mcp"))], vec!["type", "tool", "toolName", "inputSchema"]),
            Input::Http { method, query, body } => {
                let mut fixed = vec![("type", constant("http"))];
                let mut required = vec!["type"];
                if let Some(method) = method {
                    fixed.push(("method", json!({ "type": "string", "enum": [method] })));
                    required.push("method");
                }
                require(input, "queryParams", query);
                if let Some(body) = body {
                    fixed.push(("bodyType", json!({ "type": "string", "enum": ["json", "form-data", "text"] })));
                    required.extend(["bodyType", "body"]);
                    require(input, "body", &body.fields);
                }
                (fixed, required)
            }
        };
        let Some(object) = input.as_object_mut() else { return };
        object.insert("required".to_owned(), required.into());
        if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(fixed.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
    }
}

fn mistake(path: &'static str, what: &'static str) -> InfoMistake {
    InfoMistake { path, what }
}

fn http(input: &mut Map<String, Value>) -> Result<Input, InfoMistake> {
    let method = match input.get_mut("method") {
        None => None,
        Some(value) => {
            let method = value.as_str().map(str::to_ascii_uppercase);
            let known = |method: &String| [QUERY_METHODS, BODY_METHODS].as_flattened().contains(&method.as_str());
            let method = method
                .filter(known)
                .ok_or(mistake("info.input.method", "must be one of GET, HEAD, DELETE, POST, PUT, PATCH"))?;
            *value = method.as_str().into();
            Some(method)
        }
    };
    let has = |name| input.contains_key(name);
    let with_body = match method.as_deref() {
        Some(method) => BODY_METHODS.contains(&method),
        None => has("bodyType") || has("body"),
    };
    if !with_body && (has("bodyType") || has("body")) {
        let path = if has("bodyType") { "info.input.bodyType" } else { "info.input.body" };
        return Err(mistake(path, "has no place with GET, HEAD or DELETE"));
    }
    let query = input.get("queryParams").map_or(Ok(Vec::new()), |params| {
        params.as_object().map(required_names).ok_or(mistake("info.input.queryParams", "must be a map"))
    })?;
    let body = with_body.then(|| body(input)).transpose()?;
    Ok(Input::Http { method, query, body })
}

fn body(input: &Map<String, Value>) -> Result<Body, InfoMistake> {
    let kind = match input.get("bodyType").and_then(Value::as_str) {
        Some("json") => BodyType::Json,
        Some("form-data") => BodyType::FormData,
        Some("text") => BodyType::Text,
        Some(_) => return Err(mistake("info.input.bodyType", "must be json, form-data or text")),
        None => {
            return Err(mistake("info.input.bodyType", "is needed with POST, PUT and PATCH: json, form-data or text"));
        }
    };
    let body = input.get("body").filter(|body| !body.is_null());
    let body = body.ok_or(mistake("info.input.body", "is needed with POST, PUT and PATCH: an example or a schema"))?;
    // Of other kinds the fields cannot be seen without parsing what only the upstream understands.
    let fields = if kind == BodyType::Json { body.as_object().map(required_names) } else { None };
    Ok(Body { kind, fields: fields.unwrap_or_default() })
}

fn mcp(input: &mut Map<String, Value>) -> Result<Input, InfoMistake> {
    let tool = input.get("tool").or_else(|| input.get("toolName")).and_then(Value::as_str);
    let tool = tool
        .filter(|tool| !tool.is_empty())
        .ok_or(mistake("info.input.tool", "is needed with mcp: the tool's name"))?;
    let tool = Value::from(tool);
    if !input.get("inputSchema").is_some_and(Value::is_object) {
        return Err(mistake("info.input.inputSchema", "is needed with mcp: the tool's JSON Schema"));
    }
    // The specification says `tool`, the reference's catalogue reads `toolName`.
    input.insert("tool".to_owned(), tool.clone());
    input.insert("toolName".to_owned(), tool);
    Ok(Input::Mcp)
}

/// The names that a request must bring along.
///
/// Where `described` is a JSON Schema (it has a list `required`, or `type: object` with `properties`), those of its `required`.
/// Else its members are examples and every one is required that is not marked otherwise: `{"required": false}`,
/// `{"optional": true}`, or `null` in place of an example.
fn required_names(described: &Map<String, Value>) -> Vec<String> {
    let listed = described.get("required").and_then(Value::as_array);
    let is_schema = described.get("type").is_some_and(|kind| kind == "object")
        && described.get("properties").is_some_and(Value::is_object);
    if listed.is_some() || is_schema {
        return listed.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    }
    let needed = |example: &Value| {
        let flag = |name| example.get(name).and_then(Value::as_bool);
        !example.is_null() && flag("required") != Some(false) && flag("optional") != Some(true)
    };
    described.iter().filter(|(_, example)| needed(example)).map(|(name, _)| name.clone()).collect()
}

/// A schema that `value` meets.
fn describe(value: &Value, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else { return json!({}) };
    match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(_) => json!({ "type": "array" }),
        Value::Object(members) => {
            let properties: Map<_, _> =
                members.iter().map(|(name, value)| (name.clone(), describe(value, deeper))).collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

/// Names what of an example is required. A schema in the example's place has its own list, about other names.
fn require(input: &mut Value, part: &str, names: &[String]) {
    let Some(part) = input.pointer_mut(&format!("/properties/{part}")).and_then(Value::as_object_mut) else { return };
    let there = |name: &String| part.get("properties").and_then(|properties| properties.get(name)).is_some();
    if !names.is_empty() && names.iter().all(there) {
        part.insert("required".to_owned(), names.into());
    }
}

#[cfg(test)]
mod tests;
