//! What the books say, read when somebody asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::Asset;
use store::Ledger;

use super::text::Text;
use crate::host::now_ms;

/// What one look reads at most; the next one goes on.
const PAGES_MAX: usize = 200;

/// Follows the books of a journal from the moment at which it was made.
#[derive(Debug)]
pub(crate) struct BookReader {
    path: PathBuf,
    after: u64,
    moved: Moved,
}

/// By asset and kind of entry: what was written in atomic units.
type Moved = BTreeMap<(Asset, String), u128>;

/// The books at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct BookMetrics {
    moved: Moved,
    exposed_micros: u64,
    unsettled: u64,
    oldest_s: u64,
}

impl BookReader {
    pub(crate) fn new(path: &Path) -> Result<Self, store::OpenFault> {
        let after = Ledger::open(path)?.last_entry().unwrap_or_default();
        Ok(Self { path: path.to_owned(), after, moved: Moved::new() })
    }

    /// Reads what was written since the last look. `None` when the journal cannot be read.
    pub(crate) fn look(&mut self) -> Option<BookMetrics> {
        let ledger = Ledger::open(&self.path).ok()?;
        for _ in 0..PAGES_MAX {
            let entries = ledger.entries(self.after).ok()?;
            let Some(last) = entries.last() else { break };
            self.after = last.id;
            for entry in entries {
                // Both lines of an entry are over one amount.
                if let Some(line) = entry.lines.first() {
                    let sum = self.moved.entry((line.asset, entry.kind)).or_default();
                    *sum = sum.saturating_add(line.amount_atomic);
                }
            }
        }
        let unsettled = ledger.unsettled().ok()?;
        let age_ms = unsettled.oldest_at_ms.map_or(0, |oldest| now_ms().saturating_sub(oldest));
        Some(BookMetrics {
            moved: self.moved.clone(),
            exposed_micros: unsettled.exposed_micros,
            unsettled: unsettled.payments,
            oldest_s: age_ms / 1_000,
        })
    }
}

impl BookMetrics {
    pub(super) fn print<'a>(&self, text: &mut Text, name_of: impl Fn(Asset) -> &'a str) {
        let help = "Atomic units that the books moved since the start, by kind of entry: posted is settled.";
        text.family("pontage_books_atomic_total", "counter", help);
        for ((asset, entry), atomic) in &self.moved {
            let (network, address) = (asset.network.to_string(), asset.address.to_string());
            let labels =
                [("entry", entry.as_str()), ("network", &network), ("asset", &address), ("name", name_of(*asset))];
            text.sample("", &labels, atomic);
        }
        text.family("pontage_tab_exposed_micros", "gauge", "What is served and unsettled, in millionths of a dollar.");
        text.sample("", &[], self.exposed_micros);
        text.family("pontage_payments_unsettled", "gauge", "Payments that have been claimed and have not ended.");
        text.sample("", &[], self.unsettled);
        text.family("pontage_payments_oldest_seconds", "gauge", "How long the oldest of them has been so.");
        text.sample("", &[], self.oldest_s);
    }
}
