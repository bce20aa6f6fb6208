//! Who calls, by the key that he shows. Each worker has a directory of its own; the journal is asked once for each secret and change.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

use foldhash::quality::RandomState;
use gate::{Denial, Fault, KeyRecord, KeyStanding, Policy, SECRET_PREFIX, SecretDigest, TOKEN_PREFIX};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use ledger::{KeyId, Unit};
use store::Handle;

/// Where callers show a key, besides `Authorization: Bearer`.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
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
    pub(crate) sunset_at_ms: Option<u64>,
}

/// Why nobody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// He may not; and whose key it is, where that is known.
    Denied(Denial, Option<KeyId>),
    /// Nothing can be said now.
    Fault(Fault),
}

/// The keys that a worker has seen.
#[derive(Debug)]
pub(crate) struct Directory {
    journal: Handle,
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    generation: u64,
    known: HashMap<SecretDigest, Rc<Known>, RandomState>,
    unknown: HashSet<SecretDigest, RandomState>,
}

/// A secret that somebody has.
#[derive(Debug)]
struct Known {
    record: KeyRecord,
    valid_until_ms: Option<u64>,
    principal: Rc<Principal>,
}

impl Directory {
    pub(crate) fn new(journal: Handle) -> Self {
        Self { journal, seen: RefCell::default() }
    }

    /// Who calls. `None` where no key of ours is shown.
    pub(crate) fn resolve(&self, knock: &Knock<'_>) -> Result<Option<Rc<Principal>>, Unresolved> {
        let denied = |denial: Denial| Unresolved::Denied(denial, None);
        let Some(secret) = shown(knock.headers).map_err(denied)? else { return Ok(None) };
        let digest = SecretDigest::of_secret(secret).ok_or(denied(Denial::InvalidApiKey))?;
        let known = self.find(digest).map_err(Unresolved::Fault)?.ok_or(denied(Denial::InvalidApiKey))?;
        judge(&known, knock).map_err(|denial| Unresolved::Denied(denial, Some(known.principal.key)))?;
        Ok(Some(Rc::clone(&known.principal)))
    }

    fn find(&self, digest: SecretDigest) -> Result<Option<Rc<Known>>, Fault> {
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
        let Some(holder) = self.journal.secret_holder(digest)? else {
            if seen.unknown.len() >= UNKNOWN_MAX {
                seen.unknown.clear();
            }
            seen.unknown.insert(digest);
            return Ok(None);
        };
        let record = holder.record;
        let principal = Rc::new(Principal {
            key: record.id,
            unit: record.unit,
            name: record.name.clone(),
            policy: Rc::new(record.policy.over(&holder.plan)),
            sandbox: record.sandbox,
            sunset_at_ms: record.sunset_at_ms,
        });
        let known = Rc::new(Known { record, valid_until_ms: holder.valid_until_ms, principal });
        if seen.known.len() >= KNOWN_MAX {
            seen.known.clear();
        }
        seen.known.insert(digest, Rc::clone(&known));
        Ok(Some(known))
    }
}

/// Whether a key may make a call, at the call's time.
fn judge(known: &Known, knock: &Knock<'_>) -> Result<(), Denial> {
    if known.valid_until_ms.is_some_and(|ends| knock.now_ms >= ends) {
        return Err(Denial::InvalidApiKey);
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
    if knock.path.is_some_and(|path| !policy.may_call(knock.method, path)) {
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
        rest.into_iter().for_each(|value| drop(headers.append(name.clone(), value)));
    }
}
