//! docs/compatibility.md is complete and true: a row for each line, and no test in it that is not there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::kit::root;

/// Every word of a text that is the name of one of these tests.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named = |word: &&str| {
        let digits = word.strip_prefix("g_x").or(word.strip_prefix("g_")).or(word.strip_prefix("m_"));
        digits.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains('_'))
    };
    words.filter(named).map(str::to_owned).collect()
}

/// Every test of a crate's sources that has such a name.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(text.lines().filter(|line| line.trim_start().starts_with("fn ")).flat_map(names));
        }
    }
}

#[test]
fn every_line_has_a_row_and_every_test_in_it_is_there() {
    let doc = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let lines = (1..=87).filter(|line| ![11, 43].contains(line)).map(|line| format!("G-{line:03}"));
    for id in lines.chain((1..=17).map(|line| format!("G-X{line:02}"))) {
        let rows: Vec<_> = doc.lines().filter(|line| line.starts_with(&format!("| {id} |"))).collect();
        let [row] = rows.as_slice() else { panic!("{id} has {} rows", rows.len()) };
        let cells: Vec<_> = row.split(" | ").collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| cell.len() > 3), "{row}");
        // Other proxies are a suite of their own, and its tests are named for them.
        let own = id.to_ascii_lowercase().replace('-', "_");
        assert!(cells[2].contains(&own) || cells[2].contains("suite `sidecar`"), "{row}");
    }
    let mut there = BTreeSet::new();
    tests(&root().join("crates"), &mut there);
    let missing: Vec<_> = names(&doc).into_iter().filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}
