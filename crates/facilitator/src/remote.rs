//! Remote facilitators over HTTP (reference x402 §3): `POST /verify`, `POST /settle`, `GET /supported`; a list of them in order of
//! preference, with a breaker for each and fail-over at run time. What they say in words is logged here and goes no further.

mod answer;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::Hold;
use protocol::x402::{Challenge, Credential, Resource, Version};
use protocol::{AssetInfo, Authorization, Network, Offer, OfferExtra, Proven};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::json;
use tracing::{info, warn};

use crate::breaker::Breaker;
use crate::engine::{Remote, Told, Verified};
use crate::point::{self, Act};
use answer::Said;
use words::{host, short};

/// The largest answer that is read.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long `GET /supported` may take.
const SUPPORTED_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a look at a facilitator holds.
const LOOK_MS: u64 = 10_000;
/// Less than this is no time to ask anybody.
const ASK_MIN: Duration = Duration::from_millis(50);

/// The HTTP client cannot be made: no TLS roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP client for the facilitators")]
pub struct NoClient;

/// A token that is shown to a facilitator. Prints as `Sensitive`.
#[derive(Clone, Debug)]
pub struct Bearer(HeaderValue);

impl Bearer {
    /// `None` where the text cannot stand in a header.
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

/// What all facilitators are asked with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Shown to each of them.
    pub bearer: Option<Bearer>,
    /// The public host of the gate, for their statistics.
    pub domain: Option<String>,
    /// For a `/verify`, all facilitators that are asked for it together.
    pub verify_timeout_ms: u64,
    /// For a `/settle`, likewise.
    pub settle_timeout_ms: u64,
}

/// The facilitators of a process, in order of preference. Cheap to clone; clones share what is known of each.
#[derive(Clone)]
pub struct Sites {
    sites: Arc<Vec<Site>>,
    terms: Arc<Terms>,
    /// Since when breakers count.
    clock: Instant,
}

/// One facilitator and what is known of it.
struct Site {
    /// Without a slash at its end. May hold an access key.
    url: String,
    /// Of `/verify` and of `/settle`: one may fail while the other does well.
    verify: Mutex<Breaker>,
    settle: Mutex<Breaker>,
    /// What it says that it settles; `None` while it has not said.
    kinds: Mutex<Option<BTreeSet<(Network, Kind)>>>,
    looked: Mutex<Looked>,
}

/// The last look at a facilitator.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    /// When; `None` before the first.
    at_ms: Option<u64>,
    /// Whether it answered.
    reachable: bool,
}

/// The version of x402 that a facilitator is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    V1,
    V2,
}

/// What a facilitator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Verify,
    Settle,
}

impl Asked {
    const fn path(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Settle => "settle",
        }
    }
}

/// How one facilitator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its host and port.
    pub host: String,
    /// Whether it answered `GET /supported` at the last look.
    pub reachable: bool,
    /// Whether it is left alone for a while after several faults.
    pub resting: bool,
}

/// The facilitators as one thread asks them for one network.
#[derive(Clone)]
pub struct HttpRemote {
    sites: Sites,
    client: reqwest::Client,
    network: Network,
    tokens: Arc<Vec<AssetInfo>>,
}

impl fmt::Debug for Sites {
    /// Without the URLs, which may hold an access key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sites({})", self.sites.len())
    }
}

impl fmt::Debug for HttpRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpRemote({}, {:?})", self.network, self.sites)
    }
}

/// What came back from one facilitator.
enum Heard {
    /// An answer of a bearable size.
    Answer(u16, Vec<u8>),
    /// There was no connection: nothing was sent.
    NotSent,
    /// Something may have been sent, and no whole answer came.
    Silence,
}

impl Sites {
    /// Facilitators by their base URLs.
    #[must_use]
    pub fn new(urls: &[String], terms: Terms) -> Self {
        let site = |url: &String| Site {
            url: url.trim_end_matches('/').to_owned(),
            verify: Mutex::default(),
            settle: Mutex::default(),
            kinds: Mutex::default(),
            looked: Mutex::default(),
        };
        Self { sites: Arc::new(urls.iter().map(site).collect()), terms: Arc::new(terms), clock: Instant::now() }
    }

    /// A client for the calling thread: its connections live on this thread's runtime.
    ///
    /// # Errors
    /// [`NoClient`].
    pub fn remote(&self, network: Network, tokens: &[AssetInfo]) -> Result<HttpRemote, NoClient> {
        let client = client()?;
        Ok(HttpRemote { sites: self.clone(), client, network, tokens: Arc::new(tokens.to_vec()) })
    }

    /// Asks those what they support that were not asked a moment ago, remembers it, and says how each of them does.
    ///
    /// # Errors
    /// [`NoClient`].
    pub async fn health(&self) -> Result<Vec<Health>, NoClient> {
        let client = client()?;
        let mut health = Vec::new();
        for site in self.sites.iter() {
            let now_ms = self.now_ms();
            let Looked { at_ms, .. } = *lock(&site.looked);
            if at_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= LOOK_MS) {
                let reachable = self.ask_supported(&client, site).await;
                *lock(&site.looked) = Looked { at_ms: Some(self.now_ms()), reachable };
            }
            let reachable = lock(&site.looked).reachable;
            health.push(Health { host: host(&site.url), reachable, resting: site.rests(self.now_ms()) });
        }
        Ok(health)
    }

    /// Whether one of them, at least, answered when it was looked at and is not left alone after several faults. Asks nobody.
    #[must_use]
    pub fn answer(&self) -> bool {
        let now_ms = self.now_ms();
        self.sites.iter().any(|site| lock(&site.looked).reachable && !site.rests(now_ms))
    }

    /// The host of the first, as it may be shown.
    #[must_use]
    pub fn first_host(&self) -> String {
        self.sites.first().map(|site| host(&site.url).to_owned()).unwrap_or_default()
    }

    async fn ask_supported(&self, client: &reqwest::Client, site: &Site) -> bool {
        let request = client.get(format!("{}/supported", site.url)).timeout(SUPPORTED_TIMEOUT);
        let Heard::Answer(status, body) = self.send(site, request).await else { return false };
        match answer::supported(status, &body) {
            Some(kinds) => *lock(&site.kinds) = Some(kinds),
            None => warn!(facilitator = host(&site.url), status, "/supported says nothing that can be read"),
        }
        status < 500
    }

    async fn send(&self, site: &Site, mut request: reqwest::RequestBuilder) -> Heard {
        if let Some(Bearer(bearer)) = &self.terms.bearer {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        if let Some(domain) = &self.terms.domain {
            request = request.header("x-gate-domain", domain);
        }
        let failed = |error: reqwest::Error| {
            let not_sent = error.is_connect();
            warn!(
                facilitator = host(&site.url),
                error = words::chain(error),
                not_sent,
                "a facilitator does not answer"
            );
            if not_sent { Heard::NotSent } else { Heard::Silence }
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failed(error),
        };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= ANSWER_MAX_BYTES => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    warn!(facilitator = host(&site.url), "a facilitator's answer is larger than 64 KiB");
                    return Heard::Silence;
                }
                Ok(None) => return Heard::Answer(response.status().as_u16(), body),
                Err(error) => {
                    failed(error);
                    return Heard::Silence;
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Site {
    /// Whether it is left alone now, for `/verify` or for `/settle`.
    fn rests(&self, now_ms: u64) -> bool {
        lock(&self.verify).rests(now_ms) || lock(&self.settle).rests(now_ms)
    }

    /// In which version it settles on a network; v2 while it has not said. `None` where it does not.
    fn speaks(&self, network: Network) -> Option<Version> {
        let kinds = lock(&self.kinds);
        let Some(kinds) = kinds.as_ref() else { return Some(Version::V2) };
        let v1 = kinds.contains(&(network, Kind::V1)).then_some(Version::V1);
        if kinds.contains(&(network, Kind::V2)) { Some(Version::V2) } else { v1 }
    }

    const fn breaker(&self, asked: Asked) -> &Mutex<Breaker> {
        match asked {
            Asked::Verify => &self.verify,
            Asked::Settle => &self.settle,
        }
    }

    /// Notes whether it answered, and says so when that makes a difference.
    fn note(&self, asked: Asked, answered: bool, now_ms: u64) {
        let mut breaker = lock(self.breaker(asked));
        let before = breaker.is_open();
        if answered {
            breaker.answered()
        } else {
            breaker.failed(now_ms)
        }
        match (before, breaker.is_open()) {
            (false, true) => {
                warn!(facilitator = host(&self.url), path = asked.path(), "a facilitator is left alone for a while")
            }
            (true, false) => info!(facilitator = host(&self.url), path = asked.path(), "a facilitator answers again"),
            (false, false) | (true, true) => {}
        }
    }
}

impl Remote for HttpRemote {
    async fn verify(&self, proven: &Proven) -> Verified {
        // What nobody could settle is not let through.
        let (network, now_ms) = (self.network, self.sites.now_ms());
        let settles = |site: &Site| site.speaks(network).is_some() && !lock(&site.settle).rests(now_ms);
        if !self.sites.sites.iter().any(settles) {
            return Verified::Fault;
        }
        let within = Duration::from_millis(self.sites.terms.verify_timeout_ms);
        let mut turns = Turns::new(self, Asked::Verify, within);
        while let Some((site, version, share)) = turns.next() {
            let Some(body) = self.body(version, proven.offer(), proven.authorization()) else { continue };
            let said = match self.post(site, Asked::Verify, &body, share).await {
                Heard::Answer(status, bytes) => answer::verify(status, &bytes),
                Heard::NotSent | Heard::Silence => Verified::Fault,
            };
            site.note(Asked::Verify, said != Verified::Fault, self.sites.now_ms());
            if said != Verified::Fault {
                return said;
            }
        }
        Verified::Fault
    }

    async fn settle(&self, hold: &Hold, within_ms: u64) -> Told {
        let within = Duration::from_millis(within_ms.min(self.sites.terms.settle_timeout_ms));
        let mut turns = Turns::new(self, Asked::Settle, within);
        let mut so_far = Told::NotSent;
        while let Some((site, version, share)) = turns.next() {
            let Some(body) = self.offer(hold).and_then(|offer| self.body(version, &offer, &hold.authorization)) else {
                continue;
            };
            let said = match self.post(site, Asked::Settle, &body, share).await {
                Heard::Answer(status, bytes) => answer::settle(status, &bytes),
                Heard::NotSent => Said::NotSent,
                Heard::Silence => Said::Nothing,
            };
            site.note(Asked::Settle, !matches!(said, Said::Nothing | Said::NotSent), self.sites.now_ms());
            so_far = match said.after(so_far) {
                Ok(told) => return told,
                Err(so_far) => so_far,
            };
        }
        so_far
    }
}

impl HttpRemote {
    async fn post(&self, site: &Site, asked: Asked, body: &str, within: Duration) -> Heard {
        let path = asked.path();
        let request = self.client.post(format!("{}/{path}", site.url)).timeout(within);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let settles = matches!(asked, Asked::Settle);
        if settles {
            point::before(Act::AskToSettle);
        }
        let heard = self.sites.send(site, request).await;
        if settles {
            point::after(Act::AskToSettle);
        }
        if let Heard::Answer(status, bytes) = &heard
            && let Some((reason, message)) = answer::complaint(*status, bytes)
        {
            let (reason, message) = (short(&reason), short(&message));
            warn!(facilitator = host(&site.url), path, status, reason, message, "a facilitator did not say yes");
        }
        heard
    }

    /// What a hold pays, as far as it is known. The same hold always gives the same words.
    fn offer(&self, hold: &Hold) -> Option<Offer> {
        let authorization = &hold.authorization;
        let asset_info = self.tokens.iter().find(|token| token.asset == authorization.key.asset)?.clone();
        let max_timeout_s = authorization.valid_before_s.saturating_sub(hold.opened_at_ms / 1_000).max(1);
        Some(Offer {
            asset_info,
            amount_atomic: authorization.amount_atomic,
            payee: authorization.payee,
            max_timeout_s,
            extra: OfferExtra::default(),
        })
    }

    /// The body of a request. What is paid for is not in the journal: the gate's public host stands for it, where there is one.
    fn body(&self, version: Version, offer: &Offer, authorization: &Authorization) -> Option<String> {
        // What our offers say besides is between us and the payer.
        let offer = &Offer { extra: OfferExtra::default(), ..offer.clone() };
        let host = self.sites.terms.domain.as_deref();
        let url = host.map_or("http://localhost/".to_owned(), |host| format!("https://{host}/"));
        let mut payload = Credential::to_json(version, offer, &url, &authorization.fields(), &authorization.signature)?;
        if let (None, Some(payload)) = (host, payload.as_object_mut()) {
            payload.remove("resource");
        }
        let (number, requirements) = match version {
            Version::V1 => {
                let resource = Resource { url, ..Resource::default() };
                let challenge = Challenge { resource, offers: vec![offer.clone()], ..Challenge::default() };
                (1, challenge.to_v1_accepts().pop()?)
            }
            Version::V2 => (2, payload.get("accepted")?.clone()),
        };
        let body = json!({ "x402Version": number, "paymentPayload": payload, "paymentRequirements": requirements });
        Some(body.to_string())
    }
}

/// Whose turn it is, and how much of the time is his: what is left is shared among those that are left.
struct Turns<'a> {
    remote: &'a HttpRemote,
    asked: Asked,
    at: usize,
    end: Instant,
}

impl<'a> Turns<'a> {
    fn new(remote: &'a HttpRemote, asked: Asked, within: Duration) -> Self {
        Self { remote, asked, at: 0, end: Instant::now() + within }
    }

    fn next(&mut self) -> Option<(&'a Site, Version, Duration)> {
        let sites = &self.remote.sites;
        loop {
            let site = sites.sites.get(self.at)?;
            let others = sites.sites.iter().skip(self.at.saturating_add(1));
            self.at = self.at.saturating_add(1);
            let left = self.end.saturating_duration_since(Instant::now());
            if left < ASK_MIN {
                return None;
            }
            let Some(version) = site.speaks(self.remote.network) else { continue };
            if !lock(site.breaker(self.asked)).may_ask(sites.now_ms()) {
                continue;
            }
            let now_ms = sites.now_ms();
            let behind = others.filter(|other| !lock(other.breaker(self.asked)).rests(now_ms)).count();
            let share = left / u32::try_from(behind.saturating_add(1)).unwrap_or(u32::MAX);
            return Some((site, version, share.max(ASK_MIN)));
        }
    }
}

fn client() -> Result<reqwest::Client, NoClient> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .build();
    client.map_err(|error| {
        warn!(%error, "no HTTP client for the facilitators");
        NoClient
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
