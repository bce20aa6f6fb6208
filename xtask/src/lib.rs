//! What the tests of other crates share with the tasks: a local chain and the reference x402 clients.

pub mod chain;
pub mod peers;
