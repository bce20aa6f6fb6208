//! What is wrong with a configuration: every mistake at once, each with its place and its fix.

use std::fmt;

use serde_json::{Value, json};

/// More are counted, not kept: nobody reads them, and a hostile file could hold a million.
const MAX_KEPT: usize = 1_000;
const MAX_SHOWN_CHARS: usize = 60;
/// An address has 40; a key has 64. What lies between may be a key with a character lost.
const MAX_HEX_SHOWN: usize = 40;

/// One thing that is wrong, in words for the operator. Values that may be secret are never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The `.env` file that it stands in; `None` for the configuration itself.
    pub(crate) file: Option<String>,
    /// The key, such as `routes[1].price`; empty when the mistake concerns the whole file.
    pub(crate) path: String,
    /// The line in the file, from 1; `None` when the file could not be read as lines, and for what a variable says.
    pub(crate) line: Option<usize>,
    /// What is wrong.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) fix: String,
}

/// All mistakes of one file in order of line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistakes {
    file: String,
    list: Vec<Mistake>,
    more: usize,
}

impl Mistakes {
    pub(super) fn one(file: &str, mistake: Mistake) -> Self {
        let mut notes = Notes::default();
        notes.add(mistake);
        notes.into_mistakes(file)
    }

    /// The mistakes in order of line. At most 1,000 are kept.
    #[cfg(test)]
    pub(crate) fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let one = |Mistake { file, path, line, what, fix }: &Mistake| {
            let file = file.as_deref().unwrap_or(&self.file);
            json!({ "file": file, "path": path, "line": line, "what": what, "fix": fix })
        };
        let mistakes: Vec<Value> = self.list.iter().map(one).collect();
        json!({ "valid": false, "mistakes": mistakes, "more": self.more })
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, mistake) in self.list.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            f.write_str(mistake.file.as_deref().unwrap_or(&self.file))?;
            if let Some(line) = mistake.line {
                write!(f, ":{line}")?;
            }
            if !mistake.path.is_empty() {
                write!(f, "  {}", mistake.path)?;
            }
            write!(f, "\n    {}\n    Fix: {}", mistake.what, mistake.fix)?;
        }
        if self.more > 0 {
            write!(f, "\n{}  and {} more", self.file, self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Mistakes while they are gathered.
#[derive(Default)]
pub(super) struct Notes {
    list: Vec<Mistake>,
    more: usize,
}

impl Notes {
    pub(super) fn add(&mut self, mistake: Mistake) {
        if self.list.len() < MAX_KEPT {
            self.list.push(mistake);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_mistakes(mut self, file: &str) -> Mistakes {
        self.list.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Mistakes { file: file.to_owned(), list: self.list, more: self.more }
    }
}

/// A value as a message may repeat it: quoted, on one line, cut short, and not at all when it may be a secret.
pub(super) fn shown(text: &str) -> String {
    if may_be_secret(text) {
        return "***".to_owned();
    }
    if text.chars().count() > MAX_SHOWN_CHARS {
        let cut: String = text.chars().take(MAX_SHOWN_CHARS).collect();
        return format!("{:?}", format!("{cut}…"));
    }
    format!("{text:?}")
}

/// A key as part of a path: bare where it is a plain word.
pub(super) fn label(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.');
    let bare = !key.is_empty() && key.len() <= MAX_HEX_SHOWN && key.chars().all(plain);
    if bare { key.to_owned() } else { shown(key) }
}

/// Whether a text may be a private key, a recovery phrase or a URL with a password in it.
pub(super) fn may_be_secret(text: &str) -> bool {
    let hex_run = text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() > MAX_HEX_SHOWN);
    let phrase = text.split_whitespace().count() >= 12;
    let user_info = text.contains("://") && text.contains('@');
    hex_run || phrase || user_info
}
