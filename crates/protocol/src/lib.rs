//! x402 messages and their meaning: wire objects, digests, and the check of a credential.
//!
//! Everything here is pure. Time is an argument, nothing is random, nothing does I/O, and it builds for wasm32.
#![deny(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic))]

mod amount;
mod asset;
pub mod exact;
mod network;
mod offer;
mod refusal;
mod role;
mod settlement;
mod signature;
pub mod x402;

pub use amount::{Amount, NotAnAmount, parse_atomic, parse_decimal, print_decimal};
pub use asset::{Asset, AssetInfo};
pub use exact::{Authorization, ClaimKey, Proven, verify};
pub use network::{Network, NotANetwork};
pub use offer::{Offer, OfferExtra};
pub use refusal::{Field, Refusal};
pub use role::{AssetAddress, NotAnAddress, Payee, Payer};
pub use settlement::{MoneyState, Settled};
pub use signature::{Key, NotAKey, PublicKey, SignFault, Signature, Signer};
