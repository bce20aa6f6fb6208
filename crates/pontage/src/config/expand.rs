//! `${VAR}`, `${VAR:-default}` and `$$` in a value. Never applied to the text of the file: a variable cannot add a key.

/// Longer than any URL or path, and short enough that a thousand of them are nothing.
const MAX_BYTES: usize = 8 * 1024;

/// Why a value could not be filled in. The value is not repeated, and nothing that a variable holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFilledIn {
    #[error("the environment variable {0} is not set.")]
    Unset(String),
    #[error("a `${{` has no closing brace.")]
    Open,
    #[error("a `${{...}}` does not hold the name of an environment variable.")]
    Name,
    #[error("the default of ${{{0}}} holds another variable.")]
    Nested(String),
    #[error("the value is longer than 8 KiB.")]
    TooLong,
}

impl NotFilledIn {
    pub(super) fn fix(&self) -> String {
        match self {
            Self::Unset(name) => {
                format!("set {name}, or write a default: \"${{{name}:-value}}\".")
            }
            Self::Open | Self::Name => {
                "write \"${NAME}\" or \"${NAME:-default}\"; a dollar sign alone is `$$`.".to_owned()
            }
            Self::Nested(name) => format!("write plain text after \"${{{name}:-\"."),
            Self::TooLong => "shorten it.".to_owned(),
        }
    }
}

/// Fills in the variables of one value. As in a shell, the default of `:-` also stands in for an empty variable.
pub(super) fn expand(raw: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, NotFilledIn> {
    let mut out = String::new();
    let mut rest = raw;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (inside, after) = after.split_once('}').ok_or(NotFilledIn::Open)?;
            out.push_str(&variable(inside, env)?);
            rest = after;
        } else {
            // "$0.01" is a price, not a variable.
            out.push('$');
            rest = &rest[1..];
        }
        if out.len() > MAX_BYTES {
            return Err(NotFilledIn::TooLong);
        }
    }
    out.push_str(rest);
    if out.len() > MAX_BYTES {
        return Err(NotFilledIn::TooLong);
    }
    Ok(out)
}

/// Whether a text can name an environment variable in a shell.
pub(super) fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    starts && goes_on && text.len() <= 200 && !super::mistake::may_be_secret(text)
}

fn variable(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, NotFilledIn> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(NotFilledIn::Name);
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(NotFilledIn::Nested(name.to_owned()));
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(NotFilledIn::Unset(name.to_owned())),
    }
}
