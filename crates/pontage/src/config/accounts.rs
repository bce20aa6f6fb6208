//! `accounts`: API keys with balances. Without the section there are none.

use ledger::Unit;

use super::optional;
use super::reader::{Fields, Node, Reader};
use super::tab::micros;

/// A cent.
const CREDIT_DEFAULT_MICROS: u64 = 10_000;
/// One dollar to a thousand.
const TOPUP_DEFAULT_MICROS: (u64, u64) = (1_000_000, 1_000_000_000);

/// How accounts pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountsConfig {
    /// What a credit is worth, in millionths of a dollar. Never zero.
    pub(crate) credit_micros: u64,
    /// What a new key's balance is counted in, where whoever makes it does not say.
    pub(crate) default_unit: Unit,
    /// Whether calls with a key are judged, and neither charged nor refused.
    pub(crate) shadow: bool,
    /// What a payment may raise a balance by, in millionths of a dollar: at least, and at most.
    pub(crate) topup_micros: (u64, u64),
}

/// Reads `accounts`. The inner `None` is where there are none.
pub(super) fn accounts<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<Option<AccountsConfig>> {
    let Some(node) = fields.get("accounts") else { return Some(None) };
    let fields = reader.fields(&node, "accounts")?;
    let credit_micros = optional(reader, &fields, "credit_usd", CREDIT_DEFAULT_MICROS, credit);
    let default_unit = optional(reader, &fields, "default_unit", Unit::Credit, unit);
    let shadow = optional(reader, &fields, "shadow", false, |reader, node| reader.truth(node));
    let topup_micros = topup(reader, &fields);
    Some(Some(AccountsConfig {
        credit_micros: credit_micros?,
        default_unit: default_unit?,
        topup_micros: topup_micros?,
        shadow: shadow?,
    }))
}

/// How much a payment may raise a balance by.
fn topup<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<(u64, u64)> {
    let Some(node) = fields.get("topup") else { return Some(TOPUP_DEFAULT_MICROS) };
    let fields = reader.fields(&node, "accounts.topup")?;
    let (least, most) = TOPUP_DEFAULT_MICROS;
    let least = optional(reader, &fields, "min", least, micros)?;
    let most = optional(reader, &fields, "max", most.max(least), micros)?;
    if least == 0 || least > most {
        let fix = "write two amounts of dollars above zero, such as { min: \"1.00\", max: \"1000.00\" }.";
        return reader.mistake(&node.at, "no amount is between these two.", fix);
    }
    Some((least, most))
}

fn credit<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<u64> {
    match micros(reader, node)? {
        0 => {
            let fix = "write what a credit costs, such as \"0.01\".";
            reader.mistake(&node.at, "a credit that is worth nothing buys everything.", fix)
        }
        micros => Some(micros),
    }
}

fn unit<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Unit> {
    let fix = "write usd or credit.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "usd" => Some(Unit::Usd),
        "credit" => Some(Unit::Credit),
        _ => reader.mistake(&node.at, format!("{} is not what a balance is counted in.", text.shown()), fix),
    }
}
