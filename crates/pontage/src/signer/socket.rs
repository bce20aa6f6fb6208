//! The gate's side of a signer in a process of its own: one line of JSON asks, one line answers.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::{Address, B256, hex, keccak256};
use anyhow::{Context as _, bail, ensure};
use protocol::{SignFault, Signature};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tracing::warn;

/// How long a signature may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer is longer.
const ANSWER_MAX_BYTES: u64 = 4 * 1024;

/// A key behind a socket.
#[derive(Clone, Debug)]
pub(crate) struct SocketSigner {
    path: PathBuf,
    address: Address,
}

impl SocketSigner {
    /// Asks who signs there.
    pub(super) async fn connect(path: &Path) -> anyhow::Result<Self> {
        let answer = ask(path, &json!({ "ask": "address" })).await?;
        let address = answer["address"].as_str().and_then(|text| text.parse().ok()).context("it names no address")?;
        Ok(Self { path: path.to_owned(), address })
    }

    pub(super) const fn address(&self) -> Address {
        self.address
    }

    pub(super) async fn sign_chain_tx(&self, unsigned: &[u8]) -> Result<Signature, SignFault> {
        let request = json!({ "ask": "chain_tx", "unsigned": hex::encode_prefixed(unsigned) });
        self.signature(&request, keccak256(unsigned)).await
    }

    pub(super) async fn sign_seal(&self, hash: B256, text: &str) -> Result<Signature, SignFault> {
        self.signature(&json!({ "ask": "seal", "text": text }), hash).await
    }

    /// A signature counts when it is that of the key over what was asked for.
    async fn signature(&self, request: &Value, digest: B256) -> Result<Signature, SignFault> {
        let answer = ask(&self.path, request).await.map_err(|error| {
            warn!(signer = %self.address, error = format!("{error:#}"), "the signer does not answer");
            SignFault
        })?;
        let bytes = answer["signature"].as_str().and_then(|text| hex::decode(text).ok());
        let signature = bytes.and_then(|bytes| Signature::from_bytes(&bytes));
        signature.filter(|signature| signature.recover(digest) == Some(self.address)).ok_or_else(|| {
            let refused = answer["refused"].as_str().unwrap_or("it gave no signature of its key");
            warn!(signer = %self.address, refused, "the signer did not sign");
            SignFault
        })
    }
}

async fn ask(path: &Path, request: &Value) -> anyhow::Result<Value> {
    tokio::time::timeout(PATIENCE, exchange(path, request)).await.context("it takes too long")?
}

async fn exchange(path: &Path, request: &Value) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(path).await.context("nobody listens there")?;
    // Whoever else made this socket would learn what is about to be settled, and could hold it up.
    let ours = std::fs::metadata("/proc/self").or_else(|_| std::fs::metadata(path))?.uid();
    ensure!(stream.peer_cred()?.uid() == ours, "it belongs to another user");
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).take(ANSWER_MAX_BYTES).read_line(&mut line).await?;
    if !line.ends_with('\n') {
        bail!("its answer breaks off");
    }
    serde_json::from_str(&line).context("its answer is not JSON")
}
