//! How many calls are taken: from whom in a span of time, and at once.

use gate::Rate;

use super::optional;
use super::reader::{Fields, Node, Reader};

const MAX_CALLS: u32 = 1_000_000;
const RATE_FIX: &str = "write calls in a second or a minute, such as 100/s or 1000/min, or off.";

/// Token buckets; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RatesConfig {
    /// For each address: calls without a verified payer.
    pub(crate) anonymous: Option<Rate>,
    /// For each verified payer.
    pub(crate) payer: Option<Rate>,
    /// For each verified payer of whom a payment was settled and none has failed.
    pub(crate) trusted: Option<Rate>,
    /// For each address: payments whose signature is recovered.
    pub(crate) verification: Option<Rate>,
}

impl Default for RatesConfig {
    /// What pay-gate has: 1000 a minute, and 100 verifications a second.
    fn default() -> Self {
        let agent = Some(Rate::new(1_000, 60_000));
        Self { anonymous: agent, payer: agent, trusted: agent, verification: Some(Rate::new(100, 1_000)) }
    }
}

impl RatesConfig {
    /// `limits: tiers`: ten a minute for an address, sixty for a payer, a hundred and twenty for one who has paid.
    pub(crate) fn tiers() -> Self {
        let tier = |calls, burst| Some(Rate { calls, span_ms: 60_000, burst });
        Self { anonymous: tier(10, 5), payer: tier(60, 20), trusted: tier(120, 50), ..Self::default() }
    }
}

/// How many calls are with the upstream at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlightConfig {
    /// At most so many.
    pub(crate) max: usize,
    /// So many more may wait for their turn.
    pub(crate) queue_max: usize,
    /// For so long.
    pub(crate) queue_wait_ms: u64,
}

impl Default for InFlightConfig {
    fn default() -> Self {
        Self { max: 4_096, queue_max: 4_096, queue_wait_ms: 5_000 }
    }
}

/// Reads `rate_limits` and `limits`.
pub(super) fn rates<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<RatesConfig> {
    let limits = reader.section(fields, "rate_limits", "rate_limits");
    let tiers = optional(reader, fields, "limits", false, tiers)?;
    let limits = limits?;
    let default = if tiers { RatesConfig::tiers() } else { RatesConfig::default() };
    let verification = optional(reader, &limits, "verification", default.verification, rate);
    let config = match limits.get("per_agent") {
        Some(node) if tiers => {
            let what = "`limits: tiers` is there as well: it is not clear which of the two counts.";
            return reader.mistake(&node.at, what, "leave one of the two out.");
        }
        Some(node) => {
            let agent = rate(reader, &node)?;
            RatesConfig { anonymous: agent, payer: agent, trusted: agent, ..default }
        }
        None => default,
    };
    Some(RatesConfig { verification: verification?, ..config })
}

fn tiers<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<bool> {
    let fix = "write tiers, or leave `limits` out and write rate_limits.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "tiers" => Some(true),
        _ => reader.mistake(&node.at, format!("{} is no set of limits.", text.shown()), fix),
    }
}

/// `1000/min`; the inner `None` is `off`.
pub(super) fn rate<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Option<Rate>> {
    let text = reader.text(node, RATE_FIX)?;
    if text.value == "off" {
        return Some(None);
    }
    let refuse = |why: &str| format!("{} is not a rate: {why}.", text.shown());
    let Some((calls, unit)) = text.value.split_once('/') else {
        return reader.mistake(&node.at, refuse("it has no slash"), RATE_FIX);
    };
    let span_ms = match unit {
        "s" | "sec" | "second" => 1_000,
        "m" | "min" | "minute" => 60_000,
        _ => return reader.mistake(&node.at, refuse("it is neither for a second nor for a minute"), RATE_FIX),
    };
    let digits = !calls.is_empty() && calls.bytes().all(|b| b.is_ascii_digit());
    match calls.parse::<u32>().ok().filter(|calls| digits && (1..=MAX_CALLS).contains(calls)) {
        Some(calls) => Some(Some(Rate::new(calls, span_ms))),
        None => reader.mistake(&node.at, refuse("the calls are no whole number from 1 to 1000000"), RATE_FIX),
    }
}

/// Reads `in_flight`.
pub(super) fn in_flight<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<InFlightConfig> {
    let fields = reader.section(fields, "in_flight", "in_flight")?;
    let default = InFlightConfig::default();
    let mut count = |name, default, least| {
        let read = |reader: &mut Reader<'d>, node: &Node<'d>| reader.whole(node, least..=1_000_000, "calls");
        let read =
            |reader: &mut Reader<'d>, node: &Node<'d>| read(reader, node).and_then(|calls| usize::try_from(calls).ok());
        optional(reader, &fields, name, default, read)
    };
    let max = count("max", default.max, 1);
    let queue_max = count("queue_max", default.queue_max, 0);
    let queue_wait_ms = optional(reader, &fields, "queue_wait_ms", default.queue_wait_ms, |reader, node| {
        reader.whole(node, 0..=60_000, "milliseconds")
    });
    Some(InFlightConfig { max: max?, queue_max: queue_max?, queue_wait_ms: queue_wait_ms? })
}
