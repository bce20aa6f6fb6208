//! What must be true when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

use super::{Audit, Books, End, Id, Key, PlainHold, Terms, Told, word};

/// A transfer on the chain that an authorization moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) chain_tx: B256,
    pub(crate) block: u64,
    pub(crate) sender: Address,
    pub(crate) key: Key,
    pub(crate) to: Address,
    pub(crate) value: u128,
    pub(crate) valid_before_s: u64,
}

/// What the world knows at rest.
pub(crate) struct Facts {
    pub(crate) transfers: Vec<Transfer>,
    /// Transfers that reorgs took out of the chain: callers and gate may have seen them.
    pub(crate) undone: Vec<Transfer>,
    /// Payers with whom something was done in a block that is not in the chain any more.
    pub(crate) shaken: BTreeSet<Address>,
    /// The hash of each block, by its height.
    pub(crate) blocks: Vec<B256>,
    pub(crate) gas: BTreeMap<B256, u128>,
    /// Tasks that have not ended and should have.
    pub(crate) tasks: Vec<&'static str>,
    /// Whether a process died. What it knew alone of an answer's end is lost then: what had been answered is charged.
    pub(crate) crashed: bool,
    pub(crate) now_ms: u64,
    /// Whether the reconciler still has something to look at.
    pub(crate) restless: bool,
}

/// What the books say of the money of one authorization.
#[derive(Default)]
struct Booked {
    arrived: Vec<(&'static str, u128)>,
    uncollected: u128,
    owed_back: u128,
}

impl Audit {
    /// Compares books, chain and words.
    pub(crate) fn rest(&mut self, books: &Books, facts: &Facts) {
        self.check(facts.tasks.is_empty(), || format!("tasks never end: {:?}", facts.tasks));
        self.holds_end(books);
        self.check(!facts.restless, || "reconciliation never comes to rest".to_owned());
        self.entries_balance(books);
        self.gas_is_booked(books, facts);
        self.money_is_booked(books, facts);
        self.payments_are_of_their_holds(books, facts);
        self.nobody_is_charged_for_nothing(books, facts);
        self.broken_answers_are_not_paid_for(books, facts);
        self.words_are_true(books, facts);
        self.entries_match_states(books);
        self.names_are_of_one(books);
        self.purchases(books);
        self.balances(books, facts.crashed, facts.now_ms);
    }

    fn holds_end(&mut self, books: &Books) {
        for hold in &books.holds {
            let ended = !matches!(hold.end, End::Open | End::Answered | End::Submitted);
            self.check(ended, || format!("a hold never ends: {hold:?}"));
            self.check(!hold.answer_open, || format!("an answer stays pending: {hold:?}"));
            let served = self.served.contains(&hold.id);
            let lost = hold.end == End::Lost && (hold.tab || hold.reorgs > 0);
            let accounted = matches!(hold.end, End::Posted(_)) || lost || hold.late;
            // On the tab a body that broke off is not charged.
            let broke = hold.tab && hold.end == End::Burnt && !self.whole.contains(&hold.id);
            self.check(!served || accounted || broke, || format!("a served call is neither paid nor a loss: {hold:?}"));
        }
        let known = |id: &Id| books.holds.iter().any(|hold| hold.id == *id);
        let lost: Vec<Id> = self.served.iter().filter(|id| !known(id)).copied().collect();
        self.check(lost.is_empty(), || "a served hold is not in the journal any more".to_owned());
    }

    fn entries_balance(&mut self, books: &Books) {
        let mut accounts: BTreeMap<(Address, &str), i128> = BTreeMap::new();
        for entry in &books.entries {
            let mut sums: BTreeMap<Address, i128> = BTreeMap::new();
            for line in &entry.lines {
                let amount = i128::try_from(line.amount).unwrap_or(i128::MAX);
                let signed = if line.credit { amount } else { -amount };
                *sums.entry(line.asset).or_default() += signed;
                *accounts.entry((line.asset, &line.account)).or_default() += signed;
                self.check(line.amount > 0, || format!("an entry moves nothing: {entry:?}"));
            }
            self.check(sums.values().all(|sum| *sum == 0), || format!("an entry does not balance: {entry:?}"));
        }
        let all: i128 = accounts.values().sum();
        self.check(all == 0, || "the accounts do not sum to zero".to_owned());
    }

    fn gas_is_booked(&mut self, books: &Books, facts: &Facts) {
        let mut booked: BTreeMap<B256, u128> = BTreeMap::new();
        for entry in &books.entries {
            let wei = entry.lines.iter().filter(|line| line.credit).map(|line| line.amount).sum::<u128>();
            let of_tx = booked.entry(entry.chain_tx.unwrap_or_default()).or_default();
            match entry.kind {
                "gas" => *of_tx += wei,
                "gas_voided" => *of_tx = of_tx.saturating_sub(wei),
                _ => {}
            }
        }
        booked.retain(|_, wei| *wei > 0);
        self.check(booked == facts.gas, || format!("gas in the books {booked:?} is not what was paid {:?}", facts.gas));
    }

    fn booked(books: &Books) -> BTreeMap<Key, Booked> {
        let mut booked: BTreeMap<Key, Booked> = BTreeMap::new();
        for entry in &books.entries {
            let hold = entry.hold.and_then(|id| books.holds.iter().find(|hold| hold.id == id));
            let Some(hold) = hold else { continue };
            let amount = entry.lines.iter().filter(|line| line.credit).map(|line| line.amount).sum();
            let of_key = booked.entry(hold.key).or_default();
            match entry.kind {
                "posted" | "late" | "recovered" | "resettled" => of_key.arrived.push((entry.kind, amount)),
                "unsettled" => drop(of_key.arrived.pop()),
                "refund_voided" => of_key.owed_back = of_key.owed_back.saturating_sub(amount),
                "uncollected" => of_key.uncollected += amount,
                "refund_due" => of_key.owed_back += amount,
                _ => {}
            }
        }
        booked
    }

    /// What the chain moved by our authorizations is in the books once, and nothing else is.
    fn money_is_booked(&mut self, books: &Books, facts: &Facts) {
        let booked = Self::booked(books);
        for (key, booked) in &booked {
            let transfer = facts.transfers.iter().find(|transfer| transfer.key == *key);
            let moved = transfer.filter(|transfer| transfer.to == self.terms.payee).map(|transfer| transfer.value);
            let arrived: Vec<u128> = booked.arrived.iter().map(|(_, amount)| *amount).collect();
            self.check(arrived.len() <= 1, || format!("{} is booked twice: {:?}", word(*key), booked.arrived));
            self.check(arrived.first().is_none_or(|amount| Some(*amount) == moved), || {
                format!("{} is booked {:?} and the chain moved {moved:?}", word(*key), booked.arrived)
            });
            self.check(booked.owed_back <= arrived.iter().sum(), || {
                format!("{}: more is owed back than came", word(*key))
            });
        }
        let Terms { payee, signers, .. } = self.terms;
        for transfer in facts.transfers.iter().filter(|transfer| transfer.to == payee) {
            // What was landed before anybody claimed it pays for nothing here, and so does another authorization of the nonce.
            let claims = |hold: &&PlainHold| {
                let same = hold.amount == transfer.value && hold.valid_before_s == transfer.valid_before_s;
                hold.key == transfer.key && facts.is_after(transfer, hold) && same
            };
            let claimed = books.holds.iter().rev().find(|hold| hold.key == transfer.key).filter(claims).is_some();
            let arrived = booked.get(&transfer.key).is_some_and(|booked| !booked.arrived.is_empty());
            self.check(arrived || !claimed, || format!("money moved and is not in the books: {transfer:?}"));
            self.check(!signers.contains(&transfer.sender) || claimed, || {
                format!("we moved money without a claim: {transfer:?}")
            });
        }
    }

    /// Only what moved after the claim pays for it, and what a stranger landed pays for nothing.
    fn payments_are_of_their_holds(&mut self, books: &Books, facts: &Facts) {
        for entry in books.entries.iter().filter(|entry| entry.kind == "posted") {
            let hold = books.holds.iter().find(|hold| Some(hold.id) == entry.hold);
            // What a reorg took from it and a stranger brought back is none of its payment any more.
            let Some(hold) = hold.filter(|hold| hold.end != End::Lost) else { continue };
            let Some(transfer) = facts.transfers.iter().find(|transfer| transfer.key == hold.key) else { continue };
            self.check(facts.is_after(transfer, hold), || {
                format!("what moved before a claim counts as its payment: {hold:?}")
            });
            let known = self.terms.signers.contains(&transfer.sender) || transfer.sender == hold.key.0;
            self.check(known, || format!("what a stranger landed counts as payment: {hold:?}"));
        }
    }

    /// A hold that was released or burnt was never charged by our doing.
    fn nobody_is_charged_for_nothing(&mut self, books: &Books, facts: &Facts) {
        for hold in books.holds.iter().filter(|hold| matches!(hold.end, End::Released(_) | End::Burnt)) {
            let ours = by_us(books, facts, hold.id, hold.key);
            // What failed in one block may go through in another; then it is refundable.
            let shaken = hold.late && facts.shaken.contains(&hold.key.0);
            self.check(!ours || shaken, || {
                format!("a payer was charged for a call that was let go or burnt: {hold:?}")
            });
        }
    }

    /// An answer that broke off is burnt on the tab, and owed back on `direct`; a whole one is not owed back.
    fn broken_answers_are_not_paid_for(&mut self, books: &Books, facts: &Facts) {
        for hold in &books.holds {
            let (broke, whole) = (self.broke.contains(&hold.id), self.whole.contains(&hold.id));
            // What it bought besides is there.
            let charged = by_us(books, facts, hold.id, hold.key) && !hold.owed_back && hold.buys.is_none();
            self.check(facts.crashed || !broke || !charged, || format!("a broken answer is charged for: {hold:?}"));
            // What came after it was given up does not bring back what it had bought.
            let unbought = hold.buys.is_some() && hold.end == End::Lost;
            self.check(!whole || unbought || !hold.owed_back, || format!("a whole answer is owed back: {hold:?}"));
        }
    }

    fn words_are_true(&mut self, books: &Books, facts: &Facts) {
        for statement in std::mem::take(&mut self.statements) {
            let key = statement.key;
            let transfer = facts.transfers.iter().find(|transfer| transfer.key == key);
            match statement.told {
                Told::Untouched => {
                    let moved = statement.hold.is_some_and(|hold| by_us(books, facts, hold, key));
                    let shaken = facts.shaken.contains(&key.0);
                    self.check(!moved || shaken, || {
                        format!("a caller was told `untouched`, and we moved it: {}", word(key))
                    });
                }
                Told::Moved => {
                    let undone = facts.undone.iter().any(|transfer| transfer.key == key);
                    self.check(transfer.is_some() || undone, || {
                        format!("a caller was told `moved`, and it did not: {}", word(key))
                    });
                }
                Told::Receipt(chain_tx, amount) => {
                    // A receipt is true of the chain that was there; a reorg may have come since.
                    let mut seen = transfer.into_iter().chain(&facts.undone).filter(|transfer| transfer.key == key);
                    let on_chain = seen.any(|transfer| {
                        transfer.chain_tx == chain_tx && transfer.value == amount && transfer.to == self.terms.payee
                    });
                    self.check(on_chain, || format!("a receipt is not on the chain: {chain_tx}, {}", word(key)));
                }
                Told::Open => {}
            }
        }
    }

    /// Of the payments that a payer calls by one name, one is good for something.
    fn names_are_of_one(&mut self, books: &Books) {
        let live = |hold: &&PlainHold| !matches!(hold.end, End::Released(_) | End::Burnt);
        for hold in books.holds.iter().filter(live).filter(|hold| hold.name.is_some()) {
            let namesakes = books.holds.iter().filter(live);
            let namesakes = namesakes.filter(|other| other.name == hold.name && other.key.0 == hold.key.0).count();
            self.check(namesakes == 1, || format!("{namesakes} payments of one payer have the name of {hold:?}"));
        }
    }

    /// Each hold has the entries of its state and no others. That losses stay within the caps is checked when a call is served: what
    /// is lost later was on the tab then.
    fn entries_match_states(&mut self, books: &Books) {
        for hold in &books.holds {
            let mut kinds: Vec<&str> = Vec::new();
            for entry in books.entries.iter().filter(|entry| entry.hold == Some(hold.id)) {
                kinds.push(entry.kind);
                let right = entry.lines.iter().all(|line| line.amount == hold.amount);
                self.check(right, || format!("an entry is of another amount than its hold: {hold:?}, {entry:?}"));
            }
            // A refund that was due for money which a reorg took is void.
            while let (Some(at), Some(void)) = (
                kinds.iter().position(|kind| *kind == "refund_due"),
                kinds.iter().position(|kind| *kind == "refund_voided"),
            ) {
                kinds.remove(at.max(void));
                kinds.remove(at.min(void));
            }
            let mut wanted: Vec<&str> = match hold.end {
                End::Posted(_) if hold.owed_back => vec!["posted", "refund_due"],
                End::Posted(_) => vec!["posted"],
                End::Lost if hold.reorgs > 0 && hold.late => vec!["posted", "recovered"],
                End::Lost if hold.reorgs > 0 => vec!["posted"],
                End::Lost if hold.late => vec!["uncollected", "recovered"],
                End::Lost => vec!["uncollected"],
                End::Released(_) | End::Burnt if hold.late => vec!["late"],
                End::Released(_) | End::Burnt | End::Open | End::Answered | End::Submitted => Vec::new(),
            };
            let recovered = hold.end == End::Lost && hold.late;
            if recovered && hold.owed_back {
                wanted.push("refund_due");
            }
            let back = hold.reorgs - u32::from(hold.reorgs > 0 && hold.end == End::Lost);
            wanted.extend((0..hold.reorgs).map(|_| "unsettled").chain((0..back).map(|_| "resettled")));
            if hold.buys.is_some() {
                // Bought each time that its money came, and un-bought each time that it went.
                let times = |kind: &str| wanted.iter().filter(|wanted| **wanted == kind).count();
                let (came, went) = (times("posted") + times("resettled"), times("unsettled"));
                wanted.extend((0..came).map(|_| "converted").chain((0..went).map(|_| "unconverted")));
            }
            kinds.sort_unstable();
            wanted.sort_unstable();
            self.check(kinds == wanted, || format!("the entries {kinds:?} are not those of {hold:?}"));
            let on_tab = hold.end != End::Lost || hold.tab || hold.reorgs > 0;
            self.check(on_tab, || format!("a loss that was neither on the tab nor by a reorg: {hold:?}"));
        }
    }
}

impl Facts {
    /// Whether money moved after a claim: in a later block than the one that was read for it, or on another branch.
    fn is_after(&self, transfer: &Transfer, hold: &PlainHold) -> bool {
        let stays = usize::try_from(hold.seen).is_ok_and(|place| self.blocks.get(place) == Some(&hold.seen_hash));
        transfer.block > hold.seen || !stays
    }
}

/// Whether a chain_tx of ours that was signed for a hold moved its money.
fn by_us(books: &Books, facts: &Facts, hold: Id, key: Key) -> bool {
    let signed = |chain_tx: B256| books.members.iter().any(|(hash, ids)| *hash == chain_tx && ids.contains(&hold));
    facts.transfers.iter().any(|transfer| transfer.key == key && signed(transfer.chain_tx))
}
