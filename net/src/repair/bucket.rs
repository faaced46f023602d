//! A cap on bytes per second.

use std::time::Duration;

/// Fills with time up to a burst. It may be overdrawn once, so that a piece larger than the burst is not stuck; the debt is paid
/// before the next one.
pub(super) struct Bucket {
    per_second: u64,
    burst: u64,
    level: i64,
    filled: Duration,
}

impl Bucket {
    pub(super) fn new(per_second: u64, burst: u64, now: Duration) -> Self {
        Bucket { per_second, burst, level: clamp(burst), filled: now }
    }

    pub(super) fn fill(&mut self, now: Duration) {
        let nanos = u128::from(self.per_second) * now.saturating_sub(self.filled).as_nanos() / 1_000_000_000;
        let bytes = clamp(u64::try_from(nanos).unwrap_or(u64::MAX));
        if bytes > 0 {
            self.level = self.level.saturating_add(bytes).min(clamp(self.burst));
            self.filled = now;
        }
    }

    pub(super) const fn has_some(&self) -> bool {
        self.level > 0
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(clamp(bytes));
    }
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_paid_before_the_next_piece() {
        let mut bucket = Bucket::new(100, 50, Duration::ZERO);
        bucket.take(250);
        for tenths in [5, 10, 20] {
            bucket.fill(Duration::from_millis(tenths * 100));
            assert!(!bucket.has_some());
        }
        bucket.fill(Duration::from_millis(2100));
        assert!(bucket.has_some());
        bucket.fill(Duration::MAX);
        bucket.take(51);
        assert!(!bucket.has_some(), "a rest gives no more than a burst");
    }
}
