//! The keys of the file: which there are, what is said about each, and which one a mistyped key was meant to be.

mod table;

pub(super) use table::KEYS;

/// The default of a key that has none and must be there.
pub(super) const MUST: &str = "must be given";
pub(super) const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One key. What is said about it is Markdown.
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) default: &'static str,
    pub(super) limits: &'static str,
    pub(super) about: &'static str,
}

/// What a value looks like, for editors: the readers check more than this.
pub(super) enum Shape {
    /// One of these, in any case for methods alone.
    Word(&'static [&'static str]),
    Whole(u64, u64),
    Truth,
    Address,
    Dollars,
    Gwei,
    Rate,
    Span,
    Listen,
    Url,
    /// An origin or `*`.
    Mark,
    /// A name of a variable.
    Name,
    Path,
    /// At most so many characters.
    Text(usize),
    List(&'static Shape),
    /// Whatever YAML has.
    Any,
    /// `{ env }` or `{ file }`.
    Secret,
    /// The same, or `{ keystore, password }`.
    Signer,
    /// Nothing but what is beneath.
    Section,
}

const MAX_COMPARED_CHARS: usize = 40;

/// The keys directly beneath `level`, which is a path as in [`KEYS`]; empty for the top.
pub(super) fn beneath(level: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for Key { path, .. } in KEYS {
        let rest = match level {
            "" => Some(*path),
            _ => path.strip_prefix(level).and_then(|rest| rest.strip_prefix('.')),
        };
        let name = rest.and_then(|rest| rest.split(['.', '[']).next());
        if let Some(name) = name.filter(|name| !found.contains(name)) {
            found.push(name);
        }
    }
    found
}

/// What to write instead of a key of another system, or of an earlier draft of ours.
pub(super) fn hint(level: &str, key: &str) -> Option<&'static str> {
    match (level, key) {
        ("facilitator", "url") | ("" | "routes[]", "facilitator_url") => {
            Some("write facilitator.urls, such as facilitator: { urls: [\"https://x402.org/facilitator\"] }.")
        }
        ("", "port") => Some("write listen, such as listen: \"0.0.0.0:8402\"."),
        _ => None,
    }
}

/// Where else a key of this name belongs, as a path.
pub(super) fn elsewhere(key: &str) -> Option<&'static str> {
    let name_of = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    KEYS.iter().map(|known| known.path).find(|path| name_of(path) == key)
}

/// The word of `known` that `written` most likely was meant to be.
pub(super) fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let length = written.chars().count();
    if length > MAX_COMPARED_CHARS {
        return None;
    }
    let written = written.to_ascii_lowercase().replace('-', "_");
    let close = |word: &&'static str| {
        let distance = distance(&written, word);
        let most = (word.len() / 3).clamp(1, 3);
        (distance <= most).then_some((distance, *word))
    };
    let best = known.iter().filter_map(close).min_by_key(|(far, _)| *far);
    best.map(|(_, word)| word)
}

/// How many characters must be added, removed, changed or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut cost = (above[j] + usize::from(l != r)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(usize::MAX)
}
