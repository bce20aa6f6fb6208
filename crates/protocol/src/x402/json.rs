//! Reading JSON with the field at fault. An optional field that is `null` is absent: Python clients send it so.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use crate::{Field, Refusal};

/// A member of an object, where `null` counts as absent.
pub(super) fn get<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// How many values a payment has; one with more takes a second piece of memory.
const USUAL_NODES: usize = 40;

/// How deep lists and objects may be within each other: as in `serde_json`.
const DEPTH_MAX: usize = 127;

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

impl<'a> Document<'a> {
    /// Reads a text of one value. What is refused is what `serde_json` refuses to read into a [`Value`].
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let has_control = has_control(text.as_bytes());
        let mut reader = Reader { text, at: 0, has_control, nodes: Vec::with_capacity(USUAL_NODES) };
        reader.value(Cow::Borrowed(""), DEPTH_MAX)?;
        reader.space();
        (reader.at == text.len()).then_some(Self(reader.nodes))
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

/// A place in a text, and what was read before it. What is seldom, numbers and escapes of every kind, is read by `serde_json`.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Somewhere in the text.
    has_control: bool,
    nodes: Vec<Node<'a>>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.rest().first() {
            self.skip(1);
        }
    }

    /// Goes past a byte, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.rest().first() == Some(&byte);
        self.skip(usize::from(is_next));
        is_next
    }

    /// Reads one value, `depth` lists and objects deep at most.
    fn value(&mut self, name: Cow<'a, str>, depth: usize) -> Option<()> {
        self.space();
        let is = match self.rest().first()? {
            b'"' => Is::Text(self.string()?),
            b'{' => return self.members(name, depth, Is::Object),
            b'[' => return self.members(name, depth, Is::List),
            b't' => self.word("true", Is::Bool(true))?,
            b'f' => self.word("false", Is::Bool(false))?,
            b'n' => self.word("null", Is::Null)?,
            _ => Is::Number(self.number()?),
        };
        self.nodes.push(Node { name, is, beneath: 0 });
        Some(())
    }

    fn word(&mut self, word: &str, is: Is<'a>) -> Option<Is<'a>> {
        let is_it = self.rest().starts_with(word.as_bytes());
        self.skip(word.len());
        is_it.then_some(is)
    }

    fn members(&mut self, name: Cow<'a, str>, depth: usize, is: Is<'a>) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let (place, end) = (self.nodes.len(), if matches!(is, Is::Object) { b'}' } else { b']' });
        self.nodes.push(Node { name, is, beneath: 0 });
        self.skip(1);
        self.space();
        if self.take(end) {
            return Some(());
        }
        loop {
            let name = if end == b'}' { self.name()? } else { Cow::Borrowed("") };
            self.value(name, depth)?;
            self.space();
            if !self.take(b',') {
                break;
            }
        }
        let (node, beneath) = self.nodes.get_mut(place..)?.split_first_mut()?;
        node.beneath = beneath.len();
        self.take(end).then_some(())
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Option<Cow<'a, str>> {
        self.space();
        let name = self.string()?;
        self.space();
        self.take(b':').then_some(name)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        if !self.take(b'"') {
            return None;
        }
        let (start, mut escapes) = (self.at, false);
        loop {
            self.skip(memchr::memchr2(b'"', b'\\', self.rest())?);
            if self.take(b'"') {
                break;
            }
            // What is escaped is no end, whatever it is.
            self.skip(2);
            escapes = true;
        }
        let read = self.text.get(start..self.at.checked_sub(1)?)?;
        if self.has_control && has_control(read.as_bytes()) {
            return None;
        }
        if !escapes {
            return Some(Cow::Borrowed(read));
        }
        let quoted = self.text.get(start.checked_sub(1)?..self.at)?;
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    }

    fn number(&mut self) -> Option<Number> {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let (rest, start) = (self.rest(), self.at);
        self.skip(rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len()));
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }
}

/// Whether a control character is in a text, which no string may hold.
fn has_control(text: &[u8]) -> bool {
    // Without a way out: so it is looked at in wide words.
    text.iter().fold(false, |found, byte| found | (*byte < b' '))
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
            "\"a\\\"b\"",
            "\"a\\\\\"",
            "\"a\\\\\"b\"",
            "\"a\\",
            "\"a\\\"",
            "\"abcdefgh\u{1}i\"",
            "\"a\\n\u{7f}é\u{80}\"",
            "\"\\é\"",
            "{\"a\":1,,}",
            "{\"a\":1]",
            "[1}",
            "1-2",
            "+1",
            "1.",
            ".5",
            "[truefalse]",
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

    proptest! {
        #[test]
        fn any_value_reads_back(value in any_json()) {
            assert_as_serde_json(&value.to_string());
        }

        #[test]
        fn any_text_is_judged_alike(text in r#"[\[\]{}:,"a1.e\\nu \-é]{0,24}"#) {
            assert_as_serde_json(&text);
        }
    }
}
