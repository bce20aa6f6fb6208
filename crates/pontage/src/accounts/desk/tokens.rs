//! Scoped tokens, and the secrets of signed requests.

use alloy_primitives::hex;
use gate::{KeyRefusal, KeyStep, Token, signing_secret};
use ledger::KeyId;
use store::RevokedToken;

use super::{Desk, DeskError, MadeToken, RevokeToken, TokenAsk, VoidToken, bounded};
use crate::host::{entropy, now_ms};

const TTL_S: u64 = 3_600;
const TTL_MAX_S: u64 = 86_400;
const LISTED_MAX: u64 = 10_000;

impl Desk {
    /// Makes a token of a key: for some of its calls, and for a time.
    pub(crate) async fn issue_token(&self, key: &str, asked: &TokenAsk, dry_run: bool) -> Result<MadeToken, DeskError> {
        let now_ms = now_ms();
        let record = self.journal.key(self.find(key)?)?.ok_or(KeyRefusal::UnknownKey)?;
        if !record.standing(now_ms).is_usable() {
            return Err(KeyRefusal::NotUsable.into());
        }
        let ttl_s = asked.ttl_s.unwrap_or(TTL_S);
        bounded("ttl_s", ttl_s, TTL_MAX_S)?;
        let token = Token {
            id: entropy(),
            key: record.id,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(ttl_s.saturating_mul(1_000)),
            routes: asked.routes.clone(),
            tools: asked.tools.clone(),
        };
        // Also where nothing is made: what it would say is checked.
        let secret = if dry_run { [0; 32] } else { self.token_secret(now_ms).await? };
        let text = token.sign(&secret)?;
        Ok(MadeToken {
            id: hex::encode(token.id),
            key: token.key.to_string(),
            expires_at_ms: token.expires_at_ms,
            token: (!dry_run).then_some(text),
        })
    }

    /// What signs tokens now; made with the first one.
    async fn token_secret(&self, now_ms: u64) -> Result<[u8; 32], DeskError> {
        if let Some(key) = self.journal.token_keys(now_ms)?.iter().find(|key| key.valid_until_ms.is_none()) {
            return Ok(key.secret);
        }
        let secret = entropy();
        // Where two come at once, both of their keys hold.
        self.journal.rotate_token_key(secret, now_ms.saturating_add(TTL_MAX_S.saturating_mul(1_000))).await?;
        Ok(secret)
    }

    /// Signs tokens with another key from now on. Those that are there hold until their end, or where `at_once` is said no more.
    pub(crate) async fn rotate_token_key(&self, at_once: bool, dry_run: bool) -> Result<(), DeskError> {
        let now_ms = now_ms();
        let until_ms = if at_once { now_ms } else { now_ms.saturating_add(TTL_MAX_S.saturating_mul(1_000)) };
        if !dry_run {
            self.journal.rotate_token_key(entropy(), until_ms).await?;
        }
        Ok(())
    }

    /// Makes a token void.
    pub(crate) async fn revoke_token(&self, asked: &RevokeToken, dry_run: bool) -> Result<VoidToken, DeskError> {
        let now_ms = now_ms();
        let (token, key, expires_at_ms) = match (&asked.token, &asked.id, &asked.key) {
            (Some(text), None, None) => {
                let keys = self.journal.token_keys(now_ms)?;
                let token = Token::verify(text, keys.iter().map(|key| &key.secret));
                let token = token.ok_or(KeyRefusal::BadValue("token"))?;
                (token.id, token.key, token.expires_at_ms)
            }
            (None, Some(id), Some(key)) => {
                let id = hex::decode_to_array(id).map_err(|_| KeyRefusal::BadValue("id"))?;
                // When its time is over is in the token alone: it has a day at most.
                (id, self.find(key)?, now_ms.saturating_add(TTL_MAX_S.saturating_mul(1_000)))
            }
            _ => return Err(KeyRefusal::BadValue("token").into()),
        };
        let revoked = RevokedToken { token, key, expires_at_ms, revoked_at_ms: now_ms };
        if !dry_run {
            self.journal.revoke_token(revoked).await??;
        }
        Ok(told(&revoked))
    }

    /// Makes all tokens of a key void that were made so far.
    pub(crate) async fn void_tokens(&self, key: &str, dry_run: bool) -> Result<(), DeskError> {
        self.step(key, KeyStep::VoidTokens, dry_run).await.map(drop)
    }

    /// The tokens that are void before their time, of one key or of all.
    pub(crate) fn void(&self, key: Option<&str>) -> Result<Vec<VoidToken>, DeskError> {
        let key: Option<KeyId> = key.map(|key| self.find(key)).transpose()?;
        Ok(self.journal.revoked_tokens(key, now_ms(), LISTED_MAX)?.iter().map(told).collect())
    }

    /// The secret with which a key's holder signs his requests, made anew where that is asked. `None` where it is only tried.
    pub(crate) async fn signing_secret(
        &self,
        key: &str,
        anew: bool,
        dry_run: bool,
    ) -> Result<Option<String>, DeskError> {
        let id = self.find(key)?;
        let step = if anew { KeyStep::RotateSigning } else { KeyStep::Change(gate::KeyChange::default()) };
        let view = self.step(key, step, dry_run || !anew).await?;
        if dry_run {
            return Ok(None);
        }
        let master = match self.journal.signing_master()? {
            Some(master) => master,
            None => self.journal.make_signing_master(entropy()).await?,
        };
        Ok(Some(signing_secret(&master, id, view.record.signing_round)))
    }
}

fn told(token: &RevokedToken) -> VoidToken {
    VoidToken {
        id: hex::encode(token.token),
        key: token.key.to_string(),
        expires_at_ms: token.expires_at_ms,
        revoked_at_ms: token.revoked_at_ms,
    }
}
