//! Balances that payments raise.
