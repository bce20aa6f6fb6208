//! The process kills itself at every fault point of `facilitator::point`, in the middle of what leads there, and is started again.
//! Then money and books are judged. A build without debug assertions has no fault points.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "points/accounts.rs"]
mod accounts;
#[path = "kit/kit.rs"]
mod kit;
#[allow(dead_code, reason = "what the tests of refunds use besides")]
#[path = "refund/run.rs"]
mod run;
#[path = "points/scenes.rs"]
mod scenes;
#[path = "points/service.rs"]
mod service;
#[path = "points/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use facilitator::point::{Act, all};

/// Which scene leads to the points of which acts. Each is played once for each point, which the process must die at.
macro_rules! scenes {
    ($($name:ident: $play:path => [$($act:ident),+ $(,)?];)+) => {
        const VISITED: &[&[Act]] = &[$(&[$(Act::$act),+]),+];

        $(#[test]
        fn $name() {
            for (point, _) in all().into_iter().filter(|(_, act)| [$(Act::$act),+].contains(act)) {
                eprintln!("--- {point}");
                $play(&point);
            }
        })+
    };
}

scenes! {
    direct: scenes::direct => [Claim, Submit, Send, Post, KeepReceipt, Tell];
    gas: scenes::direct => [Mine];
    tab: scenes::tab => [Claim, Deliver, Submit, Send];
    tab_lands: scenes::tab => [Post, Mine];
    streamed: scenes::streamed => [Answer];
    free_status: scenes::free_status => [Release];
    unanswered: scenes::unanswered => [Burn];
    emptied: scenes::emptied => [Refuse];
    emptied_on_tab: scenes::emptied_on_tab => [Refuse];
    first: scenes::first => [Pend, Submit, Post, Tell];
    kept: scenes::kept => [KeepAnswer];
    broken: scenes::broken => [LoseAnswer];
    taken_back: scenes::taken_back => [TakeBack];
    on_its_way: scenes::on_its_way => [Recover, Resend, Send, Reconcile, Post];
    interrupted: scenes::interrupted => [Recover, Burn, Deliver];
    expired: scenes::expired => [Expire];
    outbid: scenes::outbid => [Submit];
    nothing_left_to_move: scenes::nothing_left_to_move => [Submit];
    out_of_the_chain: scenes::out_of_the_chain => [Unsettle, Unmine];
    deep: scenes::deep => [Final];
    long_after: scenes::long_after => [Arrive, Unwatch];
    books: scenes::books => [Seal, ForgetReceipts];
    stopped: scenes::stopped => [Drain, SettleTab, Fold];
    handed: scenes::handed => [HandOver, AskToSettle, Post];
    pending: scenes::pending => [Pend, KeepAnswer];
    handed_before: scenes::handed_before => [Recover, Reconcile, AskToSettle, Post, Expire];
    refunded: scenes::refunded => [AskRefund, AdmitRefund, Submit, SettleRefund];
    wallet_empty: scenes::wallet_empty => [StopRefund];
    refund_out_of_the_chain: scenes::refund_out_of_the_chain => [UndoRefund];
    refunded_by_hand: scenes::refunded_by_hand => [PayRefund];
    account_charged: accounts::charged => [Charge, Capture];
    account_free_status: accounts::free_status => [ReleaseCharge];
    account_unanswered: accounts::unanswered => [BurnCharge];
    account_broken: accounts::broken => [GiveBack];
    account_refunded: accounts::refunded => [GiveBack];
    account_kept: accounts::kept => [KeepChargedAnswer];
    account_granted: accounts::granted => [Grant];
    account_withdrawn: accounts::withdrawn => [Withdraw];
    account_transferred: accounts::transferred => [Transfer];
    account_lapsed: accounts::lapsed => [Lapse];
    account_administered: accounts::administered => [Administer];
    account_made: accounts::made => [ChangeKeys];
    pass_revoked: accounts::pass_revoked => [RevokePass];
    facilitator_settles: service::settles => [Claim, Submit, Send, Post, Tell, KeepListing];
    facilitator_forgets: service::forgets => [KeepListing];
}

#[test]
fn every_point_is_visited() {
    let visited: BTreeSet<Act> = VISITED.iter().copied().flatten().copied().collect();
    let missing: Vec<String> =
        all().into_iter().filter(|(_, act)| !visited.contains(act)).map(|(point, _)| point).collect();
    assert!(missing.is_empty(), "no scene leads to {missing:?}");
}
