//! Answers that are given out again to the key that they were for. In memory, and lost with the process; never for anybody else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use gate::Answer;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, RANGE, SET_COOKIE, TRANSFER_ENCODING, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use ledger::KeyId;
use sha2::{Digest as _, Sha256};

/// What an entry takes besides its answer.
const ENTRY_BYTES: usize = 512;
/// An answer that depends on more of its request is not kept.
const VARY_MAX: usize = 16;

/// The answers of all keys.
#[derive(Debug)]
pub(crate) struct Cache {
    max_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<B256, Entry>,
    /// The entries, those that nobody has asked for for longest first.
    order: BTreeMap<u64, B256>,
    bytes: u64,
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<CachedAnswer>,
    vary: Vec<(HeaderName, Option<HeaderValue>)>,
    until_ms: u64,
    bytes: u64,
    turn: u64,
}

/// An answer, and when it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CachedAnswer {
    pub(crate) answer: Answer,
    pub(crate) at_ms: u64,
}

/// Where an answer is kept, and for which calls.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    name: B256,
    keep_ms: u64,
    vary: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// A call whose answer may be kept, and be another one's answer.
#[derive(Clone, Debug)]
pub(crate) struct Cachable {
    name: B256,
    /// What the upstream gets.
    headers: HeaderMap,
    keep_ms: u64,
}

impl Cachable {
    /// A call of a key, if its answer may be kept at all. `headers` are those that the upstream gets; what in them says who asks
    /// makes another call.
    pub(crate) fn of(
        key: KeyId,
        route: &str,
        (method, url): (&str, &str),
        headers: &HeaderMap,
        keep_ms: u64,
    ) -> Option<Self> {
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        let wants_fresh = words(headers, &CACHE_CONTROL).any(|word| word == "no-cache" || word == "no-store");
        let is_read = method == Method::GET.as_str() || method == Method::HEAD.as_str();
        if keep_ms == 0 || !is_read || has_body || wants_fresh || headers.contains_key(RANGE) {
            return None;
        }
        let mut hasher = Sha256::new();
        let mut feed = |part: &[u8]| {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        };
        [&key.0[..], route.as_bytes(), method.as_bytes(), url.as_bytes()].into_iter().for_each(&mut feed);
        for name in [AUTHORIZATION, COOKIE] {
            feed(name.as_str().as_bytes());
            headers.get_all(&name).iter().for_each(|value| feed(value.as_bytes()));
        }
        Some(Self { name: B256::from_slice(&hasher.finalize()), headers: headers.clone(), keep_ms })
    }

    /// Where its answer may be kept; `None` where the upstream forbids it.
    pub(crate) fn slot(&self, status: StatusCode, headers: &HeaderMap) -> Option<Slot> {
        let keep_ms = self.keep_ms(status, headers)?;
        let named = words(headers, &VARY).filter_map(|name| HeaderName::try_from(name).ok());
        let vary = named.map(|name| (name.clone(), self.headers.get(&name).cloned())).collect();
        Some(Slot { name: self.name, keep_ms, vary })
    }

    fn keep_ms(&self, status: StatusCode, headers: &HeaderMap) -> Option<u64> {
        if status != StatusCode::OK || headers.contains_key(SET_COOKIE) || words(headers, &VARY).any(|word| word == "*")
        {
            return None;
        }
        let mut keep_ms = self.keep_ms;
        for word in words(headers, &CACHE_CONTROL) {
            // Also those of single headers: what is private in them would be kept.
            if ["no-store", "no-cache", "private"].iter().any(|forbids| word.starts_with(forbids)) {
                return None;
            }
            let age = word.strip_prefix("max-age=").or_else(|| word.strip_prefix("s-maxage="));
            if let Some(age) = age {
                let age_s: u64 = age.trim_matches('"').parse().unwrap_or_default();
                keep_ms = keep_ms.min(age_s.saturating_mul(1_000));
            }
        }
        let varies = words(headers, &VARY).count();
        (keep_ms > 0 && varies <= VARY_MAX).then_some(keep_ms)
    }
}

/// The words of a list in all headers of a name, in lower case. A header that is no text forbids.
fn words<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = String> + 'a {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("no-store, *"));
    lines.flat_map(|line| line.split(',')).map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty())
}

impl Cache {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }

    /// It is whole at every moment, so a thread that panicked with the lock has left no harm.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a call, if it is there and still good.
    pub(crate) fn find(&self, call: &Cachable, now_ms: u64) -> Option<Arc<CachedAnswer>> {
        let mut kept = self.kept();
        let Kept { entries, order, asked, .. } = &mut *kept;
        let entry = entries.get_mut(&call.name)?;
        let same = |(name, value): &(HeaderName, Option<HeaderValue>)| call.headers.get(name) == value.as_ref();
        if now_ms >= entry.until_ms || now_ms < entry.answer.at_ms || !entry.vary.iter().all(same) {
            return None;
        }
        *asked = asked.saturating_add(1);
        order.remove(&entry.turn);
        entry.turn = *asked;
        order.insert(entry.turn, call.name);
        Some(Arc::clone(&entry.answer))
    }

    /// Keeps an answer. Others make room for it.
    pub(crate) fn keep(&self, slot: &Slot, answer: Answer, now_ms: u64) {
        let sized = |(name, value): &(String, Vec<u8>)| name.len().saturating_add(value.len());
        let head: usize = answer.headers.iter().map(sized).fold(0, usize::saturating_add);
        let size = head.saturating_add(answer.body.len()).saturating_add(ENTRY_BYTES);
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        if bytes > self.max_bytes {
            return;
        }
        let mut kept = self.kept();
        kept.remove(slot.name);
        while kept.bytes.saturating_add(bytes) > self.max_bytes {
            let Some((_, oldest)) = kept.order.pop_first() else { break };
            kept.remove(oldest);
        }
        kept.asked = kept.asked.saturating_add(1);
        let (turn, until_ms) = (kept.asked, now_ms.saturating_add(slot.keep_ms));
        kept.order.insert(turn, slot.name);
        kept.bytes = kept.bytes.saturating_add(bytes);
        let answer = Arc::new(CachedAnswer { answer, at_ms: now_ms });
        kept.entries.insert(slot.name, Entry { answer, vary: slot.vary.clone(), until_ms, bytes, turn });
    }
}

impl Kept {
    fn remove(&mut self, name: B256) {
        if let Some(entry) = self.entries.remove(&name) {
            self.order.remove(&entry.turn);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const ONE: KeyId = KeyId([1; 16]);

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn call(key: KeyId, url: &str, lines: &[(&'static str, &'static str)]) -> Option<Cachable> {
        Cachable::of(key, "GET /paid/*", ("GET", url), &headers(lines), 60_000)
    }

    /// Keeps an answer to a call that came with these headers, if it may be kept.
    fn keep(cache: &Cache, call: &Cachable, body: &str, lines: &[(&'static str, &'static str)]) {
        let answer = Answer { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec(), request_digest: None };
        if let Some(slot) = call.slot(StatusCode::OK, &headers(lines)) {
            cache.keep(&slot, answer, NOW_MS);
        }
    }

    fn found(cache: &Cache, call: &Cachable, now_ms: u64) -> Option<String> {
        cache.find(call, now_ms).map(|found| String::from_utf8(found.answer.body.clone()).unwrap())
    }

    #[test]
    fn an_answer_is_its_keys_and_its_requests() {
        let cache = Cache::new(1 << 20);
        let mine = call(ONE, "http://a/x", &[]).unwrap();
        keep(&cache, &mine, "mine", &[]);
        assert_eq!(found(&cache, &mine, NOW_MS).as_deref(), Some("mine"));
        for other in [
            call(KeyId([2; 16]), "http://a/x", &[]),
            call(ONE, "http://a/y", &[]),
            call(ONE, "http://a/x", &[("authorization", "Bearer other")]),
            call(ONE, "http://a/x", &[("cookie", "other=1")]),
            Cachable::of(ONE, "GET /paid/*", ("HEAD", "http://a/x"), &HeaderMap::new(), 60_000),
            Cachable::of(ONE, "GET /paid", ("GET", "http://a/x"), &HeaderMap::new(), 60_000),
        ] {
            assert_eq!(found(&cache, &other.unwrap(), NOW_MS), None);
        }
        assert_eq!(found(&cache, &mine, NOW_MS + 59_999).as_deref(), Some("mine"));
        assert_eq!(found(&cache, &mine, NOW_MS + 60_000), None);
        assert_eq!(found(&cache, &mine, NOW_MS - 1), None, "a clock that was set back");
    }

    #[test]
    fn calls_that_are_not_kept() {
        for lines in [
            &[("cache-control", "max-age=0, no-cache")][..],
            &[("cache-control", "No-Store")],
            &[("range", "bytes=0-1")],
            &[("content-length", "1")],
            &[("transfer-encoding", "chunked")],
        ] {
            assert!(call(ONE, "http://a/x", lines).is_none(), "{lines:?}");
        }
        for method in ["POST", "PUT", "DELETE", "get"] {
            assert!(Cachable::of(ONE, "", (method, "http://a/x"), &HeaderMap::new(), 60_000).is_none(), "{method}");
        }
        assert!(Cachable::of(ONE, "", ("GET", "http://a/x"), &HeaderMap::new(), 0).is_none());
    }

    #[test]
    fn what_the_upstream_says_goes_before() {
        let asked = call(ONE, "http://a/x", &[]).unwrap();
        for (lines, want) in [
            (&[][..], Some(60_000)),
            (&[("cache-control", "public, max-age=5")], Some(5_000)),
            (&[("cache-control", "max-age=500")], Some(60_000)),
            (&[("cache-control", "max-age=50, s-maxage=2")], Some(2_000)),
            (&[("cache-control", "max-age=0")], None),
            (&[("cache-control", "max-age=soon")], None),
            (&[("cache-control", "no-store")], None),
            (&[("cache-control", "max-age=60"), ("cache-control", "Private")], None),
            (&[("cache-control", "private=\"x-name\"")], None),
            (&[("vary", "accept, *")], None),
            (&[("set-cookie", "a=1")], None),
        ] {
            assert_eq!(asked.keep_ms(StatusCode::OK, &headers(lines)), want, "{lines:?}");
        }
        for status in [StatusCode::CREATED, StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND] {
            assert_eq!(asked.keep_ms(status, &HeaderMap::new()), None);
        }
    }

    #[test]
    fn what_an_answer_varies_with_must_be_the_same() {
        let cache = Cache::new(1 << 20);
        let asked = |lines| call(ONE, "http://a/x", lines).unwrap();
        keep(&cache, &asked(&[("accept", "text/plain")]), "plain", &[("vary", "Accept, Accept-Language")]);
        assert_eq!(found(&cache, &asked(&[("accept", "text/plain")]), NOW_MS).as_deref(), Some("plain"));
        assert_eq!(found(&cache, &asked(&[("accept", "text/html")]), NOW_MS), None);
        assert_eq!(found(&cache, &asked(&[]), NOW_MS), None);
        assert_eq!(found(&cache, &asked(&[("accept", "text/plain"), ("accept-language", "de")]), NOW_MS), None);
    }

    #[test]
    fn memory_is_bounded_and_what_nobody_asks_for_goes_first() {
        let room = u64::try_from(3 * (ENTRY_BYTES + 4)).unwrap();
        let cache = Cache::new(room);
        let asked = |nth: u32| call(ONE, &format!("http://a/{nth}"), &[]).unwrap();
        for nth in 0..3 {
            keep(&cache, &asked(nth), "body", &[]);
        }
        assert!(found(&cache, &asked(0), NOW_MS).is_some());
        keep(&cache, &asked(3), "body", &[]);
        let there: Vec<bool> = (0..4).map(|nth| found(&cache, &asked(nth), NOW_MS).is_some()).collect();
        assert_eq!(there, [true, false, true, true]);
        for nth in 0..1_000 {
            keep(&cache, &asked(nth % 7), "body", &[]);
            let kept = cache.kept();
            assert!(kept.bytes <= room && kept.entries.len() == kept.order.len() && kept.entries.len() <= 3);
        }
        let none = Cache::new(0);
        keep(&none, &asked(0), "body", &[]);
        assert_eq!(found(&none, &asked(0), NOW_MS), None);
    }
}
