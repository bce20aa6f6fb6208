//! The one thread that writes. Whatever waits is committed together: one fsync serves every call.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use facilitator::point::{self, Act};
use gate::{Fault, FaultKind, Until};
use ledger::{AnswerState, Change, HoldId, Record, State};
use protocol::{ClaimKey, Payer};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::known::Known;
use crate::note::Note;
use crate::tabs::Tabs;
use crate::{Limits, purchases, rows};

/// How many jobs may wait. A full queue makes callers wait, at most [`ANSWER_WAIT`].
const QUEUE_MAX: usize = 4_096;
/// How many jobs one commit may carry.
const BATCH_MAX: usize = 256;

/// While there are several jobs at a time, a commit waits for more as long as more come, so much at a time and so often at most: an
/// fsync costs as much as some jobs.
const GATHER: Duration = Duration::from_micros(150);
const GATHERS_MAX: usize = 10;
/// With so many jobs waiting it does not wait.
const GATHERED: usize = 40;

/// How long a caller waits for a place in the queue and the commit together.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How many may wait for one claim; further ones do not wait.
const WAITERS_MAX: usize = 1_000;
/// How many holds are known without reading them.
const RUNNING_MAX: usize = 4_096;

/// What a job sees: the open db_tx and what the batch must tell afterwards.
pub(crate) struct Batch<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) limits: Limits,
    pub(crate) now_ms: u64,
    pub(crate) known: &'a Known,
    /// As they will be in the file.
    pub(crate) tabs: &'a mut Tabs,
    /// Holds whose run goes on, as they are in the file: their next step need not read them. Not every one is here.
    pub(crate) running: &'a mut BTreeMap<HoldId, Record>,
    touched: Vec<ClaimKey>,
    /// Whose standing may have changed.
    judged: Vec<Payer>,
    /// Whether keys, plans or secrets have changed.
    pub(crate) rekeyed: bool,
}

/// What is asked of the journal. It may be tried twice: the first time is then undone.
trait Job: Send {
    fn attempt(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()>;

    /// Tells what came of the last attempt. Runs only after the commit; dropped without when there is none.
    fn reply(self: Box<Self>);
}

struct Asked<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<T>,
}

impl<T: Send, F: Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send> Job for Asked<T, F> {
    fn attempt(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.work)(batch)?);
        Ok(())
    }

    fn reply(self: Box<Self>) {
        if let Some(value) = self.value {
            // A caller who has left needs no answer.
            self.reply.send(value).ok();
        }
    }
}

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
    Job(Box<dyn Job>),
    Wait(ClaimKey, Waiter),
}

/// The sending end of the writer's queue.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    /// What is written down beside each job.
    pub(crate) note: Option<Arc<Note>>,
}

impl Batch<'_> {
    /// Writes a hold that was won.
    pub(crate) fn open(&mut self, record: &Record) -> rusqlite::Result<()> {
        rows::insert(self.db, record)?;
        self.tabs.change(self.db, &record.hold, 0, record.exposed_micros())?;
        if self.running.len() < RUNNING_MAX {
            self.running.insert(record.hold.id, record.clone());
        }
        Ok(())
    }

    /// Writes what the ledger decided.
    pub(crate) fn write(&mut self, before: &Record, change: &Change) -> rusqlite::Result<()> {
        let (record, hold) = (&change.record, &change.record.hold);
        rows::update(self.db, before, record)?;
        self.tabs.change(self.db, hold, before.exposed_micros(), record.exposed_micros())?;
        if matches!(record.state, State::Lost(_)) && before.state != record.state {
            self.tabs.lose(self.db, hold)?;
        }
        if matches!(record.state, State::Open | State::Answered) && record.answer == AnswerState::Live {
            self.running.entry(hold.id).and_modify(|running| running.clone_from(record));
        } else {
            self.running.remove(&hold.id);
        }
        let undone = matches!(before.state, State::Posted(_));
        if undone || matches!(change.record.state, State::Posted(_) | State::Lost(_) | State::Burnt(_)) {
            self.judged.push(change.record.hold.authorization.key.payer);
        }
        for entry in &change.entries {
            rows::append(self.db, entry, self.now_ms)?;
        }
        purchases::follow(self, before, change)?;
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
        Ok(Self { queue, note: None })
    }

    /// Runs a job in the next commit and returns its value once it is durable. It is run again when another job of its batch fails.
    /// `acts` is what the job does.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        acts: &[Act],
        work: impl Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let fault = Fault::untouched(FaultKind::Journal);
        let (send, receive) = oneshot::channel();
        let note = self.note.clone();
        let work = move |batch: &mut Batch<'_>| match &note {
            None => work(batch),
            Some(note) => note.carry(batch, &work),
        };
        let job = Box::new(Asked { work, value: None, reply: send });
        let answer = async {
            self.queue.send(Message::Job(job)).await.map_err(|_| fault)?;
            receive.await.map_err(|_| fault)
        };
        acts.iter().copied().for_each(point::before);
        // A disk that hangs. Whatever becomes of the job, its caller reads a fault and lets go of what it may have claimed.
        let value = tokio::time::timeout(ANSWER_WAIT, answer).await.unwrap_or(Err(fault))?;
        acts.iter().copied().for_each(point::after);
        Ok(value)
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
    let (mut tabs, mut running) = (Tabs::default(), BTreeMap::new());
    let mut several = false;
    while let Some(first) = queue.blocking_recv() {
        if several {
            gather(&queue);
        }
        let (mut jobs, mut waits) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Wait(key, waiter) => waits.push((key, waiter)),
            }
            next = if jobs.len() < BATCH_MAX { queue.try_recv().ok() } else { None };
        }
        several = jobs.len() > 1;
        if !home.stands() {
            error!(path = %home.path.display(), "the journal's file is gone or another one");
        } else if !jobs.is_empty() {
            let mut batch = Batch {
                db,
                limits,
                now_ms: now_ms(),
                known,
                tabs: &mut tabs,
                running: &mut running,
                touched: Vec::new(),
                judged: Vec::new(),
                rekeyed: false,
            };
            match commit(&mut batch, jobs) {
                Ok(replies) => {
                    known.forget_standings(&batch.judged);
                    if batch.rekeyed {
                        known.access_changed();
                    }
                    replies.into_iter().for_each(|job| job.reply());
                    let touched = batch.touched.iter().filter_map(|key| waiting.remove_entry(key));
                    waits.extend(
                        touched.flat_map(|(key, waiters)| waiters.into_iter().map(move |waiter| (key, waiter))),
                    );
                }
                // The jobs' replies are dropped: every caller reads a fault.
                Err(error) => {
                    (tabs, running) = Default::default();
                    error!(%error, "the journal did not take a batch");
                }
            }
        }
        answer_waiters(db, &mut waiting, waits);
    }
}

/// Answers who has waited long enough, and keeps the others.
fn answer_waiters(db: &Connection, waiting: &mut BTreeMap<ClaimKey, Vec<Waiter>>, waits: Vec<(ClaimKey, Waiter)>) {
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

/// Waits while more jobs come.
fn gather(queue: &mpsc::Receiver<Message>) {
    for _ in 0..GATHERS_MAX {
        let waiting = queue.len();
        if waiting >= GATHERED {
            return;
        }
        thread::sleep(GATHER);
        if queue.len() == waiting {
            return;
        }
    }
}

/// Runs the jobs and commits them together, and returns those that are to be answered. If the commit fails, nobody is told of a
/// success.
fn commit(batch: &mut Batch<'_>, mut jobs: Vec<Box<dyn Job>>) -> rusqlite::Result<Vec<Box<dyn Job>>> {
    let db_tx = Transaction::new_unchecked(batch.db, TransactionBehavior::Immediate)?;
    if jobs.iter_mut().all(|job| job.attempt(batch).is_ok()) && batch.tabs.write(batch.db).is_ok() {
        db_tx.commit()?;
        return Ok(jobs);
    }
    // One has failed, which none does as long as the disk and this program are whole. All is undone and tried again, each alone: to
    // be ready for that in every batch would cost a copy of each page that a job writes.
    db_tx.rollback()?;
    *batch.tabs = Tabs::default();
    batch.running.clear();
    batch.touched.clear();
    batch.judged.clear();
    commit_each(batch, jobs)
}

/// The same where a job that fails is undone alone, and dropped without a reply.
fn commit_each(batch: &mut Batch<'_>, jobs: Vec<Box<dyn Job>>) -> rusqlite::Result<Vec<Box<dyn Job>>> {
    let mut db_tx = Transaction::new_unchecked(batch.db, TransactionBehavior::Immediate)?;
    let mut done = Vec::new();
    for mut job in jobs {
        let (touched, tabs) = (batch.touched.len(), batch.tabs.clone());
        let savepoint = db_tx.savepoint()?;
        match job.attempt(batch) {
            Ok(()) => {
                savepoint.commit()?;
                done.push(job);
            }
            Err(error) => {
                error!(%error, "the journal did not take a step");
                batch.touched.truncate(touched);
                *batch.tabs = tabs;
                batch.running.clear();
                drop(savepoint);
                // On a full disk SQLite gives up the whole db_tx by itself; what came after it would be committed alone.
                if batch.db.is_autocommit() {
                    return Err(error);
                }
            }
        }
    }
    batch.tabs.write(batch.db)?;
    db_tx.commit()?;
    Ok(done)
}
