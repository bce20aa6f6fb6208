//! What may be served before it is settled, and when it is settled.

use ledger::Exposure;
use protocol::parse_decimal;

use super::optional;
use super::reader::{Fields, Node, Reader};

/// A millionth of a dollar has this many decimal places.
const MICRO_DECIMALS: u8 = 6;
const CAP_FIX: &str = "write dollars with at most six decimal places, such as \"1.00\".";
/// A cap in millionths has to fit the journal's integers, with room for sums.
const CAP_MAX_MICROS: u64 = 1_000_000_000_000_000;
const BATCH_MAX: u64 = 100;
/// With the hour of `maxTimeoutSeconds` this leaves every payer a quarter of an hour between signing and calling.
const SETTLE_AGE_MAX_S: u64 = 2_700;

/// When the tab is settled, and how its payers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TabConfig {
    /// The most payments in one chain_tx.
    pub(crate) batch_max: usize,
    /// How long a payment waits at most.
    pub(crate) settle_age_s: u64,
    /// Whether payers with a settled payment are served without a look at the chain.
    pub(crate) verify_local: bool,
    /// How much may be served and unsettled.
    pub(crate) caps: Exposure,
}

impl Default for TabConfig {
    fn default() -> Self {
        let caps = Exposure { payer_micros: 1_000_000, source_micros: 5_000_000, gate_micros: 100_000_000 };
        Self { batch_max: 50, settle_age_s: 300, verify_local: false, caps }
    }
}

/// Reads `tab` and `exposure`.
pub(super) fn tab<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<TabConfig> {
    let default = TabConfig::default();
    let config = optional(reader, fields, "tab", default, terms);
    let caps = optional(reader, fields, "exposure", default.caps, exposure);
    Some(TabConfig { caps: caps?, ..config? })
}

fn terms<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<TabConfig> {
    let fields = reader.fields(node, "tab")?;
    let default = TabConfig::default();
    let batch_max = match fields.get("batch_max") {
        Some(node) => reader.whole(&node, 1..=BATCH_MAX, "payments").and_then(|count| usize::try_from(count).ok()),
        None => Some(default.batch_max),
    };
    let settle_age_s = optional(reader, &fields, "settle_age_s", default.settle_age_s, |reader, node| {
        reader.whole(node, 1..=SETTLE_AGE_MAX_S, "seconds")
    });
    let verify_local = optional(reader, &fields, "verify", default.verify_local, verify_local);
    Some(TabConfig {
        batch_max: batch_max?,
        settle_age_s: settle_age_s?,
        verify_local: verify_local?,
        caps: default.caps,
    })
}

pub(super) fn verify_local<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<bool> {
    let fix = "write chain, or local to serve payers who have paid before without a look at the chain.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "chain" => Some(false),
        "local" => Some(true),
        _ => reader.mistake(&node.at, format!("{} is not a way to check payers.", text.shown()), fix),
    }
}

fn exposure<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Exposure> {
    let fields = reader.fields(node, "exposure")?;
    let default = TabConfig::default().caps;
    let mut cap = |name, default| optional(reader, &fields, name, default, micros);
    let payer_micros = cap("per_payer", default.payer_micros);
    let source_micros = cap("per_source", default.source_micros);
    let gate_micros = cap("per_gate", default.gate_micros);
    Some(Exposure { payer_micros: payer_micros?, source_micros: source_micros?, gate_micros: gate_micros? })
}

/// Dollars as millionths.
fn micros<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<u64> {
    let text = reader.text(node, CAP_FIX)?;
    let dollars = text.value.strip_prefix('$').unwrap_or(&text.value);
    let read = parse_decimal(dollars, MICRO_DECIMALS).ok().and_then(|micros| u64::try_from(micros).ok());
    match read.filter(|micros| *micros <= CAP_MAX_MICROS) {
        Some(micros) => Some(micros),
        None => reader.mistake(&node.at, format!("{} is not an amount of dollars.", text.shown()), CAP_FIX),
    }
}
