//! What a call costs a balance: prices that depend on the call and its answer, and what a key's plan makes of them.
//!
//! Whole numbers alone: millionths of a dollar, or credits. What is divided is rounded up, once.

mod formula;
mod meter;
mod tariff;
mod units;
mod usage;

pub use formula::{Comparison, Field, Formula, NoPrice, Phrase, Test};
pub use meter::Meter;
pub use tariff::{
    Asked, Coin, Part, Priced, Reading, Slice, Tariff, USAGES_MAX, Unreported, UsageSource, Volume, VolumeMeasure,
    VolumeStep, Window,
};
pub use units::{Cost, KeyTerms, units};
pub use usage::{Find, Pointer};
