//! Things that count and can be read while they do.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::MoneyOutcome;

/// Upper bounds of a histogram's buckets, in microseconds: 250 us to 30 s.
pub(super) const BOUNDS_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
    30_000_000,
];

pub(super) fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn array<const N: usize>() -> [AtomicU64; N] {
    from_fn(|_| AtomicU64::new(0))
}

/// How often something took how long.
#[derive(Debug)]
pub(super) struct Histogram {
    /// One for each bound, and one for what took longer.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: array(), sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(super) fn note(&self, us: u64) {
        bump(&self.buckets[BOUNDS_US.partition_point(|bound| *bound < us)]);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The buckets, each with those before it, and the sum.
    pub(super) fn read(&self) -> ([u64; BOUNDS_US.len() + 1], u64) {
        let mut below = 0;
        let buckets = from_fn(|at| {
            below += self.buckets[at].load(Ordering::Relaxed);
            below
        });
        (buckets, self.sum_us.load(Ordering::Relaxed))
    }
}

/// A sum of 128 bits in two halves.
#[derive(Debug, Default)]
struct Wide {
    low: AtomicU64,
    high: AtomicU64,
}

impl Wide {
    fn add(&self, atomic: u128) {
        let (low, high) = (atomic as u64, (atomic >> 64) as u64);
        let carry = self.low.fetch_add(low, Ordering::AcqRel).checked_add(low).is_none();
        let high = high.wrapping_add(u64::from(carry));
        if high > 0 {
            self.high.fetch_add(high, Ordering::AcqRel);
        }
    }

    /// A reader between a carry's two steps sees less for an instant, which Prometheus takes for a restart: once in 2^64 units.
    fn read(&self) -> u128 {
        loop {
            let high = self.high.load(Ordering::Acquire);
            let low = self.low.load(Ordering::Acquire);
            if self.high.load(Ordering::Acquire) == high {
                return (u128::from(high) << 64) | u128::from(low);
            }
        }
    }
}

/// What went through the gate in one asset. What was settled, lost or owed back is read from the books, where it is true.
#[derive(Debug, Default)]
pub(super) struct Amounts {
    offered: Wide,
    paid: Wide,
    served: Wide,
}

impl Amounts {
    pub(super) fn note(&self, outcome: MoneyOutcome, atomic: u128) {
        match outcome {
            MoneyOutcome::Offered => self.offered.add(atomic),
            MoneyOutcome::NotCharged | MoneyOutcome::Pending | MoneyOutcome::Settled => self.paid.add(atomic),
            MoneyOutcome::ServedSettled | MoneyOutcome::ServedTab | MoneyOutcome::OwedBack => {
                self.paid.add(atomic);
                self.served.add(atomic);
            }
            _ => {}
        }
    }

    pub(super) fn read(&self) -> [(&'static str, u128); 3] {
        [("offered", self.offered.read()), ("paid", self.paid.read()), ("served", self.served.read())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_sum_carries() {
        let wide = Wide::default();
        let mut want = 0u128;
        for atomic in
            [1, u128::from(u64::MAX), 1 << 64, 18_000_000_000_000_000_000, 18_000_000_000_000_000_000, (5 << 64) - 1]
        {
            wide.add(atomic);
            want += atomic;
            assert_eq!(wide.read(), want);
        }
    }

    #[test]
    fn wide_sums_of_many_threads_add_up() {
        let wide = Wide::default();
        let step = 10_u128.pow(18);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| wide.add(step)));
            }
        });
        assert_eq!(wide.read(), 40_000 * step);
    }

    #[test]
    fn a_bucket_holds_its_bound() {
        let histogram = Histogram::default();
        for us in [0, 250, 251, 30_000_000, 30_000_001] {
            histogram.note(us);
        }
        let (buckets, sum_us) = histogram.read();
        assert_eq!((buckets[0], buckets[1], buckets[14], buckets[15]), (2, 3, 4, 5));
        assert_eq!(sum_us, 60_000_502);
    }
}
