//! How money is given back.

use std::path::Path;

use super::reader::{Fields, Reader};
use super::secret::{self, SecretSource};
use super::{optional, tab};

/// `refunds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefundsConfig {
    /// Where the key of the wallet is kept. `None`: refunds are paid by hand.
    pub(crate) signer: Option<SecretSource>,
    /// What may leave the wallet in a day, in millionths of a dollar.
    pub(crate) daily_cap_micros: u64,
}

/// Reads `refunds`.
pub(super) fn refunds<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>, folder: &Path) -> Option<RefundsConfig> {
    let fields = reader.section(fields, "refunds", "refunds")?;
    let signer =
        optional(reader, &fields, "signer", None, |reader, node| secret::source(reader, node, folder).map(Some));
    let daily_cap_micros = optional(reader, &fields, "daily_cap_usd", 50_000_000, tab::micros);
    Some(RefundsConfig { signer: signer?, daily_cap_micros: daily_cap_micros? })
}
