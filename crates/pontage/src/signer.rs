//! The keys that settle: where they are kept, and who signs with them.

mod keystore;

use anyhow::{Context as _, anyhow};
use protocol::Key;

use crate::config::SignerSource;

/// Gets the key of the configuration that is called `name` in messages. No message repeats what was read.
pub(crate) fn open(source: &SignerSource, name: &str) -> anyhow::Result<Key> {
    match source {
        SignerSource::Key(place) => {
            let secret = place.read().with_context(|| name.to_owned())?;
            Key::from_hex(secret.expose()).map_err(|error| anyhow!("{name}: {place} {error}"))
        }
        SignerSource::Keystore { file, password } => {
            let text = file.read().with_context(|| name.to_owned())?;
            let password = password.read().with_context(|| format!("{name}.password"))?;
            keystore::decrypt(text.expose(), password.expose()).map_err(|error| anyhow!("{name}: {file} {error}"))
        }
    }
}
