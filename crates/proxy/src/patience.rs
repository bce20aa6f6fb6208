//! A time limit that is set for every message and runs out for almost none.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::unconstrained;
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
        // A task that has used up its turn would be told to wait by a timer that has not noted whom to wake.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A task that has used up its turn is told to wait by everything that it asks; its time limit runs all the same.
    #[test]
    fn a_limit_that_is_asked_at_the_end_of_a_turn_runs_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let limited = async {
            let (mut patience, mut is_asked) = (Patience::default(), false);
            patience.set(Duration::from_millis(5));
            poll_fn(|cx| {
                if !std::mem::replace(&mut is_asked, true) {
                    while pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready() {}
                }
                patience.poll(cx)
            })
            .await;
        };
        runtime.block_on(async {
            tokio::select! {
                () = limited => {}
                () = unconstrained(tokio::time::sleep(Duration::from_secs(10))) => panic!("it does not end"),
            }
        });
    }
}
