//! Settlement over ports: check before, submit through a lane, judge the receipt, look for what others landed.
#![deny(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

mod chain_tx;
mod finality;
mod handed;
mod lane;
mod live;
mod node;
mod price;
mod reconcile;
mod refund;
mod settle;
mod signers;
mod tab;
mod token;

pub use chain_tx::{Act, Asked, ChainTx, gas_allowed};
pub use finality::{FinalAt, Finality};
pub use handed::{Handed, Looked, NoLane, Remote, Told, Verified, reader};
pub use lane::{Lane, LaneJournal, LaneState, Rejected};
pub use live::{Head, Live};
pub use node::{Block, BlockAt, CallResult, ChainReceipt, EthCall, Fees, Log, Node, NodeFault, Sent};
pub use price::{FeeCaps, Price};
pub use reconcile::{Bid, BooksJournal, Mined, Unfinished, recover};
pub use refund::{RefundBid, RefundJournal, is_on_chain, paid_by_hand};
pub use settle::{Engine, Pace, Purse, Submitter};
pub use signers::Signers;
pub use tab::TabTerms;
pub use token::{AssetFault, check_asset, has_multicall, pay_data};

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic)]
mod tests;
