//! The journal as the gate, the lane and the reconciler see it.

use alloy_primitives::{Address, B256};
use facilitator::engine::{BooksJournal, ChainTx, LaneJournal, Mined, Rejected, Unfinished};
use gate::{Answer, Fault, FaultKind, Journal, Standing, Until};
use ledger::{BlockRef, Exposure, Hold, HoldId, Record, Reservation, State, Step, Violation};
use protocol::{ClaimKey, Network, Payer};

use super::SimJournal;
use crate::bug::Bug;
use crate::disk::Disk;
use crate::plan::Moment;

/// A violation is ours: nobody repeats it.
fn allowed<T>(journal: &SimJournal, hold: HoldId, outcome: Result<T, Violation>) -> Result<T, Fault> {
    outcome.map_err(|violation| {
        journal.world.say(|| format!("journal {hold}: {violation}"));
        Fault::untouched(FaultKind::Invariant)
    })
}

impl Journal for SimJournal {
    async fn recall(&self, key: &ClaimKey) -> Result<Option<Record>, Fault> {
        self.trace_key("recall", key);
        if self.world.bug == Some(Bug::NoRecall) {
            return self.read(|_| None).await;
        }
        self.recall_truly(key).await
    }

    async fn reserve(&self, hold: Hold, balance_atomic: Option<u128>, caps: Exposure) -> Result<Reservation, Fault> {
        self.trace_key("reserve", &hold.authorization.key);
        self.world.reaches(Moment::Reserve);
        let early = match self.world.bug {
            Some(Bug::EarlyExposure) => Some(self.world.disk.borrow().exposed(&hold)),
            _ => None,
        };
        let reservation = self.write(move |disk| disk.reserve(hold, balance_atomic, early, caps)).await?;
        if let (Some(Bug::ExpiryUnderRun), Reservation::Won(change)) = (self.world.bug, &reservation) {
            let (world, hold) = (self.world.clone(), change.record.hold.id);
            let expire = async move {
                world.exec.sleep(1_500).await;
                let mut disk = world.disk.borrow_mut();
                if disk.by_id(hold).is_some_and(|record| record.state == State::Open) {
                    disk.let_go(hold);
                }
            };
            self.world.exec.spawn(crate::executor::Owner::WORLD, "bug", expire);
        }
        Ok(reservation)
    }

    async fn standing(&self, payer: Payer) -> Result<Standing, Fault> {
        self.read(|disk| disk.standing(payer)).await
    }

    /// No call of the simulator signs in.
    async fn paid_before(&self, _: Payer, _: B256, _: u64) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn payment(&self, hold: HoldId) -> Result<Option<Record>, Fault> {
        self.read(|disk| disk.by_id(hold).cloned()).await
    }

    async fn advance(&self, hold: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        self.world.say(|| format!("journal {hold}: {step:?}"));
        if step == Step::Answer {
            self.world.reaches(Moment::Answer);
        }
        let outcome = self.write(move |disk| disk.advance(hold, step)).await?;
        allowed(self, hold, outcome)
    }

    async fn wait(&self, key: &ClaimKey, until: Until, wait_ms: u64) -> Result<Option<Record>, Fault> {
        let world = &self.world;
        let end_ms = world.exec.now_ms() + wait_ms;
        loop {
            let met = world.disk.borrow().latest(key).is_none_or(|record| until.met(&record));
            if met || world.exec.now_ms() >= end_ms {
                return self.recall_truly(key).await;
            }
            world.exec.sleep(100.min(end_ms - world.exec.now_ms())).await;
        }
    }

    async fn pend(&self, hold: HoldId, pickup: B256) -> Result<(), Fault> {
        self.world.say(|| format!("journal {hold}: pend"));
        self.world.reaches(Moment::Pend);
        let outcome = self.write(move |disk| disk.pend(hold, pickup)).await?;
        if self.world.bug == Some(Bug::ReleaseOfSubmitted) {
            self.world.disk.borrow_mut().let_go(hold);
        }
        allowed(self, hold, outcome)
    }

    async fn keep_answer(&self, hold: HoldId, answer: Answer) -> Result<bool, Fault> {
        self.world.say(|| format!("journal {hold}: keep answer"));
        self.world.reaches(Moment::Keep);
        let outcome = self.write(move |disk| disk.keep_answer(hold, answer)).await?;
        allowed(self, hold, outcome)
    }

    async fn answer(&self, hold: HoldId) -> Result<Option<Answer>, Fault> {
        self.read(|disk| disk.answer(hold)).await
    }

    async fn picked(&self, pickup: B256) -> Result<Option<Record>, Fault> {
        self.read(|disk| disk.picked(pickup)).await
    }
}

impl SimJournal {
    async fn recall_truly(&self, key: &ClaimKey) -> Result<Option<Record>, Fault> {
        self.read(|disk| disk.latest(key)).await.map(|record| self.leak(record))
    }
}

impl LaneJournal for SimJournal {
    async fn submit(&self, batch: Vec<ChainTx>) -> Result<Result<(), Rejected>, Fault> {
        self.world.say(|| {
            let words = batch
                .iter()
                .map(|tx| format!(" {} at {} for {:?}", crate::world::short(tx.hash), tx.sequence, tx.holds));
            format!("journal submit{}", words.collect::<String>())
        });
        self.world.reaches(Moment::Submit);
        let doubled = batch.iter().filter(|chain_tx| self.world.doubles(chain_tx)).count();
        self.world.count(|figures| figures.doubled += u64::try_from(doubled).unwrap_or(0));
        if self.world.bug == Some(Bug::NoMark) {
            // Durable some time, if nothing happens until then.
            let journal = self.clone();
            let late = async move {
                journal.world.exec.sleep(2_000).await;
                journal.write(move |disk| disk.submit(&batch)).await.ok();
            };
            self.world.exec.spawn(self.world.owner(), "bug", late);
            return Ok(Ok(()));
        }
        self.write(move |disk| disk.submit(&batch)).await
    }

    async fn chain_txs_from(&self, _: Network, signer: Address, sequence: u64) -> Result<Vec<ChainTx>, Fault> {
        if self.world.bug == Some(Bug::NewSequenceFirst) && self.world.starting() {
            return Ok(Vec::new());
        }
        let mut chain_txs = self.read(|disk| disk.chain_txs_from(signer, sequence)).await?;
        if self.world.bug == Some(Bug::ReusedSequence) && self.world.starting() {
            chain_txs.pop();
        }
        Ok(chain_txs)
    }

    async fn valid_before_s(&self, holds: Vec<HoldId>) -> Result<Option<u64>, Fault> {
        self.read(move |disk| disk.valid_before_s(&holds)).await
    }

    async fn spent_wei(&self, _: Vec<HoldId>) -> Result<u128, Fault> {
        Ok(0)
    }
}

impl BooksJournal for SimJournal {
    async fn unfinished(&self, _: Network, after: Option<HoldId>) -> Result<Vec<Unfinished>, Fault> {
        self.read(|disk| disk.unfinished(after)).await
    }

    async fn due(&self, _: Network, after: Option<HoldId>) -> Result<Vec<Record>, Fault> {
        self.read(move |disk| disk.due(after)).await
    }

    async fn advance_all(&self, steps: Vec<(HoldId, Step)>) -> Result<(), Fault> {
        if steps.is_empty() {
            return Ok(());
        }
        self.world.say(|| format!("journal advance all {steps:?}"));
        self.write(move |disk| steps.into_iter().for_each(|(hold, step)| drop(disk.advance(hold, step)))).await
    }

    async fn watched(&self, _: Network, time_s: u64) -> Result<Vec<Record>, Fault> {
        let (again, newest) = self.read(|disk| disk.watched(time_s)).await?;
        for hold in again {
            self.unwatch(hold).await?;
        }
        Ok(newest)
    }

    async fn unwatch(&self, hold: HoldId) -> Result<(), Fault> {
        self.write(move |disk| disk.unwatch(hold)).await
    }

    async fn unmined(&self, _: Network, signer: Address, below: u64) -> Result<Vec<B256>, Fault> {
        self.read(|disk| disk.unmined(signer, below)).await
    }

    async fn mined(&self, mined: Vec<Mined>) -> Result<(), Fault> {
        let network = self.world.network();
        self.write(move |disk| disk.mined(network, &mined)).await
    }

    async fn unmine(&self, chain_txs: Vec<B256>) -> Result<(), Fault> {
        self.world.say(|| format!("journal unmine {chain_txs:?}"));
        let network = self.world.network();
        self.write(move |disk| disk.unmine(network, &chain_txs)).await
    }

    async fn unfinal(&self, _: Network) -> Result<Vec<BlockRef>, Fault> {
        self.read(Disk::unfinal).await
    }

    async fn posted_in(&self, _: Network, block: BlockRef) -> Result<Vec<Record>, Fault> {
        self.read(move |disk| disk.posted_in(block)).await
    }

    async fn mined_in(&self, _: Network, block: BlockRef) -> Result<Vec<B256>, Fault> {
        self.read(move |disk| disk.mined_in(block)).await
    }

    async fn finalize(&self, _: Network, blocks: Vec<BlockRef>) -> Result<(), Fault> {
        self.write(move |disk| disk.finalize(&blocks)).await
    }
}
