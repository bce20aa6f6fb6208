//! Answers for people.

use serde_json::Value;

use crate::ledger::print::utc;

/// Which members of which list people read, in their order. Of other lists all are shown; what is left out is for `--json`.
const COLUMNS: &[(&str, &[&str])] = &[
    ("keys", &["name", "status", "balance", "unit", "calls", "spent", "used_at_ms", "id"]),
    ("grants", &["granted_at_ms", "label", "granted", "left", "priority", "expires_at_ms", "id"]),
    ("charges", &["opened_at_ms", "route", "state", "captured", "unit", "refunded", "tags", "key", "id"]),
    ("acts", &["at_ms", "who", "role", "action", "subject", "id"]),
];

/// A list as a table, anything else as lines.
pub(super) fn table(value: &Value) -> String {
    let Some(members) = value.as_object() else { return cell("", value) };
    let list = members.iter().find_map(|(name, member)| Some((name, member.as_array()?)));
    let Some((name, items)) = list.filter(|(_, items)| items.iter().all(Value::is_object)) else { return lines(value) };
    let mut text = match items.first().and_then(Value::as_object) {
        None => "nothing".to_owned(),
        Some(first) => {
            let known = COLUMNS.iter().find(|(list, _)| list == name).map(|(_, columns)| *columns);
            // What is made of other things is for `--json`.
            let simple = first.iter().filter(|(_, member)| !member.is_object() && !member.is_array());
            let columns: Vec<&str> = match known {
                Some(known) => known.iter().copied().filter(|name| first.contains_key(*name)).collect(),
                None => simple.map(|(name, _)| name.as_str()).collect(),
            };
            let head = columns.iter().map(|name| title(name).to_uppercase()).collect();
            let row = |item: &Value| columns.iter().map(|name| cell(name, &item[*name])).collect();
            aligned(std::iter::once(head).chain(items.iter().map(row)).collect())
        }
    };
    if let Some(next) = members.get("next").and_then(Value::as_str) {
        text.push_str(&format!("\nthere is more: --cursor {next}"));
    }
    text
}

/// A member's name without the unit of its time, which is printed as one.
fn title(name: &str) -> &str {
    name.strip_suffix("_at_ms").or(name.strip_suffix("_ms")).unwrap_or(name)
}

fn aligned(rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn lines(value: &Value) -> String {
    let mut rows = Vec::new();
    for (name, member) in value.as_object().into_iter().flatten() {
        match member.as_object() {
            // A thing within is told by what is simple of it.
            Some(within) => {
                let simple = within.iter().filter(|(_, member)| !member.is_object() && !member.is_array());
                rows.extend(simple.map(|(part, member)| vec![title(part).to_owned(), cell(part, member)]));
            }
            None => rows.push(vec![title(name).to_owned(), cell(name, member)]),
        }
    }
    aligned(rows)
}

/// One value. Control characters are not for terminals: callers wrote some of it.
fn cell(name: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(ms) if name.ends_with("at_ms") => ms.as_u64().map_or_else(|| ms.to_string(), utc),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_tables() {
        let value = json!({
            "keys": [{ "id": "a", "balance": 5, "tags": {} }, { "id": "long", "balance": null }], "next": "7",
        });
        assert_eq!(table(&value), "BALANCE  ID\n5        a\n-        long\nthere is more: --cursor 7");
        assert_eq!(table(&json!({ "keys": [], "next": null })), "nothing");
        let acts = json!({ "acts": [{ "id": 1, "at_ms": 0, "who": "ann", "before": {} }] });
        assert_eq!(table(&acts), "AT                   WHO  ID\n1970-01-01 00:00:00  ann  1");
        let made = json!({ "key": { "id": "a", "used_at_ms": null, "policy": {} }, "secret": "x" });
        assert_eq!(table(&made), "id      a\nused    -\nsecret  x");
        assert_eq!(table(&json!({ "b": 1, "name": "x\u{1b}[31m" })), "b     1\nname  x [31m");
    }
}
