//! Who asks: by a token, whose digest is in the journal or in the memory of this process.

use std::net::IpAddr;

use alloy_primitives::hex;
use anyhow::{Context as _, bail};
use gate::{Rate, Taken};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, StatusCode};
use sha2::{Digest as _, Sha256};
use store::{AdminRole, Handle};

use super::ask::Who;
use super::refused::Refused;
use crate::config::{RatesConfig, SecretSource};
use crate::limits::{Key, Limits};
use crate::{host, source};

/// What PayGate calls it.
const X_ADMIN_KEY: HeaderName = HeaderName::from_static("x-admin-key");
/// Where the first owner's token is looked for.
pub(super) const VARIABLE: &str = "PONTAGE_ADMIN_TOKEN";
/// A shorter one can be guessed.
const TOKEN_MIN_BYTES: usize = 16;
const TOKEN_MAX_BYTES: usize = 512;
/// How often an address may show a token that nobody has.
const FAILURES: Rate = Rate::new(120, 60_000);
/// What the audit log calls the one who has the token of the configuration.
const BOOTSTRAP: &str = "bootstrap";

/// The door.
pub(super) struct Door {
    bootstrap: Option<[u8; 32]>,
    limits: Limits,
}

impl Door {
    /// Reads the token of the configuration, or of the environment.
    pub(super) fn new(token: Option<&SecretSource>) -> anyhow::Result<Self> {
        let limits =
            Limits::new(RatesConfig { anonymous: None, payer: None, trusted: None, verification: None }, Vec::new());
        let token = match token {
            Some(source) => Some((source.read().context("admin.token")?, "admin.token".to_owned())),
            None => {
                let source = SecretSource::Env(VARIABLE.to_owned());
                source.read().ok().map(|token| (token, VARIABLE.to_owned()))
            }
        };
        let Some((token, place)) = token else { return Ok(Self { bootstrap: None, limits }) };
        if !(TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&token.expose().len()) {
            bail!(
                "{place}: the token must have from {TOKEN_MIN_BYTES} to {TOKEN_MAX_BYTES} characters; a shorter one can be guessed"
            );
        }
        Ok(Self { bootstrap: Some(digest(token.expose().as_bytes())), limits })
    }

    /// Whether somebody is an owner who is not in the journal.
    pub(super) fn has_bootstrap(&self) -> bool {
        self.bootstrap.is_some()
    }

    /// Who asks. Whoever shows a token that nobody has is slowed down.
    pub(super) fn admit(&self, headers: &HeaderMap, from: IpAddr, journal: &Handle) -> Result<Who, Refused> {
        let shown = match shown(headers) {
            Some(token) => digest(token),
            None => return Err(self.turned(from, "missing_admin_token")),
        };
        if self.bootstrap.as_ref().is_some_and(|known| same(known, &shown)) {
            return Ok(Who { id: [0; 16], name: BOOTSTRAP.to_owned(), role: AdminRole::Owner });
        }
        match journal.admin(shown)? {
            Some(row) => Ok(Who { id: row.id, name: row.name, role: row.role }),
            None => Err(self.turned(from, "invalid_admin_token")),
        }
    }

    fn turned(&self, from: IpAddr, error: &'static str) -> Refused {
        match self.limits.take(Key::Lookup(source::source(from), FAILURES), host::now_ms()) {
            Some(Taken { allowed: false, retry_after_s, .. }) => {
                let message = "Too many tokens that nobody has.";
                Refused::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(retry_after_s)
            }
            Some(_) | None => {
                let message = format!(
                    "Show an admin's token: Authorization: Bearer …, or X-Admin-Key. The first one is that of the \
                     environment variable {VARIABLE}, or of admin.token, when the gate is started; its owner makes others."
                );
                Refused::new(StatusCode::UNAUTHORIZED, error, message)
            }
        }
    }
}

/// A new token, and what is kept of it.
pub(super) fn draw_token() -> (String, [u8; 32]) {
    let token = format!("pga_{}", hex::encode(host::entropy::<24>()));
    let kept = digest(token.as_bytes());
    (token, kept)
}

/// The one token that is shown. Two are none: who wrote the second?
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get_all(AUTHORIZATION).iter().map(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    let key = headers.get_all(X_ADMIN_KEY).iter().map(|value| Some(value.as_bytes().trim_ascii()));
    let mut all = bearer.chain(key);
    let first = all.next()??;
    let fits = !first.is_empty() && first.len() <= TOKEN_MAX_BYTES;
    all.all(|other| other == Some(first)).then_some(first).filter(|_| fits)
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Takes no longer the more of it is right.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_token_is_shown() {
        for (headers, want) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bearer  abc ")], Some("abc")),
            (&[("x-admin-key", "abc")], Some("abc")),
            (&[("x-admin-key", "abc"), ("authorization", "Bearer abc")], Some("abc")),
            (&[("x-admin-key", "abd"), ("authorization", "Bearer abc")], None),
            (&[("authorization", "Bearer abc"), ("authorization", "Bearer abd")], None),
            (&[("authorization", "Basic abc")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("authorization", "abc")], None),
            (&[], None),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .fold(HeaderMap::new(), |mut map, (name, value)| {
                    map.append(name, value);
                    map
                });
            assert_eq!(shown(&map), want.map(str::as_bytes), "{headers:?}");
        }
        let (one, kept) = draw_token();
        assert!(one.len() == 52 && one.starts_with("pga_") && kept == digest(one.as_bytes()));
        assert_ne!(one, draw_token().0);
    }
}
