//! What an answer says about how often its caller may ask.

use std::cell::RefCell;

use gate::Taken;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

/// How many calls at once, how many are left, and when (in seconds since 1970) all are back.
pub(super) const RATE_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// Adds what the bucket said, and where none was left, also after how many seconds one is, which is never 0. An upstream's own words of these names are replaced: its
/// limits are not what this caller meets first.
pub(crate) fn rate_headers(headers: &mut HeaderMap, taken: Taken) {
    for (name, value) in RATE_HEADERS.into_iter().zip(values(taken)) {
        headers.insert(name, value);
    }
    if !taken.allowed {
        headers.insert(RETRY_AFTER, number(taken.retry_after_s.max(1).into()));
    }
}

/// What [`RATE_HEADERS`] say.
pub(super) fn values(taken: Taken) -> [HeaderValue; 3] {
    SHARED.with_borrow_mut(|[limit, reset]| {
        [shared(limit, taken.limit.into()), number(taken.remaining.into()), shared(reset, taken.reset_at_s)]
    })
}

thread_local! {
    /// The last limit and the last reset that were said: most answers of a second share them.
    static SHARED: RefCell<[(u64, HeaderValue); 2]> =
        const { RefCell::new([(u64::MAX, HeaderValue::from_static("")), (u64::MAX, HeaderValue::from_static(""))]) };
}

fn shared(last: &mut (u64, HeaderValue), number_now: u64) -> HeaderValue {
    if last.0 != number_now || last.1.is_empty() {
        *last = (number_now, number(number_now));
    }
    last.1.clone()
}

/// As `HeaderValue::from` has it, which takes two pieces of memory for each number; these are in most answers.
fn number(number: u64) -> HeaderValue {
    HeaderValue::try_from(number.to_string()).expect("digits are plain text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gate::{Bucket, Rate};

    #[test]
    fn an_allowed_and_a_refused_call() {
        const NOW_MS: u64 = 1_700_000_000_000;
        let rate = Rate { calls: 1, span_ms: 60_000, burst: 1 };
        let mut bucket = Bucket::default();
        for (want, retry) in [(["1", "0", "1700000060"], None), (["1", "0", "1700000060"], Some("60"))] {
            let mut headers = HeaderMap::new();
            headers.insert(&RATE_HEADERS[1], 99.into());
            rate_headers(&mut headers, bucket.take(rate, NOW_MS));
            assert_eq!(RATE_HEADERS.each_ref().map(|name| headers[name].to_str().unwrap()), want);
            assert_eq!(headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap()), retry);
        }
    }
}
