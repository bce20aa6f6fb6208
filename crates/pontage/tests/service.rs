//! `pontage facilitator` settles for others: reference servers, unmodified, with reference clients in front; and what it says by itself.

#[path = "kit/kit.rs"]
mod kit;

#[path = "service/servers.rs"]
mod servers;
