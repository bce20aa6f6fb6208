//! Tokens that can be paid in.

use crate::{AssetAddress, Network};

/// What money is in: a token contract on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset {
    /// The chain.
    pub network: Network,
    /// The token's contract.
    pub address: AssetAddress,
}

impl Asset {
    /// The native coin of a network, in wei. It has no contract: its address is zero, which no configured asset may have.
    #[must_use]
    pub const fn native(network: Network) -> Self {
        Self { network, address: AssetAddress(alloy_primitives::Address::ZERO) }
    }
}

/// A token as a payer must know it: its EIP-712 domain and its decimal places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetInfo {
    /// Network and contract.
    pub asset: Asset,
    /// EIP-712 domain name. Must equal the contract's `name()`; the binary compares them at start.
    pub name: String,
    /// EIP-712 domain version. Must equal the contract's `version()`.
    pub version: String,
    /// Decimal places.
    pub decimals: u8,
}

/// USDC by chain (chain id, contract, domain name). Version is 2 and decimals are 6 everywhere.
/// Source: the default-asset table of npm x402 2.27.
const USDC: &[(u64, &str, &str)] = &[
    (8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin"),
    (84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC"),
    (1, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", "USD Coin"),
    (137, "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", "USD Coin"),
    (42161, "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", "USD Coin"),
    (421_614, "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d", "USD Coin"),
    (43114, "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", "USD Coin"),
    (143, "0x754704Bc059F8C67012fEd69BC8A327a5aafb603", "USDC"),
    (42220, "0xcebA9300f2b948710d2653dD7B07f33A8B32118C", "USDC"),
    (11_142_220, "0x01C5C0122039549AD1493B8220cABEdD739BC44E", "USDC"),
    (1329, "0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392", "USDC"),
    (1328, "0x4fCF1784B31630811181f670Aea7A7bEF803eaED", "USDC"),
];

impl AssetInfo {
    /// The USDC that x402 clients expect on `network`, where the reference table has one.
    #[must_use]
    pub fn usdc(network: Network) -> Option<Self> {
        let (_, address, name) = USDC.iter().find(|(id, ..)| *id == network.chain_id)?;
        Some(Self {
            asset: Asset { network, address: address.parse().ok()? },
            name: (*name).to_owned(),
            version: "2".to_owned(),
            decimals: 6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_token_has_a_checksummed_address() {
        for (chain_id, ..) in USDC {
            assert!(AssetInfo::usdc(Network { chain_id: *chain_id }).is_some(), "{chain_id}");
        }
        assert_eq!(AssetInfo::usdc(Network { chain_id: 31337 }), None);
    }
}
