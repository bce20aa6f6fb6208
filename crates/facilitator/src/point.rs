//! Fault points: the places at which a process may die and money must not care. Each act that is durable or goes out has one before it
//! and one after it. In builds with debug assertions alone, `PONTAGE_KILL_AT=before-claim` (`before-claim:3` for the third time) makes
//! the process kill itself there, as a power cut would. Other builds have nothing of it.

macro_rules! acts {
    ($($(#[$doc:meta])* $act:ident,)*) => {
        /// What the process does that somebody will see: the next start, the chain, or a caller.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Act {
            $($(#[$doc])* $act,)*
        }

        #[cfg(debug_assertions)]
        const ACTS: &[Act] = &[$(Act::$act,)*];
    };
}

acts! {
    /// An authorization is claimed.
    Claim,
    /// The upstream has answered, on the tab.
    Answer,
    /// The answer was given out.
    Deliver,
    /// A hold is marked as handed to a facilitator of others.
    HandOver,
    /// Signed chain_txs are written.
    Submit,
    /// Money has moved.
    Post,
    /// Money for a hold that had ended is final.
    Arrive,
    /// A reorg took the money out.
    Unsettle,
    /// A hold is let go.
    Release,
    /// A hold is burnt.
    Burn,
    /// The chain refuses for good.
    Refuse,
    /// The validity has ended unused.
    Expire,
    /// The settlement is not known in time.
    Pend,
    /// The answer is stored.
    KeepAnswer,
    /// The money is given back though the answer was given out.
    TakeBack,
    /// The answer is lost.
    LoseAnswer,
    /// An ended hold need not be looked at again.
    Unwatch,
    /// Gas is booked.
    Mine,
    /// Gas is booked back.
    Unmine,
    /// Blocks are noted as final, or as to be looked at again.
    Final,
    /// A receipt's digests are written.
    KeepReceipt,
    /// Old receipts are forgotten.
    ForgetReceipts,
    /// A listing is written, or one that says that it is gone.
    KeepListing,
    /// Entries are sealed.
    Seal,
    /// A refund is asked for.
    AskRefund,
    /// A refund counts on the cap of its day.
    AdmitRefund,
    /// A refund has moved.
    SettleRefund,
    /// A reorg took a refund out.
    UndoRefund,
    /// A refund does not go out now.
    StopRefund,
    /// A refund was paid by hand.
    PayRefund,
    /// Keys, their secrets, plans or templates are written.
    ChangeKeys,
    /// A balance is raised.
    Grant,
    /// A balance is lowered by the operator.
    Withdraw,
    /// A part of a balance goes to another account.
    Transfer,
    /// A pass is taken back.
    RevokePass,
    /// Grants whose time is over end.
    Lapse,
    /// The price of a call is held.
    Charge,
    /// It is taken.
    Capture,
    /// It is given back: nothing was sent, or the upstream said that it failed.
    ReleaseCharge,
    /// It is given back though the upstream may have run.
    BurnCharge,
    /// A part of what was taken is given back.
    GiveBack,
    /// The answer to such a call is stored.
    KeepChargedAnswer,
    /// What an admin did is written, where it moves nothing.
    Administer,
    /// Chain_txs are sent to a node.
    Send,
    /// A facilitator of others is asked to settle.
    AskToSettle,
    /// The caller is answered. There is no point behind it: what the caller has is not ours to know.
    Tell,
    /// At start, what a crash left open is ended.
    Recover,
    /// At start, the lanes send again what is on its way.
    Resend,
    /// Unfinished holds are looked at.
    Reconcile,
    /// At stop, settlements that no connection waits for end.
    Drain,
    /// At stop, the tab is submitted.
    SettleTab,
    /// At stop, the journal is folded into one file.
    Fold,
}

/// The process is about to do it.
pub fn before(act: Act) {
    reach("before", act);
}

/// It is done, and whoever asked has not been told.
pub fn after(act: Act) {
    reach("after", act);
}

#[cfg(not(debug_assertions))]
const fn reach(_side: &'static str, _act: Act) {}

#[cfg(debug_assertions)]
pub use killing::all;
#[cfg(debug_assertions)]
use killing::reach;

#[cfg(debug_assertions)]
mod killing {
    use std::process::{Command, Stdio};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{ACTS, Act};

    /// Where the process is to die.
    struct Kill {
        name: String,
        /// How often the point is still to be passed, this time included.
        left: AtomicU64,
    }

    static KILL: OnceLock<Option<Kill>> = OnceLock::new();

    impl Act {
        /// `KeepAnswer` is `keep-answer`.
        fn word(self) -> String {
            let mut word = String::new();
            for letter in format!("{self:?}").chars() {
                if letter.is_uppercase() && !word.is_empty() {
                    word.push('-');
                }
                word.push(letter.to_ascii_lowercase());
            }
            word
        }
    }

    /// The names of all points, each with its act.
    #[must_use]
    pub fn all() -> Vec<(String, Act)> {
        let sides = |act: Act| ["before", "after"].into_iter().map(move |side| (format!("{side}-{}", act.word()), act));
        ACTS.iter().copied().flat_map(sides).filter(|(name, _)| name != "after-tell").collect()
    }

    pub(super) fn reach(side: &'static str, act: Act) {
        let Some(kill) = KILL.get_or_init(asked) else { return };
        if kill.name == format!("{side}-{}", act.word()) && kill.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }

    fn asked() -> Option<Kill> {
        let text = std::env::var("PONTAGE_KILL_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Kill { name: name.to_owned(), left: AtomicU64::new(times.parse().ok()?) })
    }

    /// SIGKILL to itself: no destructor, no flush. This thread goes no further, whatever the others do in the meantime.
    fn die() {
        let pid = std::process::id().to_string();
        let killed = Command::new("kill").args(["-9", &pid]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        drop(killed);
        std::process::abort();
    }
}
