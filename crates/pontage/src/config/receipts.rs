//! Receipts of calls: who signs them, in which form, and how long they can be fetched.

use std::path::Path;

use gate::Rate;

use super::optional;
use super::reader::{Fields, Node, Reader};
use super::secret::{self, SecretSource};

const TTL_DEFAULT_S: u64 = 86_400;
const TTL_MAX_S: u64 = 31_536_000;
const LOOKUPS_DEFAULT: u32 = 10;

/// How receipts are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiptsConfig {
    /// The key that signs receipts, and offers where they are signed.
    pub(crate) signer: SecretSource,
    /// How long they can be fetched.
    pub(crate) ttl_s: u64,
    /// The form of the receipt in `PAYMENT-RESPONSE`.
    pub(crate) format: ReceiptFormat,
    /// How often one address may look them up.
    pub(crate) lookups: Rate,
}

/// A form of x402's `offer-receipt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReceiptFormat {
    /// Typed data of Ethereum.
    #[default]
    Eip712,
    /// A compact JWS.
    Jws,
}

/// Reads `receipts`. The inner `None` is where there are none.
pub(super) fn receipts<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    folder: &Path,
    offer_signer: Option<&SecretSource>,
) -> Option<Option<ReceiptsConfig>> {
    let Some(node) = fields.get("receipts") else { return Some(None) };
    let fields = reader.fields(&node, "receipts")?;
    let signer = signer(reader, &node, &fields, folder, offer_signer);
    let ttl_s =
        optional(reader, &fields, "ttl_s", TTL_DEFAULT_S, |reader, node| reader.whole(node, 60..=TTL_MAX_S, "seconds"));
    let format = optional(reader, &fields, "format", ReceiptFormat::default(), format);
    let lookups = optional(reader, &fields, "lookups_per_min", LOOKUPS_DEFAULT, |reader, node| {
        let calls = reader.whole(node, 1..=100_000, "calls");
        calls.and_then(|calls| u32::try_from(calls).ok())
    });
    let lookups = Rate::new(lookups?, 60_000);
    Some(Some(ReceiptsConfig { signer: signer?, ttl_s: ttl_s?, format: format?, lookups }))
}

/// One key signs whatever this gate certifies, so that a payer has one to know.
fn signer<'d>(
    reader: &mut Reader<'d>,
    node: &Node<'d>,
    fields: &Fields<'d>,
    folder: &Path,
    offer_signer: Option<&SecretSource>,
) -> Option<SecretSource> {
    let own = optional(reader, fields, "signer", None, |reader, node| secret::source(reader, node, folder).map(Some))?;
    match (own, offer_signer) {
        (Some(own), Some(other)) if own != *other => {
            let what = "receipts.signer and extensions.offer_signer are two keys: payers would have two to know.";
            reader.mistake(&node.at, what, "name the same key in both, or leave one of them out.")
        }
        (Some(own), _) => Some(own),
        (None, Some(other)) => Some(other.clone()),
        (None, None) => {
            let fix = "add the place of a key, such as signer: { env: PONTAGE_RECEIPT_KEY }; it needs no money.";
            reader.mistake(&node.at, "nobody signs the receipts.", fix)
        }
    }
}

fn format<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<ReceiptFormat> {
    let fix = "write eip712 or jws.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "eip712" => Some(ReceiptFormat::Eip712),
        "jws" => Some(ReceiptFormat::Jws),
        _ => reader.mistake(&node.at, format!("{} is no form of a receipt.", text.shown()), fix),
    }
}
