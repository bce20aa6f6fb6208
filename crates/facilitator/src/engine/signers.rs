//! Whose chain_txs are ours.

use alloy_primitives::Address;

/// The keys that sign on one network, and those that have signed there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    current: Vec<Address>,
    former: Vec<Address>,
}

impl Signers {
    /// `earlier` are all that the journal knows of.
    #[must_use]
    pub fn new(current: Vec<Address>, earlier: Vec<Address>) -> Self {
        let former = earlier.into_iter().filter(|signer| !current.contains(signer)).collect();
        Self { current, former }
    }

    /// Each has a lane.
    #[must_use]
    pub fn current(&self) -> &[Address] {
        &self.current
    }

    /// Keys that have signed and have no lane any more.
    #[must_use]
    pub fn former(&self) -> &[Address] {
        &self.former
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Address> {
        self.current.iter().chain(&self.former).copied()
    }

    pub(super) fn contains(&self, signer: Address) -> bool {
        self.current.contains(&signer) || self.former.contains(&signer)
    }

    /// As whom calls are tried. What is tried goes through whoever sends it.
    pub(super) fn caller(&self) -> Address {
        self.current.first().copied().unwrap_or_default()
    }
}
