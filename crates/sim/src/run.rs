//! One seed from its beginning to rest.

mod holding;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use alloy_primitives::B256;

use crate::audit::{Books, End, Facts, Transfer};
use crate::bug::Bug;
use crate::executor::{Owner, Step, oneshot};
use crate::front::Words;
use crate::keys::LANES;
use crate::plan::{Plan, Request, VALID_MAX_S};
use crate::process::boot;
use crate::world::World;
use crate::{Figures, chain};

/// When the faults end, if callers have not ended before.
const STORM_MS: u64 = 90_000;
/// When the last crash may come, but for the one at the end.
const CRASHES_MS: u64 = 50_000;
/// Longer than anything can need to come to rest.
const REST_MAX_MS: u64 = 900_000;
/// Who waits that long is not one who hangs up.
pub(crate) const PATIENT_MS: u64 = 100_000;
const POLLS_MAX: u64 = 3_000_000;
/// How often a process looks at what it has; anything else ends by itself.
const STANDING: [&str; 6] = ["writer", "lane", "reconciler", "collector", "lapser", "work"];

/// A seed that broke a sentence.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// The sentences, the first that broke first.
    pub broken: Vec<String>,
}

/// Runs a seed, with a bug planted or none. The trace is empty unless it is asked for.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>, trace: bool) -> (Figures, Option<Failure>, Vec<String>) {
    let world = World::new(seed, Plan::draw(seed), bug, trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&world)));
    let mut broken = std::mem::take(&mut world.audit.borrow_mut().broken);
    if outcome.is_err() {
        broken.push("the process panicked".to_owned());
    }
    let figures = figures(&world);
    let lines = world.take_trace();
    world.end();
    let failure = (!broken.is_empty()).then_some(Failure { seed, broken });
    (figures, failure, lines)
}

/// Where a run of a seed is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Storm,
    /// Since when the faults have ended.
    Rest,
}

fn play(world: &Rc<World>) {
    world.say(|| world.plan.to_string());
    start(world);
    let mut phase = Phase::Storm;
    loop {
        let step = world.exec.step();
        if !world.audit.borrow().broken.is_empty() {
            return;
        }
        if step == Step::Polled && world.exec.polls() < POLLS_MAX {
            continue;
        }
        if step == Step::Idle || world.exec.polls() >= POLLS_MAX || world.age_ms() >= REST_MAX_MS {
            break;
        }
        let callers =
            || world.exec.unfinished(Owner::WORLD).into_iter().any(|name| name == "caller" || name == "crashes");
        match phase {
            Phase::Storm if world.age_ms() >= STORM_MS || (world.age_ms() > 30_000 && !callers()) => {
                phase = Phase::Rest;
                calm(world);
            }
            Phase::Rest if is_at_rest(world) && !callers() => break,
            Phase::Storm | Phase::Rest => {}
        }
    }
    let facts = facts(world);
    let books = Books::of(&world.disk.borrow());
    world.audit.borrow_mut().rest(&books, &facts);
}

fn start(world: &Rc<World>) {
    let exec = &world.exec;
    exec.spawn(Owner::WORLD, "miner", mine(Rc::clone(world)));
    exec.spawn(Owner::WORLD, "crashes", supervise(Rc::clone(world)));
    for (at_ms, deed) in world.plan.deeds.clone() {
        let world = Rc::clone(world);
        exec.spawn(Owner::WORLD, "deed", async move {
            world.exec.sleep(at_ms).await;
            world.say(|| format!("deed {deed:?}"));
            world.chain.borrow_mut().deeds.push(deed);
        });
    }
    for request in world.plan.requests.clone() {
        let caller = call(Rc::clone(world), request);
        exec.spawn(Owner::WORLD, "caller", caller);
    }
    holding::start(world);
}

/// The faults end.
fn calm(world: &Rc<World>) {
    world.say(|| "the faults end".to_owned());
    world.quiet.set(true);
    world.chain.borrow_mut().pool.stuck.clear();
    if world.plan.last_restart {
        let world = Rc::clone(world);
        world.exec.clone().spawn(Owner::WORLD, "crashes", async move { restart(&world, 1_000).await });
    }
}

/// Whether nothing more can happen: nothing that was signed is valid, that is final, and reconciliation has nothing left.
fn is_at_rest(world: &World) -> bool {
    let chain = world.chain.borrow();
    let after = crate::world::BEGIN_S + VALID_MAX_S;
    let latest = chain.latest();
    let fin = chain.at(latest.number.saturating_sub(13)).is_some_and(|block| block.time_s > after);
    let disk = world.disk.borrow();
    let unmined = LANES.iter().flat_map(|lane| disk.unmined(*lane, latest.token.sequence(*lane)));
    let counted = unmined.into_iter().all(|hash| !chain.gas.contains_key(&hash));
    fin && disk.at_rest() && counted && world.exec.unfinished(world.owner()).iter().all(|name| STANDING.contains(name))
}

async fn mine(world: Rc<World>) {
    // After how many more blocks, and how deep: shallower than what is taken as final.
    let mut coming: Option<(usize, usize)> = None;
    loop {
        world.exec.sleep(world.plan.block_ms).await;
        let mut mining = world.plan.mining;
        if world.quiet.get() {
            mining = chain::Mining {
                ours_max: 50,
                lazy_per_mille: 0,
                loses_per_mille: 0,
                starves_per_mille: 0,
                gwei_max: 1,
            };
        }
        let (from, to) = world.plan.censored;
        if (from..to).contains(&world.age_ms()) {
            mining.ours_max = 0;
        }
        let now_s = world.exec.now_ms() / 1_000;
        let mut chain = world.chain.borrow_mut();
        let before = chain.receipts.len();
        if world.quiet.get() {
            coming = None;
        }
        if let Some((0, depth)) = coming.take_if(|(left, _)| *left == 0) {
            chain.reorg(depth, now_s, mining, &mut world.chance.borrow_mut());
            world.reorged_ms.set(world.age_ms());
            world.count(|figures| figures.reorgs += 1);
            world.say(|| format!("a reorg of {depth} blocks, up to block {}", chain.height()));
            continue;
        }
        coming = coming.map(|(left, depth)| (left - 1, depth));
        chain.mine(now_s, mining, &mut world.chance.borrow_mut());
        if chain.receipts.len() > before {
            world.say(|| format!("block {}: {} chain_txs", chain.height(), chain.receipts.len() - before));
            if coming.is_none() && world.strikes(world.plan.reorgs_per_mille) {
                let mut chance = world.chance.borrow_mut();
                let left = chance.place(3);
                coming = Some((left, chance.place(3 - left) + left + 1));
            }
        }
    }
}

/// Starts the process, and kills it as planned.
async fn supervise(world: Rc<World>) {
    world.exec.spawn(world.owner(), "boot", boot(Rc::clone(&world), world.owner()));
    for crash in &world.plan.crashes {
        world.exec.sleep(crash.after_ms).await;
        match crash.moment {
            Some(moment) => world.armed.set(Some((moment, crash.polls))),
            None => world.exec.doom(world.owner(), crash.polls),
        }
        while !world.exec.is_dead(world.owner()) {
            world.exec.sleep(50).await;
            if world.age_ms() > CRASHES_MS && !world.exec.is_dead(world.owner()) {
                world.armed.set(None);
                world.exec.spare();
                return;
            }
        }
        let down_ms = world.chance.borrow_mut().between(10, 4_000);
        restart(&world, down_ms).await;
    }
}

/// Kills the process, if it still lives, and starts the next.
async fn restart(world: &Rc<World>, down_ms: u64) {
    world.say(|| "the process dies".to_owned());
    world.count(|figures| figures.crashes += 1);
    world.exec.kill(world.owner());
    world.set_owner(Owner(world.owner().0 + 1));
    world.exec.sleep(down_ms).await;
    world.exec.spawn(world.owner(), "boot", boot(Rc::clone(world), world.owner()));
}

/// A caller with his repeats.
async fn call(world: Rc<World>, request: Request) {
    world.exec.sleep(request.at_ms).await;
    let (mut left, mut code) = (request.retries, None);
    loop {
        let words = ask(&world, &request, code).await;
        world.say(|| format!("caller of payment {}: {words:?}", request.payment));
        match words {
            Some(Words::Served) if !request.greedy => return,
            Some(Words::PickUp(found)) => code = Some(found),
            _ => {}
        }
        // Who hung up may come back for his answer with the credential alone.
        if left == 0 {
            return;
        }
        left -= 1;
        let pause_ms = world.chance.borrow_mut().between(100, 8_000);
        world.exec.sleep(pause_ms).await;
    }
}

/// One request over a connection of its own. `None` when he hung up, or the process died.
async fn ask(world: &Rc<World>, request: &Request, code: Option<[u8; 16]>) -> Option<Words> {
    let gate = world.gate()?;
    world.count(|figures| figures.calls += 1);
    let (tell, told) = oneshot();
    let owner = gate.owner;
    let (request, patience_ms) = (request.clone(), request.patience_ms);
    let connection = world.exec.spawn(owner, "connection", async move {
        tell.send(match code {
            Some(code) => gate.pick_up(request, code).await,
            None => gate.call(request).await,
        });
    });
    let words = world.exec.timeout(patience_ms, told.receive()).await;
    if words.is_none() {
        world.exec.cancel(connection);
        world.count(|figures| figures.hung_up += 1);
        if patience_ms >= PATIENT_MS {
            world.audit.borrow_mut().breaks("a caller who waits is never answered");
        }
    }
    words.flatten()
}

fn facts(world: &World) -> Facts {
    let chain = world.chain.borrow();
    let transfer = |moved: &chain::Moved| Transfer {
        chain_tx: moved.chain_tx,
        block: moved.block,
        sender: moved.sender,
        key: (moved.from, moved.nonce),
        to: moved.to,
        value: moved.value,
        valid_before_s: moved.valid_before.saturating_to(),
    };
    let mut tasks = world.exec.unfinished(Owner::WORLD);
    tasks.retain(|name| !["miner", "late", "bug"].contains(name));
    tasks.extend(world.exec.unfinished(world.owner()).into_iter().filter(|name| !STANDING.contains(name)));
    Facts {
        transfers: chain.moved.iter().map(transfer).collect(),
        undone: chain.undone.moved.iter().map(transfer).collect(),
        shaken: chain.undone.payers(),
        blocks: chain.blocks.iter().map(|block| block.hash).collect(),
        gas: chain.gas.clone(),
        crashed: world.figures().crashes > 0,
        now_ms: world.exec.now_ms(),
        tasks,
        restless: !is_at_rest(world),
    }
}

fn figures(world: &World) -> Figures {
    let mut figures = world.figures();
    let (chain, disk) = (world.chain.borrow(), world.disk.borrow());
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let members = |hash: B256| disk.chain_txs.iter().find(|signed| signed.chain_tx.hash == hash);
    figures.transfers = count(chain.moved.len());
    figures.ours = count(chain.moved.iter().filter(|moved| LANES.contains(&moved.sender)).count());
    let batched = |moved: &&chain::Moved| members(moved.chain_tx).is_some_and(|signed| signed.chain_tx.holds.len() > 1);
    figures.batched = count(chain.moved.iter().filter(batched).count());
    let ours = chain.receipts.values().filter(|receipt| LANES.contains(&receipt.from));
    figures.reverted = count(ours.filter(|receipt| !receipt.success).count());
    let sequences: std::collections::BTreeSet<_> =
        disk.chain_txs.iter().map(|signed| (signed.chain_tx.signer, signed.chain_tx.sequence)).collect();
    figures.outbid = count(disk.chain_txs.len() - sequences.len());
    let books = Books::of(&disk);
    let kinds = |kind: &str| count(books.entries.iter().filter(|entry| entry.kind == kind).count());
    figures.losses = kinds("uncollected");
    figures.recovered = kinds("recovered");
    figures.suspense = kinds("late");
    figures.owed_back = kinds("refund_due");
    figures.unsettled = kinds("unsettled");
    figures.resettled = kinds("resettled");
    figures.expired = count(books.holds.iter().filter(|hold| hold.end == End::Released(true)).count());
    figures.violations = disk.violations + disk.refused;
    figures.charges = count(books.charges.len());
    figures.captured = kinds("captured");
    figures.grants = count(books.grants.len());
    figures.bought = count(books.grants.iter().filter(|grant| grant.payment.is_some()).count());
    figures.polls = world.exec.polls();
    figures
}
