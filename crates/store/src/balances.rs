//! Balances as an auditor reads them: rows as they are written.

use ledger::{ChargeRecord, Grant, GrantId, HoldId, KeyId};

use crate::accounts::{self, AccountRow, grants_of};
use crate::charges::{self, CHARGE, charge_of};
use crate::ledger::{Ledger, PAGE, ReadFault};
use crate::rows;

type Read<T> = Result<T, ReadFault>;

impl Ledger {
    /// The accounts behind one, at most [`PAGE`], in the order of their names.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn accounts(&self, after: Option<KeyId>) -> Read<Vec<AccountRow>> {
        let sql = "SELECT id FROM accounts WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        let values = rusqlite::params![after.map_or(Vec::new(), |after| after.0.to_vec()), rows::signed(PAGE)?];
        let ids = statement.query_map(values, |row| rows::fixed(row, 0).map(KeyId))?;
        let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
        ids.into_iter().filter_map(|id| self.account(id).transpose()).collect()
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn account(&self, id: KeyId) -> Read<Option<AccountRow>> {
        Ok(accounts::account(&self.db, id)?)
    }

    /// Every grant of an account, oldest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn grants(&self, account: &AccountRow) -> Read<Vec<Grant>> {
        let which = "account = ?1 ORDER BY granted_at_ms, id";
        Ok(grants_of(&self.db, &accounts::grants_where(which), account.id, account.unit)?)
    }

    /// The grant of this name, and its account.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn grant(&self, id: GrantId) -> Read<Option<Grant>> {
        let sql = "SELECT account FROM grants WHERE id = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut found = statement.query_map([id.0], |row| rows::fixed(row, 0).map(KeyId))?;
        let Some(account) = found.next().transpose()? else { return Ok(None) };
        let Some(account) = self.account(account)? else { return Ok(None) };
        Ok(accounts::grant_by_id(&self.db, id, account.unit)?)
    }

    /// The charges behind a turn, at most [`PAGE`], in order, each with its turn.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn charges(&self, after_turn: u64) -> Read<Vec<(u64, ChargeRecord)>> {
        let sql = format!(
            "SELECT {CHARGE}, turn FROM charges JOIN accounts ON accounts.id = account WHERE turn > ?1
             ORDER BY turn LIMIT ?2"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let values = rusqlite::params![rows::signed(after_turn)?, rows::signed(PAGE)?];
        let charge = |row: &rusqlite::Row<'_>| Ok((row.get("turn")?, charge_of(row)?));
        let charges = statement.query_map(values, charge)?.collect::<rusqlite::Result<Vec<(i64, _)>>>()?;
        Ok(charges.into_iter().map(|(turn, record)| (u64::try_from(turn).unwrap_or(0), record)).collect())
    }

    /// The newest charges of an account, the newest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn newest_charges(&self, account: KeyId, most: u64) -> Read<Vec<ChargeRecord>> {
        let sql = format!(
            "SELECT {CHARGE} FROM charges JOIN accounts ON accounts.id = account WHERE account = ?1
             ORDER BY turn DESC LIMIT ?2"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let values = rusqlite::params![account.0, rows::signed(most)?];
        Ok(statement.query_map(values, charge_of)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The charge of this name.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn charge(&self, id: HoldId) -> Read<Option<ChargeRecord>> {
        Ok(charges::by_id(&self.db, id)?)
    }

    /// Grants and charges of accounts that are missing, by what they are and their names.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn accountless(&self) -> Read<Vec<(String, [u8; 16])>> {
        let sql = "SELECT 'grant', id FROM grants WHERE account NOT IN (SELECT id FROM accounts)
                   UNION ALL SELECT 'charge', id FROM charges WHERE account NOT IN (SELECT id FROM accounts)";
        let mut statement = self.db.prepare(sql)?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, rows::fixed(row, 1)?)))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }
}
