//! The idle connections of one upstream on one core.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;

/// How often the sweep looks, at most. An upstream that closed an idle connection leaves its socket half open that long.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A stack: the connection used last is the one most likely to be alive.
pub(super) struct Pool {
    idle: RefCell<Vec<(Instant, Box<Link>)>>,
    idle_max: usize,
    idle_time: Duration,
    sweeping: Cell<bool>,
}

impl Pool {
    pub(super) fn new(idle_max: usize, idle_time: Duration) -> Pool {
        Pool { idle: RefCell::new(Vec::new()), idle_max, idle_time, sweeping: Cell::new(false) }
    }

    /// An idle connection that is alive.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        loop {
            let (since, mut link) = self.idle.borrow_mut().pop()?;
            if since.elapsed() < self.idle_time && link.is_alive() {
                return Some(link);
            }
            tracing::debug!("a pooled upstream connection was stale, taking another");
        }
    }

    /// Keeps a connection for the next request, or closes it when it cannot serve one or there are enough.
    pub(super) fn put(self: &Rc<Self>, link: Box<Link>) {
        if self.idle.borrow().len() >= self.idle_max || !link.is_clean() {
            return;
        }
        self.idle.borrow_mut().push((Instant::now(), link));
        if !self.sweeping.replace(true) {
            let pool = Rc::downgrade(self);
            tokio::task::spawn_local(sweep(pool, self.idle_time.min(SWEEP_EVERY)));
        }
    }

    /// Closes what is too old or was closed by the upstream. Returns whether any is left.
    fn close_stale(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|(since, link)| since.elapsed() < self.idle_time && link.is_alive());
        !idle.is_empty()
    }
}

/// Runs while connections are idle. It holds no pool alive and ends with it.
async fn sweep(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.close_stale() {
            pool.sweeping.set(false);
            return;
        }
    }
}
