//! JSON-RPC 2.0 over a chain: bytes in, bytes out.

mod act;
mod params;
mod print;
mod read;

use serde_json::{Value, json};

use crate::chain::{Asked, Chain, SendRefusal};
use params::Params;

/// More calls than this in one batch are refused.
const BATCH_MAX: usize = 1000;

/// What a call is refused with.
#[derive(Clone, Debug, PartialEq)]
struct Refusal {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl Refusal {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn request(what: &str) -> Self {
        Self::new(-32600, format!("invalid request: {what}"))
    }

    fn params(which: &str, what: &str) -> Self {
        Self::new(-32602, format!("invalid params: {which} {what}"))
    }

    /// What the state does not allow or does not hold.
    fn server(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    /// Of a call that was run to the end and returned nothing.
    fn asked(asked: Asked) -> Self {
        match asked {
            Asked::Reverted(output) => {
                let message = match reason(&output) {
                    Some(reason) => format!("execution reverted: {reason}"),
                    None => "execution reverted".to_owned(),
                };
                Self { data: Some(json!(output)), ..Self::new(3, message) }
            }
            Asked::Failed(words) => Self::server(words),
            Asked::Returned { .. } => Self::new(-32603, "the call did return"),
        }
    }
}

impl From<SendRefusal> for Refusal {
    fn from(refusal: SendRefusal) -> Self {
        match refusal {
            SendRefusal::NotAChainTx(what) => Self::params("parameter 1", &format!("is refused: {what}")),
            other => Self::new(-32003, other.to_string()),
        }
    }
}

/// Answers one body, a call or a batch. Empty when nothing in it asks for an answer.
pub(crate) fn answer(chain: &mut Chain, now_s: u64, body: &[u8]) -> Vec<u8> {
    let answer = match serde_json::from_slice::<Value>(body) {
        Err(_) => Some(failed(Value::Null, Refusal::new(-32700, "parse error: the body is not JSON"))),
        Ok(Value::Array(calls)) if calls.is_empty() => {
            Some(failed(Value::Null, Refusal::request("the batch is empty")))
        }
        Ok(Value::Array(calls)) if calls.len() > BATCH_MAX => {
            let what = format!("a batch may have {BATCH_MAX} calls, not {}", calls.len());
            Some(failed(Value::Null, Refusal::request(&what)))
        }
        Ok(Value::Array(calls)) => {
            let answers: Vec<Value> = calls.into_iter().filter_map(|call| one(chain, now_s, call)).collect();
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        Ok(call) => one(chain, now_s, call),
    };
    answer.map(|answer| answer.to_string().into_bytes()).unwrap_or_default()
}

/// `None` for a notification, a call without `id`: it is run, and nobody is told.
fn one(chain: &mut Chain, now_s: u64, call: Value) -> Option<Value> {
    let Value::Object(mut call) = call else {
        return Some(failed(Value::Null, Refusal::request("a call is an object")));
    };
    let id = call.remove("id");
    if !matches!(id, None | Some(Value::Null | Value::String(_) | Value::Number(_))) {
        return Some(failed(Value::Null, Refusal::request("`id` is a string, a number or null")));
    }
    let named = id.clone().unwrap_or_default();
    let (Some("2.0"), Some(method)) = (call.get("jsonrpc").and_then(Value::as_str), call.get("method")) else {
        return Some(failed(named, Refusal::request("`jsonrpc` is \"2.0\" and `method` is there")));
    };
    let Some(method) = method.as_str() else {
        return Some(failed(named, Refusal::request("`method` is a string")));
    };
    let result = Params::new(call.get("params")).and_then(|params| {
        let read = read::call(chain, now_s, method, &params);
        let result = read.or_else(|| act::call(chain, now_s, method, &params));
        result.unwrap_or_else(|| Err(Refusal::new(-32601, format!("the method {method:.100} does not exist"))))
    });
    let id = id?;
    Some(match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(refusal) => failed(id, refusal),
    })
}

fn failed(id: Value, Refusal { code, message, data }: Refusal) -> Value {
    let mut error = json!({"code": code, "message": message});
    if let Some(data) = data {
        error["data"] = data;
    }
    json!({"jsonrpc": "2.0", "id": id, "error": error})
}

/// The words of `Error(string)`, or the code of `Panic(uint256)`. `None` for what a contract defined itself.
fn reason(output: &[u8]) -> Option<String> {
    let word = |at: usize| -> Option<usize> {
        let (high, low) = output.get(at..at.checked_add(32)?)?.split_at(24);
        let low = u64::from_be_bytes(low.try_into().ok()?);
        usize::try_from(low).ok().filter(|_| high.iter().all(|byte| *byte == 0))
    };
    match output.get(..4)? {
        [0x08, 0xc3, 0x79, 0xa0] => {
            let at = word(4)?.checked_add(4)?;
            let start = at.checked_add(32)?;
            let words = output.get(start..start.checked_add(word(at)?)?)?;
            Some(String::from_utf8_lossy(words).into_owned())
        }
        [0x4e, 0x48, 0x7b, 0x71] => Some(format!("panic code {:#04x}", word(4)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
