//! The journal's ports over the disk: a writer with a queue and group commits, faults before and after the commit, a disk that is
//! away or hangs for a while.

mod accounts;
mod ports;

use std::rc::Rc;

use alloy_primitives::B256;
use gate::{Fault, FaultKind};
use ledger::Record;
use protocol::ClaimKey;

use crate::disk::Disk;
use crate::executor::{Inbox, Owner, oneshot};
use crate::world::World;

/// How long a caller waits for a commit.
const ANSWER_WAIT_MS: u64 = 10_000;

/// Sends the reply; dropped unsent, its caller reads a fault.
type Reply = Box<dyn FnOnce()>;
type Job = Box<dyn FnOnce(&mut Disk) -> Reply>;

/// One process's way to the journal.
#[derive(Clone)]
pub(crate) struct SimJournal {
    pub(crate) world: Rc<World>,
    queue: Inbox<Job>,
    /// With [`Bug::NoSecret`](crate::Bug::NoSecret): the secret that is taken for the right one.
    shown: Option<Option<B256>>,
}

pub(crate) const FAULT: Fault = Fault::untouched(FaultKind::Journal);

impl SimJournal {
    /// Starts the writer of a process. It ends with it, and with it what was not committed.
    pub(crate) fn start(world: &Rc<World>, owner: Owner) -> Self {
        let queue = Inbox::new();
        world.exec.spawn(owner, "writer", run(Rc::clone(world), queue.clone()));
        Self { world: Rc::clone(world), queue, shown: None }
    }

    /// Runs a job in the next commit and returns its value once it is durable. A caller who leaves after the first await does not
    /// stop it.
    async fn write<T: 'static>(&self, job: impl FnOnce(&mut Disk) -> T + 'static) -> Result<T, Fault> {
        let world = &self.world;
        if world.chance.borrow_mut().one_in(2) {
            world.delay(20).await;
        }
        let (send, receive) = oneshot();
        self.queue.push(Box::new(move |disk| {
            let value = job(disk);
            Box::new(move || send.send(value))
        }));
        let answer = world.exec.timeout(ANSWER_WAIT_MS, receive.receive()).await.flatten().ok_or(FAULT);
        world.exec.pause().await;
        answer
    }

    /// The same journal, with a bug.
    pub(crate) fn leaky(&self, shown: Option<B256>) -> Self {
        Self { shown: Some(shown), ..self.clone() }
    }

    fn leak(&self, record: Option<Record>) -> Option<Record> {
        let shown = self.shown;
        record.map(|mut record| {
            record.hold.idempotency = shown.unwrap_or(record.hold.idempotency);
            record
        })
    }

    async fn read<T>(&self, query: impl FnOnce(&Disk) -> T) -> Result<T, Fault> {
        let world = &self.world;
        world.delay(5).await;
        if world.disk_is_away() || world.strikes(world.plan.faults.read_per_mille) {
            return Err(FAULT);
        }
        let value = query(&world.disk.borrow());
        world.delay(5).await;
        Ok(value)
    }

    fn trace_key(&self, what: &str, key: &ClaimKey) {
        self.world.say(|| format!("journal {what} {}", crate::world::short(key.nonce)));
    }
}

/// The writer: whatever waits is committed together.
async fn run(world: Rc<World>, queue: Inbox<Job>) {
    loop {
        let mut jobs = queue.take(1).await;
        if !world.quiet.get() {
            let faults = world.plan.faults;
            let hangs = world.strikes(faults.hang_per_mille);
            let commit_ms = world.chance.borrow_mut().between(1, faults.commit_ms_max.max(1));
            world.exec.sleep(if hangs { 11_000 } else { commit_ms }).await;
            if hangs {
                world.say(|| "the disk hung".to_owned());
            }
        }
        while queue.len() > 0 && jobs.len() < 16 {
            jobs.extend(queue.take(16).await);
        }
        if world.disk_is_away() || world.strikes(world.plan.faults.before_commit_per_mille) {
            world.count(|figures| figures.journal_faults += 1);
            world.say(|| "the disk did not take a batch".to_owned());
            continue;
        }
        let replies: Vec<Reply> = {
            let mut disk = world.disk.borrow_mut();
            disk.now_ms = world.exec.now_ms();
            jobs.into_iter().map(|job| job(&mut disk)).collect()
        };
        world.committed();
        world.delay(4).await;
        for reply in replies {
            if world.strikes(world.plan.faults.after_commit_per_mille) {
                world.count(|figures| figures.journal_faults += 1);
                world.say(|| "an answer of the disk was lost".to_owned());
            } else {
                reply();
            }
        }
    }
}
