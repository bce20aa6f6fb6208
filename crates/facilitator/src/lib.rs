//! Settles authorizations on EVM chains and reads what a payment needs to know of them.
//!
//! `engine` is pure: lanes, settlement and reconciliation over ports. `rpc` is the adapter to nodes, `remote` the
//! one to facilitators of others. `service` is what a facilitator does for the resource servers of others. `point` names where a
//! process may die.

#[cfg(feature = "rpc")]
mod breaker;
pub mod engine;
pub mod point;
#[cfg(feature = "rpc")]
pub mod remote;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod service;
