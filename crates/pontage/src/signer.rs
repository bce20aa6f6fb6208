//! The keys that settle: where they are kept, and who signs with them.

mod keystore;
mod serve;
mod socket;

use alloy_primitives::{Address, B256};
use anyhow::{Context as _, anyhow, bail};
use gate::Fault;
use protocol::{Key, SignFault, Signature, Signer};

use crate::config::SignerSource;

pub(crate) use serve::{SignerArgs, run};
use socket::SocketSigner;

/// A key that settles.
#[derive(Clone, Debug)]
pub(crate) enum SettlementKey {
    /// In this process.
    Here(Key),
    /// In a process of its own.
    Elsewhere(SocketSigner),
}

impl SettlementKey {
    /// Gets the key of the configuration that is called `name` in messages.
    pub(crate) async fn open(source: &SignerSource, name: &str) -> anyhow::Result<Self> {
        match source {
            SignerSource::Key(_) | SignerSource::Keystore { .. } => read(source, name).map(Self::Here),
            SignerSource::Socket(path) => {
                let signer = SocketSigner::connect(path).await;
                signer.map(Self::Elsewhere).with_context(|| format!("{name}: {source}"))
            }
        }
    }

    /// Signs a seal of the books by its hash; a process of its own is given the text. `None` when it cannot sign now.
    pub(crate) async fn sign_seal(
        &self,
        hash: B256,
        text: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<Option<Signature>, Fault> {
        Ok(match self {
            Self::Here(key) => key.sign_now(hash).ok(),
            Self::Elsewhere(signer) => signer.sign_seal(hash, &text()?).await.ok(),
        })
    }
}

impl Signer for SettlementKey {
    fn address(&self) -> Address {
        match self {
            Self::Here(key) => key.address(),
            Self::Elsewhere(signer) => signer.address(),
        }
    }

    /// A process of its own signs no bare digest.
    async fn sign(&self, digest: B256) -> Result<Signature, SignFault> {
        match self {
            Self::Here(key) => key.sign_now(digest),
            Self::Elsewhere(_) => Err(SignFault),
        }
    }

    async fn sign_chain_tx(&self, unsigned: &[u8]) -> Result<Signature, SignFault> {
        match self {
            Self::Here(key) => key.sign_chain_tx(unsigned).await,
            Self::Elsewhere(signer) => signer.sign_chain_tx(unsigned).await,
        }
    }
}

/// Reads a key into this process. No message repeats what was read.
fn read(source: &SignerSource, name: &str) -> anyhow::Result<Key> {
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
        SignerSource::Socket(_) => bail!("{name}: the key is not here"),
    }
}
