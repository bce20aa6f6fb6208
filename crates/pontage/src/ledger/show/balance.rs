//! The story of an account, of a part of its balance, or of a call that it paid for.

use std::io::{self, Write};

use ledger::{About, BurnReason, Charge, ChargeRecord, ChargeState, Grant, GrantId, GrantSource, HoldId, KeyId};
use serde_json::{Value, json};
use store::{AccountRow, EntryRow, Ledger};

use super::story::{entry_json, entry_words};
use crate::ledger::audit::judge::words;
use crate::ledger::print::{Assets, Format, Table, count, csv, utc};

/// How many of an account's newest charges are listed.
const CHARGES_MAX: u64 = 20;

/// What an id names of balances.
pub(super) enum Found {
    Account(Holding),
    Grant(Grant, Vec<EntryRow>),
    Charge(ChargeRecord, Vec<EntryRow>),
}

/// An account with what it has.
pub(super) struct Holding {
    account: AccountRow,
    grants: Vec<Grant>,
    charges: Vec<ChargeRecord>,
}

/// What of balances has this id.
pub(super) fn find(journal: &Ledger, id: [u8; 16]) -> anyhow::Result<Option<Found>> {
    if let Some(record) = journal.charge(HoldId(id))? {
        let entries = journal.entries_of(About::Charge(HoldId(id)))?;
        return Ok(Some(Found::Charge(record, entries)));
    }
    if let Some(account) = journal.account(KeyId(id))? {
        let (grants, charges) = (journal.grants(&account)?, journal.newest_charges(account.id, CHARGES_MAX)?);
        return Ok(Some(Found::Account(Holding { account, grants, charges })));
    }
    let Some(grant) = journal.grant(GrantId(id))? else { return Ok(None) };
    let entries = journal.entries_of(About::Grant(grant.id))?;
    Ok(Some(Found::Grant(grant, entries)))
}

pub(super) fn print(out: &mut impl Write, found: &Found, assets: &Assets, format: Format) -> io::Result<()> {
    match format {
        Format::Table => match found {
            Found::Account(holding) => tell_account(out, holding, assets),
            Found::Grant(grant, entries) => {
                tell_grant(out, grant, assets)?;
                tell_entries(out, entries, assets)
            }
            Found::Charge(record, entries) => {
                tell_charge(out, record, assets)?;
                tell_entries(out, entries, assets)
            }
        },
        Format::Json => {
            let value = match found {
                Found::Account(holding) => json!({ "account": account_json(holding) }),
                Found::Grant(grant, entries) => json!({ "grant": with_entries(grant_json(grant), entries) }),
                Found::Charge(record, entries) => json!({ "charge": with_entries(charge_json(record), entries) }),
            };
            writeln!(out, "{value:#}")
        }
        Format::Csv => {
            csv(out, &["kind", "id", "at_ms", "state", "amount_atomic", "text"])?;
            match found {
                Found::Account(holding) => {
                    for grant in &holding.grants {
                        grant_csv(out, grant, assets)?;
                    }
                    holding.charges.iter().try_for_each(|record| charge_csv(out, record))
                }
                Found::Grant(grant, entries) => {
                    grant_csv(out, grant, assets)?;
                    entries_csv(out, entries, assets)
                }
                Found::Charge(record, entries) => {
                    charge_csv(out, record)?;
                    entries_csv(out, entries, assets)
                }
            }
        }
    }
}

fn tell_account(out: &mut impl Write, holding: &Holding, assets: &Assets) -> io::Result<()> {
    let AccountRow { id, unit, calls, spent, .. } = holding.account;
    let amount = |units: u64| assets.amount(unit.amount(units));
    let left = holding.grants.iter().fold(0u64, |sum, grant| sum.saturating_add(grant.left));
    writeln!(out, "account {id}")?;
    writeln!(out, "  has        {}", amount(left))?;
    writeln!(out, "  spent      {} in {} calls", amount(spent), count(calls))?;
    let closed = match (holding.account.is_closed, holding.account.closes_at_ms) {
        (true, _) => "closed: it does not pay".to_owned(),
        (false, Some(closes_at_ms)) => format!("open until {} UTC", utc(closes_at_ms)),
        (false, None) => "open".to_owned(),
    };
    writeln!(out, "  state      {closed}")?;
    writeln!(out)?;
    let mut table =
        Table::new(&["grant", "from", "granted", "left", "priority", "granted (UTC)", "ends (UTC)"], &[2, 3, 4]);
    for grant in &holding.grants {
        let ends = grant.expires_at_ms.map_or_else(|| "never".to_owned(), utc);
        let numbers = [grant.granted, grant.left].map(|units| assets.number(u128::from(units), unit.amount(0).asset));
        let [granted, left] = numbers;
        let priority = grant.priority.to_string();
        table.row(vec![grant.id.to_string(), source(grant), granted, left, priority, utc(grant.granted_at_ms), ends]);
    }
    super::section(out, &table, "nothing was granted yet")?;
    let mut table = Table::new(&["newest charges", "time (UTC)", "held", "state", "route"], &[2]);
    for ChargeRecord { charge, state, refunded, .. } in &holding.charges {
        let words = state_words(*state, *refunded, charge, assets);
        let held = assets.number(u128::from(charge.amount), unit.amount(0).asset);
        table.row(vec![charge.id.to_string(), utc(charge.opened_at_ms), held, words, charge.route.clone()]);
    }
    super::section(out, &table, "no call was paid from it yet")
}

fn tell_grant(out: &mut impl Write, grant: &Grant, assets: &Assets) -> io::Result<()> {
    writeln!(out, "grant {}", grant.id)?;
    writeln!(out, "  account    {}", grant.key)?;
    writeln!(out, "  granted    {} by {}", assets.amount(grant.unit.amount(grant.granted)), source(grant))?;
    writeln!(out, "  left       {}", assets.amount(grant.unit.amount(grant.left)))?;
    writeln!(out, "  used       in turn {} of 0 to 255, lower ones first", grant.priority)?;
    writeln!(out, "  granted at {} UTC", utc(grant.granted_at_ms))?;
    writeln!(out, "  ends       {}", grant.expires_at_ms.map_or_else(|| "never".to_owned(), |ends| utc(ends) + " UTC"))
}

fn tell_charge(out: &mut impl Write, record: &ChargeRecord, assets: &Assets) -> io::Result<()> {
    let charge = &record.charge;
    writeln!(out, "charge {}", charge.id)?;
    writeln!(out, "  held       {}", assets.amount(charge.unit.amount(charge.amount)))?;
    writeln!(out, "  account    {}", charge.key)?;
    writeln!(out, "  route      {}", charge.route)?;
    writeln!(out, "  state      {}", state_words(record.state, record.refunded, charge, assets))?;
    writeln!(out, "  time       {} UTC", utc(charge.opened_at_ms))?;
    for draw in &record.draws {
        writeln!(out, "  drawn      {} of grant {}", assets.amount(charge.unit.amount(draw.amount)), draw.grant)?;
    }
    match &charge.tags {
        Some(tags) => writeln!(out, "  tags       {tags}"),
        None => Ok(()),
    }
}

fn tell_entries(out: &mut impl Write, entries: &[EntryRow], assets: &Assets) -> io::Result<()> {
    writeln!(out)?;
    let mut table = Table::new(&["time (UTC)", "what happened"], &[]);
    for entry in entries {
        table.row(vec![utc(entry.at_ms), entry_words(entry, assets)]);
    }
    if table.is_empty() { writeln!(out, "no entries") } else { table.print(out) }
}

/// Where a grant came from.
fn source(grant: &Grant) -> String {
    match grant.source {
        GrantSource::Operator => "the operator".to_owned(),
        GrantSource::Automatic => "itself".to_owned(),
        GrantSource::Payment(hold) => format!("payment {hold}"),
        GrantSource::Transfer(from) => format!("account {from}"),
    }
}

fn state_words(state: ChargeState, refunded: u64, charge: &Charge, assets: &Assets) -> String {
    let amount = |units: u64| assets.amount(charge.unit.amount(units));
    match state {
        ChargeState::Open => "open: the call is running".to_owned(),
        ChargeState::Captured(taken) if refunded > 0 => {
            format!("captured: {} were taken, {} given back", amount(taken), amount(refunded))
        }
        ChargeState::Captured(taken) => format!("captured: {} were taken", amount(taken)),
        ChargeState::Released(reason) => format!("released: not charged ({})", words(reason)),
        ChargeState::Burnt(BurnReason::Interrupted) => "burnt: given back when a crash had cut it off".to_owned(),
        ChargeState::Burnt(reason) => format!("burnt: given back though it may have run ({})", words(reason)),
    }
}

/// The state in one word, as the journal has it.
pub(in crate::ledger) const fn charge_word(state: ChargeState) -> &'static str {
    match state {
        ChargeState::Open => "open",
        ChargeState::Captured(_) => "captured",
        ChargeState::Released(_) => "released",
        ChargeState::Burnt(_) => "burnt",
    }
}

/// Where a grant came from, as the journal has it, and the name that is with it.
pub(in crate::ledger) fn source_word(grant: &Grant) -> (&'static str, Option<String>) {
    match grant.source {
        GrantSource::Operator => ("operator", None),
        GrantSource::Automatic => ("automatic", None),
        GrantSource::Payment(hold) => ("payment", Some(hold.to_string())),
        GrantSource::Transfer(from) => ("transfer", Some(from.to_string())),
    }
}

fn grant_csv(out: &mut impl Write, grant: &Grant, assets: &Assets) -> io::Result<()> {
    let (state, text) = (source_word(grant).0, format!("{} left", assets.amount(grant.unit.amount(grant.left))));
    let numbers = [grant.granted_at_ms, grant.granted].map(|number| number.to_string());
    let [at_ms, granted] = numbers;
    csv(out, &["grant", &grant.id.to_string(), &at_ms, state, &granted, &text])
}

fn charge_csv(out: &mut impl Write, record: &ChargeRecord) -> io::Result<()> {
    let charge = &record.charge;
    let [at_ms, amount] = [charge.opened_at_ms, charge.amount].map(|number| number.to_string());
    csv(out, &["charge", &charge.id.to_string(), &at_ms, charge_word(record.state), &amount, &charge.route])
}

fn entries_csv(out: &mut impl Write, entries: &[EntryRow], assets: &Assets) -> io::Result<()> {
    for entry in entries {
        let amount = entry.lines.first().map_or(0, |line| line.amount_atomic).to_string();
        let (id, at_ms) = (entry.id.to_string(), entry.at_ms.to_string());
        csv(out, &["entry", &id, &at_ms, &entry.kind, &amount, &entry_words(entry, assets)])?;
    }
    Ok(())
}

fn account_json(holding: &Holding) -> Value {
    let account = &holding.account;
    json!({
        "account_id": account.id.to_string(),
        "unit": account.unit.code(),
        "left_atomic": holding.grants.iter().fold(0u64, |sum, grant| sum.saturating_add(grant.left)).to_string(),
        "calls": account.calls,
        "spent_atomic": account.spent.to_string(),
        "closed": account.is_closed,
        "closes_at_ms": account.closes_at_ms,
        "grants": holding.grants.iter().map(grant_json).collect::<Vec<_>>(),
        "newest_charges": holding.charges.iter().map(charge_json).collect::<Vec<_>>(),
    })
}

fn grant_json(grant: &Grant) -> Value {
    let (source, source_id) = source_word(grant);
    json!({
        "grant_id": grant.id.to_string(),
        "account_id": grant.key.to_string(),
        "unit": grant.unit.code(),
        "source": source,
        "source_id": source_id,
        "label": grant.label,
        "priority": grant.priority,
        "granted_atomic": grant.granted.to_string(),
        "left_atomic": grant.left.to_string(),
        "granted_at_ms": grant.granted_at_ms,
        "expires_at_ms": grant.expires_at_ms,
    })
}

fn charge_json(record: &ChargeRecord) -> Value {
    let charge = &record.charge;
    let taken = if let ChargeState::Captured(taken) = record.state { taken } else { 0 };
    let draws = record.draws.iter();
    let draws =
        draws.map(|draw| json!({ "grant_id": draw.grant.to_string(), "amount_atomic": draw.amount.to_string() }));
    json!({
        "charge_id": charge.id.to_string(),
        "account_id": charge.key.to_string(),
        "unit": charge.unit.code(),
        "held_atomic": charge.amount.to_string(),
        "captured_atomic": taken.to_string(),
        "refunded_atomic": record.refunded.to_string(),
        "state": charge_word(record.state),
        "answer": words(record.answer),
        "route": charge.route,
        "opened_at_ms": charge.opened_at_ms,
        "tags": charge.tags,
        "draws": draws.collect::<Vec<_>>(),
    })
}

fn with_entries(mut value: Value, entries: &[EntryRow]) -> Value {
    value["entries"] = entries.iter().map(entry_json).collect();
    value
}
