//! A time limit that is set for every message and runs out for almost none.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A time limit. Setting it moves no timer: the timer of an earlier limit wakes its task once, finds that there is more
/// time, and is set anew.
#[derive(Default)]
pub(crate) struct Patience {
    until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
}

impl Patience {
    /// From now on.
    pub(crate) fn set(&mut self, limit: Duration) {
        self.until = Some(Instant::now() + limit);
    }

    /// The same, unless a limit is set already.
    pub(crate) fn begin(&mut self, limit: Duration) {
        if self.until.is_none() {
            self.set(limit);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.until = None;
    }

    /// Ready when the time is over. It wakes whoever asked last.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
            self.waker = None;
        }
        let is_known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_known && !timer.is_elapsed() {
            return Poll::Pending;
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
