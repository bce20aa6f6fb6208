//! Where a secret is kept, and the secret once it is read.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::expand::is_name;
use super::mistake::may_be_secret;
use super::reader::{Node, Reader};

/// More than any key or keystore needs.
const MAX_BYTES: u64 = 64 * 1024;

/// Where a secret is to be found. The configuration names the place and never holds the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// An environment variable of this name.
    Env(String),
    /// A variable of this name in a `.env` file, which the process's environment does not have.
    EnvFile {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// A file that holds the secret and nothing else.
    File(PathBuf),
}

/// A secret. It prints as `***`; it is not wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// Why a secret could not be read. It names the place, never what was found there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFault {
    /// The variable does not exist.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The variable or the file holds nothing but white space.
    #[error("{0} is empty")]
    Empty(SecretSource),
    /// Not UTF-8.
    #[error("{0} does not hold text")]
    NotText(SecretSource),
    /// The file is larger than any key.
    #[error("{0} is larger than 64 KiB")]
    TooLarge(SecretSource),
    /// The file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl SecretSource {
    /// Reads the secret, without the white space around it. What it holds is not checked.
    pub(crate) fn read(&self) -> Result<Secret, SecretFault> {
        let text = match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(std::env::VarError::NotPresent) => {
                    return Err(SecretFault::Unset(name.clone()));
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(SecretFault::NotText(self.clone()));
                }
            },
            Self::EnvFile { name, path } => {
                super::env::look_up(path, name).ok_or_else(|| SecretFault::Unset(name.clone()))?
            }
            Self::File(path) => self.read_file(path)?,
        };
        match text.trim() {
            "" => Err(SecretFault::Empty(self.clone())),
            secret => Ok(Secret(secret.to_owned())),
        }
    }

    fn read_file(&self, path: &Path) -> Result<String, SecretFault> {
        let unreadable = |source| SecretFault::Unreadable { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(SecretFault::TooLarge(self.clone()));
        }
        String::from_utf8(bytes).map_err(|_| SecretFault::NotText(self.clone()))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::EnvFile { name, path } => write!(f, "the variable {name} in {}", path.display()),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl Secret {
    /// The secret itself, for the one place that uses it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads `{ env: NAME }` or `{ file: PATH }`. No value beneath this key is ever repeated in a message.
pub(super) fn source<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<SecretSource> {
    const FIX: &str = "write `{ env: NAME }` with the name of an environment variable, or `{ file: PATH }`.";
    if !node.is_mapping() {
        let raw = reader.raw(node, FIX)?;
        let variable = raw.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let fix = match variable.filter(|name| is_name(name)) {
            Some(name) => format!("write `{{ env: {name} }}`."),
            None => format!("{FIX} If this is a real key, others who read the file know it: use a new one."),
        };
        return reader.mistake(&node.at, "a secret does not belong in this file.", fix);
    }
    let fields = reader.fields(node, "facilitator.bearer")?;
    match (fields.get("env"), fields.get("file")) {
        (Some(name), None) => {
            let text = reader.text(&name, FIX)?;
            if !is_name(&text.value) {
                return reader.mistake(&name.at, "this is not the name of an environment variable.", FIX);
            }
            let name = text.value;
            Some(match reader.env().file_of(&name) {
                Some(path) => SecretSource::EnvFile { name, path: path.to_owned() },
                None => SecretSource::Env(name),
            })
        }
        (None, Some(file)) => {
            let text = reader.text(&file, FIX)?;
            if text.value.is_empty() || text.value.contains('\0') || may_be_secret(&text.value) {
                return reader.mistake(&file.at, "this is not the path of a file.", FIX);
            }
            Some(SecretSource::File(folder.join(text.value)))
        }
        (Some(_), Some(_)) => reader.mistake(&node.at, "both `env` and `file` are given.", "keep one of them."),
        (None, None) if fields.refused() => None,
        (None, None) => reader.mistake(&node.at, "neither `env` nor `file` is given.", FIX),
    }
}
