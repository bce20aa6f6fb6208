//! The keys of the file: which there are, which come later, and which one a mistyped key was meant to be.

/// Every key that holds a value. `[]` is an item of a list, `<caip2>` the id of a network. docs/config.md has the same list; a test
/// compares them.
pub(super) const KEYS: &[&str] = &[
    "version",
    "provider_address",
    "listen",
    "default_action",
    "proxy.target",
    "proxy.timeout",
    "routes[].path",
    "routes[].method",
    "routes[].price",
    "routes[].free",
    "routes[].settlement",
    "networks.<caip2>.rpc_urls",
    "networks.<caip2>.assets",
    "networks.<caip2>.assets[].address",
    "networks.<caip2>.assets[].name",
    "networks.<caip2>.assets[].version",
    "networks.<caip2>.assets[].decimals",
    "facilitator.signer",
    "facilitator.signer.env",
    "facilitator.signer.file",
    "facilitator.urls",
    "facilitator.bearer",
    "facilitator.bearer.env",
    "facilitator.bearer.file",
    "facilitator.verify_timeout_ms",
    "facilitator.settle_timeout_ms",
    "store.path",
    "replay.wait_ms",
    "replay.answer_max_bytes",
    "replay.answers_max_bytes",
    "replay.answers_keep_s",
    "tab.batch_max",
    "tab.settle_age_s",
    "tab.verify",
    "exposure.per_payer",
    "exposure.per_source",
    "exposure.per_gate",
];

/// Keys of later versions, on the top level and in a route. They are refused, not skipped: who writes `rate_limits` counts on them.
const LATER: &[&str] = &[
    "settle_first",
    "facilitator_url",
    "price_endpoint",
    "allowlist",
    "global_allowlist",
    "rate_limits",
    "fail_mode",
    "discovery",
    "log",
    "proxy_rewrite",
    "proxy_params",
    "description",
    "mime_type",
    "info",
    "route_template",
];

const MAX_COMPARED_CHARS: usize = 40;

/// The keys directly beneath `level`, which is a path as in [`KEYS`]; empty for the top.
pub(super) fn beneath(level: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for key in KEYS {
        let rest = match level {
            "" => Some(*key),
            _ => key.strip_prefix(level).and_then(|rest| rest.strip_prefix('.')),
        };
        let name = rest.and_then(|rest| rest.split(['.', '[']).next());
        if let Some(name) = name.filter(|name| !found.contains(name)) {
            found.push(name);
        }
    }
    found
}

/// Whether `key` at `level` is promised for a later version.
pub(super) fn comes_later(level: &str, key: &str) -> bool {
    match level {
        "" | "routes[]" => LATER.contains(&key),
        "facilitator" => key == "url",
        _ => false,
    }
}

/// Where else a key of this name belongs, as a path.
pub(super) fn elsewhere(key: &str) -> Option<&'static str> {
    let name_of = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    KEYS.iter().copied().find(|path| name_of(path) == key)
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
