//! A crowd on the tab, of whom a quarter cheat while it runs. What is lost stays within the caps, has a reason, and is nobody's
//! who paid; books and chain agree to the last unit, payer by payer.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[path = "ledger/run.rs"]
#[allow(dead_code, reason = "the crowd's books are only audited")]
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use xtask::chain::{ChainOptions, USDC};

use kit::{Answer, GateOptions, PAYEE, PRICE, Payer, World, cancel, get, land, move_all, until};

const CALLS: usize = 1_000;
const WIDE: usize = 32;
const PAYERS: usize = 40;
/// The keys are the numbers from here on, in 32 bytes. They are worth nothing.
const FIRST_KEY: u64 = 1_000;
/// What each payer has: enough for all of his calls, so that nobody fails who does not cheat.
const WALLET: u128 = 1_000_000;
/// At which of his calls a cheater cheats: in the middle.
const CHEATS_AT: usize = 12;
/// The caps of the configuration below, in atomic units, which are millionths of a dollar.
const PAYER_CAP: i128 = 200_000;
const GATE_CAP: i128 = 10_000_000;

/// What becomes of a payer in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Moves everything out of his wallet.
    Empties,
    /// Cancels whatever of his is on the tab.
    Cancels,
    /// Lands whatever of his is on the tab, from the middle on.
    Lands,
    Honest,
}

fn kind(payer: usize) -> Kind {
    match payer {
        0..4 => Kind::Empties,
        4..7 => Kind::Cancels,
        7..10 => Kind::Lands,
        _ => Kind::Honest,
    }
}

struct Member {
    payer: Payer,
    address: String,
    kind: Kind,
    calls: AtomicUsize,
    served: Mutex<Vec<Fields>>,
    /// He sends one chain_tx after another: two at once would take one sequence.
    sends: Mutex<()>,
}

impl Member {
    fn new(at: usize) -> Self {
        let payer = Payer::numbered(FIRST_KEY + u64::try_from(at).unwrap());
        let address = payer.address().to_ascii_lowercase();
        Self {
            payer,
            address,
            kind: kind(at),
            calls: AtomicUsize::new(0),
            served: Mutex::default(),
            sends: Mutex::new(()),
        }
    }

    /// Pays for one call, until he is told what became of it; then he may cheat.
    fn call(&self, world: &World, offer: &Offer, at: usize) -> Answer {
        let fields = self.payer.fields(offer);
        let header = self.payer.sign(Version::V2, offer, &fields);
        let url = world.url(&format!("/paid/ok?n={at}."));
        let start = Instant::now();
        let answer = loop {
            let answer = get(&url, &[("payment-signature", &header)]);
            if answer.status != 503 {
                break answer;
            }
            assert!(start.elapsed() < Duration::from_secs(40), "{}", answer.text());
            thread::park_timeout(Duration::from_millis(20));
        };
        let turn = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if answer.status == 200 {
            self.served.lock().unwrap().push(fields);
        }
        match self.kind {
            Kind::Empties if turn == CHEATS_AT => self.empty(world),
            Kind::Cancels if turn == CHEATS_AT => self.send_each(world, |fields| cancel(&self.payer, offer, fields)),
            Kind::Lands if turn >= CHEATS_AT => self.send_each(world, |fields| land(&self.payer, offer, fields)),
            Kind::Empties | Kind::Cancels | Kind::Lands | Kind::Honest => {}
        }
        answer
    }

    /// A settlement may come between the look and the transfer: again, until nothing is left.
    fn empty(&self, world: &World) {
        let _turn = self.sends.lock().unwrap();
        while let balance @ 1.. = world.chain.balance(&self.address).unwrap() {
            world.chain.send_as(&self.address, USDC, &move_all(balance)).unwrap();
        }
    }

    /// Sends something for every call that he was served, newest first. What is settled already refuses it.
    fn send_each(&self, world: &World, data: impl Fn(&Fields) -> String) {
        let _turn = self.sends.lock().unwrap();
        let mut served = std::mem::take(&mut *self.served.lock().unwrap());
        while let Some(fields) = served.pop() {
            world.chain.send_as(&self.address, USDC, &data(&fields)).unwrap();
        }
    }
}

#[test]
fn a_crowd_of_which_some_cheat_costs_no_more_than_the_caps() {
    let options = GateOptions {
        routes: "  - { path: /paid/*, price: \"0.01\", settlement: tab }\n",
        more: "tab: { settle_age_s: 2, batch_max: 50 }\n\
               exposure: { per_payer: \"0.20\", per_source: \"10\", per_gate: \"10\" }"
            .to_owned(),
        pinned: true,
        ..GateOptions::default()
    };
    let world = World::with(ChainOptions::default(), &options);
    let members: Vec<_> = (0..PAYERS).map(Member::new).collect();
    for member in &members {
        world.chain.mint(&member.address, WALLET).unwrap();
    }
    let offer = Payer::offer(&world.url("/paid/ok"));
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let answers: Vec<(usize, Answer)> = thread::scope(|scope| {
        let lane = || {
            let mut answers = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= CALLS {
                    return answers;
                }
                answers.push((at % PAYERS, members[at % PAYERS].call(&world, &offer, at)));
            }
        };
        let lanes: Vec<_> = (0..WIDE).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let took = start.elapsed();
    until("every hold ends", || world.books().unfinished() == 0);
    eprintln!("{CALLS} calls in {took:.1?}");
    figures(&world, &members, &answers);
    audit(&world, &members, &answers);
    explained(&world, &members);
    // Every entry balances, and books and chain agree.
    world.agree();
}

/// `pontage ledger audit` finds no difference, and says of each loss by which chain_tx it came.
fn explained(world: &World, members: &[Member]) {
    let audit = run::Books::of(&world.gate).run(&["audit", "--format", "json"]);
    assert_eq!(audit.code, 0, "{audit}");
    let told = audit.json();
    let lost: Vec<_> = told["findings"].as_array().unwrap().iter().filter(|found| found["state"] == "lost").collect();
    assert_eq!(lost.len(), losses(world, members).values().sum::<usize>());
    for found in lost {
        let words = found["found"].as_str().unwrap();
        let evidence =
            words.starts_with("gone: cancelled in 0x") || words.starts_with("emptied: ") && words.contains(" 0x");
        assert!(evidence, "{found}");
    }
    eprintln!("{}", told["summary"].as_str().unwrap());
}

/// How many of whom were lost for which reason.
fn losses(world: &World, members: &[Member]) -> BTreeMap<(Kind, String), usize> {
    let mut lost = BTreeMap::new();
    for claim in world.books().claims().into_iter().filter(|claim| claim.state == "lost") {
        let member = members.iter().find(|member| member.address == claim.payer).expect("one of the crowd");
        *lost.entry((member.kind, claim.reason.expect("every loss has a reason"))).or_default() += 1;
    }
    lost
}

/// Says how it went.
fn figures(world: &World, members: &[Member], answers: &[(usize, Answer)]) {
    let mut tally: BTreeMap<(Kind, u16, String), usize> = BTreeMap::new();
    for (at, answer) in answers {
        *tally.entry((members[*at].kind, answer.status, answer.error())).or_default() += 1;
    }
    let batches = world.books().batches();
    let direct = world.books().claims().iter().filter(|claim| claim.rail == "direct").count();
    let carried: usize = batches.iter().map(|(size, _)| size).sum();
    eprintln!("answers {tally:#?}");
    eprintln!(
        "{} transfers; {} chain_txs for {carried} payments on the tab, the largest with {}; {direct} payments were direct; \
         losses {:?}, together {}",
        world.chain.transfers_to(PAYEE).unwrap().len(),
        batches.len(),
        batches.iter().map(|(size, _)| *size).max().unwrap_or(0),
        losses(world, members),
        -world.books().balance("loss:"),
    );
}

fn audit(world: &World, members: &[Member], answers: &[(usize, Answer)]) {
    let (books, claims) = (world.books(), world.books().claims());
    let transfers = world.chain.transfers_to(PAYEE).unwrap();
    assert!(transfers.iter().all(|transfer| transfer.value == PRICE));
    assert!(world.origin.most_runs("n=") <= 1);
    assert_eq!((books.exposure_off(), books.exposed()), (Vec::new(), 0));

    for (at, member) in members.iter().enumerate() {
        let his: Vec<_> = claims.iter().filter(|claim| claim.payer == member.address).collect();
        let count = |state: &str| his.iter().filter(|claim| claim.state == state).count();
        let moved = transfers.iter().filter(|transfer| transfer.from == member.address).count();
        // Payer by payer: what the books say he paid is what left his wallet.
        let late = his.iter().filter(|claim| claim.late).count();
        assert_eq!(count("posted") + late, moved, "{:?} {at}", member.kind);
        let served = answers.iter().filter(|(payer, answer)| *payer == at && answer.status == 200).count();
        assert_eq!(served, count("posted") + count("lost"), "served is paid or lost: {:?} {at}", member.kind);
        let loss = i128::try_from(count("lost")).unwrap() * i128::try_from(PRICE).unwrap();
        assert!(loss <= PAYER_CAP, "{:?} {at} cost {loss}", member.kind);
        match member.kind {
            Kind::Honest => assert_eq!((served, moved), (CALLS / PAYERS, CALLS / PAYERS), "{at}"),
            // Who lands it himself has paid.
            Kind::Lands => assert_eq!(count("lost"), 0, "{his:?}"),
            Kind::Empties | Kind::Cancels => {}
        }
    }
    let (lost, loss) = (losses(world, members), -books.balance("loss:"));
    assert_eq!(loss, i128::try_from(lost.values().sum::<usize>()).unwrap() * i128::try_from(PRICE).unwrap());
    assert!((0..=GATE_CAP).contains(&loss));
    // Those who emptied and those who cancelled did so while something was on the tab.
    assert!(lost.keys().any(|(kind, _)| *kind == Kind::Empties) && lost.keys().any(|(kind, _)| *kind == Kind::Cancels));
    let reasons: BTreeSet<_> = lost.keys().map(|(kind, reason)| (*kind, reason.as_str())).collect();
    for (kind, reason) in reasons {
        let fits = match kind {
            Kind::Empties => reason == "emptied",
            Kind::Cancels => reason == "gone",
            Kind::Lands | Kind::Honest => false,
        };
        assert!(fits, "{kind:?} was lost as {reason}");
    }

    let batches = books.batches();
    let carried: usize = batches.iter().map(|(size, _)| size).sum();
    assert!(batches.len() * 4 < carried, "{batches:?}");
}
