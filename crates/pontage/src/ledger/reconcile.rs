//! `pontage reconcile`: books, chain and served calls side by side. Each payment has one state and one thing to do. What is looked at,
//! and how it is judged, is the audit's.

mod served;
mod time;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::Common;
use super::audit::finding::{Finding, Served, Subject, Word};
use super::audit::report::Report;
use super::audit::{Scope, audit};
use super::print::{Assets, Format, Table, count, counted, csv, short, utc};
use crate::host::now_ms;
use served::{Log, Logged};

/// What `pontage reconcile` is given.
#[derive(Args)]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// What was claimed from this time on, in UTC: `2026-11-20`, `2026-11-20T14:00:00`, or so long ago: `7d`, `24h`, `30m`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What was claimed before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Compare with the gate's log of calls, too (JSON lines).
    #[arg(long, value_name = "FILE")]
    served: Option<PathBuf>,
    /// Ask no chain.
    #[arg(long)]
    offline: bool,
    /// List in the table what needs nothing as well. JSON and CSV always have everything.
    #[arg(long)]
    all: bool,
}

/// Reconciles, prints, and says by the exit code how it went.
pub(super) fn run(args: &ReconcileArgs) -> anyhow::Result<ExitCode> {
    let config = args.common.load()?;
    let now_ms = now_ms();
    let since_ms = time::read(args.since.as_deref(), now_ms).context("--since")?.unwrap_or(0);
    let until_ms = time::read(args.until.as_deref(), now_ms).context("--until")?.unwrap_or(u64::MAX);
    // The log first: what it says of is in the journal by now.
    let log = args.served.as_deref().map(Log::read).transpose()?;
    let assets = Assets::new(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scope = Scope { offline: args.offline, times: true };
    let mut report = LocalSet::new().block_on(&runtime, audit(&config, &assets, scope))?;
    let logged = log.map(|log| log.compare(&super::open(&config)?, &mut report, &assets)).transpose()?;
    let sheet = Sheet { report: &report, logged, period: (since_ms, until_ms) };
    sheet.print(args.common.format, args.all, &assets)?;
    Ok(ExitCode::from(sheet.exit_code()))
}

/// What is told.
struct Sheet<'a> {
    report: &'a Report,
    logged: Option<Logged>,
    /// From, and before.
    period: (u64, u64),
}

/// How the call and its money do not go together.
fn mismatch(finding: &Finding) -> Option<&'static str> {
    let served = finding.served?;
    match finding.word {
        Word::OwedBack | Word::Late | Word::Unposted | Word::Over | Word::Under
            if matches!(served, Served::Lost | Served::No) =>
        {
            Some("paid_not_served")
        }
        Word::Lost | Word::Missing if served.is_served() => Some("served_not_paid"),
        _ => None,
    }
}

/// The state in the word of this report.
const fn state(finding: &Finding) -> &'static str {
    match finding.word {
        Word::Unrelated => "extra",
        word => word.code(),
    }
}

impl Sheet<'_> {
    /// Differences first, then by state and time. What has no time is about the books as a whole.
    fn rows(&self, all: bool) -> Vec<&Finding> {
        let (since_ms, until_ms) = self.period;
        let inside = |finding: &&Finding| match finding.at_ms {
            Some(at_ms) => (since_ms..until_ms).contains(&at_ms),
            None => finding.difference || finding.word == Word::Unrelated,
        };
        let plain = self.report.plain.iter().filter(|_| all);
        let rows = self.report.findings.iter().chain(plain).chain(&self.report.unrelated);
        let mut rows: Vec<&Finding> = rows.filter(inside).collect();
        rows.sort_by_key(|finding| (!finding.difference, finding.word, finding.at_ms));
        rows
    }

    fn differences(&self) -> u64 {
        self.rows(true).iter().filter(|finding| finding.difference).count() as u64
    }

    fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::new();
        for finding in self.rows(true) {
            *states.entry(state(finding)).or_default() += 1;
        }
        states
    }

    fn exit_code(&self) -> u8 {
        if self.report.unread().next().is_some() { 2 } else { u8::from(self.differences() > 0) }
    }

    fn summary(&self) -> String {
        let rows = self.rows(true);
        let words: Vec<String> =
            self.states().iter().map(|(word, n)| format!("{} {}", count(*n), word.replace('_', " "))).collect();
        let payments = rows.iter().filter(|row| row.served.is_some()).count() as u64;
        let mut parts = vec![counted(payments, "payment")];
        if !words.is_empty() {
            parts = vec![format!("{}: {}", parts.concat(), words.join(", "))];
        }
        for what in ["paid_not_served", "served_not_paid"] {
            let found = rows.iter().filter(|row| mismatch(row) == Some(what)).count() as u64;
            if found > 0 {
                parts.push(format!("{} {}", count(found), what.replace('_', " ")));
            }
        }
        if let Some(Logged { lines, payments, unlogged, .. }) = &self.logged {
            let (lines, payments) = (counted(*lines, "line"), counted(*payments, "payment"));
            parts.push(format!("the log has {lines} of {payments}, and none of {} that were served", count(*unlogged)));
        }
        parts.extend(self.report.unread().map(|(network, why)| format!("{network} COULD NOT BE READ ({why})")));
        parts.push(counted(self.differences(), "difference"));
        parts.join("; ")
    }

    fn print(&self, format: Format, all: bool, assets: &Assets) -> io::Result<()> {
        let out = &mut io::BufWriter::new(io::stdout().lock());
        match format {
            Format::Table => self.print_table(out, all, assets)?,
            Format::Json => writeln!(out, "{:#}", self.json(assets))?,
            Format::Csv => {
                self.print_csv(out, assets)?;
                // The rows stay rows.
                writeln!(io::stderr(), "{}", self.summary())?;
            }
        }
        out.flush()
    }

    fn print_table(&self, out: &mut impl Write, all: bool, assets: &Assets) -> io::Result<()> {
        writeln!(out, "reconciliation of {} at {} UTC", self.report.journal.display(), utc(self.report.at_ms))?;
        self.report.print_networks(out)?;
        let mut table =
            Table::new(&["state", "what", "time (utc)", "amount", "call", "found", "action", "command"], &[3]);
        for row in self.rows(all) {
            let what = format!("{} {}", row.subject.kind(), row.subject.id());
            let word = state(row).replace('_', " ");
            let word = if row.difference { format!("! {word}") } else { word };
            let amount = row.amount.map(|amount| assets.amount(amount)).unwrap_or_default();
            let call = mismatch(row).or(row.served.map(Served::code)).unwrap_or_default().replace('_', " ");
            let at = row.at_ms.map(utc).unwrap_or_default();
            let (action, command) = (row.act.code().replace('_', " "), row.act.command(&row.subject));
            table.row(vec![word, short(&what), at, amount, call, short(&row.found), action, command]);
        }
        if !table.is_empty() {
            table.print(out)?;
            writeln!(out)?;
        }
        writeln!(out, "{}", self.summary())
    }

    fn print_csv(&self, out: &mut impl Write, assets: &Assets) -> io::Result<()> {
        csv(out, &COLUMNS)?;
        for row in self.rows(true) {
            let cells = cells(row, assets);
            csv(out, &COLUMNS.map(|name| text(cells.get(name).unwrap_or(&Value::Null))))?;
        }
        Ok(())
    }

    fn json(&self, assets: &Assets) -> Value {
        let logged = self.logged.as_ref().map(|logged| {
            json!({ "lines": logged.lines, "other_lines": logged.other_lines, "payments": logged.payments, "not_logged": logged.unlogged })
        });
        let (since_ms, until_ms) = self.period;
        json!({
            "at_ms": self.report.at_ms,
            "journal": self.report.journal.display().to_string(),
            "since_ms": since_ms,
            "until_ms": (until_ms < u64::MAX).then_some(until_ms),
            "networks": self.report.networks_json(),
            "rows": self.rows(true).iter().map(|row| cells(row, assets)).collect::<Vec<_>>(),
            "states": self.states(),
            "served_log": logged,
            "differences": self.differences(),
            "summary": self.summary(),
            "exit_code": self.exit_code(),
        })
    }
}

/// The columns of CSV, which are the members of a row in JSON.
const COLUMNS: [&str; 18] = [
    "state",
    "difference",
    "kind",
    "id",
    "at_utc",
    "network",
    "asset",
    "amount_atomic",
    "amount",
    "from",
    "chain_tx",
    "block",
    "served",
    "mismatch",
    "refunded_atomic",
    "action",
    "command",
    "found",
];

fn cells(row: &Finding, assets: &Assets) -> Value {
    let amount = row.amount;
    let is_payment = matches!(row.subject, Subject::Payment(_));
    json!({
        "state": state(row),
        "difference": row.difference,
        "kind": row.subject.kind(),
        "id": row.subject.id(),
        "at_utc": row.at_ms.map(utc),
        "network": row.network.map(|network| network.to_string()),
        "asset": amount.map(|amount| amount.asset.address.to_string()),
        "amount_atomic": amount.map(|amount| amount.atomic.to_string()),
        "amount": amount.map(|amount| assets.plain(amount.atomic, amount.asset)),
        "from": row.from.map(|from| from.to_string()),
        "chain_tx": row.chain_tx.map(|hash| hash.to_string()),
        "block": row.block,
        "served": row.served.map(Served::code),
        "mismatch": mismatch(row),
        "refunded_atomic": is_payment.then(|| row.refunded_atomic.to_string()),
        "action": row.act.code(),
        "command": row.act.command(&row.subject),
        "found": row.found,
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
