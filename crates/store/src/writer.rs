//! The one thread that writes. Whatever waits is committed together: one fsync serves every call.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gate::{Fault, FaultKind, Until};
use ledger::{Change, Record, State};
use protocol::{ClaimKey, Payer};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::known::Known;
use crate::{Limits, rows};

/// How many jobs may wait. A full queue makes callers wait, at most [`ANSWER_WAIT`].
const QUEUE_MAX: usize = 4_096;
/// How many jobs one commit may carry.
const BATCH_MAX: usize = 256;

/// How long a caller waits for a place in the queue and the commit together.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How many may wait for one claim; further ones do not wait.
const WAITERS_MAX: usize = 1_000;

/// What a job sees: the open db_tx and what the batch must tell afterwards.
pub(crate) struct Batch<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) limits: Limits,
    pub(crate) now_ms: u64,
    pub(crate) known: &'a Known,
    touched: Vec<ClaimKey>,
    /// Whose standing may have changed.
    judged: Vec<Payer>,
}

/// Sends the reply. Runs only after the commit; dropped unsent when there is none.
type Reply = Box<dyn FnOnce() + Send>;
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> rusqlite::Result<Reply> + Send>;

/// Where the journal's file is, and which file it was when it was opened.
pub(crate) struct Home {
    path: PathBuf,
    file: (u64, u64),
}

impl Home {
    pub(crate) fn new(path: &Path, file: &File) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: identity(&file.metadata()?) })
    }

    /// Whether the file is still there. What is written to a deleted one is durable nowhere.
    fn stands(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.file)
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Who waits, and for what.
struct Waiter {
    until: Until,
    reply: oneshot::Sender<()>,
}

enum Message {
    Job(Job),
    Wait(ClaimKey, Waiter),
}

/// The sending end of the writer's queue.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Batch<'_> {
    /// Writes what the ledger decided.
    pub(crate) fn write(&mut self, before: &Record, change: &Change) -> rusqlite::Result<()> {
        rows::update(self.db, before, &change.record)?;
        if matches!(change.record.state, State::Posted(_) | State::Lost(_) | State::Burnt(_)) {
            self.judged.push(change.record.hold.authorization.key.payer);
        }
        for entry in &change.entries {
            rows::append(self.db, entry, self.now_ms)?;
        }
        self.touched.push(change.record.hold.authorization.key);
        Ok(())
    }
}

impl Writer {
    pub(crate) fn start(
        db: Connection,
        home: Home,
        limits: Limits,
        now_ms: fn() -> u64,
        known: Arc<Known>,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("journal".to_owned());
        thread.spawn(move || run(&db, &home, jobs, (limits, now_ms), &known))?;
        Ok(Self { queue })
    }

    /// Runs a job in the next commit and returns its value once it is durable.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let fault = Fault::untouched(FaultKind::Journal);
        let (send, receive) = oneshot::channel();
        let job: Job = Box::new(move |batch| {
            let value = job(batch)?;
            // A caller who has left needs no answer.
            let reply: Reply = Box::new(move || drop(send.send(value)));
            Ok(reply)
        });
        let answer = async {
            self.queue.send(Message::Job(job)).await.map_err(|_| fault)?;
            receive.await.map_err(|_| fault)
        };
        // A disk that hangs. Whatever becomes of the job, its caller reads a fault and lets go of what it may have claimed.
        tokio::time::timeout(ANSWER_WAIT, answer).await.unwrap_or(Err(fault))
    }

    /// Ends when the writer's thread has ended, which it never does by itself.
    pub(crate) async fn ended(&self) {
        self.queue.closed().await;
    }

    /// Resolves when the newest hold of a claim is what is waited for, or there is none.
    pub(crate) async fn wait(&self, key: ClaimKey, until: Until) -> Result<(), Fault> {
        let fault = Fault::untouched(FaultKind::Journal);
        let (send, receive) = oneshot::channel();
        self.queue.send(Message::Wait(key, Waiter { until, reply: send })).await.map_err(|_| fault)?;
        receive.await.map_err(|_| fault)
    }
}

fn run(
    db: &Connection,
    home: &Home,
    mut queue: mpsc::Receiver<Message>,
    (limits, now_ms): (Limits, fn() -> u64),
    known: &Known,
) {
    let mut waiting: BTreeMap<ClaimKey, Vec<Waiter>> = BTreeMap::new();
    while let Some(first) = queue.blocking_recv() {
        let (mut jobs, mut waits) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Wait(key, waiter) => waits.push((key, waiter)),
            }
            next = if jobs.len() < BATCH_MAX { queue.try_recv().ok() } else { None };
        }
        if !home.stands() {
            error!(path = %home.path.display(), "the journal's file is gone or another one");
        } else if !jobs.is_empty() {
            let mut batch = Batch { db, limits, now_ms: now_ms(), known, touched: Vec::new(), judged: Vec::new() };
            match commit(&mut batch, jobs) {
                Ok(replies) => {
                    known.forget_standings(&batch.judged);
                    replies.into_iter().for_each(|reply| reply());
                    let touched = batch.touched.iter().filter_map(|key| waiting.remove_entry(key));
                    waits.extend(
                        touched.flat_map(|(key, waiters)| waiters.into_iter().map(move |waiter| (key, waiter))),
                    );
                }
                // The jobs' replies are dropped: every caller reads a fault.
                Err(error) => error!(%error, "the journal did not take a batch"),
            }
        }
        waiting.retain(|_, replies| {
            replies.retain(|waiter| !waiter.reply.is_closed());
            !replies.is_empty()
        });
        let mut asked: BTreeMap<ClaimKey, Vec<Waiter>> = BTreeMap::new();
        waits.into_iter().for_each(|(key, waiter)| asked.entry(key).or_default().push(waiter));
        for (key, waiters) in asked {
            let latest = match rows::latest(db, &key) {
                Ok(latest) => latest,
                Err(error) => {
                    error!(%error, "the journal cannot be read");
                    continue;
                }
            };
            let met = |waiter: &Waiter| latest.as_ref().is_none_or(|record| waiter.until.met(record));
            let (over, left): (Vec<_>, Vec<_>) = waiters.into_iter().partition(met);
            let line = waiting.entry(key).or_default();
            line.extend(left);
            let beyond = line.split_off(line.len().min(WAITERS_MAX));
            // A waiter who has left needs no answer.
            over.into_iter().chain(beyond).for_each(|waiter| waiter.reply.send(()).unwrap_or_default());
        }
    }
}

/// Runs the jobs and commits them together. A job that fails is undone alone, and its reply is dropped; if the commit fails,
/// nobody is told of a success.
fn commit(batch: &mut Batch<'_>, jobs: Vec<Job>) -> rusqlite::Result<Vec<Reply>> {
    let db_tx = rusqlite::Transaction::new_unchecked(batch.db, rusqlite::TransactionBehavior::Immediate)?;
    let mut replies = Vec::new();
    for job in jobs {
        let touched = batch.touched.len();
        savepoint(&db_tx, "SAVEPOINT job")?;
        match job(batch) {
            Ok(reply) => {
                savepoint(&db_tx, "RELEASE job")?;
                replies.push(reply);
            }
            Err(error) => {
                error!(%error, "the journal did not take a step");
                batch.touched.truncate(touched);
                // On a full disk SQLite gives up the whole db_tx by itself; what came after it would be committed alone.
                if batch.db.is_autocommit() {
                    return Err(error);
                }
                savepoint(&db_tx, "ROLLBACK TO job")?;
                savepoint(&db_tx, "RELEASE job")?;
            }
        }
    }
    db_tx.commit()?;
    Ok(replies)
}

/// rusqlite's own savepoints are parsed anew each time, which costs as much as what they guard.
fn savepoint(db: &Connection, word: &str) -> rusqlite::Result<()> {
    db.prepare_cached(word)?.execute([]).map(drop)
}
