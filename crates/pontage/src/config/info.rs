//! The bazaar block of a route: how it is called, and what comes back.

use protocol::x402::ext::{Info, InfoMistake};
use serde_json::Value;

use super::reader::{At, Node, Reader};

const MAX_BYTES: usize = 16 * 1024;
const INFO_FIX: &str =
    "write input with a type: http with a method (and bodyType and body), or mcp with tool and inputSchema.";

/// Reads `info` as JSON and checks what the bazaar wants of it.
pub(super) fn info<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Value> {
    let info = reader.json(node)?;
    let bytes = info.to_string().len();
    if bytes > MAX_BYTES {
        let what = format!("info has {bytes} bytes as JSON, more than 16 KiB.");
        return reader.mistake(&node.at, what, "shorten it: every 402 carries it.");
    }
    match Info::check(info) {
        Ok(info) => Some(info.as_json().clone()),
        Err(InfoMistake { path, what }) => {
            let at = At { path: format!("{}{path}", node.at.path.trim_end_matches("info")), line: node.at.line };
            reader.mistake(&at, format!("it {what}."), INFO_FIX)
        }
    }
}
