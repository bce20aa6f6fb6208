//! Tables as text (RFC 4180), which other programs open.

/// A table with the names of its columns in the first line.
pub(super) fn write(lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().map(|cell| quoted(cell)).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

/// What a spreadsheet would take for a formula is marked as text.
fn quoted(cell: &str) -> String {
    let marked = if is_formula(cell) { format!("'{cell}") } else { cell.to_owned() };
    if marked.contains([',', '"', '\n', '\r']) { format!("\"{}\"", marked.replace('"', "\"\"")) } else { marked }
}

fn is_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\'', '\t'])
}

/// The lines of a table. `None` where a quote is not closed or stands where none may.
pub(super) fn read(text: &str) -> Option<Vec<Vec<String>>> {
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let (cell, after) = cell(rest)?;
        line.push(unmarked(cell));
        rest = match after.strip_prefix(',') {
            // A comma at the very end has an empty cell behind it.
            Some("") => {
                line.push(String::new());
                ""
            }
            Some(after) => {
                if after.starts_with(['\r', '\n']) {
                    line.push(String::new());
                } else {
                    rest = after;
                    continue;
                }
                after
            }
            None => after,
        };
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        // An empty line is no line.
        let line = std::mem::take(&mut line);
        if line.iter().any(|cell| !cell.is_empty()) || line.len() > 1 {
            lines.push(line);
        }
    }
    Some(lines)
}

/// The first cell, and what follows it: a comma, a line's end, or nothing.
fn cell(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n', '\r']).unwrap_or(text.len());
        let (cell, rest) = text.split_at_checked(end)?;
        return (!cell.contains('"')).then(|| (cell.to_owned(), rest));
    };
    let mut cell = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                cell.push('"');
                rest = after;
            }
            None => return (after.is_empty() || after.starts_with([',', '\n', '\r'])).then_some((cell, after)),
        }
    }
}

fn unmarked(cell: String) -> String {
    match cell.strip_prefix('\'') {
        Some(text) if is_formula(text) => text.to_owned(),
        Some(_) | None => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let table: Vec<Vec<String>> = [
            ["name", "note", ""],
            ["a,b", "say \"x\"", "two\r\nlines"],
            ["=1+1", "'=x", "-5"],
            ["", "", "\"\""],
            ["caf\u{e9}", "'tis", "@"],
        ]
        .iter()
        .map(|line| line.iter().map(|cell| (*cell).to_owned()).collect())
        .collect();
        let text = write(table.clone());
        assert_eq!(read(&text).unwrap(), table);
        assert!(text.contains("'=1+1,"), "a spreadsheet runs nothing: {text}");
    }

    #[test]
    fn others_write_it_in_other_ways() {
        let lines = |text: &str| read(text).map(|lines| lines.iter().map(|line| line.join("|")).collect::<Vec<_>>());
        for (text, want) in [
            ("", Some(vec![])),
            ("a,b\n1,2", Some(vec!["a|b", "1|2"])),
            ("a,b\n\n1,\n", Some(vec!["a|b", "1|"])),
            ("\u{feff}a\r\n", Some(vec!["a"])),
            ("a,", Some(vec!["a|"])),
            ("\"a", None),
            ("\"a\"b", None),
            ("a\"b", None),
        ] {
            assert_eq!(lines(text), want.map(|want| want.into_iter().map(str::to_owned).collect()), "{text:?}");
        }
    }
}
