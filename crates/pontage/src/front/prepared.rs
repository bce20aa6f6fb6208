//! A challenge that is printed once. Of all that a 402 of a route says, only the URL differs from call to call.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gate::Taken;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::rate_headers::{RATE_HEADERS, values};
use crate::problem::PAYMENT_REQUIRED;

/// A 402 with a gap where its URL belongs, in the header and as often as it is in the body. What comes out is byte for byte what the
/// printer gives that it was made with.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Tells it from all others of this process.
    number: usize,
    status: StatusCode,
    /// With a place for the challenge, and for what the call's bucket says.
    headers: HeaderMap,
    /// How many headers are before the challenge's place, and between it and those of [`RATE_HEADERS`].
    between: [usize; 4],
    /// The header up to the gap, in base64, as far as whole groups of three bytes go.
    before: Vec<u8>,
    /// What is left of it: at most two bytes.
    rest: Vec<u8>,
    /// What follows the gap, for each number of bytes that it may be short of a group.
    after: [Tail; 3],
    /// The body's parts; the URL goes between them.
    body: Vec<String>,
}

/// What was printed last for a URL. An endpoint without a query has one URL for all of its callers.
struct Last {
    number: usize,
    url: String,
    header: HeaderValue,
    body: Bytes,
}

/// How many of them each thread keeps: a route has one for each reason of refusal.
const KEPT: usize = 16;

thread_local! {
    static LAST: RefCell<[Option<Last>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// The number of the next one.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// What follows the gap: so many bytes as complete its last group, then base64.
#[derive(Debug)]
struct Tail {
    first: Vec<u8>,
    encoded: Vec<u8>,
}

impl Prepared {
    /// Takes a printed challenge apart. `print` is asked for the answer to a call for a URL. `None` when it has no challenge with that
    /// URL in it, once.
    pub(crate) fn new(print: impl Fn(&str) -> Response<Bytes>) -> Option<Self> {
        let gap = gap(&print)?;
        let (parts, body) = print(&gap).into_parts();
        let header = decoded(&parts.headers)?;
        let (before, after) = header.split_once(&gap).filter(|(_, after)| !after.contains(&gap))?;
        let (whole, rest) = before.as_bytes().split_at(before.len().saturating_sub(before.len() % 3));
        let tail = |short: usize| {
            let (first, after) = after.as_bytes().split_at_checked(short)?;
            Some(Tail { first: first.to_vec(), encoded: STANDARD.encode(after).into_bytes() })
        };
        let mut headers = parts.headers;
        let [limit, remaining, reset] = RATE_HEADERS;
        let filled = [PAYMENT_REQUIRED, limit, remaining, reset];
        for name in &filled {
            headers.insert(name, HeaderValue::from_static(""));
        }
        let mut next = 0;
        let between = filled.each_ref().map(|name| {
            let place = headers.keys().position(|known| known == name).unwrap_or(usize::MAX);
            place.saturating_sub(std::mem::replace(&mut next, place.saturating_add(1)))
        });
        Some(Self {
            number: MADE.fetch_add(1, Ordering::Relaxed),
            status: parts.status,
            headers,
            between,
            before: STANDARD.encode(whole).into_bytes(),
            rest: rest.to_vec(),
            after: [tail(0)?, tail(1)?, tail(2)?],
            body: std::str::from_utf8(&body).ok()?.split(&gap).map(str::to_owned).collect(),
        })
    }

    /// The 402 for a call, with what its bucket said.
    pub(crate) fn response(&self, url: &str, taken: Option<Taken>) -> Response<Bytes> {
        let (header, body) = self.printed(url);
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        let [limit, remaining, reset] =
            taken.map(values).unwrap_or_else(|| [const { HeaderValue::from_static("") }; 3]);
        let mut places = response.headers_mut().values_mut();
        for (before, filling) in self.between.into_iter().zip([header, limit, remaining, reset]) {
            if let Some(place) = places.nth(before) {
                *place = filling;
            }
        }
        if taken.is_none() {
            RATE_HEADERS.iter().for_each(|name| drop(response.headers_mut().remove(name)));
        }
        response
    }

    /// The header and the body with a URL in their gaps.
    fn printed(&self, url: &str) -> (HeaderValue, Bytes) {
        LAST.with_borrow_mut(|kept| {
            let place = &mut kept[self.number % KEPT];
            let last = match place.take().filter(|last| last.number == self.number && last.url == url) {
                Some(last) => last,
                None => self.print(url),
            };
            let last = place.insert(last);
            (last.header.clone(), last.body.clone())
        })
    }

    fn print(&self, url: &str) -> Last {
        let escaped = escape(url);
        let filling = escaped.as_deref().unwrap_or(url);
        Last {
            number: self.number,
            url: url.to_owned(),
            header: self.header(filling),
            body: Bytes::from(self.body.join(filling)),
        }
    }

    fn header(&self, url: &str) -> HeaderValue {
        let filled = self.rest.len().saturating_add(url.len());
        let [whole, one, two] = &self.after;
        let tail = match filled % 3 {
            0 => whole,
            1 => two,
            _ => one,
        };
        let mut gap = Vec::with_capacity(filled.saturating_add(tail.first.len()));
        gap.extend_from_slice(&self.rest);
        gap.extend_from_slice(url.as_bytes());
        gap.extend_from_slice(&tail.first);
        let room = gap.len().saturating_div(3).saturating_mul(4);
        let start = self.before.len();
        let mut header = Vec::with_capacity(start.saturating_add(room).saturating_add(tail.encoded.len()));
        header.extend_from_slice(&self.before);
        header.resize(start.saturating_add(room), 0);
        let written = STANDARD.encode_slice(&gap, header.get_mut(start..).unwrap_or_default());
        debug_assert_eq!(written, Ok(room), "the gap is whole groups");
        header.extend_from_slice(&tail.encoded);
        HeaderValue::from_maybe_shared(Bytes::from(header)).expect("base64 is a header value")
    }
}

/// A URL that nothing else in the answer looks like.
fn gap(print: &impl Fn(&str) -> Response<Bytes>) -> Option<String> {
    let without = print("");
    let header = decoded(without.headers())?;
    let body = std::str::from_utf8(without.body()).ok()?;
    let named = |number: u32| format!("http://gap{number}.invalid/");
    (0..1_000).map(named).find(|gap| !header.contains(gap) && !body.contains(gap))
}

fn decoded(headers: &HeaderMap) -> Option<String> {
    String::from_utf8(STANDARD.decode(headers.get(PAYMENT_REQUIRED)?).ok()?).ok()
}

/// The URL as a JSON string holds it, where that is not the URL itself.
fn escape(url: &str) -> Option<String> {
    if !url.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b'"' | b'\\')) {
        return None;
    }
    let quoted = serde_json::to_string(url).ok()?;
    Some(quoted.get(1..quoted.len().saturating_sub(1))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::rate_headers::rate_headers;
    use super::*;
    use crate::problem::Problem;
    use proptest::prelude::*;
    use protocol::x402::{Challenge, Resource};
    use protocol::{AssetInfo, Network, Offer};

    /// The slow way.
    fn print(offers: &[Offer]) -> impl Fn(&str) -> Response<Bytes> {
        let offers = offers.to_vec();
        move |url| {
            let resource = Resource { url: url.to_owned(), ..Resource::default() };
            let error = "payment_required".to_owned();
            let challenge = Challenge { resource, offers: offers.clone(), error, ..Challenge::default() };
            Problem::challenge(challenge, None).into_response()
        }
    }

    fn offer(network: Network, amount_atomic: u128) -> Offer {
        Offer {
            asset_info: AssetInfo::usdc(network).unwrap(),
            amount_atomic,
            payee: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap(),
            max_timeout_s: 60,
            extra: protocol::OfferExtra::default(),
        }
    }

    fn assert_same(offers: &[Offer], url: &str) {
        let slow = print(offers)(url);
        let prepared = Prepared::new(print(offers)).unwrap();
        let taken = gate::Bucket::default().take(gate::Rate::new(7, 1_000), 1_700_000_000_000);
        let (fast, mut limited) = (prepared.response(url, None), slow.headers().clone());
        rate_headers(&mut limited, taken);
        assert_eq!(prepared.response(url, Some(taken)).headers(), &limited, "{url}");
        assert_eq!(fast.status(), slow.status(), "{url}");
        assert_eq!(fast.headers(), slow.headers(), "{url}");
        assert_eq!(fast.body(), slow.body(), "{url}");
    }

    #[test]
    fn every_length_of_url_and_of_what_is_before_it() {
        for amount in [1, 10, 100, 1_000] {
            let offers = [offer(Network::BASE_SEPOLIA, amount), offer(Network { chain_id: 8_453 }, amount)];
            for length in 0..40 {
                assert_same(&offers, &"u".repeat(length));
            }
        }
    }

    #[test]
    fn offers_that_v1_has_no_name_for_and_odd_names() {
        let mut odd = offer(Network::BASE_SEPOLIA, 5);
        odd.asset_info.asset.network = Network { chain_id: 31_337 };
        odd.asset_info.name = "\"http://gap0.invalid/\" \u{e9}".to_owned();
        assert_same(&[odd], "http://localhost/a?b=\"c\"&d=\\\u{1}\u{7f}");
    }

    #[test]
    fn an_answer_without_a_challenge_is_not_prepared() {
        assert!(Prepared::new(|_| Problem::blocked().into_response()).is_none());
    }

    proptest! {
        #[test]
        fn what_is_prepared_is_what_is_printed(url in ".{0,80}", amount in 1_u128..u128::MAX) {
            assert_same(&[offer(Network::BASE_SEPOLIA, amount)], &url);
        }
    }
}
