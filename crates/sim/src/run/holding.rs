//! Holders of keys and the operator: who calls, who raises and moves balances.

use std::rc::Rc;

use crate::executor::{Owner, oneshot};
use crate::front::Words;
use crate::holders::{Errand, KeyCall};
use crate::world::World;

/// How often the operator asks for something that has a name, until he knows that it is done.
const ASKED_MAX: u64 = 6;

pub(super) fn start(world: &Rc<World>) {
    for (at_ms, errand) in world.holders.errands.clone() {
        world.exec.spawn(Owner::WORLD, "caller", run(Rc::clone(world), at_ms, errand));
    }
    for call in world.holders.calls.clone() {
        world.exec.spawn(Owner::WORLD, "caller", calls(Rc::clone(world), call));
    }
}

async fn run(world: Rc<World>, at_ms: u64, errand: Errand) {
    world.exec.sleep(at_ms).await;
    for _ in 0..ASKED_MAX {
        let done = ask_for(&world, errand.clone()).await;
        world.say(|| format!("the operator: {errand:?}: {done:?}"));
        let mut audit = world.audit.borrow_mut();
        match (&errand, done) {
            (Errand::Grant(grant), Some(true)) => return audit.granted(grant.id.0, grant.granted),
            (Errand::Transfer { amount, name, .. }, Some(true)) => return audit.transferred(*name, *amount),
            (Errand::Withdraw { amount, .. }, Some(true)) => return audit.withdrawn(*amount, true),
            // Nobody knows whether it was done, and asked again it would be done again.
            (Errand::Withdraw { amount, .. }, None) => return audit.withdrawn(*amount, false),
            (_, Some(_)) | (Errand::Refund { .. }, None) => return,
            (Errand::Grant(_) | Errand::Transfer { .. }, None) => {}
        }
        drop(audit);
        let pause_ms = world.chance.borrow_mut().between(100, 5_000);
        world.exec.sleep(pause_ms).await;
    }
}

/// Whether it was done. `None` where nobody can say.
async fn ask_for(world: &Rc<World>, errand: Errand) -> Option<bool> {
    let gate = world.gate()?;
    let (tell, told) = oneshot();
    let owner = gate.owner;
    world.exec.spawn(owner, "errand", async move { tell.send(gate.flow.journal.run(errand).await.ok()) });
    told.receive().await.flatten()
}

/// A holder with his repeats.
async fn calls(world: Rc<World>, call: KeyCall) {
    world.exec.sleep(call.at_ms).await;
    for _ in 0..=call.retries {
        let words = ask(&world, &call).await;
        world.say(|| format!("holder {}: {words:?}", call.account));
        if words == Some(Words::Served) && call.name.is_none() {
            return;
        }
        let pause_ms = world.chance.borrow_mut().between(100, 8_000);
        world.exec.sleep(pause_ms).await;
    }
}

/// One request over a connection of its own. `None` when he hung up, or the process died.
async fn ask(world: &Rc<World>, call: &KeyCall) -> Option<Words> {
    let gate = world.gate()?;
    world.count(|figures| figures.key_calls += 1);
    let (tell, told) = oneshot();
    let owner = gate.owner;
    let (call, patience_ms) = (call.clone(), call.patience_ms);
    let connection = world.exec.spawn(owner, "connection", async move { tell.send(gate.call_with_key(call).await) });
    let words = world.exec.timeout(patience_ms, told.receive()).await;
    if words.is_none() {
        world.exec.cancel(connection);
        world.count(|figures| figures.hung_up += 1);
        if patience_ms >= super::PATIENT_MS {
            world.audit.borrow_mut().breaks("a caller who waits is never answered");
        }
    }
    words.flatten()
}
