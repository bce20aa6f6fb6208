//! Scoped tokens: what signs them, and which are void before their time.

use facilitator::point::Act;
use gate::{Fault, KeyRefusal};
use ledger::KeyId;
use rusqlite::{OptionalExtension as _, Row, params};

use crate::handle::Handle;
use crate::rows::{fixed, signed, unsigned};
use crate::writer::Batch;

/// By this number is what the secrets of signed requests are made of.
const SIGNING: u32 = 0;
/// How many signing keys hold at a time.
const KEYS_MAX: u64 = 4;
/// How many tokens of one key may be on the list: beyond that, all of it are made void at once.
const REVOKED_MAX: u64 = 10_000;

/// What signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// Newer ones have higher numbers.
    pub number: u32,
    /// The secret.
    pub secret: [u8; 32],
    /// Until when its tokens hold; `None` for the one that signs.
    pub valid_until_ms: Option<u64>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({})", self.number)
    }
}

/// A token that is void before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// Its name.
    pub token: [u8; 16],
    /// Whose.
    pub key: KeyId,
    /// When it would have ended anyway.
    pub expires_at_ms: u64,
    /// When it was made void.
    pub revoked_at_ms: u64,
}

impl Handle {
    /// What signs tokens, newest first. Empty before the first token.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn token_keys(&self, now_ms: u64) -> Result<Vec<TokenKey>, Fault> {
        self.read(|db| {
            let sql = "SELECT number, secret, valid_until_ms FROM token_keys
                       WHERE number > 0 AND (valid_until_ms IS NULL OR valid_until_ms > ?1) ORDER BY number DESC";
            let mut statement = db.prepare_cached(sql)?;
            statement.query_map([signed(now_ms)?], token_key)?.collect()
        })
    }

    /// Puts a new key in the place of the one that signs tokens, and says which. What the old ones have signed holds until then.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn rotate_token_key(&self, secret: [u8; 32], old_until_ms: u64) -> Result<u32, Fault> {
        let rotate = move |batch: &mut Batch<'_>| {
            let until_ms = signed(old_until_ms)?;
            let sql = "UPDATE token_keys SET valid_until_ms = ?1
                       WHERE number > 0 AND (valid_until_ms IS NULL OR valid_until_ms > ?1)";
            batch.db.prepare_cached(sql)?.execute([until_ms])?;
            let newest = batch.db.query_row("SELECT coalesce(max(number), 0) FROM token_keys", [], |row| row.get(0));
            let number = u32::saturating_add(newest?, 1);
            let sql = "INSERT INTO token_keys (number, secret, made_at_ms) VALUES (?1, ?2, ?3)";
            batch.db.prepare_cached(sql)?.execute(params![number, secret, signed(batch.now_ms)?])?;
            // What holds no more is not kept, and of what holds only the newest.
            let sql = "DELETE FROM token_keys WHERE number > 0 AND (valid_until_ms <= ?1
                       OR number NOT IN (SELECT number FROM token_keys ORDER BY number DESC LIMIT ?2))";
            batch.db.prepare_cached(sql)?.execute(params![signed(batch.now_ms)?, signed(KEYS_MAX)?])?;
            batch.rekeyed = true;
            Ok(number)
        };
        self.writer.run(&[Act::ChangeKeys], rotate).await
    }

    /// What the secrets of signed requests are made of. `None` before somebody asked for one.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn signing_master(&self) -> Result<Option<[u8; 32]>, Fault> {
        let sql = "SELECT secret FROM token_keys WHERE number = ?1";
        self.read(|db| db.prepare_cached(sql)?.query_row([SIGNING], |row| fixed(row, 0)).optional())
    }

    /// Writes it, once: who asks again reads the one that is there.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn make_signing_master(&self, drawn: [u8; 32]) -> Result<[u8; 32], Fault> {
        let make = move |batch: &mut Batch<'_>| {
            let sql = "INSERT INTO token_keys (number, secret, made_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            batch.db.prepare_cached(sql)?.execute(params![SIGNING, drawn, signed(batch.now_ms)?])?;
            batch.rekeyed = true;
            let sql = "SELECT secret FROM token_keys WHERE number = ?1";
            batch.db.prepare_cached(sql)?.query_row([SIGNING], |row| fixed(row, 0))
        };
        self.writer.run(&[Act::ChangeKeys], make).await
    }

    /// Makes a token void, and forgets those whose time is over anyway.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked.
    pub async fn revoke_token(&self, token: RevokedToken) -> Result<Result<(), KeyRefusal>, Fault> {
        let revoke = move |batch: &mut Batch<'_>| {
            let now_ms = signed(batch.now_ms)?;
            batch.db.prepare_cached("DELETE FROM revoked_tokens WHERE expires_at_ms <= ?1")?.execute([now_ms])?;
            let listed = "SELECT count(*) FROM revoked_tokens WHERE key = ?1";
            let listed: u64 = batch.db.prepare_cached(listed)?.query_row([token.key.0], |row| unsigned(row, 0))?;
            if listed >= REVOKED_MAX {
                return Ok(Err(KeyRefusal::TooMany { field: "revoked_tokens", most: REVOKED_MAX }));
            }
            let sql = "INSERT INTO revoked_tokens (token, key, expires_at_ms, revoked_at_ms) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT DO NOTHING";
            let values = params![token.token, token.key.0, signed(token.expires_at_ms)?, signed(token.revoked_at_ms)?];
            batch.db.prepare_cached(sql)?.execute(values)?;
            batch.rekeyed = true;
            Ok(Ok(()))
        };
        self.writer.run(&[Act::ChangeKeys], revoke).await
    }

    /// Whether a token was made void.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn is_revoked(&self, token: [u8; 16]) -> Result<bool, Fault> {
        let sql = "SELECT EXISTS (SELECT 1 FROM revoked_tokens WHERE token = ?1)";
        self.read(|db| db.prepare_cached(sql)?.query_row([token], |row| row.get(0)))
    }

    /// The tokens that were made void and whose time is not over, by when that is; of one key, or of all.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn revoked_tokens(&self, key: Option<KeyId>, now_ms: u64, most: u64) -> Result<Vec<RevokedToken>, Fault> {
        self.read(|db| {
            let sql = "SELECT token, key, expires_at_ms, revoked_at_ms FROM revoked_tokens
                       WHERE expires_at_ms > ?1 AND (?2 IS NULL OR key = ?2) ORDER BY expires_at_ms, token LIMIT ?3";
            let mut statement = db.prepare_cached(sql)?;
            let values = params![signed(now_ms)?, key.map(|key| key.0), signed(most)?];
            statement.query_map(values, revoked)?.collect()
        })
    }
}

fn token_key(row: &Row<'_>) -> rusqlite::Result<TokenKey> {
    let until: Option<i64> = row.get(2)?;
    Ok(TokenKey {
        number: row.get(0)?,
        secret: fixed(row, 1)?,
        valid_until_ms: until.map(|_| unsigned(row, 2)).transpose()?,
    })
}

fn revoked(row: &Row<'_>) -> rusqlite::Result<RevokedToken> {
    Ok(RevokedToken {
        token: fixed(row, 0)?,
        key: KeyId(fixed(row, 1)?),
        expires_at_ms: unsigned(row, 2)?,
        revoked_at_ms: unsigned(row, 3)?,
    })
}
