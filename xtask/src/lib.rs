//! What the tests of other crates share with the tasks: a local chain, the reference x402 clients, and other people's proxies.

pub mod chain;
mod debian;
pub mod peers;
pub mod proxies;
