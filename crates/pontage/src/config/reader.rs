//! Walks the tree and notes what is wrong. Every function answers `None` exactly when it has noted a mistake, so that reading goes on
//! and all mistakes come out together.

use std::ops::RangeInclusive;

use saphyr::{MarkedYaml, Scalar, YamlData};

use super::env::Env;
use super::expand::expand;
use super::keys;
use super::mistake::{Mistake, Mistakes, Notes, label, shown};
use super::yaml::Document;

/// A place in the file.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) path: String,
    /// From 1; 0 for what the environment says.
    pub(super) line: usize,
}

impl At {
    /// The place of a key beneath this one.
    pub(super) fn key(&self, name: &str, line: usize) -> Self {
        let path = match self.path.as_str() {
            "" => label(name),
            path => format!("{path}.{}", label(name)),
        };
        Self { path, line }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'d> {
    pub(super) at: At,
    yaml: &'d MarkedYaml<'static>,
    /// The environment variable that it comes from, in the place of the file's.
    variable: Option<&'static str>,
}

impl Node<'_> {
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.yaml.data, YamlData::Mapping(_))
    }

    /// Whether this is a mapping with such a key. It notes nothing, whatever the mapping holds.
    pub(super) fn has(&self, key: &str) -> bool {
        let YamlData::Mapping(mapping) = &self.yaml.data else { return false };
        mapping.keys().any(|found| found.data.as_str() == Some(key))
    }
}

/// One key of a mapping.
pub(super) struct Entry<'d> {
    pub(super) name: String,
    /// Where the key stands; the value may stand lower.
    pub(super) at: At,
    pub(super) node: Node<'d>,
}

/// The known keys of one mapping.
pub(super) struct Fields<'d> {
    pub(super) at: At,
    list: Vec<(&'static str, Node<'d>)>,
    /// Known keys that a refused key was probably meant to be: they are not reported missing as well.
    meant: Vec<&'static str>,
    refused: bool,
}

impl<'d> Fields<'d> {
    /// The value of an optional key.
    pub(super) fn get(&self, name: &str) -> Option<Node<'d>> {
        let found = self.list.iter().find(|(key, _)| *key == name);
        found.map(|(_, node)| node.clone())
    }

    /// Whether a key of this mapping was refused.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// Whether the key is there, perhaps mistyped.
    pub(super) fn was_meant(&self, name: &str) -> bool {
        self.meant.contains(&name) || self.list.iter().any(|(key, _)| *key == name)
    }
}

/// A single value, with its variables filled in.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) value: String,
    raw: String,
    variable: Option<&'static str>,
}

impl Text {
    /// The value as a message may repeat it: as the file has it, because what a variable holds may be a secret.
    pub(super) fn shown(&self) -> String {
        match self.variable {
            Some(variable) => format!("the value of {variable}"),
            None if self.value == self.raw => shown(&self.raw),
            None => format!("the value of {}", shown(&self.raw)),
        }
    }
}

/// The document, the environment and the mistakes so far.
pub(super) struct Reader<'d> {
    document: &'d Document,
    env: &'d Env<'d>,
    notes: Notes,
}

impl<'d> Reader<'d> {
    /// Goes on with the mistakes that the environment has.
    pub(super) fn new(document: &'d Document, env: &'d Env<'d>, notes: Notes) -> Self {
        Self { document, env, notes }
    }

    pub(super) fn env(&self) -> &'d Env<'d> {
        self.env
    }

    pub(super) fn root(&self) -> Node<'d> {
        let yaml = self.document.root();
        let at = At { path: String::new(), line: yaml.span.start.line().max(1) };
        Node { at, yaml, variable: None }
    }

    /// Notes a mistake. `None`, so that a caller can end with it.
    pub(super) fn mistake<T>(&mut self, at: &At, what: impl Into<String>, fix: impl Into<String>) -> Option<T> {
        let line = (at.line > 0).then_some(at.line);
        self.notes.add(Mistake { file: None, path: at.path.clone(), line, what: what.into(), fix: fix.into() });
        None
    }

    /// The result, if there was no mistake.
    pub(super) fn finish<T>(self, file: &str, read: Option<T>) -> Result<T, Mistakes> {
        if self.notes.is_empty() {
            return Ok(read.expect("a value is missing only where a mistake was noted"));
        }
        Err(self.notes.into_mistakes(file))
    }

    /// The entries of a mapping whose keys the file chooses. A key that is given twice is refused.
    pub(super) fn entries(&mut self, node: &Node<'d>, fix: &str) -> Option<Vec<Entry<'d>>> {
        self.check_direct(node)?;
        let YamlData::Mapping(mapping) = &node.yaml.data else {
            return self.mistake(&node.at, format!("{} stands where keys are read.", kind(node)), fix);
        };
        let mut entries: Vec<Entry<'d>> = Vec::new();
        for (key, value) in mapping {
            let name = self.key_name(key);
            let at = node.at.key(&name, key.span.start.line());
            if self.document.is_indirect(key) {
                self.mistake::<()>(&at, "anchors, aliases and tags are not read.", "write the key as plain text.");
                continue;
            }
            if self.document.is_repeated(key) {
                let first = entries.iter().find(|entry| entry.name == name);
                let first = first.map_or(String::new(), |entry| format!(" (first on line {})", entry.at.line));
                self.mistake::<()>(&at, format!("the key is given twice{first}."), "keep one of them.");
                continue;
            }
            // A collection or an empty value starts lower than its key; the key is where a person looks.
            let line = match &value.data {
                YamlData::Value(Scalar::Null) | YamlData::Sequence(_) | YamlData::Mapping(_) => at.line,
                _ => value.span.start.line().max(at.line),
            };
            let value = Node { at: At { path: at.path.clone(), line }, yaml: value, variable: None };
            entries.push(Entry { name, at, node: value });
        }
        Some(entries)
    }

    /// The known keys of a mapping. Every other key is refused here.
    pub(super) fn fields(&mut self, node: &Node<'d>, level: &'static str) -> Option<Fields<'d>> {
        let known = keys::beneath(level);
        let entries = self.entries(node, &format!("write keys: {}.", known.join(", ")))?;
        let mut fields = Fields { at: node.at.clone(), list: Vec::new(), meant: Vec::new(), refused: false };
        for entry in entries {
            match known.iter().find(|name| **name == entry.name) {
                Some(name) => fields.list.push((name, entry.node)),
                None => {
                    fields.refused = true;
                    fields.meant.extend(self.refuse_key(level, &known, &entry));
                }
            }
        }
        self.override_in(level, &mut fields);
        Some(fields)
    }

    /// The known keys of a mapping that may be left out: there are none then but what the environment says.
    pub(super) fn section(&mut self, fields: &Fields<'d>, name: &str, level: &'static str) -> Option<Fields<'d>> {
        if let Some(node) = fields.get(name) {
            return self.fields(&node, level);
        }
        let at = fields.at.key(name, fields.at.line);
        let mut fields = Fields { at, list: Vec::new(), meant: Vec::new(), refused: false };
        self.override_in(level, &mut fields);
        Some(fields)
    }

    /// Puts what the environment says in the place of what the file says.
    fn override_in(&self, level: &str, fields: &mut Fields<'d>) {
        for over in self.env.overrides() {
            let (parent, name) = over.key.rsplit_once('.').unwrap_or(("", over.key));
            if parent == level {
                fields.list.retain(|(key, _)| *key != name);
                let node = Node { at: fields.at.key(name, 0), yaml: &over.value, variable: Some(over.variable) };
                fields.list.push((name, node));
            }
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, fields: &Fields<'d>, name: &'static str, fix: &str) -> Option<Node<'d>> {
        if !fields.was_meant(name) {
            let at = fields.at.key(name, fields.at.line);
            return self.mistake(&at, format!("`{name}` is missing."), fix);
        }
        fields.get(name)
    }

    /// The items of a list.
    pub(super) fn items(&mut self, node: &Node<'d>, fix: &str) -> Option<Vec<Node<'d>>> {
        self.check_direct(node)?;
        let YamlData::Sequence(items) = &node.yaml.data else {
            return self.mistake(&node.at, format!("{} stands where a list is read.", kind(node)), fix);
        };
        let item = |(nth, yaml): (usize, &'d MarkedYaml<'static>)| Node {
            at: At { path: format!("{}[{nth}]", node.at.path), line: yaml.span.start.line().max(node.at.line) },
            yaml,
            variable: None,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A single value as the file has it, variables not filled in. A number is its digits as they are written.
    pub(super) fn raw(&mut self, node: &Node<'d>, fix: &str) -> Option<String> {
        self.check_direct(node)?;
        match &node.yaml.data {
            YamlData::Value(Scalar::String(text)) => Some(text.clone().into_owned()),
            YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_) | Scalar::Boolean(_)) => {
                Some(self.document.source_of(node.yaml))
            }
            _ => self.mistake(&node.at, format!("{} stands where a single value is read.", kind(node)), fix),
        }
    }

    /// A single value with its variables filled in.
    pub(super) fn text(&mut self, node: &Node<'d>, fix: &str) -> Option<Text> {
        let raw = self.raw(node, fix)?;
        if node.variable.is_some() {
            return Some(Text { value: raw.clone(), raw, variable: node.variable });
        }
        match expand(&raw, &|name| self.env.get(name)) {
            Ok(value) => Some(Text { value, raw, variable: None }),
            Err(why) => self.mistake(&node.at, why.to_string(), why.fix()),
        }
    }

    /// A whole number within limits; `unit` is its unit in the plural.
    pub(super) fn whole(&mut self, node: &Node<'d>, limits: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let fix = format!("write a whole number of {unit} from {} to {}.", limits.start(), limits.end());
        let text = self.text(node, &fix)?;
        if text.value.is_empty() || !text.value.bytes().all(|b| b.is_ascii_digit()) {
            return self.mistake(&node.at, format!("{} is not a whole number.", text.shown()), fix);
        }
        match text.value.parse::<u64>() {
            Ok(number) if limits.contains(&number) => Some(number),
            _ => self.mistake(&node.at, format!("{} is out of range.", text.shown()), fix),
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node<'d>) -> Option<bool> {
        let fix = "write true or false.";
        let text = self.text(node, fix)?;
        match text.value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.mistake(&node.at, format!("{} is neither true nor false.", text.shown()), fix),
        }
    }

    /// Any value as JSON, with the variables of its texts filled in. `null` is a value here.
    pub(super) fn json(&mut self, node: &Node<'d>) -> Option<serde_json::Value> {
        let fix = "write a text, a number, true, false, null, a list or keys with values.";
        match &node.yaml.data {
            YamlData::Value(Scalar::Null) => Some(serde_json::Value::Null),
            YamlData::Value(Scalar::Integer(number)) => Some((*number).into()),
            YamlData::Value(Scalar::Boolean(truth)) => Some((*truth).into()),
            YamlData::Value(Scalar::FloatingPoint(number)) => match serde_json::Number::from_f64(number.0) {
                Some(number) => Some(serde_json::Value::Number(number)),
                None => self.mistake(&node.at, "this is no number of JSON.", fix),
            },
            YamlData::Sequence(_) => {
                let items = self.items(node, fix)?;
                let read: Vec<_> = items.iter().map(|item| self.json(item)).collect();
                read.into_iter().collect()
            }
            YamlData::Mapping(_) => {
                let entries = self.entries(node, fix)?;
                let read: Vec<_> =
                    entries.iter().map(|entry| Some((entry.name.clone(), self.json(&entry.node)?))).collect();
                read.into_iter().collect()
            }
            YamlData::Value(Scalar::String(_))
            | YamlData::Representation(..)
            | YamlData::Tagged(..)
            | YamlData::Alias(_)
            | YamlData::BadValue => self.text(node, fix).map(|text| text.value.into()),
        }
    }

    fn check_direct(&mut self, node: &Node<'d>) -> Option<()> {
        if matches!(node.yaml.data, YamlData::Value(Scalar::Null)) {
            let fix = match node.at.path.as_str() {
                "" => "start from the file that `pontage init` writes.",
                _ => "write a value, or remove the key.",
            };
            return self.mistake(&node.at, "there is no value.", fix);
        }
        if node.variable.is_none() && self.document.is_indirect(node.yaml) {
            let what = "anchors, aliases and tags are not read.";
            return self.mistake(&node.at, what, "write the value itself, in quotes if it starts with &, * or !.");
        }
        Some(())
    }

    fn key_name(&self, key: &MarkedYaml<'static>) -> String {
        match &key.data {
            YamlData::Value(Scalar::String(text)) if !self.document.is_repeated(key) => text.clone().into_owned(),
            _ => self.document.source_of(key).trim_matches(['"', '\'']).to_owned(),
        }
    }

    /// Notes an unknown key; the answer is the key that it was probably meant to be.
    fn refuse_key(&mut self, level: &str, known: &[&'static str], entry: &Entry<'d>) -> Option<&'static str> {
        let (name, at) = (&entry.name, &entry.at);
        if let Some(fix) = keys::hint(level, name) {
            return self.mistake(at, format!("there is no key {} here.", label(name)), fix);
        }
        let what = format!("there is no key {} here.", label(name));
        if let Some(near) = keys::nearest(name, known) {
            self.mistake::<()>(at, what, format!("did you mean `{near}`?"));
            return Some(near);
        }
        let fix = match keys::elsewhere(name) {
            Some(path) => format!("remove it, or write it where it belongs: {path}."),
            None => format!("remove it; the keys here are {}.", known.join(", ")),
        };
        self.mistake(at, what, fix)
    }
}

/// What stands at a node, as words of a message.
fn kind(node: &Node<'_>) -> &'static str {
    match node.yaml.data {
        YamlData::Sequence(_) => "a list",
        YamlData::Mapping(_) => "a mapping",
        _ => "a single value",
    }
}
