//! The paid service. It tells the auditor when it runs.

use std::rc::Rc;

use gate::{Permit, Progress};

use crate::audit::PlainHold;
use crate::plan::Request;
use crate::process::GateHost;
use crate::world::World;

/// How a run began.
pub(crate) enum Ran {
    /// Nothing was sent.
    NotSent,
    /// Sent, and no head came.
    Unanswered,
    /// 400 or above.
    Free,
    /// An answer, whose body is to be read.
    Head(UpstreamBody),
}

/// A run, from the first byte until its connection is gone.
struct Running {
    world: Rc<World>,
    run: usize,
    free: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.world.audit.borrow_mut().run_ended(self.run, self.free);
    }
}

/// The body of an answer. It may break off.
pub(crate) struct UpstreamBody {
    running: Running,
    pieces: u64,
    piece_ms_max: u64,
    breaks: bool,
}

impl UpstreamBody {
    /// Which run it is of.
    pub(crate) fn run(&self) -> usize {
        self.running.run
    }

    /// Whether all of it is at hand with its head.
    pub(crate) const fn is_whole(&self) -> bool {
        self.pieces == 0 && !self.breaks
    }

    /// The next piece; `None` at the end, `Err` when it breaks off.
    pub(crate) async fn next(&mut self) -> Option<Result<(), ()>> {
        self.running.world.delay(self.piece_ms_max).await;
        if self.pieces > 0 {
            self.pieces -= 1;
            return Some(Ok(()));
        }
        if self.breaks { Some(Err(())) } else { None }
    }
}

/// Runs the service for a permit.
pub(crate) async fn run(world: &Rc<World>, request: &Request, permit: &mut Permit<GateHost>) -> Ran {
    world.delay(50).await;
    if world.strikes(40) {
        return Ran::NotSent;
    }
    let Some(hold) = permit.hold().map(|hold| hold.id) else { return Ran::NotSent };
    let key = world.plan.payments[request.payment].key();
    permit.reached(Progress::Sent);
    let claim = world.disk.borrow().by_id(hold).map(PlainHold::of);
    world.say(|| format!("run for {hold}"));
    world.count(|figures| figures.runs += 1);
    let run = world.audit.borrow_mut().run_started(key, &request.url, request.secret, claim.as_ref());
    if let Some(claim) = claim.filter(|_| !world.plan.snapshot.verify_local) {
        let (owed, balance) = world.owed(&claim);
        world.audit.borrow_mut().covered(&claim, owed, balance);
    }
    let mut running = Running { world: Rc::clone(world), run, free: false };
    let ms = if world.chance.borrow_mut().one_in(3) { 4_000 } else { 300 };
    world.delay(ms).await;
    let word = world.chance.borrow_mut().below(20);
    match word {
        0 => {
            world.exec.sleep(3_000).await;
            Ran::Unanswered
        }
        1 | 2 => {
            running.free = true;
            Ran::Free
        }
        _ => {
            let pieces = world.chance.borrow_mut().below(4);
            let breaks = world.chance.borrow_mut().one_in(12);
            // Some answers take their time.
            let piece_ms_max = if world.chance.borrow_mut().one_in(25) { 15_000 } else { 400 };
            Ran::Head(UpstreamBody { running, pieces, piece_ms_max, breaks })
        }
    }
}
