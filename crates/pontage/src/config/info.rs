//! The bazaar block of a route: how it is called, and what comes back.

use serde_json::Value;

use super::reader::{Node, Reader};

const MAX_BYTES: usize = 16 * 1024;
const INFO_FIX: &str =
    "write input with a type: http with a method (and bodyType and body), or mcp with tool and inputSchema.";

/// Reads `info` as JSON and checks what the bazaar wants of it.
pub(super) fn info<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Value> {
    if !node.is_mapping() {
        return reader.mistake(&node.at, "info is not a mapping.", INFO_FIX);
    }
    let info = reader.json(node)?;
    let bytes = info.to_string().len();
    if bytes > MAX_BYTES {
        let what = format!("info has {bytes} bytes as JSON, more than 16 KiB.");
        return reader.mistake(&node.at, what, "shorten it: every 402 carries it.");
    }
    match check(&info) {
        Ok(()) => Some(info),
        Err(why) => reader.mistake(&node.at, why, INFO_FIX),
    }
}

/// What the bazaar wants of `info`.
fn check(info: &Value) -> Result<(), &'static str> {
    let input = info.get("input").filter(|input| input.is_object()).ok_or("info has no input.")?;
    let text = |name| input.get(name).and_then(Value::as_str);
    match text("type") {
        Some("http") => match text("method").map(str::to_ascii_uppercase).as_deref() {
            Some("GET" | "HEAD" | "DELETE") => Ok(()),
            Some("POST" | "PUT" | "PATCH") if !matches!(text("bodyType"), Some("json" | "form-data" | "text")) => {
                Err("info.input.bodyType is none of json, form-data and text.")
            }
            Some("POST" | "PUT" | "PATCH") if !input.get("body").is_some_and(Value::is_object) => {
                Err("info.input has a bodyType and no body with keys.")
            }
            Some("POST" | "PUT" | "PATCH") => Ok(()),
            _ => Err("info.input.method is none of GET, HEAD, DELETE, POST, PUT and PATCH."),
        },
        Some("mcp") if text("tool").is_none() => Err("info.input is of type mcp and names no tool."),
        Some("mcp") if !input.get("inputSchema").is_some_and(Value::is_object) => {
            Err("info.input is of type mcp and has no inputSchema with keys.")
        }
        Some("mcp") => Ok(()),
        _ => Err("info.input.type is neither http nor mcp."),
    }
}
