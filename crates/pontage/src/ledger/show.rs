//! `pontage ledger show`: balances and the tab, or the story of one payment, account, grant or charge.

mod balance;
mod story;

use std::io::{self, Write};

use alloy_primitives::hex;
use anyhow::{anyhow, bail};
use clap::Args;
use ledger::{Exposure, HoldId};
use protocol::{Amount, Asset, Payer};
use serde_json::{Value, json};
use store::{Balances, Ledger, Payment, Totals};

use super::print::{Assets, Format, Table, count, csv, dollars};
use super::{Common, open};
pub(super) use balance::{charge_word, source_word};

/// How many payers of the tab are listed.
const PAYERS_MAX: u32 = 20;

/// What `pontage ledger show` is given.
#[derive(Args)]
pub(crate) struct ShowArgs {
    /// A payment's id, an account's (that of its key), a grant's or a charge's (32 hex digits each), the nonce of an authorization, or a
    /// transaction's hash (both 0x and 64 hex digits). Without it: balances, totals and the tab.
    id: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Prints what is asked for.
pub(super) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let config = args.common.load()?;
    let journal = open(&config)?;
    let assets = Assets::new(&config);
    let out = &mut io::BufWriter::new(io::stdout().lock());
    match &args.id {
        Some(id) => match found(&journal, id)? {
            Found::Balance(found) => balance::print(out, &found, &assets, args.common.format)?,
            Found::Payments(payments) => {
                story::print(out, None, &payments, &journal, &assets, args.common.format)?;
            }
            Found::ChainTx(hash, payments) => {
                story::print(out, Some(hash), &payments, &journal, &assets, args.common.format)?;
            }
        },
        None => Overview::read(&journal, config.tab.caps)?.print(out, &assets, args.common.format)?,
    }
    Ok(out.flush()?)
}

/// What an id names.
enum Found {
    /// Payments, the oldest first: several where a claim was released and won again, or in one batch.
    Payments(Vec<Payment>),
    /// A chain_tx, and the payments that it was signed for or that it settled.
    ChainTx(alloy_primitives::B256, Vec<Payment>),
    /// An account, a grant or a charge.
    Balance(Box<balance::Found>),
}

fn found(journal: &Ledger, id: &str) -> anyhow::Result<Found> {
    let digits = id.strip_prefix("0x").unwrap_or(id);
    let bytes = hex::decode(digits).map_err(|_| anyhow!("{id} is no id: it must be hex digits"))?;
    if let Ok(id) = <[u8; 16]>::try_from(bytes.as_slice()) {
        if let Some(payment) = journal.payment(HoldId(id))? {
            return Ok(Found::Payments(vec![payment]));
        }
        let found = balance::find(journal, id)?;
        return found
            .map(|found| Found::Balance(Box::new(found)))
            .ok_or_else(|| anyhow!("no payment, account, grant or charge has the id {digits}"));
    }
    let Ok(word) = <[u8; 32]>::try_from(bytes.as_slice()) else {
        bail!("{id} is no id: a payment's has 32 hex digits, a nonce and a transaction's hash have 64");
    };
    let word = word.into();
    let payments = journal.payments_of_nonce(word)?;
    if !payments.is_empty() {
        return Ok(Found::Payments(payments));
    }
    let payments = journal.payments_of_chain_tx(word)?;
    if payments.is_empty() && journal.chain_tx(word)?.is_none() {
        bail!("no payment has the nonce {word}, and no transaction of the books has this hash");
    }
    Ok(Found::ChainTx(word, payments))
}

/// The books at a glance.
struct Overview {
    balances: Balances,
    totals: Totals,
    payers: Vec<(Payer, u64, u64)>,
    gate_micros: u64,
    caps: Exposure,
}

impl Overview {
    fn read(journal: &Ledger, caps: Exposure) -> anyhow::Result<Self> {
        let gate = journal.tab_sums()?.into_iter().find(|sum| sum.scope == "gate");
        Ok(Self {
            balances: journal.balances()?,
            totals: journal.totals()?,
            payers: journal.tab_by_payer(PAYERS_MAX)?,
            gate_micros: gate.map_or(0, |sum| sum.held_micros),
            caps,
        })
    }

    fn print(&self, out: &mut impl Write, assets: &Assets, format: Format) -> io::Result<()> {
        match format {
            Format::Table => self.print_table(out, assets),
            Format::Json => writeln!(out, "{:#}", self.json(assets)),
            Format::Csv => self.print_csv(out, assets),
        }
    }

    fn print_table(&self, out: &mut impl Write, assets: &Assets) -> io::Result<()> {
        let mut table = Table::new(&["account", "network", "came", "went", "balance", "in"], &[2, 3, 4]);
        for ((asset, account), (credit, debit)) in &self.balances {
            let number = |atomic| assets.number(atomic, *asset);
            let balance = signed(*credit, *debit, number);
            let (came, went) = (number(*credit), number(*debit));
            let network = assets.network(*asset);
            table.row(vec![account.clone(), network, came, went, balance, assets.name(*asset)]);
        }
        section(out, &table, "no entries yet")?;
        let mut table = Table::new(&["payments", "network", "count", "amount", "in"], &[2, 3]);
        for ((asset, state), (number, sum)) in &self.totals {
            let (network, amount) = (asset.network.to_string(), assets.number(*sum, *asset));
            table.row(vec![state.clone(), network, count(*number), amount, assets.name(*asset)]);
        }
        section(out, &table, "no payments yet")?;
        let mut table = Table::new(&["on the tab of", "payments", "now", "cap"], &[1, 2, 3]);
        for (payer, micros, number) in &self.payers {
            table.row(vec![payer.to_string(), count(*number), dollars(*micros), dollars(self.caps.payer_micros)]);
        }
        section(out, &table, "nothing is on the tab")?;
        writeln!(out, "the gate: {} of {} on the tab", dollars(self.gate_micros), dollars(self.caps.gate_micros))
    }

    fn print_csv(&self, out: &mut impl Write, assets: &Assets) -> io::Result<()> {
        csv(out, &["kind", "name", "network", "asset", "count", "amount_atomic", "amount", "cap"])?;
        let mut row = |kind: &str, name: &str, asset: Option<Asset>, number: Option<u64>, rest: [String; 3]| {
            let [atomic, amount, cap] = rest;
            let network = asset.map(|asset| asset.network.to_string()).unwrap_or_default();
            let address = asset.map(|asset| asset.address.to_string()).unwrap_or_default();
            let number = number.map(|number| number.to_string()).unwrap_or_default();
            csv(out, &[kind, name, &network, &address, &number, &atomic, &amount, &cap])
        };
        for ((asset, account), (credit, debit)) in &self.balances {
            let atomic = signed(*credit, *debit, |atomic| atomic.to_string());
            let amount = signed(*credit, *debit, |atomic| assets.plain(atomic, *asset));
            row("account", account, Some(*asset), None, [atomic, amount, String::new()])?;
        }
        for ((asset, state), (number, sum)) in &self.totals {
            let rest = [sum.to_string(), assets.plain(*sum, *asset), String::new()];
            row("payments", state, Some(*asset), Some(*number), rest)?;
        }
        // The tab is counted in millionths of a dollar.
        for (payer, micros, number) in &self.payers {
            let rest = [micros.to_string(), dollars(*micros), dollars(self.caps.payer_micros)];
            row("tab", &payer.to_string(), None, Some(*number), rest)?;
        }
        let rest = [self.gate_micros.to_string(), dollars(self.gate_micros), dollars(self.caps.gate_micros)];
        row("tab", "gate", None, None, rest)
    }

    fn json(&self, assets: &Assets) -> Value {
        let account = |((asset, account), (credit, debit)): (&(Asset, String), &(u128, u128))| {
            json!({
                "account": account,
                "network": asset.network.to_string(),
                "asset": asset.address.to_string(),
                "credit_atomic": credit.to_string(),
                "debit_atomic": debit.to_string(),
                "balance_atomic": signed(*credit, *debit, |atomic| atomic.to_string()),
                "balance": signed(*credit, *debit, |atomic| assets.plain(atomic, *asset)),
            })
        };
        let total = |((asset, state), (number, sum)): (&(Asset, String), &(u64, u128))| {
            json!({
                "state": state,
                "network": asset.network.to_string(),
                "asset": asset.address.to_string(),
                "count": number,
                "amount_atomic": sum.to_string(),
                "amount": assets.plain(*sum, *asset),
            })
        };
        let payer = |(payer, micros, number): &(Payer, u64, u64)| json!({"payer": payer.to_string(), "payments": number, "micros": micros, "cap_micros": self.caps.payer_micros});
        json!({
            "accounts": self.balances.iter().map(account).collect::<Vec<_>>(),
            "payments": self.totals.iter().map(total).collect::<Vec<_>>(),
            "tab": {
                "payers": self.payers.iter().map(payer).collect::<Vec<_>>(),
                "gate_micros": self.gate_micros,
                "gate_cap_micros": self.caps.gate_micros,
            },
        })
    }
}

/// What came less what went, with a sign where that is less than nothing.
fn signed(credit: u128, debit: u128, print: impl Fn(u128) -> String) -> String {
    if credit >= debit { print(credit - debit) } else { format!("-{}", print(debit - credit)) }
}

fn section(out: &mut impl Write, table: &Table, empty: &str) -> io::Result<()> {
    if table.is_empty() {
        writeln!(out, "{empty}")?
    } else {
        table.print(out)?
    }
    writeln!(out)
}

/// An amount for people.
fn amount(assets: &Assets, payment: &Payment) -> String {
    assets.amount(Amount::new(
        payment.record.hold.authorization.amount_atomic,
        payment.record.hold.authorization.key.asset,
    ))
}
