//! The extensions of x402 that are read or written here. Each stands under its own name in `extensions`, with its `info` and a
//! JSON Schema that describes it.

mod bazaar;
mod jws;
mod nonce;
mod offer_receipt;
mod payment_id;
mod sign_in;
pub(in crate::x402) mod time;

use serde_json::{Map, Value, json};

pub use bazaar::{BAZAAR, Info, InfoMistake, NotATemplate, RequestMistake, check_route_template};
pub use jws::Jws;
pub use nonce::{SignInNonce, SignInSecret};
pub use offer_receipt::{Claim, OFFER_RECEIPT, OfferClaim, ReceiptClaim, Signed, offers_extension, receipt_extension};
pub use payment_id::{PAYMENT_IDENTIFIER, PaymentId};
pub use sign_in::{SIGN_IN_WITH_X, SignInMessage, SignInOffer, SignInRefusal, SignInTerms, SignedIn, verify_sign_in};

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
