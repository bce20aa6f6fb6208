//! What may be bid for gas, and when it is short.

use facilitator::engine::FeeCaps;
use protocol::parse_decimal;

use super::optional;
use super::reader::{Fields, Node, Reader};

/// A gwei has this many decimal places.
const GWEI_DECIMALS: u8 = 9;
const GWEI: u128 = 1_000_000_000;
/// A whole coin, and more than any chain has ever asked for a unit of gas.
const GWEI_MAX: u128 = 1_000_000_000;
const GWEI_FIX: &str = "write gwei with at most nine decimal places, such as 0.5 or 100, above 0 and to 1,000,000,000.";
const ALARM_MAX: u64 = 1_000_000_000;

/// What may be bid for gas, and when it is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GasConfig {
    /// What may be bid.
    pub(crate) caps: FeeCaps,
    /// A key that lasts for fewer payments than this is warned of.
    pub(crate) alarm_payments: u64,
}

impl Default for GasConfig {
    /// Far above what the chains with USDC ask, and far below what a node that is wrong may say.
    fn default() -> Self {
        let caps = FeeCaps { fee_max: 500 * GWEI, tip_max: 100 * GWEI, payment_max: u128::MAX };
        Self { caps, alarm_payments: 1_000 }
    }
}

/// Reads `facilitator.fees` and `facilitator.gas`.
pub(super) fn gas<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<GasConfig> {
    let default = GasConfig::default();
    let caps = optional(reader, fields, "fees", default.caps, caps);
    let alarm_payments = optional(reader, fields, "gas", default.alarm_payments, |reader, node| {
        let fields = reader.fields(node, "facilitator.gas")?;
        optional(reader, &fields, "alarm_payments", default.alarm_payments, |reader, node| {
            reader.whole(node, 0..=ALARM_MAX, "payments")
        })
    });
    Some(GasConfig { caps: caps?, alarm_payments: alarm_payments? })
}

fn caps<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<FeeCaps> {
    let fields = reader.fields(node, "facilitator.fees")?;
    let default = GasConfig::default().caps;
    let mut cap = |name, default| optional(reader, &fields, name, default, wei);
    let fee_max = cap("max_fee_gwei", default.fee_max);
    let tip_max = cap("max_tip_gwei", default.tip_max);
    let payment_max = cap("max_per_payment_gwei", default.payment_max);
    Some(FeeCaps { fee_max: fee_max?, tip_max: tip_max?, payment_max: payment_max? })
}

/// Gwei as wei.
fn wei<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<u128> {
    let text = reader.text(node, GWEI_FIX)?;
    let read = parse_decimal(&text.value, GWEI_DECIMALS).ok().filter(|_| !text.value.starts_with('$'));
    match read.filter(|wei| (1..=GWEI_MAX * GWEI).contains(wei)) {
        Some(wei) => Some(wei),
        None => reader.mistake(&node.at, format!("{} is not a number of gwei.", text.shown()), GWEI_FIX),
    }
}
