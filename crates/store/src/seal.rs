//! Seals: signed checkpoints of the entries, so that a change of an old entry shows.
//!
//! A seal covers the entries behind the seal before it. What is signed is the SHA-256 of this text, in UTF-8, each line ended by
//! one line feed:
//!
//! ```text
//! pontage seal 1
//! after 0x<hash of the seal before, or 64 zeros>
//! entry <id> <kind> payment <32 hex> at <milliseconds>
//! debit <account> <atomic units> of eip155:<chain id>/<0x contract>
//! credit <account> <atomic units> of eip155:<chain id>/<0x contract>
//! entry <id> gas chain_tx <0x hash> at <milliseconds>
//! ...
//! ```
//!
//! Entries come in the order of their ids, the lines of an entry in the order in which they were written. Addresses have their
//! EIP-55 case. A word that holds a quote, a backslash or a control character, which no version writes, has it escaped.

use std::fmt::Write as _;

use alloy_primitives::{Address, B256};
use facilitator::point::Act;
use gate::Fault;
use ledger::{About, Side};
use protocol::Signature;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use crate::handle::Handle;
use crate::ledger::{EntryRow, entries_behind};
use crate::rows;

/// The most entries that one seal covers.
pub const SEAL_MAX: u64 = 10_000;

/// What tells a seal from anything else that a key may sign.
const DOMAIN: &str = "pontage seal 1";

/// Entries that no seal covers yet, and the digest that would seal them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// The seal before, 0 for none.
    pub after_seal: u64,
    /// The first of them.
    pub first_entry: u64,
    /// The last of them.
    pub last_entry: u64,
    /// What is to be signed.
    pub hash: B256,
}

/// The digest of a seal, fed with the entries that it covers.
#[derive(Clone, Debug)]
pub struct SealDigest(Sha256);

impl SealDigest {
    /// Begins behind the seal of this hash.
    #[must_use]
    pub fn after(previous: Option<B256>) -> Self {
        let mut digest = Sha256::new();
        digest.update(head(previous));
        Self(digest)
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: &EntryRow) {
        self.0.update(text(entry));
    }

    /// What is signed.
    #[must_use]
    pub fn finish(self) -> B256 {
        B256::from_slice(&self.0.finalize())
    }
}

fn head(previous: Option<B256>) -> String {
    format!("{DOMAIN}\nafter {}\n", previous.unwrap_or_default())
}

/// An entry in the canonical text.
fn text(entry: &EntryRow) -> String {
    let about = match entry.about {
        About::Hold(id) => format!("payment {id}"),
        About::ChainTx(hash) => format!("chain_tx {hash}"),
        About::Charge(id) => format!("charge {id}"),
        About::Grant(id) => format!("grant {id}"),
    };
    let mut text = format!("entry {} {} {about} at {}\n", entry.id, entry.kind.escape_debug(), entry.at_ms);
    for line in &entry.lines {
        let side = match line.side {
            Side::Debit => "debit",
            Side::Credit => "credit",
        };
        let (account, amount, asset) = (line.account.escape_debug(), line.amount_atomic, line.asset);
        // Writing to a string cannot fail.
        writeln!(text, "{side} {account} {amount} of {}/{}", asset.network, asset.address).unwrap_or_default();
    }
    text
}

impl Handle {
    /// The text whose digest [`Unsealed::hash`] is: for a signer that reads what it signs.
    ///
    /// # Errors
    /// A [`Fault`] when the journal cannot be read.
    pub fn seal_text(&self, what: &Unsealed) -> Result<String, Fault> {
        self.read(|db| {
            let before = "SELECT hash FROM seals WHERE id = ?1";
            let mut statement = db.prepare_cached(before)?;
            let before =
                statement.query_row([rows::signed(what.after_seal)?], |row| rows::fixed(row, 0).map(B256::new));
            let mut all = head(before.optional()?);
            let entries = entries_behind(db, what.first_entry.saturating_sub(1), SEAL_MAX)?;
            for entry in entries.iter().filter(|entry| entry.id <= what.last_entry) {
                all.push_str(&text(entry));
            }
            Ok(all)
        })
    }

    /// What is to be sealed next, at most [`SEAL_MAX`] entries. `None` when all are sealed.
    ///
    /// # Errors
    /// A [`Fault`] when the journal cannot be read.
    pub fn unsealed(&self) -> Result<Option<Unsealed>, Fault> {
        self.read(unsealed)
    }

    /// Writes a seal. `false`, and nothing is written, when another seal came meanwhile.
    ///
    /// # Errors
    /// A [`Fault`] when the journal does not take it.
    pub async fn seal(&self, what: Unsealed, signer: Address, signature: Signature) -> Result<bool, Fault> {
        self.writer
            .run(&[Act::Seal], move |batch| {
                let newest = "SELECT coalesce(max(id), 0) FROM seals";
                let newest = batch.db.prepare_cached(newest)?.query_row([], |row| rows::unsigned(row, 0))?;
                if newest != what.after_seal {
                    return Ok(false);
                }
                let sql = "INSERT INTO seals (id, first_entry, last_entry, hash, signer, signature, at_ms)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
                batch.db.prepare_cached(sql)?.execute(params![
                    rows::signed(what.after_seal.saturating_add(1))?,
                    rows::signed(what.first_entry)?,
                    rows::signed(what.last_entry)?,
                    what.hash.0,
                    signer.0.0,
                    signature.as_bytes(),
                    rows::signed(batch.now_ms)?
                ])?;
                Ok(true)
            })
            .await
    }
}

fn unsealed(db: &Connection) -> rusqlite::Result<Option<Unsealed>> {
    let db_tx = db.unchecked_transaction()?;
    let newest = "SELECT id, last_entry, hash FROM seals ORDER BY id DESC LIMIT 1";
    let mut statement = db_tx.prepare_cached(newest)?;
    let seal = |row: &rusqlite::Row<'_>| {
        Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?, B256::new(rows::fixed(row, 2)?)))
    };
    let newest = statement.query_map([], seal)?.next().transpose()?;
    let (after_seal, after_entry, previous) = newest.map_or((0, 0, None), |(id, last, hash)| (id, last, Some(hash)));
    let entries = entries_behind(&db_tx, after_entry, SEAL_MAX)?;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(None) };
    let mut digest = SealDigest::after(previous);
    entries.iter().for_each(|entry| digest.take(entry));
    Ok(Some(Unsealed { after_seal, first_entry: first.id, last_entry: last.id, hash: digest.finish() }))
}
