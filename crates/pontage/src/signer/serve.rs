//! `pontage signer`: a key in a process of its own. It signs settlements and seals that it can read, and nothing else: whoever takes the
//! gate over can spend the key's gas on settlements, within the caps, and cannot have the key.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::{Address, B256, hex, keccak256};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use facilitator::engine::{Act, Asked, FeeCaps, gas_allowed};
use protocol::{Key, Signature, Signer as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use crate::config::{Config, SecretSource, SignerSource};
use crate::run::{Mode, Signals, Told, load};
use crate::{log, say};

/// The longest request: the text of a seal over as many entries as one covers.
const REQUEST_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How long a request may take to come in: one at a time is answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the signer listens, and where its key is kept.
#[derive(Args)]
pub(crate) struct SignerArgs {
    /// The gate's configuration: its networks and tokens are what is signed for, its `facilitator.fees` what may be bid.
    #[arg(short, long, default_value = "pontage.yaml")]
    config: PathBuf,
    /// The socket to listen on. Only this user can use it.
    #[arg(long)]
    socket: PathBuf,
    #[command(flatten)]
    key: KeyPlace,
    /// The variable that holds the password of the keystore.
    #[arg(long, value_name = "NAME", requires = "keystore")]
    password_env: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct KeyPlace {
    /// The variable that holds the key.
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// The file that holds the key.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
    /// An encrypted key file.
    #[arg(long, value_name = "PATH", requires = "password_env")]
    keystore: Option<PathBuf>,
}

impl SignerArgs {
    fn source(&self) -> anyhow::Result<SignerSource> {
        Ok(match (&self.key, &self.password_env) {
            (KeyPlace { key_env: Some(name), .. }, _) => SignerSource::Key(SecretSource::Env(name.clone())),
            (KeyPlace { key_file: Some(path), .. }, _) => SignerSource::Key(SecretSource::File(path.clone())),
            (KeyPlace { keystore: Some(path), .. }, Some(name)) => SignerSource::Keystore {
                file: SecretSource::File(path.clone()),
                password: SecretSource::Env(name.clone()),
            },
            _ => bail!("the key is missing: --key-env, --key-file or --keystore"),
        })
    }
}

/// Listens until it is told to stop.
pub(crate) fn run(args: &SignerArgs) -> anyhow::Result<()> {
    let config = load(&args.config, Mode::Live)?;
    let _log = log::start(Mode::Live, &config.log)?;
    let seat = Seat::new(&config, super::read(&args.source()?, "the key")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = listen(&args.socket)?;
        let owner = std::fs::metadata(&args.socket)?.uid();
        let mut signals = Signals::new()?;
        info!(signer = %seat.key.address(), socket = %args.socket.display(), "signs settlements");
        say(&format!("pontage signs on {}", args.socket.display()))?;
        loop {
            tokio::select! {
                came = listener.accept() => {
                    let (stream, _) = came?;
                    // Whoever asks waits for his answer, and a gate asks for one at a time from each lane.
                    if let Err(error) = answer(&seat, stream, owner).await {
                        warn!(error = format!("{error:#}"), "a request was not answered");
                    }
                }
                told = signals.next() => if matches!(told, Told::End) { break },
            }
        }
        std::fs::remove_file(&args.socket).context("--socket")
    })
}

/// Takes the place of a socket that nobody listens on any more.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        ensure!(there.file_type().is_socket(), "--socket: {} is there and is no socket", path.display());
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            bail!("--socket: somebody listens on {} already", path.display());
        }
        std::fs::remove_file(path).context("--socket")?;
    }
    let listener = UnixListener::bind(path).with_context(|| format!("--socket: {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).context("--socket")?;
    Ok(listener)
}

async fn answer(seat: &Seat, mut stream: UnixStream, owner: u32) -> anyhow::Result<()> {
    let peer = stream.peer_cred()?.uid();
    ensure!(peer == owner, "the user {peer} is not this one");
    let (from, mut to) = stream.split();
    let mut line = String::new();
    let mut from = BufReader::new(from).take(REQUEST_MAX_BYTES);
    tokio::time::timeout(PATIENCE, from.read_line(&mut line)).await.context("it asks for too long")??;
    let answer = match seat.answer(&line) {
        Ok(answer) => answer,
        Err(refused) => {
            warn!(refused, "refused to sign");
            json!({ "refused": refused })
        }
    };
    Ok(to.write_all(format!("{answer}\n").as_bytes()).await?)
}

/// A key, and what it signs.
struct Seat {
    key: Key,
    /// Chain and contract of every token.
    tokens: BTreeSet<(u64, Address)>,
    caps: FeeCaps,
}

impl Seat {
    fn new(config: &Config, key: Key) -> Self {
        let tokens = config.networks.iter().flat_map(|network| &network.tokens);
        let tokens = tokens.map(|token| (token.asset.network.chain_id, token.asset.address.0)).collect();
        Self { key, tokens, caps: config.gas.caps }
    }

    fn answer(&self, line: &str) -> Result<Value, &'static str> {
        let request: Value = serde_json::from_str(line).map_err(|_| "not a line of JSON")?;
        let text = |name: &str| request[name].as_str();
        match (text("ask"), text("unsigned"), text("text")) {
            (Some("address"), None, None) => Ok(json!({ "address": self.key.address() })),
            (Some("chain_tx"), Some(unsigned), None) => {
                let unsigned = hex::decode(unsigned).map_err(|_| "not hex")?;
                self.allow(&unsigned)?;
                self.sign(keccak256(unsigned))
            }
            (Some("seal"), None, Some(text)) => {
                is_seal(text).then_some(()).ok_or("not the text of a seal")?;
                self.sign(B256::from_slice(&Sha256::digest(text)))
            }
            _ => Err("not a request that is known"),
        }
    }

    fn sign(&self, digest: B256) -> Result<Value, &'static str> {
        let signature: Signature = self.key.sign_now(digest).map_err(|_| "the key did not sign")?;
        Ok(json!({ "signature": hex::encode_prefixed(signature.as_bytes()) }))
    }

    /// Whether it is what a lane signs, on a chain and for tokens of the configuration, within its caps.
    fn allow(&self, unsigned: &[u8]) -> Result<(), &'static str> {
        let Asked { chain_id, price, gas_max, act } = Asked::read(unsigned).ok_or("not a settlement")?;
        let known = |token: &Address| self.tokens.contains(&(chain_id, *token));
        let transfers = match &act {
            Act::Transfers(tokens) if tokens.is_empty() || !tokens.iter().all(known) => {
                return Err("not a token of the configuration");
            }
            Act::Transfers(tokens) => Some(tokens.len()),
            Act::Nothing(to) if *to != self.key.address() => return Err("not a settlement"),
            Act::Nothing(_) if !self.tokens.iter().any(|(known, _)| *known == chain_id) => {
                return Err("not a network of the configuration");
            }
            // It keeps the gas limit of what it takes the place of.
            Act::Nothing(_) => None,
        };
        if transfers.is_some_and(|transfers| gas_max > gas_allowed(transfers)) {
            return Err("more gas than a settlement takes");
        }
        if price.fee_max > self.caps.fee_max || price.tip > self.caps.tip_max {
            return Err("above the caps of facilitator.fees");
        }
        Ok(())
    }
}

/// Whether a text is that of a seal (docs/ledger.md), line by line.
fn is_seal(text: &str) -> bool {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next() == Some("pontage seal 1\n");
    let after = lines.next().and_then(|line| line.strip_prefix("after 0x")?.strip_suffix('\n'));
    let hash = after.is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let entry =
        |line: &str| ["entry ", "debit ", "credit "].iter().any(|word| line.starts_with(word)) && line.ends_with('\n');
    first && hash && lines.all(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    const OTHER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
    /// The unsigned part of the transfer of USDC on Base Sepolia that facilitator/src/engine/tests/lane.rs has from viem, at sequence 7.
    const FIELDS: &str = "83014a34078459682f0084d09dc30083030d4094036cbd53842c5426634e7929541ec2318f3dcf7e80b90124";
    const CALL: &str = "e3ee160e000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266000000000000000000000000209693bc6afc0c\
        5328ba36faf03c514ef312287c000000000000000000000000000000000000000000000000000000000000271000000000000000000000\
        00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000007735940009\
        09090909090909090909090909090909090909090909090909090909090909000000000000000000000000000000000000000000000000\
        000000000000001cb2afdb682b9881e39c560babd67679fcc747cb0b56fece996c92fb682d08ef21538c9b38abb2a01cb94bd8c6eee6d3\
        0608d8138435fd89af4d609d23bb1c578a";

    fn seat() -> Seat {
        let tokens = BTreeSet::from([(84_532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e".parse().unwrap())]);
        let caps = FeeCaps { fee_max: 10_000_000_000, tip_max: 2_000_000_000, payment_max: u128::MAX };
        Seat { key: Key::from_hex(KEY).unwrap(), tokens, caps }
    }

    /// The fields with an empty access list behind them, in their envelope.
    fn envelope(fields: &str) -> String {
        let fields = hex::decode(format!("{fields}c0")).unwrap();
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        let list = match fields.len() {
            0..56 => vec![0xc0 + length[1]],
            56..256 => vec![0xf8, length[1]],
            _ => vec![0xf9, length[0], length[1]],
        };
        hex::encode_prefixed([vec![2], list, fields].concat())
    }

    fn refused(unsigned: &str) -> Option<String> {
        let seat = seat();
        match seat.answer(&json!({ "ask": "chain_tx", "unsigned": unsigned }).to_string()) {
            Ok(answer) => {
                let signature = hex::decode(answer["signature"].as_str().unwrap()).unwrap();
                let digest = keccak256(hex::decode(unsigned).unwrap());
                assert_eq!(Signature::from_bytes(&signature).unwrap().recover(digest), Some(seat.key.address()));
                None
            }
            Err(refused) => Some(refused.to_owned()),
        }
    }

    /// What is written in the place of what; why it is refused.
    #[test]
    fn what_is_signed_table() {
        let good = envelope(&format!("{FIELDS}{CALL}"));
        assert_eq!(refused(&good), None);
        for (what, instead, want) in [
            ("83014a34", "8322105a", "not a token"),
            ("036cbd53842c5426634e7929541ec2318f3dcf7e", "036cbd53842c5426634e7929541ec2318f3dcf7f", "not a token"),
            // approve(address,uint256) of the same token.
            ("e3ee160e", "095ea7b3", "not a settlement"),
            // A value.
            ("7e80b90124", "7e01b90124", "not a settlement"),
            ("83030d40", "83030d41", "more gas"),
            ("8459682f00", "84f9682f00", "above the caps"),
            ("84d09dc300", "8502d09dc300", "above the caps"),
            // The same number spelt in another way.
            ("34078459", "3481078459", "not a settlement"),
        ] {
            assert!(FIELDS.contains(what) || CALL.contains(what) || "7e80b90124".contains(what), "{what}");
            let said = refused(&envelope(&format!("{FIELDS}{CALL}").replacen(what, instead, 1)));
            assert!(said.as_ref().is_some_and(|said| said.starts_with(want)), "{instead}: {said:?}");
        }
        for other in
            ["0x", "0x02", "zz", &good[..good.len() - 2], &format!("{good}00"), &good.replacen("0x02", "0x01", 1)]
        {
            assert!(refused(other).is_some(), "{other}");
        }
    }

    #[test]
    fn nothing_goes_to_itself_alone() {
        let seat = seat();
        let nothing = |chain: &str, to: &str| {
            let to = to.trim_start_matches("0x").to_ascii_lowercase();
            refused(&envelope(&format!("{chain}078459682f0084d09dc30083030d4094{to}8080")))
        };
        assert_eq!(nothing("83014a34", &seat.key.address().to_string()), None);
        assert!(nothing("83014a34", OTHER).is_some());
        assert!(nothing("8322105a", &seat.key.address().to_string()).is_some());
    }

    #[test]
    fn what_else_is_asked_table() {
        let seat = seat();
        let head = format!("pontage seal 1\nafter 0x{}\n", "0".repeat(64));
        let entry = "entry 1 posted payment 00 at 1\ndebit external:0x 1 of a/b\ncredit revenue:0x 1 of a/b\n";
        for (text, good) in [
            (format!("{head}{entry}"), true),
            (head.clone(), true),
            (String::new(), false),
            (entry.to_owned(), false),
            (format!("{head}{entry}transfer all"), false),
            (format!("{head}{entry}\n"), false),
            (format!("\u{19}Ethereum Signed Message:\n{head}"), false),
            (head.replace("seal 1", "seal 2"), false),
            (head.replace('0', "g"), false),
        ] {
            let answer = seat.answer(&json!({ "ask": "seal", "text": text }).to_string());
            assert_eq!(answer.is_ok(), good, "{text:?}");
        }
        for request in [
            "",
            "1",
            "{}",
            r#"{"ask":"digest","digest":"0x00"}"#,
            r#"{"ask":"sign"}"#,
            r#"{"ask":"chain_tx"}"#,
            r#"{"ask":"chain_tx","text":"pontage seal 1"}"#,
            r#"{"ask":"seal","unsigned":"0x02"}"#,
        ] {
            assert!(seat.answer(request).is_err(), "{request}");
        }
        assert_eq!(seat.answer(r#"{"ask":"address"}"#).unwrap()["address"], json!(seat.key.address()));
    }
}
