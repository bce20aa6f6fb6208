//! `pontage ledger export`: payments or entries as rows, in a fixed order, read page by page.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use ledger::{About, ChargeRecord, ChargeState, Grant, Side, State};
use protocol::Amount;
use serde_json::{Map, Value};
use store::{EntryRow, Ledger, LineRow, Payment};

use super::audit::judge::{rail_word, state_word, words};
use super::print::{Assets, Format, csv, short, utc};
use super::show::{charge_word, source_word};
use super::{Common, open};

/// What `pontage ledger export` is given.
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Payments in the order of their claims; entries, a row for each of their lines; charges of balances in their order; or the grants
    /// of balances by their accounts.
    #[arg(long, value_enum)]
    what: What,
    /// From this time on, in milliseconds since 1970: of the claim, or of the entry.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    from: u64,
    /// Before this time.
    #[arg(long, value_name = "MS", default_value_t = u64::MAX)]
    to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Payments,
    Entries,
    Charges,
    Grants,
}

/// The columns of payments, and how wide each is in a table; 0 leaves it out there.
const PAYMENTS: [(&str, usize); 24] = [
    ("payment_id", 10),
    ("opened_at_ms", 0),
    ("opened_at_utc", 19),
    ("network", 0),
    ("asset", 0),
    ("payer", 11),
    ("payee", 11),
    ("nonce", 0),
    ("amount_atomic", 0),
    ("amount", 16),
    ("asset_name", 10),
    ("route", 0),
    ("settlement", 10),
    ("state", 9),
    ("reason", 18),
    ("chain_tx", 11),
    ("settled_block", 13),
    ("valid_before_s", 0),
    ("answer", 0),
    ("refund_due", 10),
    ("late", 5),
    ("exposed_micros", 0),
    ("final", 0),
    ("reorgs", 0),
];

/// The columns of entries.
const ENTRIES: [(&str, usize); 15] = [
    ("entry_id", 8),
    ("at_ms", 0),
    ("at_utc", 19),
    ("kind", 11),
    ("payment_id", 10),
    ("chain_tx", 11),
    ("charge_id", 10),
    ("grant_id", 10),
    ("account", 23),
    ("side", 6),
    ("network", 0),
    ("asset", 0),
    ("asset_name", 10),
    ("amount_atomic", 0),
    ("amount", 22),
];

/// The columns of charges.
const CHARGES: [(&str, usize); 14] = [
    ("charge_id", 10),
    ("opened_at_ms", 0),
    ("opened_at_utc", 19),
    ("account_id", 10),
    ("unit", 6),
    ("held_atomic", 0),
    ("captured_atomic", 15),
    ("refunded_atomic", 15),
    ("charged", 16),
    ("route", 0),
    ("state", 9),
    ("reason", 18),
    ("answer", 0),
    ("tags", 0),
];

/// The columns of grants.
const GRANTS: [(&str, usize); 13] = [
    ("grant_id", 10),
    ("granted_at_ms", 0),
    ("granted_at_utc", 19),
    ("account_id", 10),
    ("unit", 6),
    ("source", 9),
    ("source_id", 10),
    ("label", 0),
    ("priority", 8),
    ("granted_atomic", 14),
    ("left_atomic", 14),
    ("left", 16),
    ("expires_at_ms", 0),
];

/// Prints the rows.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let config = args.common.load()?;
    let journal = open(&config)?;
    let assets = Assets::new(&config);
    let columns: &[(&str, usize)] = match args.what {
        What::Payments => &PAYMENTS,
        What::Entries => &ENTRIES,
        What::Charges => &CHARGES,
        What::Grants => &GRANTS,
    };
    let out = io::BufWriter::new(io::stdout().lock());
    let mut rows = Rows { out, format: args.common.format, columns, written: 0 };
    rows.begin()?;
    match args.what {
        What::Payments => payments(&journal, &assets, args, &mut rows)?,
        What::Entries => entries(&journal, &assets, args, &mut rows)?,
        What::Charges => charges(&journal, &assets, args, &mut rows)?,
        What::Grants => grants(&journal, &assets, args, &mut rows)?,
    }
    Ok(rows.end()?)
}

fn payments<W: Write>(
    journal: &Ledger,
    assets: &Assets,
    args: &ExportArgs,
    rows: &mut Rows<'_, W>,
) -> anyhow::Result<()> {
    let mut last = 0;
    loop {
        let page = journal.payments(last)?;
        let Some(end) = page.last() else { return Ok(()) };
        last = end.turn;
        for payment in page.iter().filter(|payment| (args.from..args.to).contains(&payment.record.hold.opened_at_ms)) {
            rows.row(payment_cells(payment, assets))?;
        }
    }
}

fn entries<W: Write>(
    journal: &Ledger,
    assets: &Assets,
    args: &ExportArgs,
    rows: &mut Rows<'_, W>,
) -> anyhow::Result<()> {
    let mut last = 0;
    loop {
        let page = journal.entries(last)?;
        let Some(end) = page.last() else { return Ok(()) };
        last = end.id;
        for entry in page.iter().filter(|entry| (args.from..args.to).contains(&entry.at_ms)) {
            for line in &entry.lines {
                rows.row(entry_cells(entry, line, assets))?;
            }
        }
    }
}

fn charges<W: Write>(
    journal: &Ledger,
    assets: &Assets,
    args: &ExportArgs,
    rows: &mut Rows<'_, W>,
) -> anyhow::Result<()> {
    let mut last = 0;
    loop {
        let page = journal.charges(last)?;
        let Some((turn, _)) = page.last() else { return Ok(()) };
        last = *turn;
        let inside = |record: &&ChargeRecord| (args.from..args.to).contains(&record.charge.opened_at_ms);
        for record in page.iter().map(|(_, record)| record).filter(inside) {
            rows.row(charge_cells(record, assets))?;
        }
    }
}

fn grants<W: Write>(
    journal: &Ledger,
    assets: &Assets,
    args: &ExportArgs,
    rows: &mut Rows<'_, W>,
) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let page = journal.accounts(last)?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.id);
        for account in &page {
            for grant in journal.grants(account)?.iter().filter(|it| (args.from..args.to).contains(&it.granted_at_ms)) {
                rows.row(grant_cells(grant, assets))?;
            }
        }
    }
}

fn charge_cells(record: &ChargeRecord, assets: &Assets) -> Vec<Value> {
    let charge = &record.charge;
    let (taken, reason) = match record.state {
        ChargeState::Open => (0, String::new()),
        ChargeState::Captured(taken) => (taken, String::new()),
        ChargeState::Released(reason) => (0, words(reason)),
        ChargeState::Burnt(reason) => (0, words(reason)),
    };
    let charged = charge.unit.amount(taken.saturating_sub(record.refunded));
    vec![
        charge.id.to_string().into(),
        charge.opened_at_ms.into(),
        utc(charge.opened_at_ms).into(),
        charge.key.to_string().into(),
        charge.unit.code().into(),
        charge.amount.to_string().into(),
        taken.to_string().into(),
        record.refunded.to_string().into(),
        assets.plain(charged.atomic, charged.asset).into(),
        charge.route.clone().into(),
        charge_word(record.state).into(),
        reason.replace(' ', "_").into(),
        words(record.answer).into(),
        charge.tags.clone().into(),
    ]
}

fn grant_cells(grant: &Grant, assets: &Assets) -> Vec<Value> {
    let (source, source_id) = source_word(grant);
    let left = grant.unit.amount(grant.left);
    vec![
        grant.id.to_string().into(),
        grant.granted_at_ms.into(),
        utc(grant.granted_at_ms).into(),
        grant.key.to_string().into(),
        grant.unit.code().into(),
        source.into(),
        source_id.into(),
        grant.label.clone().into(),
        grant.priority.into(),
        grant.granted.to_string().into(),
        grant.left.to_string().into(),
        assets.plain(left.atomic, left.asset).into(),
        grant.expires_at_ms.into(),
    ]
}

fn payment_cells(payment: &Payment, assets: &Assets) -> Vec<Value> {
    let record = &payment.record;
    let (hold, authorization) = (&record.hold, &record.hold.authorization);
    let (asset, atomic) = (authorization.key.asset, authorization.amount_atomic);
    let reason = match record.state {
        State::Released(reason) => words(reason),
        State::Burnt(reason) => words(reason),
        State::Lost(reason) => words(reason),
        State::Open | State::Answered | State::Submitted(_) | State::Posted(_) => String::new(),
    };
    let block = if let State::Posted(settled) = record.state { Value::from(settled.block) } else { Value::Null };
    vec![
        hold.id.to_string().into(),
        hold.opened_at_ms.into(),
        utc(hold.opened_at_ms).into(),
        asset.network.to_string().into(),
        asset.address.to_string().into(),
        authorization.key.payer.to_string().into(),
        authorization.payee.to_string().into(),
        authorization.key.nonce.to_string().into(),
        atomic.to_string().into(),
        assets.plain(atomic, asset).into(),
        assets.name(asset).into(),
        hold.route.clone().into(),
        rail_word(hold.rail).into(),
        state_word(record.state).into(),
        reason.replace(' ', "_").into(),
        payment.chain_tx.map(|hash| hash.to_string()).into(),
        block,
        authorization.valid_before_s.into(),
        words(record.answer).into(),
        record.refund_due.into(),
        record.late.into(),
        payment.exposed_micros.into(),
        record.is_final.into(),
        record.reorgs.into(),
    ]
}

fn entry_cells(entry: &EntryRow, line: &LineRow, assets: &Assets) -> Vec<Value> {
    let (mut payment, mut chain_tx, mut charge, mut grant) = (None, None, None, None);
    match entry.about {
        About::Hold(id) => payment = Some(id.to_string()),
        About::ChainTx(hash) => chain_tx = Some(hash.to_string()),
        About::Charge(id) => charge = Some(id.to_string()),
        About::Grant(id) => grant = Some(id.to_string()),
    }
    let amount = Amount::new(line.amount_atomic, line.asset);
    vec![
        entry.id.into(),
        entry.at_ms.into(),
        utc(entry.at_ms).into(),
        entry.kind.clone().into(),
        payment.into(),
        chain_tx.into(),
        charge.into(),
        grant.into(),
        line.account.clone().into(),
        if line.side == Side::Debit { "debit" } else { "credit" }.into(),
        line.asset.network.to_string().into(),
        line.asset.address.to_string().into(),
        assets.name(line.asset).into(),
        amount.atomic.to_string().into(),
        assets.plain(amount.atomic, line.asset).into(),
    ]
}

/// Writes rows as they come.
struct Rows<'a, W> {
    out: W,
    format: Format,
    columns: &'a [(&'a str, usize)],
    written: u64,
}

impl<W: Write> Rows<'_, W> {
    fn begin(&mut self) -> io::Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        match self.format {
            Format::Csv => csv(&mut self.out, &names),
            Format::Json => self.out.write_all(b"["),
            Format::Table => {
                let names: Vec<String> = names.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
                self.line(&names)
            }
        }
    }

    fn row(&mut self, cells: Vec<Value>) -> io::Result<()> {
        let text = |cell: &Value| match cell {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.format {
            Format::Csv => csv(&mut self.out, &cells.iter().map(text).collect::<Vec<_>>())?,
            Format::Json => {
                let names = self.columns.iter().map(|(name, _)| (*name).to_owned());
                let row = Value::Object(names.zip(cells).collect::<Map<_, _>>());
                write!(self.out, "{}\n{row}", if self.written == 0 { "" } else { "," })?;
            }
            Format::Table => self.line(&cells.iter().map(|cell| short(&text(cell))).collect::<Vec<_>>())?,
        }
        self.written += 1;
        Ok(())
    }

    /// A line of a table whose widths are known beforehand: nobody has all rows at once.
    fn line(&mut self, cells: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for (cell, (name, width)) in cells.iter().zip(self.columns).filter(|(_, (_, width))| *width > 0) {
            let width = *width;
            let right = matches!(*name, "amount" | "settled_block" | "entry_id");
            let cell = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        writeln!(self.out, "{}", line.trim_end())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.out.write_all(b"\n]\n")?;
        }
        self.out.flush()
    }
}
