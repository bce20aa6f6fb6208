//! Whose balance, and what it is counted in.

use std::fmt;

use alloy_primitives::{Address, hex};
use protocol::{Amount, Asset, AssetAddress, Network};

/// An account's name: that of an API key, which stays when its secret is rotated, or of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl std::str::FromStr for KeyId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
    }
}

/// What a balance is counted in. An account has one unit, for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Millionths of a dollar.
    Usd,
    /// Whole credits, worth what the configuration says.
    Credit,
    /// Calls, of a pass that counts them.
    Call,
}

impl Unit {
    /// The word in the journal and on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Credit => "credit",
            Self::Call => "call",
        }
    }

    /// The unit of a word.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        [Self::Usd, Self::Credit, Self::Call].into_iter().find(|unit| unit.code() == code)
    }

    /// So much of it, as lines of entries have it: of no chain, which has the number 0.
    #[must_use]
    pub fn amount(self, units: u64) -> Amount {
        let number = match self {
            Self::Usd => 1,
            Self::Credit => 2,
            Self::Call => 3,
        };
        let address = AssetAddress(Address::with_last_byte(number));
        Amount { asset: Asset { network: Network { chain_id: 0 }, address }, atomic: u128::from(units) }
    }
}
