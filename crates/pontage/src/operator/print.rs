//! Answers for people.

use serde_json::Value;

/// A list as a table, anything else as lines.
pub(super) fn table(value: &Value) -> String {
    let Some(members) = value.as_object() else { return cell(value) };
    let list = members.iter().find_map(|(name, member)| Some((name, member.as_array()?)));
    let Some((_, items)) = list.filter(|(_, items)| items.iter().all(Value::is_object)) else { return lines(value) };
    let mut text = match items.first().and_then(Value::as_object) {
        None => "nothing".to_owned(),
        Some(first) => {
            // What is made of other things is for `--json`.
            let columns: Vec<&String> = first
                .iter()
                .filter(|(_, member)| !member.is_object() && !member.is_array())
                .map(|(name, _)| name)
                .collect();
            let head = columns.iter().map(|name| name.to_uppercase()).collect();
            let row = |item: &Value| columns.iter().map(|name| cell(&item[name.as_str()])).collect();
            aligned(std::iter::once(head).chain(items.iter().map(row)).collect())
        }
    };
    if let Some(next) = members.get("next").and_then(Value::as_str) {
        text.push_str(&format!("\nthere is more: --cursor {next}"));
    }
    text
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
    let rows = value.as_object().into_iter().flatten().map(|(name, member)| vec![name.clone(), cell(member)]);
    aligned(rows.collect())
}

/// One value. Control characters are not for terminals: callers wrote some of it.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
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
        assert_eq!(table(&json!({ "b": 1, "name": "x\u{1b}[31m" })), "b     1\nname  x [31m");
    }
}
