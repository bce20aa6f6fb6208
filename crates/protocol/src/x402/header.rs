//! base64 JSON in a header.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::Value;

use crate::Refusal;

/// The longest payment header that is looked at. A v2 payment with extensions has about 1,500 bytes.
pub const HEADER_MAX_BYTES: usize = 16 * 1024;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_IN: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE_IN: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads a header's base64 (standard or URL-safe alphabet, padding optional) into one JSON object.
///
/// # Errors
/// [`Refusal::HeaderTooLarge`], [`Refusal::InvalidBase64`] or [`Refusal::InvalidJson`], in this order.
pub fn decode_header(header: &[u8]) -> Result<Value, Refusal> {
    let value: Value = serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::InvalidJson)?;
    if value.is_object() { Ok(value) } else { Err(Refusal::InvalidJson) }
}

/// A header's bytes, whatever they are.
pub(super) fn decode(header: &[u8]) -> Result<Vec<u8>, Refusal> {
    if header.len() > HEADER_MAX_BYTES {
        return Err(Refusal::HeaderTooLarge);
    }
    // Nearly all are as every encoder writes them, and those are read in a quarter of the time.
    if let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(header) {
        return Ok(bytes);
    }
    // What is good in both alphabets is the same in both.
    STANDARD_IN.decode(header).or_else(|_| URL_SAFE_IN.decode(header)).map_err(|_| Refusal::InvalidBase64)
}

/// Writes JSON as a header.
pub(super) fn encode_text(json: &str) -> String {
    STANDARD.encode(json)
}

/// Writes a JSON object as a header: standard alphabet with padding, the only form that every client reads.
#[must_use]
pub fn encode_header(value: &Value) -> String {
    STANDARD.encode(value.to_string())
}
