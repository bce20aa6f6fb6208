//! An EVM chain in the process, with JSON-RPC over HTTP on loopback: for the sandbox and the tests, with Rust alone.
//!
//! It is the EVM of `revm` at Prague with one miner and no peers. What it does not model: L1 data fees, a base fee that moves (it
//! is 1 gwei for ever), reorgs, blobs (EIP-4844), delegations (EIP-7702), the system contracts of Cancun and Prague, filters,
//! traces and websockets. The roots in its headers are no Merkle roots: `stateRoot` is zero, the others are hashes of lists. A
//! block's hash is the keccak of its header as printed, all the same. It keeps the state of the last 128 blocks.
//!
//! Every account is open: `eth_sendTransaction` sends for anyone without a key. So it listens on loopback unless told otherwise,
//! and nothing of value may ever depend on it.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chain;
mod chain_tx;
mod genesis;
mod pool;
mod rpc;
mod server;
mod world;

use std::net::{Ipv4Addr, SocketAddr};

use alloy_primitives::{Address, B256, U256};

pub use genesis::{ACCOUNTS, MULTICALL3, USDC};

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// A block for each chain_tx, before its sender has an answer.
    AtOnce,
    /// A block every so many seconds, empty ones too, and none between. Zero is [`Mining::ByHand`].
    EverySeconds(u64),
    /// None until `evm_mine`, or until automine is turned on.
    ByHand,
}

/// How a chain starts. The default has Base Sepolia's id, mines at once and takes a free port of loopback.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// EIP-155 id.
    pub chain_id: u64,
    /// When blocks are made, until a method changes it.
    pub mining: Mining,
    /// Where JSON-RPC is served. Port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chain_id: protocol::Network::BASE_SEPOLIA.chain_id,
            mining: Mining::AtOnce,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }
}

/// A running chain with a thread of its own. It ends when this value is dropped, and nothing of it is kept.
#[derive(Debug)]
pub struct Devnet {
    server: server::Server,
}

impl Devnet {
    /// Starts a chain: [`ACCOUNTS`] have 10 000 native coins each, a USDC that anyone may mint is at [`USDC`], and Multicall3 is
    /// at [`MULTICALL3`]. The port is open on return.
    ///
    /// # Errors
    /// When the address cannot be listened on or the thread cannot be started.
    pub fn start(options: Options) -> std::io::Result<Self> {
        Ok(Self { server: server::Server::start(options)? })
    }

    /// Where JSON-RPC is served.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where JSON-RPC is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes `amount_atomic` of the USDC for `to` and mines a block, in any mode. Gives the chain_tx, or `None` when it did not
    /// succeed: when another contract was planted there, for instance.
    pub fn mint(&self, to: Address, amount_atomic: u128) -> Option<B256> {
        self.server.with(|chain, now_s| genesis::mint(chain, now_s, to, amount_atomic))
    }

    /// Atomic units of the USDC at the latest block. `None` when the contract there has no `balanceOf`.
    #[must_use]
    pub fn asset_balance(&self, of: Address) -> Option<U256> {
        self.server.with(|chain, _| genesis::asset_balance(chain, of))
    }

    /// Mines one block of whatever waits.
    pub fn mine(&self) {
        self.server.with(|chain, now_s| chain.mine(now_s));
    }
}
