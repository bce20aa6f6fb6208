//! What an answer of the flow says of the caller's money.

use gate::Replay;
use protocol::MoneyState;
use protocol::x402::Receipt;

use crate::audit::Told;

pub(super) const fn of_money(money: MoneyState) -> Told {
    match money {
        MoneyState::Untouched => Told::Untouched,
        MoneyState::Held | MoneyState::Unknown => Told::Open,
        MoneyState::Moved => Told::Moved,
    }
}

pub(super) const fn of_receipt(receipt: &Receipt) -> Told {
    match receipt {
        Receipt::Settled(settled) => Told::Receipt(settled.chain_tx, settled.amount.atomic),
        Receipt::Refused { .. } => Told::Untouched,
        Receipt::Held { .. } | Receipt::Pending { .. } => Told::Open,
    }
}

pub(super) const fn of_replay(replay: &Replay) -> (&'static str, Told) {
    match replay {
        Replay::Namesake => ("namesake", of_money(MoneyState::Untouched)),
        Replay::Conflict(money) => ("conflict", of_money(*money)),
        Replay::InFlight => ("in flight", Told::Open),
        Replay::Pending(receipt) => ("pending", of_receipt(receipt)),
        Replay::Released => ("released", Told::Untouched),
        Replay::Expired => ("expired", Told::Untouched),
        Replay::Burnt => ("burnt", Told::Untouched),
        Replay::InSuspense | Replay::Recovered => ("in suspense or recovered", Told::Moved),
        Replay::OwedBack(settled) => ("owed back", Told::Receipt(settled.chain_tx, settled.amount.atomic)),
        Replay::Bought { settled, .. } => ("already served", Told::Receipt(settled.chain_tx, settled.amount.atomic)),
        Replay::AlreadyServed(receipt) | Replay::Stored { receipt, .. } => ("already served", of_receipt(receipt)),
        Replay::Uncollected => ("uncollected", Told::Untouched),
    }
}
