//! The extensions of x402 that are read or written here. Each stands under its own name in `extensions`, with its `info` and a
//! JSON Schema that describes it.

mod payment_id;

use serde_json::{Map, Value, json};

pub use payment_id::{PAYMENT_IDENTIFIER, PaymentId};

/// Extensions by their names.
pub type Extensions = Map<String, Value>;

/// A JSON Schema 2020-12 of an object.
fn schema(properties: &Value, required: &[&str]) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": required,
    })
}
