//! The gate's log of calls beside the journal. The log may lack lines: what there was no room for is lost and counted. What it has must
//! be what the journal says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use alloy_primitives::hex;
use anyhow::{Context as _, bail};
use ledger::{ChargeRecord, ChargeState, HoldId, State};
use serde_json::Value;
use store::{Ledger, Payment};

use crate::ledger::audit::finding::{Act, Finding, Subject, Word};
use crate::ledger::audit::judge::state_word;
use crate::ledger::audit::report::Report;
use crate::ledger::print::Assets;
use crate::ledger::show::charge_word;
use crate::telemetry::MoneyOutcome;

/// No line of a log is longer.
const LINE_MAX_BYTES: u64 = 64 * 1024;

/// What a log says of each payment.
pub(super) struct Log {
    payments: BTreeMap<HoldId, Vec<Line>>,
    lines: u64,
    other_lines: u64,
    /// The first and the last time that it speaks of, as it writes them.
    span: Option<(String, String)>,
}

struct Line {
    outcome: MoneyOutcome,
    amount_atomic: Option<u128>,
}

/// How much of the log was of use.
pub(super) struct Logged {
    /// Lines about payments.
    pub(super) lines: u64,
    /// Other lines.
    pub(super) other_lines: u64,
    /// How many payments they are about.
    pub(super) payments: u64,
    /// Payments that were claimed in its time and served, and that it has no line of.
    pub(super) unlogged: u64,
}

impl Log {
    /// Reads a log. Lines that are no JSON, or not about a payment, are counted and left out.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let place = || format!("--served {}", path.display());
        let mut file = BufReader::new(File::open(path).with_context(place)?);
        let mut log = Self { payments: BTreeMap::new(), lines: 0, other_lines: 0, span: None };
        let (mut bytes, mut any) = (Vec::new(), false);
        loop {
            bytes.clear();
            let read = file.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut bytes).with_context(place)?;
            if read == 0 {
                break;
            }
            let value: Option<Value> = serde_json::from_slice(&bytes).ok();
            any |= value.is_some();
            match value.as_ref().and_then(line) {
                Some((hold, line)) => {
                    log.lines += 1;
                    log.payments.entry(hold).or_default().push(line);
                }
                None => log.other_lines += 1,
            }
            if let Some(at) = value.as_ref().and_then(|value| value["timestamp"].as_str()) {
                let first = log.span.take().map_or_else(|| at.to_owned(), |(first, _)| first);
                log.span = Some((first, at.to_owned()));
            }
        }
        if !any && log.other_lines > 0 {
            bail!("{}: it has no JSON lines (log.format: json writes them)", place());
        }
        Ok(log)
    }

    /// Adds what it says otherwise than the journal to what was found.
    pub(super) fn compare(&self, journal: &Ledger, report: &mut Report, assets: &Assets) -> anyhow::Result<Logged> {
        for (hold, lines) in &self.payments {
            let payment = journal.payment(*hold)?;
            let charge = if payment.is_none() { journal.charge(*hold)? } else { None };
            report.findings.extend(match charge {
                Some(charge) => judge_charge(&charge, lines),
                None => judge(*hold, lines, payment.as_ref(), assets),
            });
        }
        let span = self.span.as_ref().and_then(|(first, last)| Some((ms(first)?, ms(last)?)));
        let silent = |finding: &&Finding| {
            let Subject::Payment(hold) = finding.subject else { return false };
            let inside = finding.at_ms.zip(span).is_some_and(|(at_ms, (first, last))| (first..=last).contains(&at_ms));
            inside && finding.served.is_some_and(|served| served.is_served()) && !self.payments.contains_key(&hold)
        };
        let unlogged = report.findings.iter().chain(&report.plain).filter(silent).count() as u64;
        let payments = self.payments.len() as u64;
        Ok(Logged { lines: self.lines, other_lines: self.other_lines, payments, unlogged })
    }
}

/// The time of a line, to the second.
fn ms(text: &str) -> Option<u64> {
    super::time::read(Some(text.get(..19)?), 0).ok().flatten()
}

/// A line about a payment.
fn line(value: &Value) -> Option<(HoldId, Line)> {
    let hold = hex::decode(value["hold"].as_str()?).ok()?;
    let code = value["outcome"].as_str()?;
    let outcome = MoneyOutcome::ALL.iter().find(|outcome| outcome.code() == code)?;
    let amount_atomic = value["amount_atomic"].as_str().and_then(|atomic| atomic.parse().ok());
    Some((HoldId(hold.try_into().ok()?), Line { outcome: *outcome, amount_atomic }))
}

/// What the lines of a call that a balance paid for say otherwise than its charge, if anything.
fn judge_charge(record: &ChargeRecord, lines: &[Line]) -> Option<Finding> {
    let id = record.charge.id;
    let finding = |word, found: String| {
        let mut finding = Finding::new(word, Subject::Charge(id), found, "compare log and journal with a backup");
        (finding.amount, finding.at_ms) =
            (Some(record.charge.unit.amount(record.charge.amount)), Some(record.charge.opened_at_ms));
        Some(finding)
    };
    let served = lines.iter().filter(|line| line.outcome == MoneyOutcome::ServedBalance).count();
    if served > 1 {
        return finding(Word::ServedTwice, format!("the log has charge {id} served {served} times"));
    }
    let (taken, kept) = match record.state {
        ChargeState::Captured(taken) => (true, taken.saturating_sub(record.refunded)),
        ChargeState::Open | ChargeState::Released(_) | ChargeState::Burnt(_) => (false, 0),
    };
    let wrong = lines.iter().find(|line| match line.outcome {
        MoneyOutcome::ServedBalance => !taken,
        MoneyOutcome::NotCharged => kept > 0,
        _ => false,
    })?;
    let (log, books) = (wrong.outcome.code(), charge_word(record.state));
    finding(Word::LogDiffers, format!("the log says {log} of charge {id}; the books have it as {books}"))
}

/// What the lines of a payment say otherwise than its record, if anything.
fn judge(hold: HoldId, lines: &[Line], payment: Option<&Payment>, assets: &Assets) -> Option<Finding> {
    let finding = |word, found: String| {
        let mut finding = Finding::new(word, Subject::Payment(hold), found, "compare log and journal with a backup");
        finding.act = Act::Compare;
        if let Some(payment) = payment {
            let authorization = &payment.record.hold.authorization;
            (finding.network, finding.amount) = (Some(authorization.key.asset.network), Some(authorization.amount()));
            (finding.from, finding.at_ms) = (Some(authorization.key.payer.0), Some(payment.record.hold.opened_at_ms));
        }
        Some(finding)
    };
    let is_served = |line: &&Line| {
        matches!(line.outcome, MoneyOutcome::ServedSettled | MoneyOutcome::ServedTab | MoneyOutcome::OwedBack)
    };
    let served = lines.iter().filter(is_served).count();
    let Some(Payment { record, .. }) = payment else {
        return finding(
            Word::NotInJournal,
            format!("the log has {} of payment {hold}; the journal does not have it", lines.len()),
        );
    };
    if served > 1 {
        return finding(Word::ServedTwice, format!("the log has payment {hold} served {served} times"));
    }
    let amount = record.hold.authorization.amount();
    let other =
        lines.iter().filter(is_served).filter_map(|line| line.amount_atomic).find(|atomic| *atomic != amount.atomic);
    if let Some(other) = other {
        let (log, books) = (assets.amount(protocol::Amount::new(other, amount.asset)), assets.amount(amount));
        return finding(Word::LogDiffers, format!("the log has payment {hold} over {log}; the books have {books}"));
    }
    let posted = matches!(record.state, State::Posted(_));
    let wrong = lines.iter().find(|line| match line.outcome {
        MoneyOutcome::ServedSettled => !posted,
        MoneyOutcome::OwedBack => !posted || !record.refund_due,
        MoneyOutcome::NotCharged => posted,
        _ => false,
    })?;
    let (log, books) = (wrong.outcome.code(), state_word(record.state));
    finding(Word::LogDiffers, format!("the log says {log} of payment {hold}; the books have it as {books}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_payments_are_read() {
        let of = |text: &str| {
            line(&serde_json::from_str(text).unwrap()).map(|(hold, line)| (hold, line.outcome, line.amount_atomic))
        };
        let hold = "07".repeat(16);
        let good = format!("{{\"outcome\":\"served_tab\",\"hold\":\"{hold}\",\"amount_atomic\":\"10000\"}}");
        assert_eq!(of(&good), Some((HoldId([7; 16]), MoneyOutcome::ServedTab, Some(10_000))));
        for other in [
            "{}",
            "{\"outcome\":\"free\"}",
            "{\"outcome\":\"x\",\"hold\":\"07\"}",
            "[]",
            "{\"hold\":\"0707\",\"outcome\":\"free\"}",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(ms("2026-11-20T12:42:24.123456Z"), Some(1_795_178_544_000));
    }
}
