//! Chains by their CAIP-2 id, and the plain names that x402 v1 uses for some of them.

use std::fmt;
use std::str::FromStr;

/// An EVM chain. Printed and read as CAIP-2: `eip155:<chain id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// The EIP-155 chain id.
    pub chain_id: u64,
}

/// Not `eip155:` followed by a chain id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a CAIP-2 id of an EVM chain, such as eip155:8453")]
pub struct NotANetwork;

/// The closed list of names in x402 v1 (reference: npm x402 1.2.0).
const V1_NAMES: &[(&str, u64)] = &[
    ("ethereum", 1),
    ("sepolia", 11_155_111),
    ("base", 8453),
    ("base-sepolia", 84532),
    ("avalanche", 43114),
    ("avalanche-fuji", 43113),
    ("polygon", 137),
    ("polygon-amoy", 80002),
    ("sei", 1329),
    ("sei-testnet", 1328),
    ("iotex", 4689),
    ("peaq", 3338),
    ("story", 1514),
    ("educhain", 41923),
    ("abstract", 2741),
    ("abstract-testnet", 11124),
    ("skale-base-sepolia", 324_705_682),
    ("megaeth", 4326),
    ("monad", 143),
    ("stable", 988),
    ("stable-testnet", 2201),
    ("celo", 42220),
    ("flare", 14),
];

impl Network {
    /// Base Sepolia, the network of `pontage dev`.
    pub const BASE_SEPOLIA: Self = Self { chain_id: 84532 };

    /// The chain's name in x402 v1, where it has one.
    #[must_use]
    pub fn v1_name(self) -> Option<&'static str> {
        V1_NAMES.iter().find(|(_, id)| *id == self.chain_id).map(|(name, _)| *name)
    }

    /// The chain that x402 v1 calls `name`.
    #[must_use]
    pub fn from_v1_name(name: &str) -> Option<Self> {
        V1_NAMES.iter().find(|(known, _)| *known == name).map(|(_, chain_id)| Self { chain_id: *chain_id })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eip155:{}", self.chain_id)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let id = text.strip_prefix("eip155:").ok_or(NotANetwork)?;
        if id.is_empty() || id.starts_with('0') || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotANetwork);
        }
        id.parse().map(|chain_id| Self { chain_id }).map_err(|_| NotANetwork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_table() {
        for (text, want) in [
            ("eip155:84532", Ok(Network::BASE_SEPOLIA)),
            ("eip155:1", Ok(Network { chain_id: 1 })),
            ("eip155:", Err(NotANetwork)),
            ("eip155:0", Err(NotANetwork)),
            ("eip155:08453", Err(NotANetwork)),
            ("eip155:-1", Err(NotANetwork)),
            ("eip155:99999999999999999999", Err(NotANetwork)),
            ("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", Err(NotANetwork)),
            ("84532", Err(NotANetwork)),
        ] {
            assert_eq!(text.parse::<Network>(), want, "{text}");
        }
    }

    #[test]
    fn v1_names_go_both_ways() {
        for (name, _) in V1_NAMES {
            assert_eq!(Network::from_v1_name(name).and_then(Network::v1_name), Some(*name));
        }
        assert_eq!(Network { chain_id: 31337 }.v1_name(), None);
    }
}
