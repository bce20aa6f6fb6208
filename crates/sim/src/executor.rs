//! A small deterministic executor: which ready task runs next is drawn, time is virtual, and a process can be killed between
//! any two polls.

mod sync;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) use sync::{Inbox, Sender, oneshot};

use crate::chance::Chance;

/// Whose task it is: the world's (0), or that of one run of the gate's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    pub(crate) const WORLD: Self = Self(0);
}

/// A task's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(usize);

/// Cheap to clone; every clone is the same executor.
#[derive(Clone)]
pub(crate) struct Executor(Rc<Inner>);

struct Inner {
    now_ms: Cell<u64>,
    polls: Cell<u64>,
    tasks: RefCell<Vec<Task>>,
    ready: Arc<Mutex<Vec<usize>>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timers_made: Cell<u64>,
    dead: RefCell<BTreeSet<Owner>>,
    doom: Cell<Option<(Owner, u64)>>,
    chance: RefCell<Chance>,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    owner: Owner,
    name: &'static str,
    /// Taken out while it is polled, gone when it has ended.
    work: Option<Work>,
    ended: bool,
    waker: Waker,
    alarm: Arc<Alarm>,
}

struct Alarm {
    id: usize,
    rung: AtomicBool,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        }
    }
}

/// Why [`Executor::step`] did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A task was polled.
    Polled,
    /// The clock went on.
    Later,
    /// Nothing is ready and nobody waits for the clock.
    Idle,
}

impl Executor {
    pub(crate) fn new(now_ms: u64, chance: Chance) -> Self {
        Self(Rc::new(Inner {
            now_ms: Cell::new(now_ms),
            polls: Cell::new(0),
            tasks: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            timers_made: Cell::new(0),
            dead: RefCell::default(),
            doom: Cell::new(None),
            chance: RefCell::new(chance),
        }))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.0.now_ms.get()
    }

    pub(crate) fn polls(&self) -> u64 {
        self.0.polls.get()
    }

    /// Starts a task. One of a process that is dead is dropped unseen: nobody is left to run it.
    pub(crate) fn spawn(&self, owner: Owner, name: &'static str, work: impl Future<Output = ()> + 'static) -> TaskId {
        let mut tasks = self.0.tasks.borrow_mut();
        let id = tasks.len();
        let alarm = Arc::new(Alarm { id, rung: AtomicBool::new(false), ready: Arc::clone(&self.0.ready) });
        let waker = Waker::from(Arc::clone(&alarm));
        let dead = self.is_dead(owner);
        // A dead process's work may hold what must be dropped, which may start more: not under our borrow.
        let work: Work = Box::pin(work);
        let (kept, dropped) = if dead { (None, Some(work)) } else { (Some(work), None) };
        tasks.push(Task { owner, name, work: kept, ended: dead, waker, alarm: Arc::clone(&alarm) });
        drop(tasks);
        drop(dropped);
        if !dead {
            alarm.wake_by_ref();
        }
        TaskId(id)
    }

    /// Drops a task where it stands.
    pub(crate) fn cancel(&self, id: TaskId) {
        let work = self.0.tasks.borrow_mut().get_mut(id.0).and_then(|task| {
            task.ended = true;
            task.work.take()
        });
        drop(work);
    }

    /// Ends a process: nothing of it is polled again.
    pub(crate) fn kill(&self, owner: Owner) {
        self.0.dead.borrow_mut().insert(owner);
        let mut works = Vec::new();
        for task in self.0.tasks.borrow_mut().iter_mut().filter(|task| task.owner == owner) {
            task.ended = true;
            works.extend(task.work.take());
        }
        drop(works);
    }

    pub(crate) fn is_dead(&self, owner: Owner) -> bool {
        self.0.dead.borrow().contains(&owner)
    }

    /// Kills a process after so many further polls of its own tasks.
    pub(crate) fn doom(&self, owner: Owner, polls: u64) {
        self.0.doom.set(Some((owner, polls)));
    }

    /// Nobody is to be killed any more.
    pub(crate) fn spare(&self) {
        self.0.doom.set(None);
    }

    /// The tasks of an owner that have not ended, by name.
    pub(crate) fn unfinished(&self, owner: Owner) -> Vec<&'static str> {
        let tasks = self.0.tasks.borrow();
        tasks.iter().filter(|task| task.owner == owner && !task.ended).map(|task| task.name).collect()
    }

    /// Polls one task, or moves the clock.
    pub(crate) fn step(&self) -> Step {
        let id = {
            let mut ready = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner);
            let at = self.0.chance.borrow_mut().place(ready.len());
            if at < ready.len() { Some(ready.swap_remove(at)) } else { None }
        };
        match id {
            Some(id) => {
                self.poll(id);
                Step::Polled
            }
            None => self.turn_clock(),
        }
    }

    fn poll(&self, id: usize) {
        let taken = {
            let mut tasks = self.0.tasks.borrow_mut();
            tasks.get_mut(id).and_then(|task| {
                task.alarm.rung.store(false, Ordering::Relaxed);
                task.work.take().map(|work| (work, task.waker.clone(), task.owner))
            })
        };
        let Some((mut work, waker, owner)) = taken else { return };
        if let Some((doomed, left)) = self.0.doom.get().filter(|(doomed, _)| *doomed == owner) {
            if left == 0 {
                self.0.doom.set(None);
                self.kill(doomed);
                return;
            }
            self.0.doom.set(Some((doomed, left - 1)));
        }
        self.0.polls.set(self.0.polls.get() + 1);
        let ended = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.0.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(id) else { return };
        if ended || task.ended {
            task.ended = true;
            drop(tasks);
            drop(work);
        } else {
            task.work = Some(work);
        }
    }

    fn turn_clock(&self) -> Step {
        let mut due = Vec::new();
        {
            let mut timers = self.0.timers.borrow_mut();
            let Some((&(at_ms, _), _)) = timers.first_key_value() else { return Step::Idle };
            self.0.now_ms.set(self.0.now_ms.get().max(at_ms));
            while let Some(entry) = timers.first_entry().filter(|entry| entry.key().0 <= at_ms) {
                due.push(entry.remove());
            }
        }
        due.into_iter().for_each(Waker::wake);
        Step::Later
    }

    /// Waits.
    pub(crate) fn sleep(&self, ms: u64) -> Sleep {
        Sleep { executor: self.clone(), at_ms: self.now_ms() + ms, timer: None }
    }

    /// Lets others run.
    pub(crate) async fn pause(&self) {
        let mut paused = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The value, or `None` if it takes longer. What is too late is dropped.
    pub(crate) async fn timeout<T>(&self, ms: u64, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut sleep = std::pin::pin!(self.sleep(ms));
        std::future::poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            sleep.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}

/// A timer.
pub(crate) struct Sleep {
    executor: Executor,
    at_ms: u64,
    timer: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.executor.now_ms() >= self.at_ms {
            return Poll::Ready(());
        }
        if self.timer.is_none() {
            let inner = Rc::clone(&self.executor.0);
            inner.timers_made.set(inner.timers_made.get() + 1);
            let key = (self.at_ms, inner.timers_made.get());
            inner.timers.borrow_mut().insert(key, context.waker().clone());
            self.timer = Some(key);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.executor.0.timers.borrow_mut().remove(&timer);
        }
    }
}

impl Executor {
    /// Drops every task, so that nothing keeps anything alive.
    pub(crate) fn clear(&self) {
        let owners: BTreeSet<Owner> = self.0.tasks.borrow().iter().map(|task| task.owner).collect();
        owners.into_iter().for_each(|owner| self.kill(owner));
        self.0.tasks.borrow_mut().clear();
    }
}
