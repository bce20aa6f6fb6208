//! The wire objects of x402 v1 and v2: challenge, credential, receipt, and the header that carries them.

mod asked;
mod call_receipt;
mod challenge;
mod credential;
pub mod ext;
mod header;
mod json;
mod receipt;

pub use asked::{Asked, BODY_MAX_BYTES, Listed, Requirements};
pub use call_receipt::{CallReceipt, RECEIPTS, ReceiptName, SettlementNote, SignedReceipt, print_sha256, sha256};
pub use challenge::{Challenge, ChallengeFault, Resource};
pub use credential::{Accepted, Credential, Terms, Version};
pub use ext::{Extensions, PAYMENT_IDENTIFIER, PaymentId};
pub use header::{HEADER_MAX_BYTES, decode_header, encode_header};
pub use json::repeated_member;
pub use receipt::{PAYMENTS, Receipt};
