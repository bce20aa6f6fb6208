//! Who calls, by the key that he shows. Each worker has a directory of its own; the journal is asked once for each secret and change.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use foldhash::quality::RandomState;
use gate::{
    Denial, Fault, KeyRecord, KeyStanding, Policy, RequestSignature, SECRET_PREFIX, SecretDigest, TOKEN_PREFIX, Token,
    signing_secret,
};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use ledger::{KeyId, Unit};
use store::{Handle, SecretHolder};

use super::Nonces;

/// Where callers show a key, besides `Authorization: Bearer`.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");
/// When a key ends (RFC 8594).
const SUNSET: HeaderName = HeaderName::from_static("sunset");
/// The end of the year 9999, the last that a date of HTTP can have.
const DATE_MAX_MS: u64 = 253_402_300_799_999;
/// How many secrets a worker knows. All are forgotten when there would be more.
const KNOWN_MAX: usize = 65_536;
/// The same of those that nobody has: whoever tries them does not make the worker forget the others.
const UNKNOWN_MAX: usize = 16_384;

/// A call, as far as it matters to who may make it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) method: &'a str,
    /// The normalised path, without its query. `None` where a holder asks about himself: no rule of routes keeps that from him.
    pub(crate) path: Option<&'a str>,
    /// The normalised path and the query.
    pub(crate) target: &'a str,
    /// Where it comes from.
    pub(crate) from: IpAddr,
    pub(crate) now_ms: u64,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Whose balance.
    pub(crate) key: KeyId,
    /// What it is counted in.
    pub(crate) unit: Unit,
    /// What the operator calls the key.
    pub(crate) name: String,
    /// What it may do: its plan's policy with its own over it.
    pub(crate) policy: Rc<Policy>,
    /// Whether its calls move no money.
    pub(crate) sandbox: bool,
    /// The day on which it ends, where its holder was told one.
    sunset_at_ms: Option<u64>,
    /// When it expires, and when it ends after its grace.
    expires: Option<(u64, u64)>,
    /// Whether the key's present secret was shown, not one that was replaced, and no token.
    pub(crate) may_rotate: bool,
}

impl Principal {
    /// Says from when on the key opens nothing: where its holder was told a day, and while its grace runs.
    pub(crate) fn put_end(&self, headers: &mut HeaderMap, now_ms: u64) {
        let grace = self.expires.filter(|(expires, _)| now_ms >= *expires).map(|(_, ends)| ends);
        if let Some(ends_ms) = grace.into_iter().chain(self.sunset_at_ms).min() {
            let ends = UNIX_EPOCH.checked_add(Duration::from_millis(ends_ms));
            // What ends after the year 9999 has no date, and need not be said.
            let text = ends.filter(|_| ends_ms <= DATE_MAX_MS).map(httpdate::fmt_http_date);
            if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.insert(SUNSET, value);
            }
        }
    }

    /// A pass that counts: its account, and no key.
    pub(crate) fn of_pass(key: KeyId, unit: Unit) -> Self {
        let (name, policy) = (String::new(), Rc::new(Policy::default()));
        Self { key, unit, name, policy, sandbox: false, sunset_at_ms: None, expires: None, may_rotate: false }
    }
}

/// Why nobody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// He may not; and whose key it is, where he has proved that it is his and holds.
    Denied(Denial, Option<KeyId>),
    /// Nothing can be said now.
    Fault(Fault),
}

/// The keys that a worker has seen.
#[derive(Debug)]
pub(crate) struct Directory {
    journal: Handle,
    nonces: Arc<Nonces>,
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    generation: u64,
    known: HashMap<SecretDigest, Rc<Known>, RandomState>,
    unknown: HashSet<SecretDigest, RandomState>,
}

/// A secret that somebody has, or a token.
#[derive(Debug)]
struct Known {
    record: KeyRecord,
    /// The secret was replaced, and holds until then.
    valid_until_ms: Option<u64>,
    token: Option<KnownToken>,
    /// Where calls must be signed: with what.
    signing_secret: Option<String>,
    principal: Rc<Principal>,
}

#[derive(Debug)]
struct KnownToken {
    token: Token,
    is_revoked: bool,
}

impl Directory {
    pub(crate) fn new(journal: Handle, nonces: Arc<Nonces>) -> Self {
        Self { journal, nonces, seen: RefCell::default() }
    }

    /// Who calls. `None` where no key of ours is shown.
    pub(crate) fn resolve(&self, knock: &Knock<'_>) -> Result<Option<Rc<Principal>>, Unresolved> {
        let denied = |denial: Denial| Unresolved::Denied(denial, None);
        let Some(shown) = shown(knock.headers).map_err(denied)? else { return Ok(None) };
        let found = if shown.starts_with(TOKEN_PREFIX) {
            self.find(SecretDigest::of(shown), || self.token(shown, knock.now_ms))
        } else {
            let digest = SecretDigest::of_secret(shown).ok_or(denied(Denial::InvalidApiKey))?;
            self.find(digest, || self.secret(digest))
        };
        let known = found.map_err(Unresolved::Fault)?.ok_or(denied(Denial::InvalidApiKey))?;
        let key = known.principal.key;
        let judged = judge(&known, knock).and_then(|()| self.signed(&known, knock));
        // A balance is told to its holder alone, not to whoever has a secret that is over, or lacks what else the key asks for.
        let is_proved = |denial| match denial {
            Denial::AclDenied => known.principal.policy.signed != Some(true),
            Denial::TooManySignatures => true,
            _ => false,
        };
        judged.map_err(|denial| Unresolved::Denied(denial, Some(key).filter(|_| is_proved(denial))))?;
        Ok(Some(Rc::clone(&known.principal)))
    }

    /// What a digest is known as; what is not known is read, once for each change of keys.
    fn find(
        &self,
        digest: SecretDigest,
        read: impl FnOnce() -> Result<Option<Known>, Fault>,
    ) -> Result<Option<Rc<Known>>, Fault> {
        // Read before the journal is: what changes in between is asked for again.
        let generation = self.journal.access_generation();
        let mut seen = self.seen.borrow_mut();
        if seen.generation != generation {
            *seen = Seen { generation, ..Seen::default() };
        }
        if let Some(known) = seen.known.get(&digest) {
            return Ok(Some(Rc::clone(known)));
        }
        if seen.unknown.contains(&digest) {
            return Ok(None);
        }
        let Some(known) = read()?.map(Rc::new) else {
            if seen.unknown.len() >= UNKNOWN_MAX {
                seen.unknown.clear();
            }
            seen.unknown.insert(digest);
            return Ok(None);
        };
        if seen.known.len() >= KNOWN_MAX {
            seen.known.clear();
        }
        seen.known.insert(digest, Rc::clone(&known));
        Ok(Some(known))
    }

    fn secret(&self, digest: SecretDigest) -> Result<Option<Known>, Fault> {
        let Some(holder) = self.journal.secret_holder(digest)? else { return Ok(None) };
        self.known(holder, None).map(Some)
    }

    /// A token that we have signed, whatever became of it.
    fn token(&self, shown: &str, now_ms: u64) -> Result<Option<Known>, Fault> {
        let keys = self.journal.token_keys(now_ms)?;
        let Some(token) = Token::verify(shown, keys.iter().map(|key| &key.secret)) else { return Ok(None) };
        let Some(holder) = self.journal.key_holder(token.key)? else { return Ok(None) };
        let is_revoked = token.issued_at_ms <= holder.record.tokens_after_ms || self.journal.is_revoked(token.id)?;
        self.known(holder, Some(KnownToken { token, is_revoked })).map(Some)
    }

    fn known(&self, holder: SecretHolder, token: Option<KnownToken>) -> Result<Known, Fault> {
        let SecretHolder { mut record, plan, valid_until_ms } = holder;
        let policy = std::mem::take(&mut record.policy).over(&plan);
        // Nobody asks for these here, and they may be long.
        (record.notes, record.tags) = Default::default();
        let signing_secret = match self.journal.signing_master()? {
            Some(master) if policy.signed == Some(true) => {
                Some(signing_secret(&master, record.id, record.signing_round))
            }
            Some(_) | None => None,
        };
        let principal = Rc::new(Principal {
            key: record.id,
            unit: record.unit,
            name: record.name.clone(),
            policy: Rc::new(policy),
            sandbox: record.sandbox,
            sunset_at_ms: record.sunset_at_ms,
            expires: record.expires_at_ms.zip(record.ends_at_ms()),
            may_rotate: valid_until_ms.is_none() && token.is_none(),
        });
        Ok(Known { record, valid_until_ms, token, signing_secret, principal })
    }

    /// Whether a call is signed, where it must be. The nonce is used last, so that what is refused for something else may come again.
    fn signed(&self, known: &Known, knock: &Knock<'_>) -> Result<(), Denial> {
        if known.principal.policy.signed != Some(true) {
            return Ok(());
        }
        let mut values = knock.headers.get_all(&SIGNATURE).iter();
        let value = values.next().ok_or(Denial::SignatureRequired)?;
        if values.next().is_some() {
            return Err(Denial::BadSignature);
        }
        let text = value.to_str().map_err(|_| Denial::BadSignature)?;
        let signature = RequestSignature::parse(text).ok_or(Denial::BadSignature)?;
        // Nobody has asked for such a secret yet.
        let secret = known.signing_secret.as_deref().ok_or(Denial::BadSignature)?;
        signature.verify(secret, knock.method, knock.target, knock.now_ms)?;
        self.nonces.take(known.principal.key, signature.nonce, signature.at_ms, knock.now_ms)
    }
}

/// Whether a key may make a call, at the call's time.
fn judge(known: &Known, knock: &Knock<'_>) -> Result<(), Denial> {
    if known.valid_until_ms.is_some_and(|ends| knock.now_ms >= ends) {
        return Err(Denial::InvalidApiKey);
    }
    if let Some(KnownToken { token, is_revoked }) = &known.token {
        if knock.now_ms >= token.expires_at_ms {
            return Err(Denial::TokenExpired);
        }
        if *is_revoked {
            return Err(Denial::TokenRevoked);
        }
    }
    match known.record.standing(knock.now_ms) {
        KeyStanding::Active | KeyStanding::Grace => {}
        KeyStanding::Suspended => return Err(Denial::KeySuspended),
        KeyStanding::Expired => return Err(Denial::KeyExpired),
        KeyStanding::Revoked => return Err(Denial::KeyRevoked),
    }
    let policy = &known.principal.policy;
    if !policy.may_come_from(knock.from) {
        return Err(Denial::IpNotAllowed);
    }
    let covered = |path: &str| known.token.as_ref().is_none_or(|known| known.token.covers(knock.method, path));
    if knock.path.is_some_and(|path| !policy.may_call(knock.method, path) || !covered(path)) {
        return Err(Denial::AclDenied);
    }
    Ok(())
}

/// The secret or token of ours that is shown. What does not look like one is the upstream's. Two are one too many: which one pays, the
/// caller must know.
fn shown(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let mut found = None;
    let plain = headers.get_all(&API_KEY).iter().filter_map(ours);
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(our_bearer);
    for secret in plain.chain(bearer) {
        if found.replace(secret).is_some_and(|other| other != secret) {
            return Err(Denial::InvalidApiKey);
        }
    }
    Ok(found)
}

fn ours(value: &HeaderValue) -> Option<&str> {
    // Secrets are ASCII; what begins as one and goes on otherwise is none, and still not the upstream's.
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim();
    (text.starts_with(SECRET_PREFIX) || text.starts_with(TOKEN_PREFIX)).then_some(text)
}

fn our_bearer(value: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let (scheme, token) = text.trim_start().split_once(' ')?;
    let token = token.trim();
    let is_ours = token.starts_with(SECRET_PREFIX) || token.starts_with(TOKEN_PREFIX);
    (scheme.eq_ignore_ascii_case("bearer") && is_ours).then_some(token)
}

/// Whether a header shows a secret or token of ours.
pub(crate) fn is_key(name: &HeaderName, value: &HeaderValue) -> bool {
    (*name == API_KEY && ours(value).is_some()) || (*name == AUTHORIZATION && our_bearer(value).is_some())
}

/// Takes away what was shown to us: the upstream gets no secret of ours.
pub(crate) fn strip(headers: &mut HeaderMap) {
    strip_from(headers, &API_KEY, |value| ours(value).is_some());
    strip_from(headers, &AUTHORIZATION, |value| our_bearer(value).is_some());
}

fn strip_from(headers: &mut HeaderMap, name: &HeaderName, is_ours: impl Fn(&HeaderValue) -> bool) {
    if headers.get_all(name).iter().any(&is_ours) {
        let rest: Vec<HeaderValue> = headers.get_all(name).iter().filter(|value| !is_ours(value)).cloned().collect();
        headers.remove(name);
        headers.extend(rest.into_iter().map(|value| (name.clone(), value)));
    }
}
