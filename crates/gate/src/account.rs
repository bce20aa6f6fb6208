//! Calls that are paid from a balance: the same `open` and `close`, with a charge in the place of a hold.

mod open;
mod permit;
mod port;

pub use open::{AccountCall, OpenedCharge, Repeat};
pub use permit::ChargePermit;
pub use port::{Accounts, Charging};
