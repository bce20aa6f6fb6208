//! Reading JSON with the field at fault. An optional field that is `null` is absent: Python clients send it so.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Field, Refusal};

/// A member of an object, where `null` counts as absent.
pub(super) fn get<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// JSON as it lies in its text: of a payment little is kept, so nothing is copied before it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    /// In the order of the text; of members with one name the last counts.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    /// Reads one object.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(text) {
            Ok(object @ Self::Object(_)) => Ok(object),
            Ok(_) | Err(_) => Err(Refusal::InvalidJson),
        }
    }

    /// A member of an object, where `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let member = self.members().iter().rev().find(|(known, _)| known == name);
        member.map(|(_, value)| value).filter(|value| **value != Self::Null)
    }

    /// The members of an object; nothing else has any.
    pub(super) fn members(&self) -> &[(Cow<'a, str>, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.as_u64() } else { None }
    }

    pub(super) fn object(&self, name: &str, field: Field) -> Result<&Self, Refusal> {
        self.get(name).filter(|value| matches!(value, Self::Object(_))).ok_or(Refusal::InvalidPayload(field))
    }

    pub(super) fn string(&self, name: &str, field: Field) -> Result<&str, Refusal> {
        self.get(name).and_then(Self::as_str).ok_or(Refusal::InvalidPayload(field))
    }

    /// A copy that stands by itself.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(*is),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.as_ref().to_owned()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.as_ref().to_owned(), value.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

impl<'a> Deserialize<'a> for Json<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// A member's name, where it lies.
struct Name<'a>(Cow<'a, str>);

impl<'a> Deserialize<'a> for Name<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Reader)? {
            Json::Text(name) => Ok(Self(name)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
                Err(D::Error::custom("a name is text"))
            }
        }
    }
}

struct Reader;

impl<'a> Visitor<'a> for Reader {
    type Value = Json<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool(is))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'a>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'a>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'a>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'a>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Json<'a>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<Json<'a>, A::Error> {
        // As many as an authorization or an offer has.
        let mut members = Vec::with_capacity(8);
        while let Some((Name(name), value)) = object.next_entry()? {
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_a_copy_holds() {
        for text in [
            r#"{}"#,
            r#"{"a":null,"b":true,"c":-1,"d":18446744073709551615,"e":0.1,"f":"x\n\u00e9","g":[1,[],{}],"h\"":{"i":{"j":"é"}}}"#,
            r#"{"a":1,"b":2,"a":{"c":3}}"#,
            r#"{"a":1e400}"#,
            r#"{"a":1}}"#,
            r#"{"a":}"#,
            r#"[1]"#,
            r#"7"#,
            "{\"a\":\"\u{0}\"}",
            "",
        ] {
            let copy = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
            assert_eq!(Json::parse(text.as_bytes()).ok().map(|json| json.to_value()), copy, "{text}");
        }
        assert_eq!(Json::parse(b"{\"a\":\"\xff\"}"), Err(Refusal::InvalidJson));
    }

    #[test]
    fn of_one_name_the_last_counts_and_null_is_absent() {
        let json = Json::parse(br#"{"a":"x","a":"y","b":"z","b":null,"c":{"d":7}}"#).unwrap();
        assert_eq!(json.string("a", "a"), Ok("y"));
        assert_eq!(json.get("b"), None);
        assert_eq!(json.object("c", "c").unwrap().get("d").and_then(Json::as_u64), Some(7));
        assert_eq!(json.string("c", "c"), Err(Refusal::InvalidPayload("c")));
        assert_eq!(json.object("a", "a"), Err(Refusal::InvalidPayload("a")));
    }
}
