//! How many calls are with the upstream at once, of all, of one key or on one route: who comes later waits for a turn, not for ever and
//! not in any number.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::KeyId;
use tokio::sync::oneshot;

use crate::config::InFlightConfig;
use crate::metrics::Metrics;

/// Who waits behind somebody of a better place is as good as him after so long for each place between them: nobody waits for ever.
const AGE: Duration = Duration::from_millis(200);
/// The place of calls that have no other: 0 is first, 9 is last.
pub(crate) const USUAL_PLACE: u8 = 5;
/// Lines of keys or routes that are kept before idle ones are looked for.
const LINES_MIN: usize = 1_024;

/// One line of calls for the turns of one resource.
#[derive(Debug)]
struct Line {
    state: Mutex<State>,
    terms: Terms,
}

#[derive(Clone, Debug)]
struct Terms {
    queue_max: usize,
    wait: Duration,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    max: usize,
    running: usize,
    /// By when they would have come if their places were equal, and in the order in which they came.
    waiting: BTreeMap<(Instant, u64), oneshot::Sender<Turn>>,
    came: u64,
}

/// One call's turn, until it is dropped: then the next one has it.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Option<Arc<Line>>,
    /// Another turn that the same call has.
    beside: Option<Box<Turn>>,
}

/// Why there is no turn. Nothing was run and nothing charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// As many as may wait are waiting.
    Full,
    /// The wait was as long as a wait may be.
    TimedOut,
}

/// What a line says at once.
enum Entered {
    Turn(Turn),
    Wait(Place, oneshot::Receiver<Turn>),
    Full,
}

/// A place in a line, until it is dropped.
struct Place {
    line: Arc<Line>,
    at: (Instant, u64),
}

/// The turns of all workers.
#[derive(Clone)]
pub(crate) struct Turns {
    all: Arc<Line>,
    max: usize,
    keys: Arc<Lines<KeyId>>,
    routes: Arc<Lines<String>>,
}

impl Turns {
    pub(crate) fn new(limits: InFlightConfig, metrics: Metrics) -> Self {
        let terms = Terms { queue_max: limits.queue_max, wait: Duration::from_millis(limits.queue_wait_ms), metrics };
        Self {
            all: Line::new(&terms),
            max: limits.max,
            keys: Arc::new(Lines::new(&terms)),
            routes: Arc::new(Lines::new(&terms)),
        }
    }

    /// Waits for a turn. Whoever stops waiting leaves the line.
    pub(crate) async fn take(&self, place: u8) -> Result<Turn, Busy> {
        match self.all.enter(self.max, place) {
            Entered::Turn(turn) => Ok(turn),
            // Apart, for few wait and every call would be as large.
            entered => Box::pin(entered.turn()).await,
        }
    }

    /// Waits for one of so many turns of a key.
    pub(crate) async fn take_of_key(&self, key: KeyId, max: u32, place: u8) -> Result<Turn, Busy> {
        self.keys.enter(&key, max, place).turn().await
    }

    /// Waits for one of so many turns of a route.
    pub(crate) async fn take_of_route(&self, route: &str, max: u32, place: u8) -> Result<Turn, Busy> {
        self.routes.enter(&route.to_owned(), max, place).turn().await
    }
}

impl Turn {
    /// This turn and another one, which end together.
    pub(crate) fn and(mut self, other: Option<Self>) -> Self {
        if let Some(other) = other {
            self.add(other);
        }
        self
    }

    fn add(&mut self, other: Self) {
        match &mut self.beside {
            Some(beside) => beside.add(other),
            none => *none = Some(Box::new(other)),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.pass_on();
        }
    }
}

/// The lines of keys, or of routes.
struct Lines<K> {
    lines: Mutex<HashMap<K, Arc<Line>>>,
    terms: Terms,
}

impl<K: Clone + Eq + Hash> Lines<K> {
    fn new(terms: &Terms) -> Self {
        Self { lines: Mutex::default(), terms: terms.clone() }
    }

    fn enter(&self, key: &K, max: u32, place: u8) -> Entered {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.contains_key(key) && lines.len() >= LINES_MIN && lines.len() == lines.capacity() {
            lines.retain(|_, line| !line.is_idle());
        }
        let line = lines.entry(key.clone()).or_insert_with(|| Line::new(&self.terms));
        line.enter(usize::try_from(max).unwrap_or(usize::MAX), place)
    }
}

impl Line {
    fn new(terms: &Terms) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), terms: terms.clone() })
    }

    /// A line is whole at every moment, so a thread that panicked with the lock has left no harm.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        state.running == 0 && state.waiting.is_empty()
    }

    /// Takes a turn where one is free, or else a place. Where as many wait as may, the last one makes room for who is before him.
    fn enter(self: &Arc<Self>, max: usize, place: u8) -> Entered {
        let mut state = self.state();
        state.max = max;
        if state.running < max && state.waiting.is_empty() {
            state.running = state.running.saturating_add(1);
            return Entered::Turn(Turn { line: Some(Arc::clone(self)), beside: None });
        }
        state.came = state.came.wrapping_add(1);
        let at = (Instant::now() + AGE * u32::from(place), state.came);
        if state.waiting.len() >= self.terms.queue_max {
            match state.waiting.last_entry() {
                // Who waited in it reads that the line is full.
                Some(last) if *last.key() > at => drop(last.remove()),
                Some(_) | None => return Entered::Full,
            }
        }
        let (send, receive) = oneshot::channel();
        state.waiting.insert(at, send);
        // More turns than before: the first one has one of them.
        let spare = (state.running < max).then(|| {
            state.running = state.running.saturating_add(1);
            Turn { line: Some(Arc::clone(self)), beside: None }
        });
        drop(state);
        drop(spare);
        Entered::Wait(Place { line: Arc::clone(self), at }, receive)
    }

    /// A turn has ended: the first one that still waits has it.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = if state.running <= state.max { state.waiting.pop_first() } else { None };
                if next.is_none() {
                    state.running = state.running.saturating_sub(1);
                }
                next
            };
            let Some((_, waiting)) = next else { return };
            match waiting.send(Turn { line: Some(Arc::clone(self)), beside: None }) {
                Ok(()) => return,
                // He has left: the turn is not his to pass on.
                Err(mut turn) => drop(turn.line.take()),
            }
        }
    }
}

impl Entered {
    async fn turn(self) -> Result<Turn, Busy> {
        match self {
            Self::Turn(turn) => Ok(turn),
            Self::Full => Err(Busy::Full),
            Self::Wait(place, turn) => {
                let terms = &place.line.terms;
                let _shown = terms.metrics.queued();
                match tokio::time::timeout(terms.wait, turn).await {
                    Ok(Ok(turn)) => Ok(turn),
                    Ok(Err(_)) => Err(Busy::Full),
                    Err(_) => Err(Busy::TimedOut),
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.state().waiting.remove(&self.at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
            let first = turns.take(USUAL_PLACE).await.unwrap();
            let (second, third, ()) = tokio::join!(turns.take(USUAL_PLACE), turns.take(USUAL_PLACE), async {
                tokio::task::yield_now().await;
                assert_eq!(turns.all.state().waiting.len(), 1);
                assert!(turns.all.terms.metrics.print(&Now::default()).contains("\npontage_calls_queued 1\n"));
                drop(first);
            });
            assert_eq!((second.is_ok(), third.err()), (true, Some(Busy::Full)));
            assert_eq!(turns.all.state().waiting.len(), 0);
            drop(second);
            assert!(turns.take(USUAL_PLACE).await.is_ok());
        });
    }

    #[test]
    fn a_wait_ends() {
        run(async {
            let turns = turns(1, 10, 5);
            let _first = turns.take(USUAL_PLACE).await.unwrap();
            assert_eq!(turns.take(USUAL_PLACE).await.err(), Some(Busy::TimedOut));
            assert_eq!(turns.all.state().waiting.len(), 0);
        });
    }

    #[test]
    fn without_a_queue_nobody_waits() {
        run(async {
            let turns = turns(1, 0, 30_000);
            let _first = turns.take(USUAL_PLACE).await.unwrap();
            assert_eq!(turns.take(USUAL_PLACE).await.err(), Some(Busy::Full));
        });
    }

    #[test]
    fn who_gives_up_leaves_the_queue() {
        run(async {
            let turns = turns(1, 1, 30_000);
            let first = turns.take(USUAL_PLACE).await.unwrap();
            {
                let waiting = turns.take(USUAL_PLACE);
                tokio::pin!(waiting);
                tokio::select! {
                    biased;
                    _ = &mut waiting => panic!("there is no turn"),
                    () = tokio::task::yield_now() => {}
                }
                assert_eq!(turns.take(USUAL_PLACE).await.err(), Some(Busy::Full));
            }
            assert_eq!(turns.all.state().waiting.len(), 0);
            drop(first);
            assert!(turns.take(USUAL_PLACE).await.is_ok());
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
                            let _turn = turns.take(USUAL_PLACE).await.unwrap();
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
        assert_eq!(turns.all.state().running, 0);
    }

    /// In which order so many calls with these places have their turns, all of which come while the only turn is taken.
    fn order(places: &[u8], pause: Duration) -> Vec<usize> {
        run(async {
            let turns = turns(1, 1_000, 30_000);
            let first = turns.take(USUAL_PLACE).await.unwrap();
            let served = std::cell::RefCell::new(Vec::new());
            let local = tokio::task::LocalSet::new();
            let served = std::rc::Rc::new(served);
            for (nth, place) in places.iter().copied().enumerate() {
                let (turns, served) = (turns.clone(), std::rc::Rc::clone(&served));
                let entered = turns.all.enter(1, place);
                local.spawn_local(async move {
                    let _turn = entered.turn().await.unwrap();
                    served.borrow_mut().push(nth);
                });
                std::thread::sleep(pause);
            }
            local.spawn_local(async move { drop(first) });
            local.await;
            served.take()
        })
    }

    #[test]
    fn a_better_place_is_before_and_equal_ones_are_in_their_order() {
        assert_eq!(order(&[9, 5, 0, 5, 0], Duration::ZERO), [2, 4, 1, 3, 0]);
    }

    #[test]
    fn who_waits_long_enough_is_before_a_better_place() {
        assert_eq!(
            order(&[1, 0, 0], AGE * 3 / 4),
            [1, 0, 2],
            "the last one came when the first had waited for more than one place"
        );
    }

    #[test]
    fn in_a_full_line_the_last_one_makes_room_for_a_better_place() {
        run(async {
            let turns = turns(1, 1, 30_000);
            let first = turns.take(USUAL_PLACE).await.unwrap();
            let (last, better, worse, ()) = tokio::join!(turns.take(9), turns.take(0), turns.take(9), async {
                tokio::task::yield_now().await;
                drop(first);
            });
            assert_eq!((last.err(), better.is_ok(), worse.err()), (Some(Busy::Full), true, Some(Busy::Full)));
        });
    }

    #[test]
    fn keys_and_routes_have_turns_of_their_own() {
        run(async {
            let turns = turns(10, 0, 30_000);
            let (one, two) = (KeyId([1; 16]), KeyId([2; 16]));
            let held = turns.take_of_key(one, 1, USUAL_PLACE).await.unwrap();
            assert_eq!(turns.take_of_key(one, 1, USUAL_PLACE).await.err(), Some(Busy::Full));
            let other = turns.take_of_key(two, 1, USUAL_PLACE).await.unwrap();
            let both = turns.take(USUAL_PLACE).await.unwrap().and(Some(held)).and(Some(other));
            assert!(turns.take_of_key(one, 2, USUAL_PLACE).await.is_ok(), "a raised number counts at once");
            assert_eq!(turns.take_of_key(two, 1, USUAL_PLACE).await.err(), Some(Busy::Full));
            drop(both);
            assert!(turns.take_of_key(one, 1, USUAL_PLACE).await.is_ok());
            assert!(turns.take_of_key(two, 1, USUAL_PLACE).await.is_ok());
            let route = turns.take_of_route("GET /a", 1, USUAL_PLACE).await.unwrap();
            assert_eq!(turns.take_of_route("GET /a", 1, USUAL_PLACE).await.err(), Some(Busy::Full));
            assert!(turns.take_of_route("GET /b", 1, USUAL_PLACE).await.is_ok());
            drop(route);
            assert_eq!(turns.all.state().running, 0);
        });
    }

    #[test]
    fn lines_that_nobody_stands_in_are_forgotten() {
        let lines = Lines::new(&turns(1, 1, 1).all.terms);
        let held = lines.enter(&u32::MAX, 1, USUAL_PLACE);
        for key in 0..100_000u32 {
            drop(lines.enter(&key, 1, USUAL_PLACE));
        }
        assert!(lines.lines.lock().unwrap().len() < 10_000);
        assert!(matches!(lines.enter(&u32::MAX, 1, USUAL_PLACE), Entered::Wait(..)));
        drop(held);
    }
}
