//! `accounts`: API keys with balances. Without the section there are none.

use gate::Rate;
use ledger::Unit;

use super::budgets::{BudgetConfig, Place, budgets};
use super::limits::rate;
use super::optional;
use super::reader::{Fields, Node, Reader};
use super::tab::micros;

/// A cent.
const CREDIT_DEFAULT_MICROS: u64 = 10_000;
const CACHE_DEFAULT_BYTES: u64 = 64 * 1024 * 1024;
const CACHE_MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// One dollar to a thousand.
const TOPUP_DEFAULT_MICROS: (u64, u64) = (1_000_000, 1_000_000_000);

/// How accounts pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountsConfig {
    /// What a credit is worth, in millionths of a dollar. Never zero.
    pub(crate) credit_micros: u64,
    /// What a new key's balance is counted in, where whoever makes it does not say.
    pub(crate) default_unit: Unit,
    /// For each key: its calls.
    pub(crate) rate_per_key: Option<Rate>,
    /// For each key: its calls that are with the upstream at once.
    pub(crate) in_flight_per_key: Option<u32>,
    /// All answers together that are kept for routes with a `cache_s`.
    pub(crate) cache_max_bytes: u64,
    /// Whether an answer of those is charged like any other.
    pub(crate) cache_hits_charged: bool,
    /// Whether calls with a key are judged, and neither charged nor refused.
    pub(crate) shadow: bool,
    /// What a payment may raise a balance by, in millionths of a dollar: at least, and at most.
    pub(crate) topup_micros: (u64, u64),
}

/// What each key, or all together, may call and spend.
type Budgets = Vec<BudgetConfig>;

/// Reads `accounts`. The inner `None` is where there are none.
pub(super) fn accounts<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<(Option<AccountsConfig>, Budgets)> {
    let Some(node) = fields.get("accounts") else { return Some((None, Vec::new())) };
    let fields = reader.fields(&node, "accounts")?;
    let credit_micros = optional(reader, &fields, "credit_usd", CREDIT_DEFAULT_MICROS, credit);
    let default_unit = optional(reader, &fields, "default_unit", Unit::Credit, unit);
    let shadow = optional(reader, &fields, "shadow", false, |reader, node| reader.truth(node));
    let topup_micros = topup(reader, &fields);
    let budgets =
        optional(reader, &fields, "budgets", Vec::new(), |reader, node| budgets(reader, node, Place::Accounts));
    let rate_per_key = optional(reader, &fields, "rate_per_key", None, rate);
    let in_flight_per_key = optional(reader, &fields, "in_flight_per_key", None, calls);
    let cache_max_bytes = optional(reader, &fields, "cache_max_bytes", CACHE_DEFAULT_BYTES, |reader, node| {
        reader.whole(node, 0..=CACHE_MAX_BYTES, "bytes")
    });
    let cache_hits_charged = optional(reader, &fields, "cache_hits", true, hits_charged);
    let config = AccountsConfig {
        shadow: shadow?,
        credit_micros: credit_micros?,
        default_unit: default_unit?,
        rate_per_key: rate_per_key?,
        in_flight_per_key: in_flight_per_key?,
        cache_max_bytes: cache_max_bytes?,
        cache_hits_charged: cache_hits_charged?,
        topup_micros: topup_micros?,
    };
    Some((Some(config), budgets?))
}

/// So many calls at once.
pub(super) fn calls<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Option<u32>> {
    reader.whole(node, 1..=1_000_000, "calls").and_then(|calls| u32::try_from(calls).ok()).map(Some)
}

fn hits_charged<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<bool> {
    let fix = "write charged or free.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "charged" => Some(true),
        "free" => Some(false),
        _ => reader.mistake(&node.at, format!("{} is not what an answer of the cache costs.", text.shown()), fix),
    }
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
