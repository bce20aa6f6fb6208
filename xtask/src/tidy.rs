//! The rules of the house that no compiler checks. Every finding is one line, `path:line: what`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The page with the one table of allowed edges.
const MAP: &str = "ARCHITECTURE.md";
const HEADER: [&str; 4] = ["crate", "what lives there", "may use (ours)", "pure"];
const MAX_FILE_LINES: usize = 600;
const MAX_FN_LINES: usize = 70;

/// What a pure crate may not name: clocks, environment, files, sockets, run times, threads, and maps
/// whose order changes from run to run.
const IMPURE: &str = "SystemTime::now Instant::now env::var std::fs std::net tokio HashMap HashSet thread::spawn";

const UNFINISHED: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Where one machine keeps its files and where packages come from, as in a lock file that gives each
/// package's address. In two halves, so that this file does not find itself.
const PRIVATE: [&str; 8] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("crates", ".io"),
    concat!("registry.npm", "js.org"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("\"resolved\": ", "\"http"),
];

/// Checks the whole tree under `root` and gives every finding. Files that git ignores are not read.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let files = files(root)?;
    let crates = crates(&crate::set_up::metadata(root)?);
    let map = files.iter().find(|file| file.path == MAP);
    let table = table(&map.with_context(|| format!("{MAP} is missing"))?.text)?;

    let mut findings = edges(&table, &crates);
    for file in &files {
        if !file.path.ends_with("Cargo.lock") {
            findings.extend(private(file));
        }
        if file.path.ends_with(".rs") {
            findings.extend(rust(file, &table, &crates));
        }
        if crates.iter().any(|krate| krate.path == file.path) {
            findings.extend(lints(file));
        }
    }
    Ok(findings)
}

struct File {
    path: String,
    text: String,
}

/// A crate with its edges: as cargo knows it, or as one row of the table allows it.
struct Node {
    /// The manifest, or the page with the table.
    path: String,
    line: usize,
    name: String,
    /// Our crates that the code itself uses, build scripts included.
    uses: Vec<String>,
    /// Our crates that only its tests use.
    tests_use: Vec<String>,
    /// The last column of the table; cargo knows nothing of it.
    pure: String,
}

impl Node {
    fn finding(&self, what: &str) -> String {
        finding(&self.path, self.line, what)
    }
}

fn finding(path: &str, line: usize, what: &str) -> String {
    format!("{path}:{line}: {what}")
}

fn files(root: &Path) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-co", "--exclude-standard", "-z"]);
    let listed = git.current_dir(root).output().context("git")?;
    let why = String::from_utf8_lossy(&listed.stderr);
    ensure!(listed.status.success(), "git ls-files: {why}");
    let mut files = Vec::new();
    for path in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        // A deleted file may still be listed, and a picture is not text: neither can break a rule.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            let path = path.to_owned();
            files.push(File { path, text });
        }
    }
    Ok(files)
}

fn crates(metadata: &Value) -> Vec<Node> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let root = text(&metadata["workspace_root"]) + "/";
    let mut crates = Vec::new();
    for package in list(&metadata["packages"]) {
        let mut deps = list(&package["dependencies"]);
        // A path marks the crate as ours: a registry crate of the same name would have none.
        deps.retain(|dep| dep["path"].is_string());
        let (tests_use, uses): (Vec<_>, _) = deps.iter().partition(|dep| dep["kind"] == "dev");
        let names = |deps: Vec<&Value>| deps.iter().map(|dep| text(&dep["name"])).collect();
        crates.push(Node {
            path: text(&package["manifest_path"]).replacen(&root, "", 1),
            line: 1,
            name: text(&package["name"]),
            uses: names(uses),
            tests_use: names(tests_use),
            pure: String::new(),
        });
    }
    crates
}

/// Reads the one table of allowed edges.
fn table(text: &str) -> Result<Vec<Node>> {
    let mut rows: Vec<Node> = Vec::new();
    let mut lines = (1..).zip(text.lines());
    let header = lines.find(|(_, line)| cells(line) == HEADER);
    header.with_context(|| format!("{MAP} has no table {HEADER:?}"))?;
    for (line, text) in lines.skip(1).take_while(|(_, text)| text.starts_with('|')) {
        let cells: Result<[String; 4], _> = cells(text).try_into();
        let Ok([name, _, uses, pure]) = cells else {
            bail!("{MAP}:{line}: a row of this table has 4 cells");
        };
        let above: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let (uses, tests_use) = uses.split_once("tests:").unwrap_or((&uses, ""));
        rows.push(Node {
            path: MAP.to_owned(),
            line,
            name: name.trim_matches('`').to_owned(),
            uses: names(uses, &above),
            tests_use: names(tests_use, &above),
            pure,
        });
    }
    Ok(rows)
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim().replace("\\|", "¦");
    let cells = line.trim_matches('|').split('|');
    cells.map(|cell| cell.trim().to_owned()).collect()
}

/// Reads `a, b`, `–` or `all above`.
fn names(cell: &str, above: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for word in cell.split([',', ';']) {
        match word.trim().trim_matches('`') {
            "" | "–" | "-" => {}
            "all above" => names.extend_from_slice(above),
            name => names.push(name.to_owned()),
        }
    }
    names
}

/// Compares the table with the crates, both ways. An allowed edge need not be used.
fn edges(table: &[Node], crates: &[Node]) -> Vec<String> {
    let mut findings = Vec::new();
    let named = |nodes: &[Node], name: &String| nodes.iter().any(|node| node.name == *name);
    for row in table {
        let mut add = |what: String| findings.push(row.finding(&what));
        if !named(crates, &row.name) {
            add(format!("`{}` is no crate of the workspace", row.name));
        }
        let unknown = |used: &&String| !named(table, used);
        for used in row.uses.iter().chain(&row.tests_use).filter(unknown) {
            add(format!("`{used}` has no row in this table"));
        }
        // A misspelt word would switch the purity check off without a sound.
        let mut words = ["yes", "no", "engine", "core", "–"].into_iter();
        if !words.any(|word| row.pure.starts_with(word)) {
            add(format!("`{}` is not yes, no, engine or core", row.pure));
        }
    }
    for krate in crates {
        let mut add = |what: String| findings.push(krate.finding(&what));
        let Some(row) = table.iter().find(|row| row.name == krate.name) else {
            add(format!("`{}` has no row in {MAP}", krate.name));
            continue;
        };
        let forbidden = |used: &&String| !row.uses.contains(used);
        for used in krate.uses.iter().filter(forbidden) {
            add(format!("{MAP} does not allow the use of `{used}`"));
        }
        let forbidden = |used: &&String| forbidden(used) && !row.tests_use.contains(used);
        for used in krate.tests_use.iter().filter(forbidden) {
            add(format!("{MAP} does not allow `{used}` in the tests"));
        }
    }
    findings
}

fn rust(file: &File, table: &[Node], crates: &[Node]) -> Vec<String> {
    let code = code_only(&file.text);
    let mut findings = shape(file, &code);
    if file.path.contains("/tests/") || file.path.ends_with("/tests.rs") {
        return findings;
    }
    findings.extend(long_functions(file, &code));
    for krate in crates {
        let src = krate.path.replace("Cargo.toml", "src/");
        let row = table.iter().find(|row| row.name == krate.name);
        if let (Some(inside), Some(row)) = (file.path.strip_prefix(&src), row)
            && must_be_pure(&row.pure, inside)
        {
            findings.extend(impure(file, &code));
        }
    }
    findings
}

fn must_be_pure(word: &str, inside: &str) -> bool {
    match word {
        word if word.starts_with("yes") => true,
        word if word.starts_with("engine") => inside.starts_with("engine"),
        word if word.starts_with("core") => !inside.starts_with("native"),
        _ => false,
    }
}

fn shape(file: &File, code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut add = |line, what: &str| findings.push(finding(&file.path, line, what));
    let lines = file.text.lines().count();
    if lines > MAX_FILE_LINES {
        let what = format!("{lines} lines; the limit is {MAX_FILE_LINES}");
        add(lines, &what);
    }
    if file.path.ends_with("/mod.rs") {
        add(1, "`foo.rs` beside `foo/`, not `foo/mod.rs`");
    }
    for (number, line) in (1..).zip(code.lines()) {
        for needle in UNFINISHED.iter().filter(|needle| has(line, needle)) {
            add(number, &format!("`{needle}` may not stay"));
        }
    }
    findings
}

fn impure(file: &File, code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut tests_end: Option<String> = None;
    let lines: Vec<&str> = code.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        if tests_end.is_none() && line.trim() == "#[cfg(test)]" {
            // Only a module is exempt: a lone `#[cfg(test)] use` must not open the rest of the file.
            let mut after = lines[index + 1..].iter().map(|next| next.trim());
            let next = after.find(|next| !next.starts_with("#[")).unwrap_or("");
            let is_module = next.starts_with("mod ") && next.ends_with('{');
            tests_end = is_module.then(|| line.replace("#[cfg(test)]", "}"));
        }
        if let Some(end) = &tests_end {
            if line == end {
                tests_end = None;
            }
            continue;
        }
        let grouped = if has(line, "std::{") { "fs net" } else { "" };
        let needles = IMPURE.split(' ').chain(grouped.split_terminator(' '));
        for needle in needles.filter(|needle| has(line, needle)) {
            let what = format!("`{needle}` in a pure crate");
            findings.push(finding(&file.path, index + 1, &what));
        }
    }
    findings
}

fn long_functions(file: &File, code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut start = 0;
    for (number, line) in (1..).zip(code.split_inclusive('\n')) {
        let modifier = |c: char| in_a_word(c) || " ():".contains(c);
        if let Some((before, after)) = line.split_once("fn ")
            && before.chars().all(modifier)
            && after.starts_with(in_a_word)
        {
            let lines = body_lines(&code[start + before.len()..]);
            let name = after.split(|c| !in_a_word(c)).next().unwrap_or_default();
            if lines > MAX_FN_LINES {
                let what = format!("`{name}` has {lines} lines; the limit is {MAX_FN_LINES}");
                findings.push(finding(&file.path, number, &what));
            }
        }
        start += line.len();
    }
    findings
}

/// Counts the lines from `fn` to the brace that ends its body; 0 for a declaration without one.
fn body_lines(from_fn: &str) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in from_fn.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return 0,
            '{' => braces += 1,
            '}' if braces <= 1 => return from_fn[..at].matches('\n').count() + 1,
            '}' => braces -= 1,
            _ => {}
        }
    }
    0
}

fn private(file: &File) -> Vec<String> {
    // `host.example/x/` and `docs/x/` are not paths of a machine: those stand alone.
    let in_a_path = |c: char| c.is_alphanumeric() || "._-}*".contains(c);
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for needle in PRIVATE {
            let mut places = line.match_indices(needle).map(|(at, _)| &line[..at]);
            if places.any(|before| !needle.starts_with('/') || !before.ends_with(in_a_path)) {
                let what = format!("`{needle}` names a machine or a registry");
                findings.push(finding(&file.path, number, &what));
            }
        }
    }
    findings
}

/// A crate that does not take the workspace's lints has none.
fn lints(manifest: &File) -> Option<String> {
    let parsed: toml::Table = toml::from_str(&manifest.text).unwrap_or_default();
    let taken = parsed.get("lints").and_then(|lints| lints.get("workspace"));
    let what = "`[lints] workspace = true` is missing";
    (taken != Some(&true.into())).then(|| finding(&manifest.path, 1, what))
}

fn in_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `line` holds `needle` as whole words, so that `tokio` is not found in `tokio_like`.
fn has(line: &str, needle: &str) -> bool {
    // `env::var` is also meant in `env::var_os`.
    let whole_end = needle.ends_with(in_a_word) && needle != "env::var";
    line.match_indices(needle).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + needle.len()..]);
        let starts_inside = needle.starts_with(in_a_word) && before.ends_with(in_a_word);
        let ends_inside = whole_end && after.starts_with(in_a_word);
        !starts_inside && !ends_inside
    })
}

/// The text with comments and literals blanked, line by line as before: a word in a comment breaks
/// no rule, and a brace in a string ends no function.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = not_code(rest, code.ends_with(in_a_word));
        let hide = |c| if length > 0 && c != '\n' { ' ' } else { c };
        let (token, after) = rest.split_at(length.max(c.len_utf8()));
        code.extend(token.chars().map(hide));
        rest = after;
    }
    code
}

/// The length of the comment or literal that `text` begins with; 0 when it begins with code. Does
/// not see that a block comment holds another: nobody here writes one.
fn not_code(text: &str, after_word: bool) -> usize {
    let until = |from: usize, end: &str| text[from..].find(end).map(|at| from + at + end.len());
    let quoted = |quote: char| {
        let mut inside = text.char_indices().skip(1);
        while let Some((at, c)) = inside.next() {
            match c {
                '\\' => drop(inside.next()),
                c if c == quote => return Some(at + 1),
                _ => {}
            }
        }
        None
    };
    // `r"` up to `br##"`, but not the end of a word or a raw name.
    let raw = text.trim_start_matches('b').strip_prefix('r');
    let opened = raw.and_then(|raw| raw.trim_start_matches('#').strip_prefix('"'));
    let mut chars = text.chars();
    let length = match [chars.next(), chars.next(), chars.next()] {
        [Some('/'), Some('/'), _] => text.find('\n'),
        [Some('/'), Some('*'), _] => until(2, "*/"),
        [Some('"'), ..] => quoted('"'),
        // A character, not a lifetime.
        [Some('\''), Some('\\'), _] | [Some('\''), _, Some('\'')] => quoted('\''),
        _ => match (raw, opened) {
            (Some(raw), Some(opened)) if !after_word => {
                let hashes = raw.len() - opened.len() - 1;
                until(text.len() - opened.len(), &format!("\"{}", &raw[..hashes]))
            }
            _ => Some(0),
        },
    };
    length.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAGE: &str = "\
# Map\n
| crate | what lives there | may use (ours) | pure |
|---|---|---|---|
| `protocol` | words | – | yes |
| `ledger` | a \\| b | protocol | yes |
| `facilitator` | lanes | protocol, ledger | engine |
| `wallet` | keys | protocol | core |
| `pontage` | the binary | all above; tests: xtask | no |
| `xtask` | tasks | – | no |

after
";

    fn file(path: &str, text: &str) -> File {
        let (path, text) = (path.to_owned(), text.to_owned());
        File { path, text }
    }

    fn krate(name: &str, uses: &[&str], tests_use: &[&str]) -> Node {
        Node {
            path: format!("crates/{name}/Cargo.toml"),
            line: 1,
            name: name.to_owned(),
            uses: names(&uses.join(","), &[]),
            tests_use: names(&tests_use.join(","), &[]),
            pure: String::new(),
        }
    }

    fn workspace() -> Vec<Node> {
        vec![
            krate("protocol", &[], &[]),
            krate("wallet", &[], &[]),
            krate("xtask", &[], &[]),
            krate("ledger", &["protocol"], &[]),
            krate("facilitator", &["ledger"], &["protocol"]),
            krate("pontage", &["protocol", "wallet"], &["xtask"]),
        ]
    }

    /// The findings in one Rust file of the workspace above.
    fn found(path: &str, text: &str) -> Vec<String> {
        let table = table(PAGE).unwrap();
        rust(&file(path, text), &table, &workspace())
    }

    #[test]
    fn the_table_is_read() {
        let rows = table(PAGE).unwrap();
        let row = &rows[4];
        assert_eq!(row.finding(&row.pure), "ARCHITECTURE.md:9: no");
        assert_eq!(row.name, "pontage");
        assert_eq!(row.uses, ["protocol", "ledger", "facilitator", "wallet"]);
        assert_eq!(row.tests_use, ["xtask"]);
        assert!(rows[0].uses.is_empty());
        assert!(table(&PAGE.replace("a \\| b", "a | b")).is_err());
        assert!(table("| crate | pure |").is_err());
    }

    #[test]
    fn metadata_gives_our_edges_only() {
        let metadata = json!({"workspace_root": "/r", "packages": [{
            "name": "a", "manifest_path": "/r/crates/a/Cargo.toml", "dependencies": [
                {"name": "b", "kind": null, "path": "/r/b"},
                {"name": "c", "kind": "build", "path": "/r/c"},
                {"name": "t", "kind": "dev", "path": "/r/t"},
                {"name": "serde", "kind": null},
            ],
        }]});
        let read = crates(&metadata);
        assert_eq!(read[0].finding(&read[0].name), "crates/a/Cargo.toml:1: a");
        assert_eq!(read[0].uses, ["b", "c"]);
        assert_eq!(read[0].tests_use, ["t"]);
    }

    #[test]
    fn edges_are_held() {
        let with = |page: &str, krate: Node| {
            let mut all = workspace();
            all.retain(|other| other.name != krate.name);
            all.push(krate);
            edges(&table(page).unwrap(), &all).join("; ")
        };
        let xtask = || krate("xtask", &[], &[]);
        assert_eq!(with(PAGE, xtask()), "");
        for (krate, expected) in [
            (krate("ledger", &["wallet"], &[]), "the use of `wallet`"),
            (krate("pontage", &["xtask"], &[]), "the use of `xtask`"),
            (krate("ledger", &[], &["xtask"]), "`xtask` in the tests"),
            (krate("extra", &[], &[]), "`extra` has no row in"),
        ] {
            let findings = with(PAGE, krate);
            assert!(findings.contains(expected), "{findings}");
        }
        for (from, to, expected) in [
            ("`wallet`", "`walet`", "8: `walet` is no crate"),
            ("| protocol |", "| proto |", "6: `proto` has no row in"),
            ("engine", "motor", "7: `motor` is not yes"),
        ] {
            let findings = with(&PAGE.replace(from, to), xtask());
            assert!(findings.contains(expected), "{findings}");
        }
    }

    #[test]
    fn pure_crates_name_nothing_impure() {
        for needle in IMPURE.split(' ') {
            let text = format!("fn a() {{\n    {needle}(1);\n}}\n");
            let expected = format!("crates/ledger/src/a.rs:2: `{needle}` in a pure crate");
            assert_eq!(found("crates/ledger/src/a.rs", &text), [expected]);
            assert_eq!(found("crates/pontage/src/a.rs", &text).len(), 0);
        }
        let (a, clock) = ("ledger/src/a.rs", "let t = Instant::now();\n");
        for (path, text, count) in [
            ("facilitator/src/engine.rs", clock, 1),
            ("facilitator/src/engine/lane.rs", clock, 1),
            ("facilitator/src/rpc.rs", clock, 0),
            ("wallet/src/policy.rs", clock, 1),
            ("wallet/src/native/fetch.rs", clock, 0),
            ("ledger/tests/all.rs", clock, 0),
            (a, "use std::{fs, io};", 1),
            (a, "// tokio\n\"tokio\"; my_tokio = 1;", 0),
            (a, "#[cfg(test)]\nuse a::b;\ntokio;\n", 1),
            (a, "#[cfg(test)]\n#[a]\nmod t {\ntokio;\n}\n", 0),
            (a, "#[cfg(test)]\nmod t {\n}\ntokio;\n", 1),
        ] {
            let findings = found(&format!("crates/{path}"), text);
            assert_eq!(findings.len(), count, "{path}: {text}");
        }
    }

    #[test]
    fn lengths_are_held() {
        let (src, tests) = ("crates/pontage/src/a.rs", "crates/pontage/tests/a.rs");
        let long = "\n".repeat(601);
        let expected = format!("{tests}:601: 601 lines; the limit is 600");
        assert_eq!(found(tests, &long), [expected]);
        assert!(found(src, &long[1..]).is_empty());
        let function = |lines: usize| {
            let body = "    if a { '}' }\n".repeat(lines - 2);
            format!("    pub(crate) async fn f(a: [u8; 4]) {{ // }}\n{body}    }}\n")
        };
        let expected = format!("{src}:1: `f` has 71 lines; the limit is 70");
        assert_eq!(found(src, &function(71)), [expected]);
        assert!(found(src, &function(70)).is_empty());
        assert!(found(tests, &function(71)).is_empty());
        assert!(found(src, &format!("fn declared();\n{}", &long[..90])).is_empty());
    }

    #[test]
    fn unfinished_work_does_not_stay() {
        for needle in UNFINISHED {
            let kept = [format!("a/tests/a.rs:2: `{needle}` may not stay")];
            assert_eq!(found("a/tests/a.rs", &format!("\n{needle}\n")), kept);
            let hidden = format!("/* {needle} */ r#\"{needle}\"#; b'\"'; '\\''; \"\\\"{needle}\"");
            assert!(found("a/tests/a.rs", &hidden).is_empty(), "{needle}");
            let shown = format!("fn f<'a>(b: &'a str, c: &'a str) {{ for\"\" {needle} r#a }}");
            assert_eq!(found("a/tests/a.rs", &shown).len(), 1, "{needle}");
        }
        let expected = "a/src/mod.rs:1: `foo.rs` beside `foo/`, not `foo/mod.rs`";
        assert_eq!(found("a/src/mod.rs", ""), [expected]);
    }

    #[test]
    fn nothing_names_a_machine_or_a_registry() {
        for needle in PRIVATE {
            let expected = format!("a:2: `{needle}` names a machine or a registry");
            assert_eq!(private(&file("a", &format!("\nx {needle}y"))), [expected]);
        }
        let home = PRIVATE[2];
        let url = format!("get(example.org{home}x)");
        assert!(private(&file("a", &url)).is_empty());
        assert_eq!(private(&file("a", &format!("{url} \"{home}x\""))).len(), 1);
    }

    #[test]
    fn every_crate_takes_the_lints() {
        let lints = |text: &str| lints(&file("Cargo.toml", text));
        assert_eq!(lints("[lints]\nworkspace = true\n"), None);
        for text in ["", "[lints]\nworkspace = false", "[lints.clippy]\nall = 1"] {
            assert!(lints(text).is_some(), "{text}");
        }
    }
}
