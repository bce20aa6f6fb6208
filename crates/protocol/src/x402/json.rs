//! Reading JSON with the field at fault. An optional field that is `null` is absent: Python clients send it so.

use serde_json::Value;

use crate::{Field, Refusal};

/// A member of an object, where `null` counts as absent.
pub(super) fn get<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

pub(super) fn object<'a>(parent: &'a Value, name: &str, field: Field) -> Result<&'a Value, Refusal> {
    get(parent, name).filter(|value| value.is_object()).ok_or(Refusal::InvalidPayload(field))
}

pub(super) fn string<'a>(parent: &'a Value, name: &str, field: Field) -> Result<&'a str, Refusal> {
    get(parent, name).and_then(Value::as_str).ok_or(Refusal::InvalidPayload(field))
}
