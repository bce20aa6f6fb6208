//! Whether a facilitator of others, or a chain node, is asked. After several faults in a row it is left alone for a while, and then asked once to see.

/// After so many faults in a row it is left alone.
const FAULTS_MAX: u32 = 5;
/// For so long.
const REST_MS: u64 = 10_000;

/// Closed, open or half-open, by the faults in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    faults: u32,
    /// When it may be asked once more, while it is open.
    ask_at_ms: u64,
}

impl Breaker {
    /// Whether a call may be made now. Of those that come while it is open one is let through after each rest, to see.
    pub(crate) fn may_ask(&mut self, now_ms: u64) -> bool {
        if self.rests(now_ms) {
            return false;
        }
        // Whoever tries may never come back with an answer: the next one tries after another rest.
        self.ask_at_ms = now_ms.saturating_add(REST_MS);
        true
    }

    /// Whether it is left alone now.
    pub(crate) const fn rests(&self, now_ms: u64) -> bool {
        self.is_open() && now_ms < self.ask_at_ms
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.faults >= FAULTS_MAX
    }

    /// It said something that can be read.
    pub(crate) const fn answered(&mut self) {
        self.faults = 0;
    }

    /// It did not.
    pub(crate) const fn failed(&mut self, now_ms: u64) {
        self.faults = self.faults.saturating_add(1);
        self.ask_at_ms = now_ms.saturating_add(REST_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_faults_in_a_row_and_lets_one_through_after_each_rest() {
        let mut breaker = Breaker::default();
        for now_ms in 0..4 {
            assert!(breaker.may_ask(now_ms));
            breaker.failed(now_ms);
        }
        breaker.answered();
        for now_ms in 10..15 {
            assert!(breaker.may_ask(now_ms), "{now_ms}");
            breaker.failed(now_ms);
        }
        assert!(breaker.is_open() && breaker.rests(15) && !breaker.may_ask(10_013));
        // One is let through; it may never come back.
        assert!(breaker.may_ask(10_014) && !breaker.may_ask(10_015) && !breaker.may_ask(20_013));
        assert!(breaker.may_ask(20_014));
        breaker.failed(20_020);
        assert!(!breaker.may_ask(30_019) && breaker.may_ask(30_020));
        breaker.answered();
        assert!(!breaker.is_open() && breaker.may_ask(30_021) && breaker.may_ask(30_022));
    }
}
