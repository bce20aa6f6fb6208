//! Token buckets. Time is an argument, tokens are integers.

/// So many calls in a span of time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls in one span. Never zero.
    pub calls: u32,
    /// The span, in milliseconds. Never zero.
    pub span_ms: u32,
    /// How many calls a rested bucket has at once. Never zero.
    pub burst: u32,
}

impl Rate {
    /// A rate whose burst is its calls of one span.
    #[must_use]
    pub const fn new(calls: u32, span_ms: u32) -> Self {
        Self { calls, span_ms, burst: calls }
    }

    /// How long one token takes to grow back, in microseconds; at least one.
    const fn token_us(self) -> u64 {
        let us = widen(self.span_ms).saturating_mul(1_000).checked_div(widen(self.calls));
        match us {
            Some(0) | None => 1,
            Some(us) => us,
        }
    }
}

/// `u64::from` is not `const` yet.
#[expect(clippy::as_conversions, reason = "u32 to u64 loses nothing")]
const fn widen(number: u32) -> u64 {
    number as u64
}

/// One bucket: when it will be full again, in microseconds since 1970. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at_us: u64,
}

/// What a bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was a token.
    pub allowed: bool,
    /// The burst.
    pub limit: u32,
    /// Tokens that are left.
    pub remaining: u32,
    /// When the bucket is full again, in seconds since 1970, rounded up.
    pub reset_at_s: u64,
    /// After how many seconds there is a token again, rounded up; at least 1 where none was left.
    pub retry_after_s: u32,
}

impl Bucket {
    /// Takes one token, if there is one. A refused call takes nothing.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> Taken {
        let now_us = now_ms.saturating_mul(1_000);
        let token_us = rate.token_us();
        let room_us = token_us.saturating_mul(u64::from(rate.burst));
        // A rate that was lowered leaves no debt behind that a fresh bucket could not have.
        let full_at_us = self.full_at_us.clamp(now_us, now_us.saturating_add(room_us));
        let after_us = full_at_us.saturating_add(token_us);
        let owed_us = after_us.saturating_sub(now_us);
        let allowed = owed_us <= room_us;
        let full_at_us = if allowed { after_us } else { full_at_us };
        self.full_at_us = full_at_us;
        let free_us = room_us.saturating_sub(full_at_us.saturating_sub(now_us));
        let wait_us = owed_us.saturating_sub(room_us);
        Taken {
            allowed,
            limit: rate.burst,
            remaining: free_us.checked_div(token_us).and_then(|left| u32::try_from(left).ok()).unwrap_or(u32::MAX),
            reset_at_s: full_at_us.div_ceil(1_000_000),
            retry_after_s: if allowed {
                0
            } else {
                u32::try_from(wait_us.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
            },
        }
    }

    /// Whether it says no more than a new bucket would.
    #[must_use]
    pub const fn is_full(self, now_ms: u64) -> bool {
        self.full_at_us <= now_ms.saturating_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn a_burst_is_taken_and_grows_back() {
        let rate = Rate { calls: 60, span_ms: 60_000, burst: 3 };
        let mut bucket = Bucket::default();
        for (at_ms, allowed, remaining, retry_after_s) in [
            (0, true, 2, 0),
            (0, true, 1, 0),
            (0, true, 0, 0),
            (0, false, 0, 1),
            (500, false, 0, 1),
            (1_000, true, 0, 0),
            (1_001, false, 0, 1),
            (60_000, true, 2, 0),
        ] {
            let taken = bucket.take(rate, NOW_MS + at_ms);
            assert_eq!(
                (taken.allowed, taken.remaining, taken.retry_after_s),
                (allowed, remaining, retry_after_s),
                "{at_ms}"
            );
            assert_eq!(taken.limit, 3);
        }
        assert!(!bucket.is_full(NOW_MS + 60_999));
        assert!(bucket.is_full(NOW_MS + 61_000));
    }

    #[test]
    fn never_more_than_the_burst_and_the_growth() {
        let rate = Rate { calls: 50, span_ms: 1_000, burst: 50 };
        let mut bucket = Bucket::default();
        let allowed = (0..200).filter(|_| bucket.take(rate, NOW_MS).allowed).count();
        assert_eq!(allowed, 50);
        let allowed = (0..10_000).filter(|at| bucket.take(rate, NOW_MS + at).allowed).count();
        assert_eq!(allowed, 500 - 1, "ten seconds, the last of which is not over");
    }

    #[test]
    fn a_slow_rate_says_when() {
        let mut bucket = Bucket::default();
        let rate = Rate { calls: 1, span_ms: 60_000, burst: 1 };
        assert!(bucket.take(rate, NOW_MS).allowed);
        let refused = bucket.take(rate, NOW_MS + 1);
        assert_eq!((refused.retry_after_s, refused.reset_at_s), (60, NOW_MS / 1_000 + 60));
    }

    #[test]
    fn a_lowered_rate_and_a_clock_that_goes_back() {
        let mut bucket = Bucket::default();
        let wide = Rate { calls: 1, span_ms: 3_600_000, burst: 10 };
        for _ in 0..10 {
            assert!(bucket.take(wide, NOW_MS).allowed);
        }
        let tight = Rate::new(1, 1_000);
        assert_eq!(bucket.take(tight, NOW_MS).retry_after_s, 1, "no debt from the old rate");
        assert!(bucket.take(tight, NOW_MS + 1_000).allowed);
        assert!(!bucket.take(tight, NOW_MS - 5_000).allowed);
        assert!(bucket.take(tight, NOW_MS + 2_000).allowed);
    }
}
