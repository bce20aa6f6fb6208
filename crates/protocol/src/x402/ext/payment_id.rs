//! `payment-identifier`: the payer's own name for a payment, so that a repeated call is known as one. It binds nothing by
//! itself: whoever stores an answer under it must also compare what was paid.

use serde_json::{Value, json};

use super::super::json::Json;
use super::schema;
use crate::{Field, Refusal};

/// Its key in `extensions`.
pub const PAYMENT_IDENTIFIER: &str = "payment-identifier";

const FIELD: Field = "extensions.payment-identifier.info.id";
const MIN_CHARS: usize = 16;
const MAX_CHARS: usize = 128;

/// 16 to 128 characters of `A-Za-z0-9_-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PaymentId(String);

impl PaymentId {
    /// Reads one, or `None` where it has another shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        (plain && (MIN_CHARS..=MAX_CHARS).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a 402 says about it: whether a payment without one is refused.
    #[must_use]
    pub fn extension(required: bool) -> Value {
        let id = json!({
            "type": "string", "minLength": MIN_CHARS, "maxLength": MAX_CHARS, "pattern": "^[a-zA-Z0-9_-]+$",
        });
        json!({
            "info": { "required": required },
            "schema": schema(&json!({ "required": { "type": "boolean" }, "id": id }), &["required"]),
        })
    }

    /// Reads it from a v2 payment. A payer who repeats our own words without an id has given none.
    ///
    /// # Errors
    /// [`Refusal::InvalidPayload`] where there is an id of another shape: to ignore it would run the call twice.
    pub(in super::super) fn of_payment(payment: &Json<'_>) -> Result<Option<Self>, Refusal> {
        let extension = payment.get("extensions").and_then(|extensions| extensions.get(PAYMENT_IDENTIFIER));
        let info = extension.and_then(|extension| extension.get("info"));
        let Some(id) = info.and_then(|info| info.get("id")) else { return Ok(None) };
        let id = id.as_str().and_then(Self::parse).ok_or(Refusal::InvalidPayload(FIELD))?;
        Ok(Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        for (text, good) in [
            ("pay_0123456789ab".to_owned(), true),
            ("ABCdef-_01234567".to_owned(), true),
            ("a".repeat(15), false),
            ("a".repeat(16), true),
            ("a".repeat(128), true),
            ("a".repeat(129), false),
            (String::new(), false),
            (format!("{} ", "a".repeat(16)), false),
            (format!("{}.", "a".repeat(16)), false),
            (format!("{}\n", "a".repeat(16)), false),
            ("é".repeat(16), false),
        ] {
            assert_eq!(PaymentId::parse(&text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn where_it_is_read() {
        let id = "pay_0123456789abcdef";
        let at = |extensions: Value| {
            let text = json!({ "extensions": extensions }).to_string();
            PaymentId::of_payment(&Json::parse(text.as_bytes()).unwrap())
        };
        let echo = json!({ PAYMENT_IDENTIFIER: PaymentId::extension(true) });
        let mut given = echo.clone();
        given[PAYMENT_IDENTIFIER]["info"]["id"] = id.into();
        assert_eq!(at(given), Ok(PaymentId::parse(id)));
        for none in [
            json!(null),
            json!(7),
            json!([]),
            json!({}),
            echo,
            json!({ PAYMENT_IDENTIFIER: null }),
            json!({ PAYMENT_IDENTIFIER: [] }),
            json!({ PAYMENT_IDENTIFIER: { "info": 1 } }),
            json!({ PAYMENT_IDENTIFIER: { "info": { "id": null } } }),
            json!({ PAYMENT_IDENTIFIER: { "id": id } }),
        ] {
            assert_eq!(at(none.clone()), Ok(None), "{none}");
        }
        for odd in [json!(""), json!("short"), json!(7), json!({}), json!(["pay_0123456789abcdef"])] {
            let got = at(json!({ PAYMENT_IDENTIFIER: { "info": { "id": odd } } }));
            assert_eq!(got, Err(Refusal::InvalidPayload(FIELD)), "{odd}");
        }
    }
}
