//! The environment: the process's own, then the `.env` files in the folder of the configuration and in the one above it. What it
//! puts in the place of keys of the file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use saphyr::{MarkedYaml, Scalar, YamlData};

use super::expand::is_name;
use super::mistake::{Mistake, Notes};

const MAX_FILE_BYTES: u64 = 64 * 1024;
const LINE_FIX: &str = "write NAME=value, NAME='value' or NAME=\"value\"; a comment starts with #.";

/// The variables that go before keys of the file, the first that is set and not empty.
const OVERRIDES: &[(&str, &[&str])] = &[
    ("provider_address", &["PONTAGE_PROVIDER_ADDRESS", "PAY_GATE_PROVIDER_ADDRESS"]),
    ("proxy.target", &["PONTAGE_PROXY_TARGET", "PAY_GATE_PROXY_TARGET"]),
    ("default_action", &["PONTAGE_DEFAULT_ACTION", "PAY_GATE_DEFAULT_ACTION"]),
    ("fail_mode", &["PONTAGE_FAIL_MODE", "PAY_GATE_FAIL_MODE"]),
    ("log.level", &["PONTAGE_LOG_LEVEL", "PAY_GATE_LOG_LEVEL"]),
    ("listen", &["PONTAGE_LISTEN"]),
];

/// Where variables are looked up.
pub(super) struct Env<'a> {
    process: &'a dyn Fn(&str) -> Option<String>,
    /// The nearest first.
    files: Vec<(PathBuf, BTreeMap<String, String>)>,
    overrides: Vec<Override>,
}

/// What the environment says in the place of a key.
pub(super) struct Override {
    /// A path as in the table of keys.
    pub(super) key: &'static str,
    pub(super) variable: &'static str,
    pub(super) value: MarkedYaml<'static>,
}

impl<'a> Env<'a> {
    /// The process's environment alone.
    #[cfg(test)]
    pub(super) fn new(process: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self::with_files(process, Vec::new())
    }

    /// The process's environment, and the `.env` files of `folder` and of the one above it. Their mistakes are noted.
    pub(super) fn load(process: &'a dyn Fn(&str) -> Option<String>, folder: &Path, notes: &mut Notes) -> Self {
        let mut files = Vec::new();
        for name in [".env", "../.env"] {
            let path = folder.join(name);
            let (values, mistakes) = read(&path);
            for (line, what, fix) in mistakes {
                let (file, fix) = (Some(name.to_owned()), fix.to_owned());
                notes.add(Mistake { file, path: String::new(), line, what, fix });
            }
            files.push((path, values));
        }
        Self::with_files(process, files)
    }

    fn with_files(
        process: &'a dyn Fn(&str) -> Option<String>,
        files: Vec<(PathBuf, BTreeMap<String, String>)>,
    ) -> Self {
        let mut env = Self { process, files, overrides: Vec::new() };
        for (key, variables) in OVERRIDES {
            let set = variables.iter().find_map(|name| Some((*name, env.get(name).filter(|value| !value.is_empty())?)));
            if let Some((variable, value)) = set {
                let data = YamlData::Value(Scalar::String(Cow::Owned(value)));
                let value = MarkedYaml { span: <_>::default(), data };
                env.overrides.push(Override { key, variable, value });
            }
        }
        env
    }

    /// The value of a variable. The process goes before the files.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let in_files = || self.files.iter().find_map(|(_, values)| values.get(name).cloned());
        (self.process)(name).or_else(in_files)
    }

    /// The file that a variable is taken from.
    pub(super) fn file_of(&self, name: &str) -> Option<&Path> {
        if (self.process)(name).is_some() {
            return None;
        }
        self.files.iter().find(|(_, values)| values.contains_key(name)).map(|(path, _)| path.as_path())
    }

    pub(super) fn overrides(&self) -> &[Override] {
        &self.overrides
    }
}

/// Whether a variable may stand in the place of a key.
pub(super) fn may_override(key: &str) -> bool {
    OVERRIDES.iter().any(|(known, _)| *known == key)
}

/// The value of one variable in a `.env` file, as it is now.
pub(super) fn look_up(path: &Path, name: &str) -> Option<String> {
    read(path).0.remove(name)
}

/// A line, what is wrong with it, and what to write. The line's text is not repeated: it may be a secret.
type Wrong = (Option<usize>, String, &'static str);

/// Reads a file, if there is one. A folder of this name is none: Python keeps its environments in such.
fn read(path: &Path) -> (BTreeMap<String, String>, Vec<Wrong>) {
    let whole = |what: String, fix| (BTreeMap::new(), vec![(None, what, fix)]);
    let file = match std::fs::File::open(path) {
        Ok(file) if file.metadata().is_ok_and(|found| found.is_file()) => file,
        Ok(_) => return <_>::default(),
        Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return <_>::default(),
        Err(why) => return whole(format!("the file cannot be read: {why}."), "check its permissions, or remove it."),
    };
    let mut bytes = Vec::new();
    if let Err(why) = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
        return whole(format!("the file cannot be read: {why}."), "check the file, or remove it.");
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return whole("the file is larger than 64 KiB.".to_owned(), "keep the variables that pontage needs.");
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text),
        Err(_) => whole("the file is not UTF-8 text.".to_owned(), "save it as UTF-8."),
    }
}

/// Reads lines of `NAME=value`. The last of two equal names counts, as in a shell.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Wrong>) {
    let (mut values, mut wrong) = (BTreeMap::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        match pair(line) {
            Ok(Some((name, value))) => {
                values.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(what) => wrong.push((Some(at + 1), what.to_owned(), LINE_FIX)),
        }
    }
    (values, wrong)
}

/// One line; `None` where it says nothing.
fn pair(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("the line has no `=`.")?;
    let name = name.trim();
    if !is_name(name) {
        return Err("what stands before `=` is not the name of an environment variable.");
    }
    let value = value.trim();
    let (value, rest) = match value.chars().next() {
        Some('\'') => value[1..].split_once('\'').map(|(inside, rest)| (inside.to_owned(), rest)),
        Some('"') => quoted(&value[1..]),
        // A # starts a comment only after a space: colours and fragments hold one.
        _ => Some((
            value.split(" #").next().unwrap_or_default().split("\t#").next().unwrap_or_default().trim().to_owned(),
            "",
        )),
    }
    .ok_or("a quote is not closed on its line.")?;
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("something stands behind the closing quote.");
    }
    if value.contains('\0') {
        return Err("the value holds a NUL character.");
    }
    Ok(Some((name, value)))
}

/// What stands up to the closing double quote, and what stands behind it. `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are one character.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((inside, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => inside.push('\n'),
                'r' => inside.push('\r'),
                't' => inside.push('\t'),
                plain @ ('"' | '\\' | '$') => inside.push(plain),
                other => inside.extend(['\\', other]),
            },
            other => inside.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_table() {
        for (line, want) in [
            ("A=1", Ok(Some("1"))),
            ("export A=1", Ok(Some("1"))),
            ("  A = 1  ", Ok(Some("1"))),
            ("A=", Ok(Some(""))),
            ("A=a b # c", Ok(Some("a b"))),
            ("A=a#b", Ok(Some("a#b"))),
            ("A=#b", Ok(Some("#b"))),
            ("A='a # b' # c", Ok(Some("a # b"))),
            ("A='a\\n'", Ok(Some("a\\n"))),
            ("A=\"a\\nb\\\"\\\\\\$\\x\"", Ok(Some("a\nb\"\\$\\x"))),
            ("A=\"ä\"#c", Ok(Some("ä"))),
            ("A=b=c", Ok(Some("b=c"))),
            ("A=${B}", Ok(Some("${B}"))),
            ("", Ok(None)),
            ("   ", Ok(None)),
            ("# A=1", Ok(None)),
            ("A", Err("no `=`")),
            ("=1", Err("not the name")),
            ("1A=1", Err("not the name")),
            ("A B=1", Err("not the name")),
            ("A='1", Err("not closed")),
            ("A=\"1", Err("not closed")),
            ("A=\"1\\", Err("not closed")),
            ("A='1' 2", Err("behind the closing quote")),
            ("A=\0", Err("NUL")),
        ] {
            match (pair(line), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.as_ref().map(|(_, value)| value.as_str()), want, "{line:?}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{line:?}: {got}"),
                (got, want) => panic!("{line:?}: {got:?}, not {want:?}"),
            }
        }
        let (values, wrong) = parse("\u{feff}A=1\r\nbroken\r\nA=2\n");
        assert_eq!(values, [("A".to_owned(), "2".to_owned())].into());
        assert_eq!(wrong[0].0, Some(2));
    }
}
