//! `X-Cost-Tags`: what a caller books the cost of his call under.

use std::fmt;

use http::{HeaderMap, HeaderName, StatusCode};
use protocol::MoneyState;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::problem::Problem;

const COST_TAGS: HeaderName = HeaderName::from_static("x-cost-tags");
const BYTES_MAX: usize = 1_024;
const TAGS_MAX: usize = 10;
const NAME_MAX: usize = 64;
const VALUE_MAX: usize = 200;

/// Names and values, each name once.
#[derive(Debug)]
struct Tags(Map<String, Value>);

/// The tags of a call, in one form. `None` where there are none.
pub(super) fn tags(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all(COST_TAGS).iter();
    let (Some(line), others) = (lines.next(), lines.next()) else { return Ok(None) };
    if others.is_some() {
        return Err(refused("comes more than once"));
    }
    if line.len() > BYTES_MAX {
        return Err(refused("has more than 1,024 bytes"));
    }
    let Tags(tags) = serde_json::from_slice(line.as_bytes())
        .map_err(|_| refused("is not a JSON object of at most 10 tags: names of letters, digits, _, - and ., texts of at most 200 characters"))?;
    Ok((!tags.is_empty()).then(|| Value::Object(tags).to_string()))
}

fn refused(what: &str) -> Problem {
    let message = format!("X-Cost-Tags {what}. Nothing was charged.");
    Problem::new(StatusCode::BAD_REQUEST, "bad_cost_tags", message, MoneyState::Untouched).with("field", "X-Cost-Tags")
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Tags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                use serde::de::Error as _;
                let mut tags = Map::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if !is_tag(&name, &value) || tags.len() >= TAGS_MAX || tags.insert(name, value.into()).is_some() {
                        return Err(A::Error::custom("not a tag"));
                    }
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_map(Reads)
    }
}

fn is_tag(name: &str, value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let named = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain);
    named && value.chars().count() <= VALUE_MAX && !value.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(text: &str) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(COST_TAGS, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        tags(&headers).map_err(|_| ())
    }

    #[test]
    fn tags_table() {
        let many: Vec<_> = (0..11).map(|number| format!("\"t{number}\":\"x\"")).collect();
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(201));
        let name = format!("{{\"{}\":\"x\"}}", "x".repeat(65));
        for (text, want) in [
            (r#"{"team":"red","job":"7"}"#, Ok(Some(r#"{"job":"7","team":"red"}"#.to_owned()))),
            (r#" { "team" : "r\u00e9d" } "#, Ok(Some("{\"team\":\"réd\"}".to_owned()))),
            ("{}", Ok(None)),
            ("", Err(())),
            ("null", Err(())),
            ("[]", Err(())),
            (r#"{"a":1}"#, Err(())),
            (r#"{"a":null}"#, Err(())),
            (r#"{"a":{"b":"c"}}"#, Err(())),
            (r#"{"a":"x","a":"y"}"#, Err(())),
            (r#"{"a b":"x"}"#, Err(())),
            (r#"{"":"x"}"#, Err(())),
            (r#"{"a":"x\u0000"}"#, Err(())),
            (r#"{"a":"x"} {}"#, Err(())),
            (r#"{"__proto__":"x"}"#, Ok(Some(r#"{"__proto__":"x"}"#.to_owned()))),
            (&format!("{{{}}}", many.join(",")), Err(())),
            (&long, Err(())),
            (&name, Err(())),
            (&format!("{{{}}}", " ".repeat(1_023)), Err(())),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }
}
