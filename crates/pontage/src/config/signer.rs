//! Where the keys are kept that settle.

use std::fmt;
use std::path::{Path, PathBuf};

use super::mistake::may_be_secret;
use super::reader::{Fields, Node, Reader};
use super::{SecretSource, secret};

const MAX_SIGNERS: usize = 8;

/// Where a key that settles is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignerSource {
    /// The key itself.
    Key(SecretSource),
    /// An encrypted key file.
    Keystore {
        /// The file.
        file: SecretSource,
        /// What opens it.
        password: SecretSource,
    },
    /// The socket of a process that signs (`pontage signer`).
    Socket(PathBuf),
}

impl fmt::Display for SignerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(source) => source.fmt(f),
            Self::Keystore { file, .. } => file.fmt(f),
            Self::Socket(path) => write!(f, "the socket {}", path.display()),
        }
    }
}

/// Reads `signers`, or `signer` for one.
pub(super) fn signers<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, folder: &Path) -> Option<Vec<SignerSource>> {
    let fix = "write a list of 1 to 8 keys, such as signers: [{ env: KEY_1 }, { env: KEY_2 }].";
    match (fields.get("signer"), fields.get("signers")) {
        (None, None) => Some(Vec::new()),
        (Some(_), Some(both)) => reader.mistake(&both.at, "there are signer and signers.", "keep one of them."),
        (Some(one), None) => signer(reader, &one, folder).map(|source| vec![source]),
        (None, Some(node)) => {
            let items = reader.items(&node, fix)?;
            if items.is_empty() || items.len() > MAX_SIGNERS {
                return reader.mistake(&node.at, format!("{} keys are not 1 to {MAX_SIGNERS}.", items.len()), fix);
            }
            let read: Vec<_> = items.iter().map(|item| signer(reader, item, folder)).collect();
            let sources = read.into_iter().collect::<Option<Vec<_>>>()?;
            let twice = sources.iter().enumerate().find(|(at, source)| sources[..*at].contains(source));
            match twice {
                Some((at, _)) => reader.mistake(&items[at].at, "this key is in the list already.", "keep it once."),
                None => Some(sources),
            }
        }
    }
}

/// No value beneath this key is ever repeated in a message.
fn signer<'d>(reader: &mut Reader<'d>, node: &Node<'d>, folder: &Path) -> Option<SignerSource> {
    const FIX: &str = "write `{ keystore: PATH, password: { env: NAME } }` for an encrypted key file.";
    if node.has("socket") {
        const FIX: &str = "write `{ socket: PATH }` with the path of the socket of `pontage signer`.";
        let fields = reader.fields(node, "facilitator.signer")?;
        if ["env", "file", "keystore", "password"].iter().any(|name| fields.get(name).is_some()) {
            return reader.mistake(&node.at, "both a key and a socket are given.", "keep one of them.");
        }
        return path(reader, &fields.get("socket")?, FIX).map(|path| SignerSource::Socket(folder.join(path)));
    }
    if !node.has("keystore") && !node.has("password") {
        return secret::source(reader, node, folder).map(SignerSource::Key);
    }
    let fields = reader.fields(node, "facilitator.signer")?;
    if fields.get("env").is_some() || fields.get("file").is_some() {
        return reader.mistake(&node.at, "both a key and a keystore are given.", "keep one of them.");
    }
    let (Some(file), Some(password)) = (fields.get("keystore"), fields.get("password")) else {
        return reader.mistake(&node.at, "of `keystore` and `password` there is only one.", FIX);
    };
    let file = path(reader, &file, FIX)?;
    let password = secret::source(reader, &password, folder)?;
    Some(SignerSource::Keystore { file: SecretSource::File(folder.join(file)), password })
}

fn path<'d>(reader: &mut Reader<'d>, node: &Node<'d>, fix: &str) -> Option<String> {
    let text = reader.text(node, fix)?;
    if text.value.is_empty() || text.value.contains('\0') || may_be_secret(&text.value) {
        return reader.mistake(&node.at, "this is not the path of a file.", fix);
    }
    Some(text.value)
}
