//! A journal belongs to one process. Commands that write to it ask that process, over a socket beside the journal: one line of JSON
//! goes there, one comes back. Where no process has the journal, the command takes it itself.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Connection;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::hex;
use anyhow::{Context as _, bail};
use ledger::HoldId;
use serde_json::{Value, json};
use store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;
use tracing::{info, warn};

use crate::config::Config;
use crate::link::Link;
use crate::refund::{self, Ask, Desk};
use crate::run::{Lifeline, Mode};

/// No command is longer.
const COMMAND_MAX_BYTES: u64 = 64 * 1024;
/// No answer is longer.
const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How long a command may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long a command waits for its answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many commands are worked on at once; further ones wait.
const AT_ONCE: usize = 32;

/// What the journal's owner can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Give money back for a payment.
    Refund(Ask),
    /// Take a pass back.
    RevokePass(HoldId),
    /// Give back everything that is owed.
    RefundDue {
        /// Whether somebody pays it by hand.
        by_hand: bool,
    },
}

impl Command {
    fn to_json(&self) -> Value {
        match self {
            Self::Refund(ask) => json!({
                "command": "refund",
                "payment": ask.payment,
                "amount": ask.amount,
                "key": ask.key,
                "by_hand": ask.by_hand,
                "settled_by": ask.settled_by,
            }),
            Self::RevokePass(payment) => {
                json!({ "command": "revoke_pass", "payment": payment.to_string(), "by_hand": false })
            }
            Self::RefundDue { by_hand } => json!({ "command": "refund_due", "by_hand": by_hand }),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let by_hand = value["by_hand"].as_bool()?;
        match value["command"].as_str()? {
            "refund" => Some(Self::Refund(Ask {
                payment: text("payment")?,
                amount: text("amount"),
                key: text("key")?,
                by_hand,
                settled_by: text("settled_by"),
            })),
            "revoke_pass" => Some(Self::RevokePass(HoldId(hex::decode_to_array(text("payment")?).ok()?))),
            "refund_due" => Some(Self::RefundDue { by_hand }),
            _ => None,
        }
    }
}

/// Where the owner of a journal listens.
pub(crate) fn socket_of(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".sock");
    name.into()
}

/// Asks the process that has the journal. `None` when none listens.
pub(crate) fn ask(journal: &Path, command: &Command) -> anyhow::Result<Option<Value>> {
    let path = socket_of(journal);
    let connection = match Connection::connect(&path) {
        Ok(connection) => connection,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let lost =
        || "the running gate did not answer. What it was asked for may have been done: ask again, it is done once";
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(ARRIVAL))?;
    (&connection).write_all(format!("{}\n", command.to_json()).as_bytes()).with_context(lost)?;
    let mut line = String::new();
    BufReader::new(connection.take(ANSWER_MAX_BYTES)).read_line(&mut line).with_context(lost)?;
    let answer: Value = serde_json::from_str(&line).with_context(lost)?;
    match answer["error"].as_str() {
        Some(error) => bail!("the running gate says: {error}"),
        None => Ok(Some(answer)),
    }
}

/// Listens beside the journal, in a thread of its own, and looks after the refunds. Where it cannot listen, the log says so, and
/// commands that write have to wait until the process has ended.
pub(crate) fn start(
    mode: Mode,
    config: &Config,
    (store, links): (&Store, &[Link]),
    lifeline: &Lifeline,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    // What is only played is in a journal that nobody can ask for.
    if mode == Mode::Mock {
        return Ok(());
    }
    let (path, wallet) = (socket_of(&config.store_path), refund::wallet(config)?);
    let (config, store, links, mut stopped) = (config.clone(), store.clone(), links.to_vec(), stopped.clone());
    let run = move || -> anyhow::Result<()> {
        let desk = Rc::new(Desk::new(&config, wallet, &store, &links, Vec::new())?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = async {
            let listener = match listen(&path) {
                Ok(listener) => Some(listener),
                Err(error) => {
                    warn!(path = %path.display(), %error, "commands cannot reach this process: the socket cannot be made");
                    None
                }
            };
            tokio::select! {
                () = serve(listener, &desk) => {}
                () = desk.mind() => {}
                // An error means that the sender is gone, which is a stop as well.
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        };
        LocalSet::new().block_on(&runtime, work);
        // The next process makes its own.
        std::fs::remove_file(&path).ok();
        Ok(())
    };
    lifeline.spawn("commands", run).map(drop)
}

/// Makes the socket, for its owner alone. Whoever was here before has ended: the journal is locked by this process.
fn listen(path: &Path) -> io::Result<(UnixListener, u32)> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let owner = std::fs::metadata(path)?.uid();
    info!(path = %path.display(), "listening for commands");
    Ok((listener, owner))
}

async fn serve(listener: Option<(UnixListener, u32)>, desk: &Rc<Desk>) {
    let Some((listener, owner)) = listener else { return std::future::pending().await };
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for example: there may be some again.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Before its mode was set anybody could have connected. Root may do everything as it is.
        let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0);
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        if allowed {
            let desk = Rc::clone(desk);
            tokio::task::spawn_local(async move {
                let _turn = turn;
                // Whoever has left need not be answered; what he asked for is done.
                answer(stream, &desk).await.ok();
            });
        }
    }
}

async fn answer(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let mut line = String::new();
    let (reading, mut writing) = stream.split();
    let mut reading = tokio::io::BufReader::new(reading.take(COMMAND_MAX_BYTES));
    tokio::time::timeout(ARRIVAL, reading.read_line(&mut line)).await??;
    let command = serde_json::from_str(&line).ok().and_then(|value| Command::from_json(&value));
    let answer = match command {
        Some(command) => desk.run(&command).await.unwrap_or_else(|error| json!({ "error": format!("{error:#}") })),
        None => json!({ "error": "this is no command that this version knows" }),
    };
    writing.write_all(format!("{answer}\n").as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_written() {
        let ask = Ask {
            payment: "ab".repeat(16),
            amount: Some("0.005".to_owned()),
            key: "a \"key\"\n".to_owned(),
            by_hand: false,
            settled_by: None,
        };
        let whole = Ask { amount: None, settled_by: Some("0x1".to_owned()), ..ask.clone() };
        let revoked = Command::RevokePass(HoldId([7; 16]));
        for command in [Command::Refund(ask), Command::Refund(whole), revoked, Command::RefundDue { by_hand: true }] {
            let line = command.to_json().to_string();
            assert!(!line.contains('\n'));
            assert_eq!(Command::from_json(&serde_json::from_str(&line).unwrap()), Some(command));
        }
        for nonsense in
            ["{}", "[]", "{\"command\":\"rm\",\"by_hand\":true}", "{\"command\":\"refund\",\"by_hand\":true}"]
        {
            assert_eq!(Command::from_json(&serde_json::from_str(nonsense).unwrap()), None, "{nonsense}");
        }
    }
}
