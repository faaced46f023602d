//! Which heads to keep as time passes: a decision, without clock or store.
//!
//! A head younger than an hour is kept if it is the first of its minute; younger than a day, the first of its hour; then of
//! its day, of its week, of its month. Three properties make this safe to run at any time and as often as one likes:
//! - *Nested*: each bucket lies within one of the next size, and its first head is what survives, so the head that will
//!   stand for a month is never dropped earlier for the sake of a minute. Weeks are therefore cut at the ends of months.
//! - *Stable*: thinning in steps keeps exactly what thinning once at the end would have kept.
//! - *Never the last*: the newest head and labelled ones stay, whatever the clock says.

use cairn_block::Timestamp;

const MINUTE_SECS: i64 = 60;
const HOUR_SECS: i64 = 60 * MINUTE_SECS;
const DAY_SECS: i64 = 24 * HOUR_SECS;
const MONTH_DAYS: i64 = 30;
const YEAR_DAYS: i64 = 365;
const WEEK_DAYS: i64 = 7;

/// What thinning needs to know of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// When it was signed, by its device's clock.
    pub time: Timestamp,
    /// A snapshot that somebody named.
    pub labelled: bool,
}

/// Of one device's heads, ascending by number: `true` for each that is kept at `now`.
#[must_use]
pub fn keep(heads: &[Candidate], now: Timestamp) -> Vec<bool> {
    let mut order: Vec<usize> = (0..heads.len()).collect();
    order.sort_by_key(|&index| (heads[index].time, index));
    let mut kept = vec![false; heads.len()];
    // Going from oldest to newest, a head is the first of its bucket unless the one before it lies in the same.
    let mut before: Option<Timestamp> = None;
    for &index in &order {
        let head = heads[index];
        let tier = Tier::of(now.secs.saturating_sub(head.time.secs));
        let first = before.is_none_or(|time| tier.bucket(time) != tier.bucket(head.time));
        kept[index] = first || head.labelled;
        before = Some(head.time);
    }
    // By number, not by time: a clock that went back must not make a device lose its latest state.
    if let Some(newest) = kept.last_mut() {
        *newest = true;
    }
    kept
}

/// How coarse history is at some age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tier {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

impl Tier {
    /// Heads from the future count as new.
    fn of(age_secs: i64) -> Tier {
        match age_secs {
            ..HOUR_SECS => Tier::Minute,
            HOUR_SECS..DAY_SECS => Tier::Hour,
            age if age < MONTH_DAYS * DAY_SECS => Tier::Day,
            age if age < YEAR_DAYS * DAY_SECS => Tier::Week,
            _ => Tier::Month,
        }
    }

    /// The number of the bucket that holds `time`; numbers of one tier ascend with time.
    fn bucket(self, time: Timestamp) -> i64 {
        match self {
            Tier::Minute => time.secs.div_euclid(MINUTE_SECS),
            Tier::Hour => time.secs.div_euclid(HOUR_SECS),
            Tier::Day => time.secs.div_euclid(DAY_SECS),
            Tier::Week => {
                let (month, day) = month_and_day(time.secs);
                // At most five in a month: the last is the rest of it.
                month * 5 + day / WEEK_DAYS
            }
            Tier::Month => month_and_day(time.secs).0,
        }
    }
}

/// Months since year 0 and the day within, from 0, in UTC. Times no calendar holds fall on its first or last day.
fn month_and_day(secs: i64) -> (i64, i64) {
    use jiff::Timestamp as Instant;
    let secs = secs.clamp(Instant::MIN.as_second(), Instant::MAX.as_second());
    let instant = Instant::from_second(secs).unwrap_or(Instant::UNIX_EPOCH);
    let date = jiff::tz::Offset::UTC.to_datetime(instant);
    (i64::from(date.year()) * 12 + i64::from(date.month()) - 1, i64::from(date.day()) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 0 }
    }

    fn head(secs: i64) -> Candidate {
        Candidate { time: at(secs), labelled: false }
    }

    fn every(step_secs: i64, count: i64) -> Vec<Candidate> {
        (0..count).rev().map(|n| head(NOW - n * step_secs)).collect()
    }

    fn survivors(heads: &[Candidate], now: i64) -> Vec<Candidate> {
        let kept = keep(heads, at(now));
        heads.iter().zip(kept).filter_map(|(head, kept)| kept.then_some(*head)).collect()
    }

    fn count_aged(heads: &[Candidate], ages: std::ops::Range<i64>) -> usize {
        heads.iter().filter(|head| ages.contains(&(NOW - head.time.secs))).count()
    }

    #[test]
    fn two_years_of_one_head_a_minute_thin_to_a_few_hundred() {
        let kept = survivors(&every(60, 2 * 365 * 24 * 60), NOW);
        assert_eq!(count_aged(&kept, 0..HOUR_SECS), 60);
        assert_eq!(count_aged(&kept, HOUR_SECS..DAY_SECS), 23);
        assert_eq!(count_aged(&kept, DAY_SECS..MONTH_DAYS * DAY_SECS), 29);
        let weeks = count_aged(&kept, MONTH_DAYS * DAY_SECS..YEAR_DAYS * DAY_SECS);
        assert!((48..=56).contains(&weeks), "{weeks}");
        let months = count_aged(&kept, YEAR_DAYS * DAY_SECS..i64::MAX);
        assert!((12..=13).contains(&months), "{months}");
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        assert!(keep(&[], at(NOW)).is_empty());
    }

    #[test]
    fn the_newest_by_number_stays_even_if_its_clock_went_back() {
        let heads = [head(NOW), head(NOW - 400 * DAY_SECS), head(NOW - 400 * DAY_SECS + 1)];
        assert_eq!(keep(&heads, at(NOW)), [true, true, true]);
    }

    #[test]
    fn impossible_times_do_no_harm() {
        let heads = [head(i64::MIN), head(i64::MIN + 1), head(i64::MAX - 1), head(i64::MAX)];
        assert_eq!(keep(&heads, at(0)), [true, false, true, true]);
        assert_eq!(keep(&heads, at(i64::MAX)).len(), 4);
        assert_eq!(keep(&heads, at(i64::MIN)).len(), 4);
    }

    /// Bursts at all distances, so that every tier and its borders are met.
    fn histories() -> impl Strategy<Value = Vec<Candidate>> {
        let gap = prop_oneof![0..90_i64, 0..2 * HOUR_SECS, 0..2 * DAY_SECS, 0..60 * DAY_SECS];
        prop::collection::vec((gap, prop::bool::weighted(0.05)), 0..120).prop_map(|steps| {
            let mut secs = NOW - 3 * YEAR_DAYS * DAY_SECS;
            let mut heads = Vec::new();
            for (gap, labelled) in steps {
                secs += gap;
                heads.push(Candidate { time: at(secs), labelled });
            }
            heads
        })
    }

    proptest! {
        #[test]
        fn the_newest_and_the_labelled_always_stay(heads in histories(), later in 0..2000 * DAY_SECS) {
            let kept = keep(&heads, at(NOW + later));
            prop_assert!(kept.last().copied().unwrap_or(true));
            for (head, kept) in heads.iter().zip(&kept) {
                prop_assert!(*kept || !head.labelled);
            }
        }

        #[test]
        fn thinning_in_steps_keeps_what_thinning_once_keeps(
            heads in histories(),
            cut in 0..120_usize,
            first in 0..800 * DAY_SECS,
            second in 0..800 * DAY_SECS,
        ) {
            let cut = cut.min(heads.len());
            let (early, late) = heads.split_at(cut);
            let base = early.last().map_or(NOW, |head| head.time.secs);
            let end = heads.last().map_or(NOW, |head| head.time.secs).max(base + first) + second;
            let mut stepwise = survivors(early, base + first);
            stepwise.extend_from_slice(late);
            prop_assert_eq!(survivors(&stepwise, end), survivors(&heads, end));
        }

        #[test]
        fn whoever_is_dropped_has_a_predecessor_in_its_own_bucket(heads in histories(), later in 0..800 * DAY_SECS) {
            let now = NOW + later;
            let kept = keep(&heads, at(now));
            for (index, head) in heads.iter().enumerate().filter(|(index, _)| !kept[*index]) {
                let tier = Tier::of(now - head.time.secs);
                let older = heads[..index].iter().any(|other| tier.bucket(other.time) == tier.bucket(head.time));
                prop_assert!(older, "{head:?} stood alone");
            }
        }

        #[test]
        fn buckets_are_nested(secs in -70_000_000_000..250_000_000_000_i64, gap in 0..40 * DAY_SECS) {
            let (a, b) = (at(secs), at(secs + gap));
            let tiers = [Tier::Minute, Tier::Hour, Tier::Day, Tier::Week, Tier::Month];
            for pair in tiers.windows(2) {
                prop_assert!(pair[0].bucket(a) != pair[0].bucket(b) || pair[1].bucket(a) == pair[1].bucket(b));
                prop_assert!(pair[0].bucket(a) <= pair[0].bucket(b));
            }
        }
    }
}
