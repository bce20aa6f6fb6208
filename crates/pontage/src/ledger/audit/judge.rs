//! What a payment comes to once books and chain lie side by side. Pure: rows in, a finding out.

use alloy_primitives::{Address, B256, U256};
use ledger::{AnswerState, LossReason, Rail, Refund, RefundProblem, RefundState, State};
use protocol::{Amount, Settled};
use store::{ChainTxRow, Fate, Payment};

use super::chain::{Claim, End, Mined, Moved};
use super::finding::{Act, Finding, Served, Subject, Word};
use crate::ledger::print::{Assets, utc};

const NOTHING: &str = "nothing";
const FOLLOW: &str = "its block was not final: start the gate, which un-settles it; if it runs, read its log";
const COMPARE: &str = "ask another node for it, and compare the journal with a backup";

/// What is known of the chain for one payment.
pub(super) enum View<'a> {
    /// `--offline`.
    Offline,
    /// Its chain could not be read.
    Unread,
    /// It was read.
    Chain(Evidence<'a>),
}

/// What the chain has on one payment.
#[derive(Default)]
pub(super) struct Evidence<'a> {
    /// The receipt of the chain_tx that the books name.
    pub(super) receipt: Option<&'a Mined>,
    /// What became of the authorization, where it was looked for.
    pub(super) end: Option<End>,
    /// The receipt of that.
    pub(super) end_receipt: Option<&'a Mined>,
    /// Money to a payee by this authorization that no hold of it accounts for.
    pub(super) stray: Option<Stray<'a>>,
    /// The largest Transfer out of the payer's wallet behind the block of the claim.
    pub(super) outflow: Option<(Moved, End)>,
    /// The time of a final block that a running gate has had time to look at.
    pub(super) old_time_s: u64,
}

/// A Transfer that is on the chain and not in the books.
#[derive(Clone, Copy)]
pub(super) struct Stray<'a> {
    pub(super) mined: &'a Mined,
    pub(super) moved: Moved,
    /// Whether its block is final, and a running gate has had time to look at it.
    pub(super) is_old: bool,
    /// Whether the payer or a settlement key sent it.
    pub(super) known_sender: bool,
}

/// Token, authorizer and nonce of a payment.
pub(super) fn claim(payment: &Payment) -> Claim {
    let key = &payment.record.hold.authorization.key;
    (key.asset.address.0, key.payer.0, key.nonce)
}

/// Whether the books say something of the chain that the receipt of their chain_tx does not show by itself.
pub(super) fn needs_search(payment: &Payment, receipt: Option<&Mined>) -> bool {
    match payment.record.state {
        State::Posted(_) => receipt.and_then(|mined| mined.move_of(claim(payment))).is_none(),
        State::Lost(_) => true,
        State::Released(_) | State::Burnt(_) => payment.record.late,
        State::Open | State::Answered | State::Submitted(_) => false,
    }
}

/// The one finding of a payment.
pub(super) fn judge(payment: &Payment, refunds: &[Refund], view: &View<'_>, assets: &Assets) -> Finding {
    let (word, found, action, evidence) = match view {
        View::Offline | View::Unread => unseen(payment, matches!(view, View::Unread)),
        View::Chain(evidence) => seen(payment, evidence, assets),
    };
    let by_gate = (action == FOLLOW).then_some(Act::StartGate);
    let kept = (word == Word::Late && is_served_on_tab(payment)).then_some(Act::Keep);
    let Back { word, found, action, act, refunded_atomic } =
        given_back(payment, refunds, (word, found, action), assets);
    let amount = payment.record.hold.authorization.amount();
    let mut finding = Finding::new(word, Subject::Payment(payment.record.hold.id), found, action);
    (finding.network, finding.amount) = (Some(amount.asset.network), Some(amount));
    (finding.chain_tx, finding.block) = evidence;
    finding.from = Some(payment.record.hold.authorization.key.payer.0);
    finding.at_ms = Some(payment.record.hold.opened_at_ms);
    finding.served = Some(served(payment));
    finding.refunded_atomic = refunded_atomic;
    finding.act = act.or(kept).or(by_gate).unwrap_or(finding.act);
    if let (Word::Unposted, View::Chain(Evidence { stray: Some(stray), old_time_s, .. })) = (word, view) {
        finding.difference = overdue(payment, stray, *old_time_s);
        finding.act = if finding.difference { Act::StartGate } else { Act::Wait };
    }
    finding
}

/// What refunds make of a payment's word.
struct Back {
    word: Word,
    found: String,
    action: String,
    act: Option<Act>,
    refunded_atomic: u128,
}

/// Takes what was given back, and what is still to be, into account.
fn given_back(
    payment: &Payment,
    refunds: &[Refund],
    (word, mut found, mut action): (Word, String, String),
    assets: &Assets,
) -> Back {
    let record = &payment.record;
    let amount = record.hold.authorization.amount();
    let has_moved = |refund: &&Refund| matches!(refund.state, RefundState::Refunded { .. });
    let sum = |refunds: &mut dyn Iterator<Item = &Refund>| {
        refunds.fold(0u128, |sum, refund| sum.saturating_add(refund.amount_atomic))
    };
    let refunded_atomic = sum(&mut refunds.iter().filter(has_moved));
    let paid = matches!(word, Word::Matched | Word::Posted | Word::OwedBack | Word::Late | Word::Recovered);
    if !paid || refunds.is_empty() {
        return Back { word, found, action, act: None, refunded_atomic };
    }
    let words = |atomic| assets.amount(Amount::new(atomic, amount.asset));
    if refunded_atomic > 0 {
        let hashes: Vec<String> = refunds.iter().filter_map(refunded_in).map(|hash| hash.to_string()).collect();
        found = format!("{found}; {} given back in {}", words(refunded_atomic), hashes.join(", "));
    }
    let open = refunds.iter().find(|refund| !has_moved(refund));
    let asked = sum(&mut refunds.iter().filter(|refund| !has_moved(refund)));
    let owed = if record.refund_due { amount.atomic.saturating_sub(refunded_atomic) } else { asked };
    let (word, act) = match open {
        _ if refunded_atomic >= amount.atomic => {
            action = NOTHING.to_owned();
            (Word::Refunded, None)
        }
        Some(open) => {
            found = format!("{found}; {} are to be given back", words(owed));
            let (act, what) = next_act(open);
            action = what.to_owned();
            (Word::OwedBack, Some(act))
        }
        None => (word, None),
    };
    Back { word, found, action, act, refunded_atomic }
}

fn refunded_in(refund: &Refund) -> Option<B256> {
    match refund.state {
        RefundState::Refunded { chain_tx, .. } => Some(chain_tx),
        RefundState::Due | RefundState::Submitted(_) => None,
    }
}

/// What is to be done for a refund that has not moved.
const fn next_act(refund: &Refund) -> (Act, &'static str) {
    match (refund.state, refund.problem) {
        _ if refund.signed.is_none() => (Act::PayByHand, "pay it by hand, then link it with --settled-by"),
        (RefundState::Submitted(_), _) => (Act::Wait, "nothing while a gate runs: it follows it up"),
        (_, Some(RefundProblem::WalletEmpty)) => (Act::FundWallet, "fund the refunds wallet"),
        (_, Some(RefundProblem::DailyCap)) => (Act::Wait, "nothing: the cap has room again tomorrow"),
        (_, Some(RefundProblem::TokenRefuses)) => (Act::Refund, "the token refuses the transfer: find out why"),
        (_, None) => (Act::Refund, "run the refund again"),
    }
}

/// What the journal knows of the answer.
pub(super) const fn served(payment: &Payment) -> Served {
    match (payment.record.state, payment.record.answer) {
        (_, AnswerState::Delivered) => Served::Delivered,
        (_, AnswerState::Kept) => Served::Kept,
        (_, AnswerState::Lost) => Served::Lost,
        (_, AnswerState::Pending) | (State::Open | State::Answered | State::Submitted(_), AnswerState::Live) => {
            Served::Running
        }
        (State::Posted(_) | State::Lost(_), AnswerState::Live) => Served::Released,
        (State::Released(_) | State::Burnt(_), AnswerState::Live) => Served::No,
    }
}

/// What the chain says of a refund that the books have as moved.
pub(super) fn judge_refund(refund: &Refund, mined: Option<&Mined>, assets: &Assets) -> Option<Finding> {
    let RefundState::Refunded { chain_tx, block } = refund.state else { return None };
    let value = U256::from(refund.amount_atomic);
    let fits = |moved: &Moved| {
        let ours =
            refund.signed.is_none_or(|signed| moved.from == signed.wallet.0 && moved.nonce == Some(refund.id.nonce()));
        ours && (moved.token, moved.to, moved.value) == (refund.asset.address.0, refund.to.0, value)
    };
    if mined.is_some_and(|mined| mined.success && mined.moved.iter().any(fits)) {
        return None;
    }
    let amount = assets.amount(refund.amount());
    let found =
        format!("the books have {amount} of payment {} given back in {chain_tx}; the chain does not", refund.payment);
    let mut finding = Finding::new(Word::Missing, Subject::Refund(refund.id), found, COMPARE);
    (finding.network, finding.amount) = (Some(refund.asset.network), Some(refund.amount()));
    (finding.chain_tx, finding.block) = (Some(chain_tx), Some(block));
    Some(finding)
}

/// Word, what was found, what to do, and the chain_tx with its block.
type Verdict = (Word, String, String, (Option<B256>, Option<u64>));

/// What the books say by themselves.
fn unseen(payment: &Payment, unread: bool) -> Verdict {
    let record = &payment.record;
    let payer = record.hold.authorization.key.payer;
    let hold_tx = (payment.chain_tx, None);
    match record.state {
        State::Posted(Settled { chain_tx, block, .. }) => {
            let found = format!("posted by {chain_tx} (block {block}), by the books alone");
            let word = match (unread, record.refund_due) {
                (true, _) => Word::Unread,
                (false, true) => Word::OwedBack,
                (false, false) => Word::Posted,
            };
            let action = if record.refund_due { send_back(payment) } else { NOTHING.to_owned() };
            (word, found, action, (Some(chain_tx), Some(block)))
        }
        State::Released(_) | State::Burnt(_) | State::Lost(_) if record.late && unread => {
            (Word::Unread, "money came after its end, by the books alone".to_owned(), NOTHING.to_owned(), hold_tx)
        }
        State::Released(_) | State::Burnt(_) if record.late => {
            let found = format!("money of {payer} came after its end and is in suspense, by the books alone");
            (Word::Late, found, send_back(payment), hold_tx)
        }
        State::Lost(_) if record.late && record.refund_due => {
            let found = "collected after all, by the books alone, and its answer was lost".to_owned();
            (Word::OwedBack, found, send_back(payment), hold_tx)
        }
        State::Lost(_) if record.late => {
            (Word::Recovered, "collected after all, by the books alone".to_owned(), NOTHING.to_owned(), hold_tx)
        }
        State::Lost(reason) => {
            let found = format!("{}: {}", words(reason), loss_words(payment, reason));
            (Word::Lost, found, write_off(reason).to_owned(), hold_tx)
        }
        State::Open | State::Answered | State::Submitted(_) | State::Released(_) | State::Burnt(_) => going(payment),
    }
}

/// What books and chain say together.
fn seen(payment: &Payment, evidence: &Evidence<'_>, assets: &Assets) -> Verdict {
    if let Some(stray) = &evidence.stray {
        return unposted(payment, stray, evidence.old_time_s, assets);
    }
    let record = &payment.record;
    match record.state {
        State::Posted(settled) => match compare(payment, evidence.receipt, assets) {
            Ok(block) if record.refund_due => {
                let found = format!("paid in {} (block {block}), and its answer was lost", settled.chain_tx);
                (Word::OwedBack, found, send_back(payment), (Some(settled.chain_tx), Some(block)))
            }
            Ok(block) => {
                let moved =
                    if block == settled.block { "" } else { "; the books have another block, as after a reorg" };
                let found = format!("paid in {} (block {block}){moved}", settled.chain_tx);
                (Word::Matched, found, NOTHING.to_owned(), (Some(settled.chain_tx), Some(block)))
            }
            Err((word, found)) => {
                let there = evidence.receipt.is_some_and(|mined| mined.move_of(claim(payment)).is_some());
                let elsewhere = if there { String::new() } else { elsewhere(payment, settled.chain_tx, evidence) };
                let found = format!("{found}{elsewhere}");
                let action = if record.is_final || word != Word::Missing { COMPARE } else { FOLLOW };
                (word, found, action.to_owned(), (Some(settled.chain_tx), Some(settled.block)))
            }
        },
        State::Released(_) | State::Burnt(_) | State::Lost(_) if record.late => {
            after_its_end(payment, evidence, assets)
        }
        State::Lost(reason) => lost(payment, reason, evidence, assets),
        State::Open | State::Answered | State::Submitted(_) | State::Released(_) | State::Burnt(_) => going(payment),
    }
}

/// The block in which the chain has what the books say, or how it differs.
fn compare(payment: &Payment, mined: Option<&Mined>, assets: &Assets) -> Result<u64, (Word, String)> {
    let authorization = &payment.record.hold.authorization;
    let hash = payment.chain_tx.unwrap_or_default();
    let missing = |what: String| Err((Word::Missing, what));
    let Some(mined) = mined else { return missing(format!("the chain has no transaction {hash}")) };
    if !mined.success {
        return missing(format!("transaction {hash} failed on the chain"));
    }
    let Some(moved) = mined.move_of(claim(payment)) else {
        return missing(match mined.used.contains(&claim(payment)) {
            true => format!("{hash} used the authorization without a Transfer"),
            false => format!("{hash} does not hold this payment"),
        });
    };
    if moved.to != authorization.payee.0 {
        return missing(format!("in {hash} it went to {} instead of {}", moved.to, authorization.payee));
    }
    let (asset, booked) = (authorization.key.asset, U256::from(authorization.amount_atomic));
    let words = || {
        let (chain, books) = (assets.value(moved.value, asset), assets.amount(authorization.amount()));
        format!("{chain} moved in {hash}; the books have {books}")
    };
    match moved.value.cmp(&booked) {
        std::cmp::Ordering::Equal => Ok(mined.block),
        std::cmp::Ordering::Greater => Err((Word::Over, words())),
        std::cmp::Ordering::Less => Err((Word::Under, words())),
    }
}

/// Where a payment is on the chain that is not where the books say.
fn elsewhere(payment: &Payment, chain_tx: B256, evidence: &Evidence<'_>) -> String {
    match evidence.end {
        Some(end) if end.cancelled => {
            format!("; its authorization was cancelled in {} (block {})", end.chain_tx, end.block)
        }
        Some(end) if end.chain_tx != chain_tx => {
            format!("; its authorization was used in {} (block {})", end.chain_tx, end.block)
        }
        Some(_) => String::new(),
        None if payment.record.hold.seen.number == 0 => String::new(),
        None => format!("; its authorization was not used since block {}", payment.record.hold.seen.number),
    }
}

/// Money that the books say came after the payment had ended.
fn after_its_end(payment: &Payment, evidence: &Evidence<'_>, assets: &Assets) -> Verdict {
    let recovered = matches!(payment.record.state, State::Lost(_));
    let place = evidence.end.filter(|end| !end.cancelled);
    let Some(end) = place else {
        let found =
            "the books have money that came after its end; the chain has no use of its authorization".to_owned();
        return (Word::Missing, found, COMPARE.to_owned(), (None, None));
    };
    let at = (Some(end.chain_tx), Some(end.block));
    let named = Payment { chain_tx: Some(end.chain_tx), ..payment.clone() };
    match compare(&named, evidence.end_receipt, assets) {
        Err((word, found)) => (word, found, COMPARE.to_owned(), at),
        Ok(_) if recovered && payment.record.refund_due => {
            let found =
                format!("collected after all in {} (block {}), and its answer was lost", end.chain_tx, end.block);
            (Word::OwedBack, found, send_back(payment), at)
        }
        Ok(_) if recovered => {
            let found = format!("collected after all in {} (block {})", end.chain_tx, end.block);
            (Word::Recovered, found, NOTHING.to_owned(), at)
        }
        Ok(_) => {
            let found = format!("came in {} (block {}), after its end, and is in suspense", end.chain_tx, end.block);
            (Word::Late, found, send_back(payment), at)
        }
    }
}

/// A call that was served on the tab and never paid, with what the chain shows of the reason.
fn lost(payment: &Payment, reason: LossReason, evidence: &Evidence<'_>, assets: &Assets) -> Verdict {
    let asset = payment.record.hold.authorization.key.asset;
    let none = (None, None);
    let in_block = |end: End| format!("{} (block {})", end.chain_tx, end.block);
    let (how, at) = match (reason, evidence.end, evidence.outflow) {
        (_, Some(end), _) if end.cancelled => {
            (format!("cancelled in {}", in_block(end)), (Some(end.chain_tx), Some(end.block)))
        }
        (_, Some(end), _) => {
            let moved = evidence.end_receipt.and_then(|mined| mined.move_of(claim(payment)));
            let what = moved.map(|moved| format!(", {} to {}", assets.value(moved.value, asset), moved.to));
            let how = format!("used for another transfer in {}{}", in_block(end), what.unwrap_or_default());
            (how, (Some(end.chain_tx), Some(end.block)))
        }
        (LossReason::Emptied, None, Some((moved, end))) => {
            let value = assets.value(moved.value, asset);
            (format!("{value} left the wallet in {}", in_block(end)), (Some(end.chain_tx), Some(end.block)))
        }
        (_, None, _) => match evidence.receipt.filter(|mined| mined.move_of(claim(payment)).is_none()) {
            Some(mined) => {
                let how = format!("it did not go through in {} (block {})", mined.chain_tx, mined.block);
                (how, (Some(mined.chain_tx), Some(mined.block)))
            }
            None => {
                let seen = payment.record.hold.seen.number;
                (format!("{}; not used since block {seen}", loss_words(payment, reason)), none)
            }
        },
    };
    (Word::Lost, format!("{}: {how}", words(reason)), write_off(reason).to_owned(), at)
}

/// What the books know of a loss.
fn loss_words(payment: &Payment, reason: LossReason) -> String {
    match reason {
        LossReason::Emptied => "the payer had less than was owed".to_owned(),
        LossReason::Gone => "the authorization was cancelled or used elsewhere".to_owned(),
        LossReason::Failed => "the asset refused the transfer".to_owned(),
        LossReason::Expired => {
            let end = payment.record.hold.authorization.valid_before_s.saturating_mul(1_000);
            format!("not settled before {}", utc(end))
        }
        LossReason::Reorged => "a reorg took out the block that had it, and it cannot come back".to_owned(),
    }
}

const fn write_off(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Emptied | LossReason::Gone | LossReason::Failed | LossReason::Reorged => "write it off",
        LossReason::Expired => "write it off; find out why it was not settled in time",
    }
}

/// What to do with money in suspense. What was served on the tab, and landed by a stranger, is most likely the price of it.
fn send_back(payment: &Payment) -> String {
    if is_served_on_tab(payment) {
        return "the call was served: keep it, unless another gate of the same payee was paid with it".to_owned();
    }
    format!("send the amount back to {}", payment.record.hold.authorization.key.payer)
}

fn is_served_on_tab(payment: &Payment) -> bool {
    let record = &payment.record;
    record.hold.rail == Rail::Tab && matches!(record.answer, AnswerState::Delivered | AnswerState::Kept)
}

/// Money on the chain that the books do not have.
fn unposted(payment: &Payment, stray: &Stray<'_>, old_time_s: u64, assets: &Assets) -> Verdict {
    let (mined, asset) = (stray.mined, payment.record.hold.authorization.key.asset);
    let value = assets.value(stray.moved.value, asset);
    let state = state_word(payment.record.state);
    let found = format!("{value} came in {} (block {}); the books have it as {state}", mined.chain_tx, mined.block);
    let action = match (overdue(payment, stray, old_time_s), payment.record.state) {
        (true, _) => "start the gate, which posts it; if it runs, read its log",
        (false, State::Submitted(_)) if !stray.known_sender => {
            "a stranger landed it: it goes to suspense when its validity has ended"
        }
        (false, State::Open | State::Answered | State::Submitted(_)) => {
            "nothing while a gate runs: it posts it; if none does, start it"
        }
        (false, State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_)) => {
            "nothing: it is booked when its validity has ended"
        }
    };
    (Word::Unposted, found, action.to_owned(), (Some(mined.chain_tx), Some(mined.block)))
}

/// Whether a running gate would have booked it by now.
fn overdue(payment: &Payment, stray: &Stray<'_>, old_time_s: u64) -> bool {
    let expired = old_time_s > payment.record.hold.authorization.valid_before_s;
    stray.is_old
        && match payment.record.state {
            State::Submitted(_) => stray.known_sender || expired,
            State::Open | State::Answered => expired,
            State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_) => expired || payment.watched,
        }
}

/// A payment of which the chain has nothing to say.
fn going(payment: &Payment) -> Verdict {
    let record = &payment.record;
    let at = (payment.chain_tx, None);
    let since = utc(record.hold.opened_at_ms);
    match (record.state, record.answer) {
        (State::Open, _) => (Word::Running, format!("the call runs since {since}"), NOTHING.to_owned(), at),
        (State::Answered, AnswerState::Live | AnswerState::Pending) => {
            (Word::Running, format!("its answer is being given out since {since}"), NOTHING.to_owned(), at)
        }
        (State::Answered, AnswerState::Kept | AnswerState::Delivered | AnswerState::Lost) => (
            Word::Held,
            format!("on the tab since {since}"),
            "nothing while a gate runs: it settles it; if none does, start it".to_owned(),
            at,
        ),
        (State::Submitted(chain_tx), _) if record.is_unsettled() => (
            Word::Submitted,
            format!("a reorg took out the block that had it; sent again in {chain_tx}"),
            "nothing while a gate runs: it follows it up; if none does, start it".to_owned(),
            at,
        ),
        (State::Submitted(chain_tx), _) => {
            let found = match ::ledger::told(chain_tx) {
                Some(chain_tx) => format!("sent to the chain in {chain_tx}, not final in the books yet"),
                None => "handed to a facilitator, not final in the books yet".to_owned(),
            };
            (
                Word::Submitted,
                found,
                "nothing while a gate runs: it follows it up; if none does, start it".to_owned(),
                at,
            )
        }
        (State::Released(reason), _) => {
            (Word::Released, format!("not charged ({})", words(reason)), NOTHING.to_owned(), at)
        }
        (State::Burnt(reason), _) => (Word::Burnt, format!("not charged ({})", words(reason)), NOTHING.to_owned(), at),
        // They are judged by what the chain has.
        (State::Posted(_) | State::Lost(_), _) => (Word::Unread, String::new(), NOTHING.to_owned(), at),
    }
}

/// `SettlementRefused` as `settlement refused`.
pub(in crate::ledger) fn words(reason: impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for char in format!("{reason:?}").chars() {
        if char.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(char.to_ascii_lowercase());
    }
    words
}

/// The state in one word, as the journal has it.
pub(in crate::ledger) const fn state_word(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Answered => "answered",
        State::Submitted(_) => "submitted",
        State::Posted(_) => "posted",
        State::Released(_) => "released",
        State::Burnt(_) => "burnt",
        State::Lost(_) => "lost",
    }
}

/// The rail in the word of the configuration.
pub(in crate::ledger) const fn rail_word(rail: Rail) -> &'static str {
    match rail {
        Rail::Direct => "direct",
        Rail::Tab => "tab",
    }
}

/// What the chain says of a chain_tx of ours.
pub(super) fn judge_chain_tx(tx: &ChainTxRow, mined: Option<&Mined>, is_old: bool, assets: &Assets) -> Option<Finding> {
    let fee = |fee: u128| assets.amount(protocol::Amount::new(fee, protocol::Asset::native(tx.network)));
    let (word, found, action) = match (tx.fate, mined) {
        (Some(Fate::Mined { block, .. }), None) => {
            let found = format!("the books have transaction {} in block {block}; the chain does not have it", tx.hash);
            (Word::Missing, found, COMPARE)
        }
        (Some(Fate::Mined { fee_wei, .. }), Some(mined)) => {
            let chain = mined.fee_wei.filter(|chain| *chain != fee_wei)?;
            let found = format!("transaction {} has cost {}; the books have {}", tx.hash, fee(chain), fee(fee_wei));
            (Word::FeeDiffers, found, COMPARE)
        }
        (Some(Fate::Outbid), Some(mined)) => {
            let found = format!("the books have transaction {} as outbid; it is in block {}", tx.hash, mined.block);
            (Word::Misbooked, found, COMPARE)
        }
        (None, Some(mined)) if is_old && mined.fee_wei.is_some() => {
            let found = format!("transaction {} is in block {}; its gas is not in the books", tx.hash, mined.block);
            (Word::Unposted, found, "start the gate, which books it; if it runs, read its log")
        }
        (None | Some(Fate::Outbid), _) => return None,
    };
    let mut finding = Finding::new(word, Subject::ChainTx(tx.hash), found, action);
    finding.difference = true;
    (finding.network, finding.chain_tx) = (Some(tx.network), Some(tx.hash));
    finding.block = mined.map(|mined| mined.block);
    Some(finding)
}

/// Money to a payee that is no payment of ours.
pub(super) fn unrelated(mined: &Mined, moved: &Moved, token: protocol::Asset, assets: &Assets) -> Finding {
    let value = assets.value(moved.value, token);
    let found = format!("{value} from {} to {} in {}", moved.from, moved.to, mined.chain_tx);
    let mut finding = Finding::new(Word::Unrelated, Subject::ChainTx(mined.chain_tx), found, NOTHING);
    (finding.network, finding.chain_tx, finding.block) = (Some(token.network), Some(mined.chain_tx), Some(mined.block));
    finding.amount = u128::try_from(moved.value).ok().map(|atomic| Amount::new(atomic, token));
    finding.from = Some(moved.from);
    finding
}

/// Whether the payer or one of our keys sent a chain_tx.
pub(super) fn known_sender(payment: &Payment, sender: Address, signers: &std::collections::BTreeSet<Address>) -> bool {
    signers.contains(&sender) || payment.record.hold.authorization.key.payer.0 == sender
}
