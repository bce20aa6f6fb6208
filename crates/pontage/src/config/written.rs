//! What a file says, key by key, as a log may repeat it: to tell an operator what changed and what he left out.

use std::collections::BTreeMap;
use std::fmt;

use saphyr::{MarkedYaml, Scalar, YamlData};

use super::keys::{KEYS, Key};
use super::mistake::{label, may_be_secret, shown};
use super::yaml::{self, Document};

/// What is beneath these may be, or hold, an access key.
const SECRET_KEYS: [&str; 6] = ["rpc_urls", "urls", "price_endpoint", "proxy_params", "otlp_url", "heartbeat_url"];

/// Every value of a file under its key, such as `routes[GET /paid/*].price`. Variables are not filled in.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    values: BTreeMap<String, Value>,
    /// The routes in their order, which decides.
    routes: Vec<String>,
}

#[derive(Clone, PartialEq, Eq)]
struct Value {
    text: String,
    secret: bool,
}

/// One key that two files say different things of. What may be secret is `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The key.
    pub(crate) key: String,
    /// What it was; `not set` where it was not there.
    pub(crate) before: String,
    /// What it is.
    pub(crate) after: String,
}

impl Written {
    /// Reads a file's text. What is not YAML says nothing.
    pub(crate) fn read(text: &str) -> Self {
        let mut written = Self::default();
        if let Ok(document) = yaml::read(text) {
            written.add(&document, document.root(), String::new(), false);
        }
        written
    }

    /// Keys with a default that the file leaves out. Those of lists are not among them.
    pub(crate) fn defaults(&self) -> Vec<&'static str> {
        // It settles in one way, what is off has no defaults, and a gate is no facilitator.
        const APART: [&str; 3] = ["facilitator.", "receipts.", "service."];
        let apart = |key: &str| APART.iter().any(|section| key.starts_with(section));
        let several = |key: &str| key.contains(['[', '<']);
        // A default that is no value is in words.
        let has_default = |key: &&Key| key.default.starts_with('`');
        let left_out = |key: &&str| !self.values.keys().any(|written| written == key || is_beneath(written, key));
        let keys = KEYS.iter().filter(has_default).map(|key| key.path);
        let keys = keys.filter(|key| !apart(key) && !several(key));
        keys.filter(left_out).collect()
    }

    fn add(&mut self, document: &Document, node: &MarkedYaml<'static>, key: String, secret: bool) {
        match &node.data {
            YamlData::Mapping(entries) => {
                for (name, value) in entries {
                    let name = text(document, name);
                    let secret = secret || SECRET_KEYS.contains(&name.as_str());
                    let dot = if key.is_empty() { "" } else { "." };
                    self.add(document, value, format!("{key}{dot}{}", label(&name)), secret);
                }
            }
            YamlData::Sequence(items) => {
                for (nth, item) in items.iter().enumerate() {
                    let key = match route(document, item).filter(|_| key == "routes") {
                        Some(route) => self.route(&route),
                        None => format!("{key}[{nth}]"),
                    };
                    self.add(document, item, key, secret);
                }
            }
            YamlData::Value(_)
            | YamlData::Representation(..)
            | YamlData::Tagged(..)
            | YamlData::Alias(_)
            | YamlData::BadValue => {
                let text = text(document, node);
                let secret = secret || may_be_secret(&text) || (text.contains("://") && text.contains('?'));
                self.values.insert(key, Value { text, secret });
            }
        }
    }

    /// The key of a route; that of a second one with the same name has a number.
    fn route(&mut self, name: &str) -> String {
        let number = |nth: usize| if nth == 1 { name.to_owned() } else { format!("{name} #{nth}") };
        let name =
            (1..).map(number).find(|name| !self.routes.contains(name)).expect("there are fewer routes than numbers");
        self.routes.push(name.clone());
        format!("routes[{name}]")
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secret {
            true => f.write_str("***"),
            false => f.write_str(&shown(&self.text)),
        }
    }
}

/// Every key that differs, in the order of the keys.
pub(crate) fn changes(before: &Written, after: &Written) -> Vec<Change> {
    let said = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
    let gone = before.values.keys().filter(|key| !after.values.contains_key(*key));
    let mut keys: Vec<&String> = after.values.keys().chain(gone).collect();
    keys.sort();
    let pairs = keys.into_iter().map(|key| (key, before.values.get(key), after.values.get(key)));
    let differ = pairs.filter(|(_, before, after)| before.map(|value| &value.text) != after.map(|value| &value.text));
    let change =
        |(key, before, after): (&String, _, _)| Change { key: key.clone(), before: said(before), after: said(after) };
    let mut changes: Vec<Change> = differ.map(change).collect();
    let kept = |these: &Written, those: &Written| -> Vec<String> {
        these.routes.iter().filter(|route| those.routes.contains(route)).cloned().collect()
    };
    let (was, is) = (kept(before, after), kept(after, before));
    if was != is {
        let list = |routes: &[String]| shown(&routes.join(", "));
        changes.push(Change { key: "the order of routes".to_owned(), before: list(&was), after: list(&is) });
    }
    changes
}

/// A route's method and path. One without a path has no name.
fn route(document: &Document, item: &MarkedYaml<'static>) -> Option<String> {
    let YamlData::Mapping(entries) = &item.data else { return None };
    let find = |wanted: &str| {
        let mut named = entries.iter().filter(|(name, _)| text(document, name) == wanted);
        named.next().map(|(_, value)| text(document, value))
    };
    let path = find("path")?;
    let name = match find("method") {
        Some(method) => format!("{} {path}", method.to_ascii_uppercase()),
        None => path,
    };
    let name = shown(&name);
    Some(name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&name).to_owned())
}

/// Whether `key` is a part of what `whole` names.
fn is_beneath(key: &str, whole: &str) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// What a value says: without its quotes, and as it was written where YAML would take it for a number.
fn text(document: &Document, node: &MarkedYaml<'static>) -> String {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => text.to_string(),
        _ => document.source_of(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version: 1\nprovider_address: \"0xAA\"\nproxy: { target: http://a }\n\
                        routes:\n  - { path: /free, free: true }\n  - { path: /paid/*, price: 0.010, method: get }\n\
                        networks:\n  eip155:1: { rpc_urls: [\"http://node/KEY1\"] }\n";

    fn diff(from: &str, to: &str) -> Vec<String> {
        assert!(FILE.contains(from), "{from}");
        let (before, after) = (Written::read(FILE), Written::read(&FILE.replace(from, to)));
        let line = |Change { key, before, after }: Change| format!("{key}: {before} -> {after}");
        changes(&before, &after).into_iter().map(line).collect()
    }

    #[test]
    fn what_changed_is_told_by_its_key() {
        let second = "  - { path: /paid/*, price: 0.010, method: get }\n";
        let rows: &[(&str, &str, &[&str])] = &[
            ("version", "version", &[]),
            ("\"0xAA\"", "'0xAA'   # who", &[]),
            ("0.010", "0.02", &["routes[GET /paid/*].price: \"0.010\" -> \"0.02\""]),
            ("http://a", "http://b", &["proxy.target: \"http://a\" -> \"http://b\""]),
            ("KEY1", "KEY2", &["networks.eip155:1.rpc_urls[0]: *** -> ***"]),
            ("http://a", "\"http://a/?k=KEY\"", &["proxy.target: \"http://a\" -> ***"]),
            ("version: 1\n", "version: 1\nreplay: { wait_ms: 5 }\n", &["replay.wait_ms: not set -> \"5\""]),
            (
                "/free, free: true",
                "/gratis, free: true",
                &[
                    "routes[/free].free: \"true\" -> not set",
                    "routes[/free].path: \"/free\" -> not set",
                    "routes[/gratis].free: not set -> \"true\"",
                    "routes[/gratis].path: not set -> \"/gratis\"",
                ],
            ),
            (
                second,
                "",
                &[
                    "routes[GET /paid/*].method: \"get\" -> not set",
                    "routes[GET /paid/*].path: \"/paid/*\" -> not set",
                    "routes[GET /paid/*].price: \"0.010\" -> not set",
                ],
            ),
            (
                "  - { path: /free, free: true }\n  - { path: /paid/*, price: 0.010, method: get }\n",
                "  - { path: /paid/*, price: 0.010, method: get }\n  - { path: /free, free: true }\n",
                &["the order of routes: \"/free, GET /paid/*\" -> \"GET /paid/*, /free\""],
            ),
            (
                second,
                "  - { path: /paid/*, price: 0.010, method: get }\n  - { path: /paid/*, price: 1, method: GET }\n",
                &[
                    "routes[GET /paid/* #2].method: not set -> \"GET\"",
                    "routes[GET /paid/* #2].path: not set -> \"/paid/*\"",
                    "routes[GET /paid/* #2].price: not set -> \"1\"",
                ],
            ),
        ];
        for (from, to, expected) in rows {
            assert_eq!(diff(from, to), *expected, "{from} -> {to}");
        }
    }

    #[test]
    fn what_is_no_yaml_says_nothing() {
        assert!(Written::read("a: [").values.is_empty());
        assert!(Written::read("").values.is_empty());
    }

    #[test]
    fn what_was_left_out() {
        let defaults = Written::read(FILE).defaults();
        assert!(defaults.contains(&"listen") && defaults.contains(&"tab.settle_age_s"), "{defaults:?}");
        for key in ["version", "proxy.target", "routes[].settlement", "facilitator.signer"] {
            assert!(!defaults.contains(&key), "{key}");
        }
        assert!(!Written::read("tab: { settle_age_s: 5 }").defaults().contains(&"tab.settle_age_s"));
    }
}
