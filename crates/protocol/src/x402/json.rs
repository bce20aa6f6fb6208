//! Reading JSON with the field at fault. An optional field that is `null` is absent: Python clients send it so.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Field, Refusal};

/// A member of an object, where `null` counts as absent.
pub(super) fn get<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// How many values a payment has; one with more takes a second piece of memory.
const USUAL_NODES: usize = 40;

/// The values of a text in the order in which they stand there. It borrows from the text: what strangers send costs little to read.
#[derive(Debug)]
pub(super) struct Document<'a>(Vec<Node<'a>>);

#[derive(Debug)]
struct Node<'a> {
    /// As a member of an object; of a list it is empty.
    name: Cow<'a, str>,
    is: Is<'a>,
    /// How many of the nodes after it are beneath it.
    beneath: usize,
}

#[derive(Debug)]
enum Is<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List,
    Object,
}

/// One value of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'d> {
    node: &'d Node<'d>,
    beneath: &'d [Node<'d>],
}

/// The first name that an object in a text of JSON has twice, at any depth: readers differ in which of the two counts. `None`, too, for
/// what is no JSON.
#[must_use]
pub fn repeated_member(text: &str) -> Option<String> {
    let Document(nodes) = Document::read(text)?;
    (0..nodes.len()).find_map(|at| {
        let (node, beneath) = nodes.get(at..)?.split_first()?;
        let object = Some(Json { node, beneath: beneath.get(..node.beneath)? }).filter(|value| value.is_object())?;
        let mut names = BTreeSet::new();
        object.members().find(|(name, _)| !names.insert(*name)).map(|(name, _)| name.to_owned())
    })
}

impl<'a> Document<'a> {
    /// Reads a text of one value. What is refused is what `serde_json` refuses to read into a [`Value`].
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let mut nodes = Vec::with_capacity(USUAL_NODES);
        let mut reader = serde_json::Deserializer::from_str(text);
        Member { nodes: &mut nodes, name: Cow::Borrowed("") }.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(Self(nodes))
    }

    /// The value, if it is an object.
    pub(super) fn object(&self) -> Option<Json<'_>> {
        let (node, beneath) = self.0.split_first()?;
        Some(Json { node, beneath }).filter(|value| value.is_object())
    }
}

impl<'d> Json<'d> {
    /// The members of an object or a list.
    pub(super) fn members(self) -> impl Iterator<Item = (&'d str, Self)> {
        let mut rest = self.beneath;
        std::iter::from_fn(move || {
            let (node, after) = rest.split_first()?;
            let (beneath, after) = after.split_at_checked(node.beneath)?;
            rest = after;
            Some((node.name.as_ref(), Self { node, beneath }))
        })
    }

    /// A member of an object, where `null` counts as absent. Of several with one name the last one counts.
    pub(super) fn get(self, name: &str) -> Option<Self> {
        let named = self.members().filter(|(known, _)| *known == name).last();
        named.map(|(_, value)| value).filter(|value| !matches!(value.node.is, Is::Null))
    }

    pub(super) fn is_object(self) -> bool {
        matches!(self.node.is, Is::Object)
    }

    /// The text, of a text.
    pub(super) fn as_str(self) -> Option<&'d str> {
        match &self.node.is {
            Is::Text(text) => Some(text),
            Is::Null | Is::Bool(_) | Is::Number(_) | Is::List | Is::Object => None,
        }
    }

    /// The number, of a whole one that is not negative and is written without a point.
    pub(super) fn as_u64(self) -> Option<u64> {
        match &self.node.is {
            Is::Number(number) => number.as_u64(),
            Is::Null | Is::Bool(_) | Is::Text(_) | Is::List | Is::Object => None,
        }
    }

    /// A member that must be an object.
    pub(super) fn object(self, name: &str, field: Field) -> Result<Self, Refusal> {
        let member = self.get(name).filter(|value| value.is_object());
        member.ok_or(Refusal::InvalidPayload(field))
    }

    /// A member that must be a text.
    pub(super) fn string(self, name: &str, field: Field) -> Result<&'d str, Refusal> {
        self.get(name).and_then(Self::as_str).ok_or(Refusal::InvalidPayload(field))
    }

    /// The value on its own.
    pub(super) fn to_value(self) -> Value {
        match &self.node.is {
            Is::Null => Value::Null,
            Is::Bool(truth) => Value::Bool(*truth),
            Is::Number(number) => Value::Number(number.clone()),
            Is::Text(text) => Value::String(text.as_ref().to_owned()),
            Is::List => self.members().map(|(_, value)| value.to_value()).collect(),
            Is::Object => {
                let members = self.members().map(|(name, value)| (name.to_owned(), value.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

/// Reads one value behind the others.
struct Member<'n, 'a> {
    nodes: &'n mut Vec<Node<'a>>,
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Member<'_, 'a> {
    fn add(self, is: Is<'a>) {
        self.nodes.push(Node { name: self.name, is, beneath: 0 });
    }
}

/// What was read since the node at a place is beneath it.
fn close(nodes: &mut [Node<'_>], at: usize) {
    if let Some((node, beneath)) = nodes.get_mut(at..).and_then(<[_]>::split_first_mut) {
        node.beneath = beneath.len();
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.add(Is::Null);
        Ok(())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.add(Is::Bool(truth));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.add(Is::Number(number.into()));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.add(Is::Number(number.into()));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.add(Number::from_f64(number).map_or(Is::Null, Is::Number));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.add(Is::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.add(Is::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let at = self.nodes.len();
        self.nodes.push(Node { name: self.name, is: Is::List, beneath: 0 });
        while list.next_element_seed(Member { nodes: self.nodes, name: Cow::Borrowed("") })?.is_some() {}
        close(self.nodes, at);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let at = self.nodes.len();
        self.nodes.push(Node { name: self.name, is: Is::Object, beneath: 0 });
        while let Some(Name(name)) = object.next_key()? {
            object.next_value_seed(Member { nodes: self.nodes, name })?;
        }
        close(self.nodes, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn value(text: &str) -> Option<Value> {
        let document = Document::read(text)?;
        let (node, beneath) = document.0.split_first()?;
        Some(Json { node, beneath }.to_value())
    }

    fn assert_as_serde_json(text: &str) {
        assert_eq!(value(text), serde_json::from_str(text).ok(), "{text}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn it_reads_and_refuses_what_serde_json_does() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for text in [
            "",
            " ",
            "{",
            "{}",
            "{}{}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "01",
            "-0",
            "1e999",
            "1e-999",
            "0.1",
            "18446744073709551616",
            "-9223372036854775809",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\\n\"",
            "{\"\\u0061\":[{\"b\":[]},null,true]}",
            "{\"a\":1,\"a\":{\"b\":2},\"c\":3}",
            "{\"a\":{\"b\":2},\"a\":null}",
            "nul",
            "\u{feff}{}",
            &nested(127),
            &nested(128),
        ] {
            assert_as_serde_json(text);
        }
    }

    #[test]
    fn members_are_found_behind_nested_ones() {
        let document = Document::read(r#"{"a":{"b":1,"x":[{"b":2}]},"b":"3","n":null,"b":"4"}"#).unwrap();
        let root = document.object().unwrap();
        assert_eq!(root.get("a").and_then(|a| a.get("b")).and_then(Json::as_u64), Some(1));
        assert_eq!(root.string("b", "b"), Ok("4"), "the last one counts");
        assert!(root.get("n").is_none() && root.get("x").is_none());
        assert_eq!(root.get("a").map(Json::to_value), Some(json!({"b": 1, "x": [{"b": 2}]})));
        assert!(Document::read("[]").unwrap().object().is_none());
    }

    #[test]
    fn a_name_that_is_there_twice_is_found_at_any_depth() {
        for (text, name) in [
            (r#"{"a":1,"b":2,"a":1}"#, "a"),
            (r#"{"a":{"x":1},"a":{"x":1}}"#, "a"),
            (r#"{"a":{"b":[0,{"c":{},"d":1,"c":null}]},"e":1}"#, "c"),
            (r#"[{"a":1},{"amount":1,"\u0061mount":2}]"#, "amount"),
            (r#"{"":1,"":1}"#, ""),
        ] {
            assert_eq!(repeated_member(text).as_deref(), Some(name), "{text}");
        }
        for text in ["", "{", "7", "[1,1,[],[]]", r#"{"a":{"a":{"a":"a"}},"b":[{"a":1},{"a":1}],"A":1}"#] {
            assert_eq!(repeated_member(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_value_reads_back(value in any_json()) {
            assert_as_serde_json(&value.to_string());
            assert_eq!(repeated_member(&value.to_string()), None);
        }

        #[test]
        fn any_text_is_judged_alike(text in r#"[\[\]{}:,"a1.e\\u \-]{0,24}"#) {
            assert_as_serde_json(&text);
        }
    }
}
