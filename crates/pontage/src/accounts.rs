//! API keys: who calls, and what the operator does with keys.

pub(crate) mod desk;
pub(crate) mod directory;
