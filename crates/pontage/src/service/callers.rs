//! Who asks a facilitator: known by a token, or by an address where anybody may.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use gate::{Rate, Taken};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use protocol::Payee;
use sha2::{Digest as _, Sha256};

use crate::config::{RatesConfig, ServiceConfig};
use crate::limits::{Key, Limits};
use crate::source;

/// A shorter one can be guessed.
const TOKEN_MIN_BYTES: usize = 16;
/// How often an address may list something.
const LISTINGS: Rate = Rate::new(20, 60_000);

/// Everybody who may ask.
#[derive(Clone)]
pub(super) struct Callers {
    known: Arc<Vec<Caller>>,
    open: bool,
    trusted_proxies: usize,
    limits: Arc<Limits>,
}

/// One who has a token.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    /// Of the token, so that a comparison takes no longer the more of it is right.
    digest: [u8; 32],
    pay_to: Vec<Payee>,
}

/// Why somebody is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// No token, or none that is known.
    Unknown,
    /// Too often.
    Limited {
        /// When he may ask again.
        retry_after_s: u32,
    },
}

/// Somebody who may ask.
#[derive(Clone)]
pub(super) struct Known {
    callers: Arc<Vec<Caller>>,
    /// `None` for somebody without a token.
    at: Option<usize>,
}

impl Callers {
    /// Reads the tokens.
    pub(super) fn new(config: &ServiceConfig, trusted_proxies: usize) -> anyhow::Result<Self> {
        let mut known: Vec<Caller> = Vec::new();
        for (at, caller) in config.callers.iter().enumerate() {
            let place = format!("service.callers[{at}].bearer");
            let token = caller.bearer.read().with_context(|| place.clone())?;
            if token.expose().len() < TOKEN_MIN_BYTES {
                bail!("{place}: the token is shorter than {TOKEN_MIN_BYTES} characters and can be guessed");
            }
            let digest = digest(token.expose().as_bytes());
            if let Some(other) = known.iter().find(|other| other.digest == digest) {
                bail!("{place}: {} has the same token", other.name);
            }
            known.push(Caller { name: caller.name.clone(), digest, pay_to: caller.pay_to.clone() });
        }
        let rates = RatesConfig { anonymous: config.rate_limit, payer: None, trusted: None, verification: None };
        let named = config.callers.iter().filter_map(|caller| Some((caller.name.clone(), caller.rate_limit?)));
        let limits = Arc::new(Limits::new(rates, named));
        Ok(Self { known: Arc::new(known), open: config.open, trusted_proxies, limits })
    }

    /// Where a request comes from.
    pub(super) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        source::address(peer, headers, self.trusted_proxies)
    }

    /// Who asks, and takes a token of his bucket. Who shows a token that nobody has is turned away, also where anybody may ask: he
    /// means to be somebody.
    pub(super) fn admit(&self, headers: &HeaderMap, from: IpAddr, now_ms: u64) -> Result<Known, Turned> {
        let at = match headers.get(AUTHORIZATION) {
            Some(shown) => match bearer(shown.as_bytes()).and_then(|token| self.find(token)) {
                Some(at) => Some(at),
                None => return Err(self.unknown(from, now_ms)),
            },
            None if self.open => None,
            None => return Err(self.unknown(from, now_ms)),
        };
        let known = Known { callers: Arc::clone(&self.known), at };
        let key = match known.name() {
            Some(name) => Key::Route(name),
            None => Key::Address(source::source(from)),
        };
        match self.limits.take(key, now_ms) {
            Some(Taken { allowed: false, retry_after_s, .. }) => Err(Turned::Limited { retry_after_s }),
            Some(_) | None => Ok(known),
        }
    }

    /// The same for what anybody may read.
    pub(super) fn admit_reader(&self, from: IpAddr, now_ms: u64) -> Result<(), Turned> {
        match self.limits.take(Key::Address(source::source(from)), now_ms) {
            Some(Taken { allowed: false, retry_after_s, .. }) => Err(Turned::Limited { retry_after_s }),
            Some(_) | None => Ok(()),
        }
    }

    /// The same for who lists himself: a few entries a minute are all that anybody has to say.
    pub(super) fn admit_listing(&self, from: IpAddr, now_ms: u64) -> Result<(), Turned> {
        match self.limits.take(Key::Lookup(source::source(from), LISTINGS), now_ms) {
            Some(Taken { allowed: false, retry_after_s, .. }) => Err(Turned::Limited { retry_after_s }),
            Some(_) | None => Ok(()),
        }
    }

    /// Who tries tokens is slowed down like who has none.
    fn unknown(&self, from: IpAddr, now_ms: u64) -> Turned {
        self.admit_reader(from, now_ms).err().unwrap_or(Turned::Unknown)
    }

    fn find(&self, token: &[u8]) -> Option<usize> {
        let shown = digest(token);
        self.known.iter().position(|caller| caller.digest == shown)
    }
}

impl Known {
    fn caller(&self) -> Option<&Caller> {
        self.at.and_then(|at| self.callers.get(at))
    }

    /// What the log calls him; nothing where he showed no token.
    pub(super) fn name(&self) -> Option<&str> {
        self.caller().map(|caller| caller.name.as_str())
    }

    /// Whether he may have payments to somebody settled.
    pub(super) fn may_pay(&self, payee: Payee) -> bool {
        self.caller().is_none_or(|caller| caller.pay_to.is_empty() || caller.pay_to.contains(&payee))
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CallerConfig, SecretSource};
    use std::io::Write as _;

    fn headers(value: Option<&str>) -> HeaderMap {
        value.into_iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn callers(open: bool, rate_limit: Option<Rate>) -> Callers {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "a-token-of-some-length").unwrap();
        let bearer = SecretSource::File(file.path().to_owned());
        let pay_to = vec!["0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap()];
        let caller = CallerConfig { name: "shop".to_owned(), bearer, rate_limit, pay_to };
        let rate_limit = Some(Rate::new(1, 60_000));
        Callers::new(
            &ServiceConfig { callers: vec![caller], open, rate_limit, verify_local: false, discovery: false },
            0,
        )
        .unwrap()
    }

    #[test]
    fn who_may_ask() {
        let from = "192.0.2.1".parse().unwrap();
        for (open, shown, want) in [
            (false, None, Err(Turned::Unknown)),
            (true, None, Ok(None)),
            (false, Some("Bearer a-token-of-some-length"), Ok(Some("shop"))),
            (false, Some("bearer   a-token-of-some-length "), Ok(Some("shop"))),
            (true, Some("Bearer a-token-of-some-lengt"), Err(Turned::Unknown)),
            (true, Some("Bearer "), Err(Turned::Unknown)),
            (true, Some("Basic a-token-of-some-length"), Err(Turned::Unknown)),
            (true, Some("a-token-of-some-length"), Err(Turned::Unknown)),
        ] {
            let admitted = callers(open, None).admit(&headers(shown), from, 1);
            assert_eq!(admitted.as_ref().map(Known::name).map_err(|turned| *turned), want, "{shown:?}");
        }
    }

    #[test]
    fn each_has_a_bucket_of_his_own() {
        let from = "192.0.2.1".parse().unwrap();
        let callers = callers(true, Some(Rate::new(2, 60_000)));
        let ask = |shown| callers.admit(&headers(shown), from, 1).map(|_| ()).err();
        let token = Some("Bearer a-token-of-some-length");
        assert_eq!((ask(token), ask(token)), (None, None));
        assert_eq!(ask(token), Some(Turned::Limited { retry_after_s: 30 }));
        assert_eq!(ask(None), None);
        assert_eq!(ask(None), Some(Turned::Limited { retry_after_s: 60 }));
    }

    #[test]
    fn for_whom_he_may_settle() {
        let from = "192.0.2.1".parse().unwrap();
        let known = callers(true, None).admit(&headers(Some("Bearer a-token-of-some-length")), from, 1);
        let Ok(known) = known else { panic!("the token is his") };
        assert!(known.may_pay("0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap()));
        assert!(!known.may_pay("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap()));
    }
}
