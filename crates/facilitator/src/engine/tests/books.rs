//! The journal as the engine sees it, in memory.

use super::*;

impl World {
    /// What the store does: the ledger decides, the change is written.
    pub(super) fn take(&self, hold: HoldId, step: Step) -> Result<Option<Record>, ledger::Violation> {
        let mut books = self.books.borrow_mut();
        let Some(row) = books.iter_mut().find(|row| row.record.hold.id == hold) else { return Ok(None) };
        if let Some(Change { record, entries }) = ledger::advance(&row.record, step)? {
            row.record = record;
            self.entries.borrow_mut().extend(entries);
        }
        Ok(Some(row.record.clone()))
    }
}

impl Journal for World {
    async fn recall(&self, _: &ClaimKey) -> Result<Option<Record>, Fault> {
        unreachable!("the engine looks for no claim")
    }

    async fn reserve(&self, _: Hold, _: Option<u128>, _: Exposure) -> Result<Reservation, Fault> {
        unreachable!("the engine claims nothing")
    }

    async fn standing(&self, _: protocol::Payer) -> Result<Standing, Fault> {
        unreachable!("the engine judges no payer")
    }

    async fn paid_before(&self, _: protocol::Payer, _: B256, _: u64) -> Result<bool, Fault> {
        unreachable!("the engine lets nobody in")
    }

    async fn payment(&self, hold: HoldId) -> Result<Option<Record>, Fault> {
        let books = self.books.borrow();
        Ok(books.iter().map(|row| &row.record).find(|record| record.hold.id == hold).cloned())
    }

    async fn advance(&self, hold: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        self.journal("advance", format!("advance {}", step_word(step)))?;
        match self.take(hold, step) {
            Ok(record) => Ok(record),
            Err(violation) => panic!("{violation}"),
        }
    }

    async fn wait(&self, _: &ClaimKey, _: gate::Until, _: u64) -> Result<Option<Record>, Fault> {
        unreachable!("the engine waits for no claim")
    }

    async fn pend(&self, _: HoldId, _: B256) -> Result<(), Fault> {
        unreachable!("the engine pends nothing")
    }

    async fn keep_answer(&self, _: HoldId, _: Answer) -> Result<bool, Fault> {
        unreachable!("the engine keeps no answer")
    }

    async fn answer(&self, _: HoldId) -> Result<Option<Answer>, Fault> {
        unreachable!("the engine reads no answer")
    }

    async fn picked(&self, _: B256) -> Result<Option<Record>, Fault> {
        unreachable!("the engine picks nothing up")
    }
}

impl BooksJournal for World {
    async fn unfinished(&self, _: Network, after: Option<HoldId>) -> Result<Vec<Unfinished>, Fault> {
        self.journal("unfinished", "unfinished")?;
        let books = self.books.borrow();
        let behind = books.iter().position(|row| Some(row.record.hold.id) == after).map_or(0, |at| at + 1);
        let unfinished = |record: &Record| match record.state {
            State::Open | State::Submitted(_) => true,
            State::Answered => !matches!(record.answer, AnswerState::Delivered | AnswerState::Kept),
            State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_) => {
                record.answer == AnswerState::Pending
            }
        };
        let rows = books[behind..].iter().filter(|row| unfinished(&row.record));
        Ok(rows.take(self.pages.get().0).cloned().collect())
    }

    async fn due(&self, _: Network, after: Option<HoldId>) -> Result<Vec<Record>, Fault> {
        self.journal("due", "due")?;
        let due = |record: &&Record| {
            let given_out = matches!(record.answer, AnswerState::Delivered | AnswerState::Kept);
            record.hold.rail == Rail::Tab && record.state == State::Answered && given_out
        };
        let books = self.books.borrow();
        let behind = after.and_then(|after| books.iter().position(|row| row.record.hold.id == after));
        let rows = books.iter().skip(behind.map_or(0, |at| at + 1)).map(|row| &row.record).filter(due);
        Ok(rows.take(self.pages.get().1).cloned().collect())
    }

    async fn advance_all(&self, steps: Vec<(HoldId, Step)>) -> Result<(), Fault> {
        let words: Vec<_> = steps.iter().map(|(hold, step)| format!(" {} {}", hold.0[0], step_word(*step))).collect();
        self.journal("advance_all", format!("advance_all{}", words.join(" +")))?;
        for (hold, step) in steps {
            self.take(hold, step).ok();
        }
        Ok(())
    }

    async fn watched(&self, _: Network, time_s: u64) -> Result<Vec<Record>, Fault> {
        self.journal("watched", "watched")?;
        let books = self.books.borrow();
        let watched = |record: &&Record| {
            matches!(record.state, State::Released(_) | State::Burnt(_) | State::Lost(_))
                && record.hold.authorization.valid_before_s < time_s
                && !self.unwatched.borrow().contains(&record.hold.id)
        };
        Ok(books.iter().map(|row| &row.record).filter(watched).cloned().collect())
    }

    async fn unwatch(&self, hold: HoldId) -> Result<(), Fault> {
        self.journal("unwatch", "unwatch")?;
        self.unwatched.borrow_mut().insert(hold);
        Ok(())
    }

    async fn unmined(&self, _: Network, signer: Address, below: u64) -> Result<Vec<B256>, Fault> {
        if signer != OURSELVES {
            return Ok(Vec::new());
        }
        self.journal("unmined", format!("unmined {below}"))?;
        let counted = |chain_tx: B256| self.gas.borrow().iter().any(|mined| mined.chain_tx == chain_tx);
        let unmined = self.unmined.borrow();
        let below = unmined.iter().filter(|(sequence, chain_tx)| *sequence < below && !counted(*chain_tx));
        Ok(below.map(|(_, chain_tx)| *chain_tx).collect())
    }

    async fn mined(&self, mined: Vec<Mined>) -> Result<(), Fault> {
        self.journal("mined", format!("mined {}", mined.len()))?;
        self.gas.borrow_mut().retain(|known| mined.iter().all(|mined| mined.chain_tx != known.chain_tx));
        self.gas.borrow_mut().extend(mined);
        Ok(())
    }

    async fn unmine(&self, chain_txs: Vec<B256>) -> Result<(), Fault> {
        self.journal("unmine", format!("unmine {}", chain_txs.len()))?;
        self.gas.borrow_mut().retain(|mined| !chain_txs.contains(&mined.chain_tx));
        Ok(())
    }

    async fn unfinal(&self, _: Network) -> Result<Vec<BlockRef>, Fault> {
        let books = self.books.borrow();
        let posted = books.iter().filter(|row| !row.record.is_final).filter_map(|row| posted_at(&row.record));
        let last = self.last.borrow();
        let mined = self.gas.borrow().iter().map(|mined| (mined.block.number, mined.block.hash)).collect::<Vec<_>>();
        let mined = mined.into_iter().filter(|block| !last.contains(block));
        let blocks: BTreeSet<(u64, B256)> = posted.chain(mined).collect();
        let blocks: Vec<_> = blocks.into_iter().map(|(number, hash)| BlockRef { number, hash }).collect();
        if !blocks.is_empty() {
            self.journal("unfinal", "unfinal")?;
        }
        Ok(blocks)
    }

    async fn posted_in(&self, _: Network, block: BlockRef) -> Result<Vec<Record>, Fault> {
        self.journal("posted_in", format!("posted_in {}", block.number))?;
        let books = self.books.borrow();
        let at = Some((block.number, block.hash));
        Ok(books.iter().map(|row| &row.record).filter(|record| posted_at(record) == at).cloned().collect())
    }

    async fn mined_in(&self, _: Network, block: BlockRef) -> Result<Vec<B256>, Fault> {
        let gas = self.gas.borrow();
        Ok(gas.iter().filter(|mined| mined.block == block).map(|mined| mined.chain_tx).collect())
    }

    async fn finalize(&self, _: Network, blocks: Vec<BlockRef>) -> Result<(), Fault> {
        self.journal("finalize", format!("finalize {}", blocks.len()))?;
        let blocks: Vec<_> = blocks.into_iter().map(|block| (block.number, block.hash)).collect();
        for row in self.books.borrow_mut().iter_mut() {
            row.record.is_final |= posted_at(&row.record).is_some_and(|at| blocks.contains(&at));
        }
        self.last.borrow_mut().extend(blocks);
        Ok(())
    }
}

fn posted_at(record: &Record) -> Option<(u64, B256)> {
    let State::Posted(settled) = record.state else { return None };
    (settled.block_hash != B256::ZERO).then_some((settled.block, settled.block_hash))
}
