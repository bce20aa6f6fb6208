//! A deterministic simulator of one gate process: the real flow, ledger and settlement engine on a chain, a disk, a network and a
//! clock that are made up, with crashes anywhere; and an auditor that shares no code with the ledger.
//!
//! A seed tells everything that happens. It does not model several networks, or more than one process at a time.
#![deny(missing_docs)]

mod audit;
mod bug;
mod chain;
mod chance;
mod disk;
mod executor;
mod front;
mod holders;
mod journal;
mod keys;
mod node;
mod plan;
mod process;
mod run;
mod upstream;
mod world;

pub use bug::Bug;
pub use run::{Failure, run};

/// What happened in some seeds, so that one sees that faults really strike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests of callers, with their repeats.
    pub calls: u64,
    /// Runs of the upstream.
    pub runs: u64,
    /// Answers whose first byte was released.
    pub served: u64,
    /// Stored answers that were given out.
    pub stored: u64,
    /// Checks that took the signature alone.
    pub local: u64,
    /// Calls of the tab that were settled `direct`, for the tab had no room or they ended too soon.
    pub turned_direct: u64,
    /// Callers who hung up.
    pub hung_up: u64,
    /// Transfers by an authorization on the chain.
    pub transfers: u64,
    /// Of them, those that our key sent.
    pub ours: u64,
    /// Of ours, those that went in a batch.
    pub batched: u64,
    /// Chain_txs of ours that were mined and refused.
    pub reverted: u64,
    /// Chain_txs that took the place of an earlier one at their sequence.
    pub outbid: u64,
    /// How often a chain_tx was signed for a payment while an earlier one of it could still land at another sequence: gas for nothing.
    pub doubled: u64,
    /// How often the process was killed.
    pub crashes: u64,
    /// Calls served on the tab and never paid.
    pub losses: u64,
    /// Of them, those whose money came after all.
    pub recovered: u64,
    /// Money that came without a claim to it.
    pub suspense: u64,
    /// Payments that are owed back.
    pub owed_back: u64,
    /// Reorgs.
    pub reorgs: u64,
    /// Payments whose money one took out of the chain.
    pub unsettled: u64,
    /// Of them, those whose money came back.
    pub resettled: u64,
    /// Holds that expired.
    pub expired: u64,
    /// Requests to the node that failed.
    pub node_faults: u64,
    /// Steps of the journal that failed, before or after they were durable.
    pub journal_faults: u64,
    /// Commits.
    pub commits: u64,
    /// Steps that the state of a hold did not allow.
    pub violations: u64,
    /// How often a lane could not look after what is on its way.
    pub rebroadcast_faults: u64,
    /// Requests with a key.
    pub key_calls: u64,
    /// Of them, those whose price was held.
    pub charges: u64,
    /// Charges that were taken, all or a part.
    pub captured: u64,
    /// Requests that a balance had too little for.
    pub short: u64,
    /// Grants, also those of transfers.
    pub grants: u64,
    /// Of them, those that a payment bought.
    pub bought: u64,
    /// Grants that ended.
    pub lapsed: u64,
    /// Polls of tasks.
    pub polls: u64,
}

impl Figures {
    /// Adds those of another seed.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        let pairs = self.fields().into_iter().zip(other.fields());
        pairs.for_each(|((_, sum), (_, more))| *sum += *more);
    }

    /// Every figure with its name.
    pub fn fields(&mut self) -> [(&'static str, &mut u64); 35] {
        [
            ("calls", &mut self.calls),
            ("runs", &mut self.runs),
            ("served", &mut self.served),
            ("stored answers", &mut self.stored),
            ("local checks", &mut self.local),
            ("turned direct", &mut self.turned_direct),
            ("hung up", &mut self.hung_up),
            ("transfers", &mut self.transfers),
            ("ours", &mut self.ours),
            ("batched", &mut self.batched),
            ("reverted", &mut self.reverted),
            ("outbid", &mut self.outbid),
            ("doubled", &mut self.doubled),
            ("crashes", &mut self.crashes),
            ("losses", &mut self.losses),
            ("recovered", &mut self.recovered),
            ("suspense", &mut self.suspense),
            ("owed back", &mut self.owed_back),
            ("reorgs", &mut self.reorgs),
            ("un-settled", &mut self.unsettled),
            ("settled again", &mut self.resettled),
            ("expired", &mut self.expired),
            ("node faults", &mut self.node_faults),
            ("journal faults", &mut self.journal_faults),
            ("commits", &mut self.commits),
            ("violations", &mut self.violations),
            ("rebroadcast faults", &mut self.rebroadcast_faults),
            ("key calls", &mut self.key_calls),
            ("charges", &mut self.charges),
            ("captured", &mut self.captured),
            ("short", &mut self.short),
            ("grants", &mut self.grants),
            ("bought", &mut self.bought),
            ("lapsed", &mut self.lapsed),
            ("polls", &mut self.polls),
        ]
    }
}
