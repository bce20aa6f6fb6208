//! Time, chance, and work that outlives a connection, for one worker thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use facilitator::point::{self, Act};
use gate::{Accounts as _, Closed, FaultKind, Flow, Host, Journal, Outcome};
use ledger::{ChargeStep, Hold, HoldId, Step};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::link::Chains;

/// The flow as this binary runs it.
pub(crate) type WorkerFlow = Flow<store::Handle, Chains, WorkerHost>;

/// The gate's host on one worker thread.
#[derive(Clone, Debug)]
pub(crate) struct WorkerHost {
    work: mpsc::UnboundedSender<(Work, Running)>,
    tasks: Tasks,
}

/// Work that no connection owns. Each item belongs to a hold, so there are never more than holds.
#[derive(Debug)]
pub(crate) enum Work {
    Close(Hold, Outcome),
    Later(HoldId, Step),
    LaterCharge(HoldId, ChargeStep),
}

impl WorkerHost {
    /// A host, and the work that it will hand out. Work counts among the tasks from the moment it is handed out.
    pub(crate) fn new(tasks: Tasks) -> (Self, mpsc::UnboundedReceiver<(Work, Running)>) {
        let (work, receiver) = mpsc::unbounded_channel();
        (Self { work, tasks }, receiver)
    }

    fn hand_out(&self, hold: HoldId, work: Work) {
        if self.work.send((work, self.tasks.running())).is_err() {
            // The worker is going down: the journal has the hold, and the next start ends it.
            warn!(%hold, "left to the next start");
        }
    }
}

impl Host for WorkerHost {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn entropy(&self) -> [u8; 16] {
        entropy()
    }

    fn close(&self, hold: Hold, outcome: Outcome) {
        self.hand_out(hold.id, Work::Close(hold, outcome));
    }

    fn later(&self, hold: HoldId, step: Step) {
        self.hand_out(hold, Work::Later(hold, step));
    }

    fn later_charge(&self, charge: HoldId, step: ChargeStep) {
        self.hand_out(charge, Work::LaterCharge(charge, step));
    }
}

/// Tasks that no connection owns, counted so that a stop can wait for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    running: Rc<Cell<usize>>,
    ended: Rc<Notify>,
}

/// One task's share of the count.
#[derive(Debug)]
pub(crate) struct Running(Tasks);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get().saturating_sub(1));
        self.0.ended.notify_waiters();
    }
}

impl Tasks {
    /// Starts a task on this thread.
    pub(crate) fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        spawn(self.running(), task)
    }

    fn running(&self) -> Running {
        self.running.set(self.running.get().saturating_add(1));
        Running(self.clone())
    }

    /// Waits until none is left.
    pub(crate) async fn all_ended(&self) {
        point::before(Act::Drain);
        while self.running.get() > 0 {
            self.ended.notified().await;
        }
        point::after(Act::Drain);
    }
}

fn spawn<T: 'static>(running: Running, task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    tokio::task::spawn_local(async move {
        let _running = running;
        task.await
    })
}

/// Does the work, each item in a task of its own. Runs as long as the worker.
pub(crate) async fn work(flow: Rc<WorkerFlow>, mut receiver: mpsc::UnboundedReceiver<(Work, Running)>) {
    while let Some((work, running)) = receiver.recv().await {
        let flow = Rc::clone(&flow);
        match work {
            Work::Close(hold, outcome) => spawn(running, async move {
                // Whatever answer there was died with its connection.
                if let Closed::Pending { hold, .. } = flow.close_hold(hold, outcome).await {
                    flow.answer_broke(hold).await;
                }
            }),
            Work::Later(hold, step) => spawn(running, async move { repeat(&flow.journal, hold, step).await }),
            Work::LaterCharge(charge, step) => {
                spawn(running, async move { repeat_charge(&flow.journal, charge, step).await })
            }
        };
    }
}

/// Does the work of a facilitator, which has no runs to close. Runs as long as the worker.
pub(crate) async fn repeat_all(journal: store::Handle, mut receiver: mpsc::UnboundedReceiver<(Work, Running)>) {
    while let Some((work, running)) = receiver.recv().await {
        if let Work::Later(hold, step) = work {
            let journal = journal.clone();
            spawn(running, async move { repeat(&journal, hold, step).await });
        }
    }
}

/// Repeats a step until the journal takes it.
async fn repeat(journal: &store::Handle, hold: HoldId, step: Step) {
    let mut pause_ms = 200;
    while let Err(fault) = journal.advance(hold, step).await {
        if fault.kind == FaultKind::Invariant {
            // The hold has gone another way meanwhile; the journal logged which.
            return;
        }
        error!(%hold, ?step, %fault, "the journal did not take a step; it will be repeated");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(30_000);
    }
}

/// The same for a charge.
async fn repeat_charge(journal: &store::Handle, charge: HoldId, step: ChargeStep) {
    let mut pause_ms = 200;
    while let Err(fault) = journal.advance_charge(charge, step).await {
        if fault.kind == FaultKind::Invariant {
            return;
        }
        error!(%charge, ?step, %fault, "the journal did not take a step; it will be repeated");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(30_000);
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Random bytes of the operating system, which is asked for many at once. What was given out is not kept.
pub(crate) fn entropy<const N: usize>() -> [u8; N] {
    thread_local! {
        static DRAWN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    DRAWN.with_borrow_mut(|drawn| {
        if drawn.len() < N {
            drawn.resize(N.max(512), 0);
            getrandom::fill(drawn).expect("the operating system gives random bytes");
        }
        let mut bytes = [0; N];
        let rest = drawn.len() - N;
        bytes.iter_mut().zip(drawn.iter_mut().skip(rest)).for_each(|(byte, drawn)| *byte = std::mem::take(drawn));
        drawn.truncate(rest);
        bytes
    })
}
