//! `pontage facilitator` settles for others: reference servers, unmodified, with reference clients in front; and what it says by itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "service/discovery.rs"]
mod discovery;
#[path = "service/forged.rs"]
mod forged;
#[path = "service/gate.rs"]
mod gate;
#[path = "kit/kit.rs"]
mod kit;
#[path = "service/races.rs"]
mod races;
#[path = "service/servers.rs"]
mod servers;
