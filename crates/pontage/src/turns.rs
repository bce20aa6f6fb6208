//! How many calls are with the upstream at once: who comes later waits for a turn, not for ever and not in any number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::InFlightConfig;
use crate::metrics::Metrics;

/// The turns of all workers. First come, first served.
#[derive(Clone)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    queue_max: usize,
    wait: Duration,
    metrics: Metrics,
}

/// One call's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Why there is no turn. Nothing was run and nothing charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// As many as may wait are waiting.
    Full,
    /// The wait was as long as a wait may be.
    TimedOut,
}

impl Turns {
    pub(crate) fn new(limits: InFlightConfig, metrics: Metrics) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.max.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
            queue_max: limits.queue_max,
            wait: Duration::from_millis(limits.queue_wait_ms),
            metrics,
        }
    }

    /// Waits for a turn. Whoever stops waiting leaves the queue.
    pub(crate) async fn take(&self) -> Result<Turn, Busy> {
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Turn(turn));
        }
        let _waiting = Waiting::enter(&self.waiting, self.queue_max).ok_or(Busy::Full)?;
        let _shown = self.metrics.queued();
        // Apart, for few wait and every call would be as large.
        let turn = Box::pin(tokio::time::timeout(self.wait, Arc::clone(&self.free).acquire_owned()));
        match turn.await {
            Ok(turn) => Ok(Turn(turn.expect("the semaphore is never closed"))),
            Err(_) => Err(Busy::TimedOut),
        }
    }
}

/// A place in the queue, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let more = |now: usize| (now < max).then(|| now + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Now;

    fn turns(max: usize, queue_max: usize, queue_wait_ms: u64) -> Turns {
        Turns::new(InFlightConfig { max, queue_max, queue_wait_ms }, Metrics::new([], Arc::default()))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    }

    #[test]
    fn a_turn_is_waited_for_and_handed_on() {
        run(async {
            let turns = turns(1, 1, 30_000);
            let first = turns.take().await.unwrap();
            let (second, third, ()) = tokio::join!(turns.take(), turns.take(), async {
                tokio::task::yield_now().await;
                assert_eq!(turns.waiting.load(Ordering::Relaxed), 1);
                assert!(turns.metrics.print(&Now::default()).contains("\npontage_calls_queued 1\n"));
                drop(first);
            });
            assert_eq!((second.is_ok(), third.err()), (true, Some(Busy::Full)));
            assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
            drop(second);
            assert!(turns.take().await.is_ok());
        });
    }

    #[test]
    fn a_wait_ends() {
        run(async {
            let turns = turns(1, 10, 5);
            let _first = turns.take().await.unwrap();
            assert_eq!(turns.take().await.err(), Some(Busy::TimedOut));
            assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn without_a_queue_nobody_waits() {
        run(async {
            let turns = turns(1, 0, 30_000);
            let _first = turns.take().await.unwrap();
            assert_eq!(turns.take().await.err(), Some(Busy::Full));
        });
    }

    #[test]
    fn who_gives_up_leaves_the_queue() {
        run(async {
            let turns = turns(1, 1, 30_000);
            let first = turns.take().await.unwrap();
            {
                let waiting = turns.take();
                tokio::pin!(waiting);
                tokio::select! {
                    biased;
                    _ = &mut waiting => panic!("there is no turn"),
                    () = tokio::task::yield_now() => {}
                }
                assert_eq!(turns.take().await.err(), Some(Busy::Full));
            }
            assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
            drop(first);
            assert!(turns.take().await.is_ok());
        });
    }

    #[test]
    fn never_more_at_once_on_several_threads() {
        let turns = turns(3, 1_000, 30_000);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    run(async {
                        let calls = (0..50).map(|_| async {
                            let _turn = turns.take().await.unwrap();
                            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            now.fetch_sub(1, Ordering::SeqCst);
                        });
                        for call in calls {
                            call.await;
                        }
                    });
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(turns.free.available_permits(), 3);
    }
}
