//! Everything outside of the process, and what a run of a seed shares.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use alloy_primitives::B256;
use facilitator::engine::ChainTx;
use ledger::{BurnReason, HoldId, Record, State};
use protocol::Network;

use crate::Figures;
use crate::audit::{Audit, End, PlainCharge, PlainHold};
use crate::bug::Bug;
use crate::chain::abi::TransferWith;
use crate::chain::{Chain, Deed, Moved, Spent};
use crate::chance::Chance;
use crate::disk::{Account, Disk, Signed};
use crate::executor::{Executor, Owner};
use crate::front::Gate;
use crate::holders::{self, Holders};
use crate::keys::LANES;
use crate::plan::{Moment, Plan};

/// When every seed begins.
pub(crate) const BEGIN_S: u64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) exec: Executor,
    pub(crate) chance: RefCell<Chance>,
    pub(crate) plan: Plan,
    pub(crate) holders: Holders,
    pub(crate) chain: RefCell<Chain>,
    pub(crate) disk: RefCell<Disk>,
    pub(crate) audit: RefCell<Audit>,
    pub(crate) bug: Option<Bug>,
    /// No more faults: the world comes to rest.
    pub(crate) quiet: Cell<bool>,
    /// The run of the process that lives, and whether it serves.
    owner: Cell<Owner>,
    gate: RefCell<Option<Rc<Gate>>>,
    /// The newest block that the node has shown, where it does not go back.
    pub(crate) shown: Cell<u64>,
    /// When the newest reorg came.
    pub(crate) reorged_ms: Cell<u64>,
    /// At which moment the process is to die, and how many polls later.
    pub(crate) armed: Cell<Option<(Moment, u64)>>,
    given_up: RefCell<BTreeSet<HoldId>>,
    figures: RefCell<Figures>,
    trace: Option<RefCell<Vec<String>>>,
}

impl World {
    pub(crate) fn new(seed: u64, mut plan: Plan, bug: Option<Bug>, trace: bool) -> Rc<Self> {
        let now_ms = BEGIN_S * 1_000;
        let holders = Holders::draw(seed, &mut plan);
        let mut chain = Chain::new(plan.token(), plan.balances(), BEGIN_S);
        chain.lanes = usize::from(plan.lanes);
        plan.payments.iter().for_each(|payment| payment.register(&mut chain));
        for (_, deed) in &plan.deeds {
            if let Deed::Land { data, .. } = deed {
                chain.signed.insert(data.digest_key(), (data.v, data.r, data.s));
            }
        }
        let mut disk = Disk::new(bug, plan.answers_max);
        for number in 0..holders.accounts {
            let account = Account { unit: holders::unit(number), calls: 0, spent: 0 };
            disk.balances.accounts.insert(holders::key(number), account);
        }
        let audit = Audit::new(plan.audit_terms());
        Rc::new(Self {
            exec: Executor::new(now_ms, Chance::new(seed ^ 0xe0ec)),
            chance: RefCell::new(Chance::new(seed ^ 0x3a17)),
            plan,
            holders,
            chain: RefCell::new(chain),
            disk: RefCell::new(disk),
            audit: RefCell::new(audit),
            bug,
            quiet: Cell::new(false),
            owner: Cell::new(Owner(1)),
            gate: RefCell::new(None),
            shown: Cell::new(0),
            reorged_ms: Cell::new(0),
            armed: Cell::new(None),
            given_up: RefCell::default(),
            figures: RefCell::default(),
            trace: trace.then(RefCell::default),
        })
    }

    pub(crate) fn network(&self) -> Network {
        Network::BASE_SEPOLIA
    }

    /// Milliseconds since the seed began.
    pub(crate) fn age_ms(&self) -> u64 {
        self.exec.now_ms() - BEGIN_S * 1_000
    }

    /// Notes what happens, if anybody reads it.
    pub(crate) fn say(&self, words: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let age_ms = self.age_ms();
            trace.borrow_mut().push(format!("{:>3}.{:03} {}", age_ms / 1_000, age_ms % 1_000, words()));
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.trace.as_ref().map(RefCell::take).unwrap_or_default()
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Figures)) {
        count(&mut self.figures.borrow_mut());
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures.borrow().clone()
    }

    /// Whether a fault strikes now.
    pub(crate) fn strikes(&self, per_mille: u64) -> bool {
        !self.quiet.get() && self.chance.borrow_mut().per_mille(per_mille)
    }

    /// Waits at least one turn, and some time while things happen.
    pub(crate) async fn delay(&self, max_ms: u64) {
        let ms = if self.quiet.get() { 0 } else { self.chance.borrow_mut().between(0, max_ms) };
        if ms == 0 {
            self.exec.pause().await;
        } else {
            self.exec.sleep(ms).await;
        }
    }

    fn within(&self, windows: &[(u64, u64)]) -> bool {
        let age_ms = self.age_ms();
        !self.quiet.get() && windows.iter().any(|(from, to)| (*from..*to).contains(&age_ms))
    }

    pub(crate) fn disk_is_away(&self) -> bool {
        self.within(&self.plan.disk_away)
    }

    pub(crate) fn node_is_away(&self) -> bool {
        self.within(&self.plan.node_away)
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner.get()
    }

    pub(crate) fn set_owner(&self, owner: Owner) {
        self.owner.set(owner);
        self.gate.take();
    }

    /// The process serves from now on.
    pub(crate) fn serve(&self, gate: Rc<Gate>) {
        *self.gate.borrow_mut() = Some(gate);
    }

    /// The front, if a process lives and serves.
    pub(crate) fn gate(&self) -> Option<Rc<Gate>> {
        self.gate.borrow().clone().filter(|gate| !self.exec.is_dead(gate.owner))
    }

    /// Whether the process has not taken up its lane yet.
    pub(crate) fn starting(&self) -> bool {
        self.gate.borrow().is_none()
    }

    /// Lets go of everything.
    pub(crate) fn end(&self) {
        self.gate.take();
        self.exec.clear();
    }

    /// After each commit the auditor looks at what is durable: which payments were given up since.
    pub(crate) fn committed(&self) {
        self.count(|figures| figures.commits += 1);
        let (disk, chain) = (self.disk.borrow(), self.chain.borrow());
        for record in &disk.balances.charges {
            self.audit.borrow_mut().charge_is(&PlainCharge::of(record));
        }
        for record in &disk.records {
            let refused = record.state == State::Burnt(BurnReason::SettlementRefused);
            let given_up = refused || matches!(record.state, State::Lost(_));
            if given_up && self.given_up.borrow_mut().insert(record.hold.id) {
                // A wallet may be empty in the middle of a block alone. What failed by itself is not repeated.
                let alone = disk.chain_txs.iter().filter(|signed| signed.chain_tx.holds == [record.hold.id]);
                let mut receipts = alone.flat_map(|signed| {
                    let hash = signed.chain_tx.hash;
                    let undone = chain.undone.receipts.iter().filter(move |receipt| receipt.chain_tx == hash);
                    chain.receipts.get(&hash).into_iter().chain(undone)
                });
                let fair = receipts.any(|receipt| !receipt.success) || self.could_fail(&chain, record);
                self.audit.borrow_mut().gave_up(&PlainHold::of(record), fair);
            }
        }
    }

    /// Whether there was a block of late in which a payment neither would go through nor had. A node may be some blocks behind, and
    /// the disk may have been slow to note what was read.
    fn could_fail(&self, chain: &Chain, record: &Record) -> bool {
        let authorization = &record.hold.authorization;
        let call = TransferWith::of(authorization);
        // Nor in one that a reorg took out since.
        let uses = || chain.undone.moved.iter().filter(|moved| moved.from == call.from && moved.nonce == call.nonce);
        let is_it = |moved: &Moved| moved.to == call.to && moved.value == authorization.amount_atomic;
        let paid_there = uses().next().is_some() && uses().all(is_it);
        let refused_there = chain.undone.blocks.iter().any(|block| {
            let spent = paid_there && block.token.nonces.get(&(call.from, call.nonce)) == Some(&Spent::Used);
            !spent && !chain.would_go_through(&call, block)
        });
        if refused_there {
            return true;
        }
        let blocks = usize::try_from(5 + 25_000 / self.plan.block_ms).unwrap_or(0);
        let paid = chain.moved_by(call.from, call.nonce).filter(|moved| {
            let known = moved.sender == call.from || LANES.contains(&moved.sender);
            known && moved.block > record.hold.seen.number && moved.value == authorization.amount_atomic
        });
        chain.blocks.iter().rev().take(blocks).any(|block| {
            let paid = paid.is_some_and(|paid| paid.block <= block.number);
            !paid && !chain.would_go_through(&call, block)
        })
    }

    /// Whether an earlier chain_tx for one of these holds may still land, at another sequence.
    pub(crate) fn doubles(&self, chain_tx: &ChainTx) -> bool {
        let token = Rc::clone(&self.chain.borrow().latest().token);
        let earlier = |signed: &&Signed| {
            let ChainTx { signer, sequence, holds, .. } = &signed.chain_tx;
            let same = (*signer, *sequence) == (chain_tx.signer, chain_tx.sequence);
            let other = *sequence >= token.sequence(*signer) && !same;
            other && holds.iter().any(|hold| chain_tx.holds.contains(hold))
        };
        self.disk.borrow().chain_txs.iter().any(|signed| earlier(&signed))
    }

    /// What a payer owes with a claim and those before it, as of the block that was read for it, and what he had then.
    pub(crate) fn owed(&self, claim: &PlainHold) -> (u128, u128) {
        let (disk, chain) = (self.disk.borrow(), self.chain.borrow());
        let mut owed = 0;
        for hold in disk.records.iter().map(PlainHold::of) {
            // What a reorg took was settled when the claim was measured.
            let open = matches!(hold.end, End::Open | End::Answered | End::Submitted) && hold.reorgs == 0;
            let moved = chain.moved_by(hold.key.0, hold.key.1).is_some_and(|moved| moved.block <= claim.seen);
            owed += if open && !moved && hold.key.0 == claim.key.0 { hold.amount } else { 0 };
            if hold.id == claim.id {
                break;
            }
        }
        if !chain.has_block(claim.seen, claim.seen_hash) {
            // What was read then can be read nowhere now.
            return (0, 0);
        }
        let balance = chain.at(claim.seen).and_then(|block| block.token.balances.get(&claim.key.0).copied());
        (owed, balance.unwrap_or(0))
    }

    /// Kills the process soon, if it is planned for this moment.
    pub(crate) fn reaches(&self, moment: Moment) {
        if let Some((armed, polls)) = self.armed.get().filter(|(armed, _)| *armed == moment) {
            self.armed.set(None);
            self.say(|| format!("the process will die soon after {armed:?}"));
            self.exec.doom(self.owner(), polls);
        }
    }
}

/// The end of a hash, for a trace.
pub(crate) fn short(hash: B256) -> String {
    let tail: Vec<String> = hash.iter().rev().take(3).rev().map(|byte| format!("{byte:02x}")).collect();
    tail.concat()
}
