//! How likely it is that a group can't be read, or is lost; and what an acknowledgement promises.
//!
//! The arithmetic, its assumptions and its sources are in `docs/DURABILITY.md`.

use std::fmt;
use std::time::Duration;

use crate::code::{Code, Numbers};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600 + 6 * 3600);

/// The chance that fewer than `k` of these nodes are up, each by itself with its chance: the lower tail of the
/// Poisson-binomial distribution, exact up to rounding.
pub fn unavailability(k: usize, uptimes: &[f64]) -> f64 {
    // up[j]: the chance that exactly j of the nodes so far are up, for j < k. What reaches k is readable and left out, so
    // nothing is ever subtracted from 1.
    let mut up = vec![0.0; k];
    if let Some(none) = up.first_mut() {
        *none = 1.0;
    }
    for uptime in uptimes {
        let uptime = uptime.clamp(0.0, 1.0);
        for j in (0..k).rev() {
            let one_more = if j == 0 { 0.0 } else { up[j - 1] * uptime };
            up[j] = up[j] * (1.0 - uptime) + one_more;
        }
    }
    up.iter().sum()
}

/// How often nodes are lost for good, and how soon their shards are made again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The mean time until a node is lost with its data.
    pub node_lifetime: Duration,
    /// The mean time until a lost shard is made again: noticing, waiting, copying.
    pub repair: Duration,
}

/// The mean time until more than `m` shards of a group are lost, in years.
///
/// A birth-death chain over the number of lost shards: from `j`, one more of the others is lost at rate (n − j) / lifetime,
/// and one is made again at rate 1 / repair, one after the other. Each step up takes h(j) = 1/λ(j) + h(j−1) · μ/λ(j), and
/// all of them together end at m + 1.
pub fn years_to_loss(code: Code, rates: Rates) -> f64 {
    let lifetime = rates.node_lifetime.as_secs_f64() / YEAR.as_secs_f64();
    let repairs_a_year = YEAR.as_secs_f64() / rates.repair.as_secs_f64().max(1.0);
    let mut total = 0.0;
    let mut step = 0.0;
    for lost in 0..=code.parity() {
        let one_more = (code.total() - lost) as f64 / lifetime;
        let repaired = if lost == 0 { 0.0 } else { repairs_a_year };
        step = 1.0 / one_more + step * repaired / one_more;
        total += step;
    }
    total
}

/// The chance that a group is lost within a year.
pub fn yearly_loss(code: Code, rates: Rates) -> f64 {
    -libm::expm1(-1.0 / years_to_loss(code, rates))
}

/// The chance that any of `groups` groups is lost within a year, if each is by itself.
pub fn yearly_loss_of_any(code: Code, rates: Rates, groups: u64) -> f64 {
    -libm::expm1(-(groups as f64) / years_to_loss(code, rates))
}

/// A holder that has made a shard durable and said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ack {
    /// The shard's number.
    pub shard: usize,
    /// The holder's zone.
    pub zone: usize,
}

/// How safe data is, beside the device that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// On this device: its loss loses the data.
    Here,
    /// In that many zones besides: any fewer of them can be lost, with this device.
    Domains(usize),
    /// Coded, every shard in place: any m holders can be lost, or that many zones.
    Coded {
        /// Holders that can be lost.
        holders: usize,
        /// Zones that can be lost.
        zones: usize,
    },
}

impl Promise {
    /// What these acknowledgements are worth. Of one shard only one counts, since copies of it may be dropped.
    pub fn of(code: Code, acks: &[Ack]) -> Promise {
        let mut zone_of: Vec<Option<usize>> = vec![None; code.total()];
        for ack in acks {
            if let Some(zone) = zone_of.get_mut(ack.shard) {
                zone.get_or_insert(ack.zone);
            }
        }
        let held: Vec<usize> = zone_of.iter().flatten().copied().collect();
        if held.len() < code.data() {
            return Promise::Here;
        }
        let zones = zones_to_spare(&held, code.data());
        if code.data() > 1 && held.len() == code.total() {
            return Promise::Coded { holders: code.parity(), zones };
        }
        Promise::Domains(zones + 1)
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Promise::Here => f.write_str("on this device"),
            Promise::Domains(1) => f.write_str("on 1 failure domain"),
            Promise::Domains(n) => write!(f, "on {n} failure domains"),
            Promise::Coded { holders, zones } => write!(f, "coded: any {holders} holders or {zones} zones may be lost"),
        }
    }
}

/// How many zones can be lost, whichever they are, so that `k` shards are left.
fn zones_to_spare(held: &[usize], k: usize) -> usize {
    let mut sizes = std::collections::BTreeMap::new();
    for zone in held {
        *sizes.entry(zone).or_insert(0) += 1;
    }
    let mut sizes: Vec<usize> = sizes.into_values().collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = held.len();
    let fits = |size: &&usize| {
        left = left.saturating_sub(**size);
        left >= k
    };
    sizes.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(k: u8, m: u8) -> Code {
        crate::code::of(k, m).unwrap()
    }

    fn days(n: u64) -> Duration {
        Duration::from_secs(n * 24 * 3600)
    }

    fn close(found: f64, wanted: f64, within: f64) {
        assert!((found / wanted - 1.0).abs() < within, "{found:e}, not {wanted:e}");
    }

    #[test]
    fn the_tail_is_that_of_the_binomial_where_all_are_equal() {
        // 2 copies at .9, 4+2 at .95, 8+4 at .9: by hand.
        close(unavailability(1, &[0.9; 2]), 0.01, 1e-12);
        close(unavailability(4, &[0.95; 6]), 2.2298e-3, 1e-3);
        close(unavailability(8, &[0.9; 12]), 4.329e-3, 1e-3);
        close(unavailability(1, &[0.99; 8]), 1e-16, 1e-6);
        assert_eq!(unavailability(2, &[1.0]), 1.0);
        assert_eq!(unavailability(0, &[0.5]), 0.0);
    }

    #[test]
    fn the_tail_is_exact_for_unequal_nodes() {
        let uptimes: [f64; 6] = [0.99, 0.5, 0.8, 0.95, 0.7, 0.9];
        for k in 0..=6 {
            let mut by_hand = 0.0;
            for up in 0_u32..64 {
                let chance = |at: usize| if up >> at & 1 == 1 { uptimes[at] } else { 1.0 - uptimes[at] };
                if (up.count_ones() as usize) < k {
                    by_hand += (0..6).map(chance).product::<f64>();
                }
            }
            assert!((unavailability(k, &uptimes) - by_hand).abs() < 1e-15);
        }
    }

    #[test]
    fn years_to_loss_are_those_of_the_textbook() {
        // Two copies: (3λ + μ) / 2λ².
        let rates = Rates { node_lifetime: YEAR * 4, repair: days(2) };
        let (lambda, mu) = (0.25, 365.25 / 2.0);
        close(years_to_loss(code(1, 1), rates), (3.0 * lambda + mu) / (2.0 * lambda * lambda), 1e-9);
        // No redundancy: the first node that goes.
        close(years_to_loss(code(1, 0), rates), 4.0, 1e-9);
        // Without repair: the sum of the lives of the first m + 1.
        let never = Rates { repair: YEAR * 1_000_000, ..rates };
        close(years_to_loss(code(2, 1), never), 4.0 / 3.0 + 4.0 / 2.0, 1e-5);
    }

    #[test]
    fn years_to_loss_agree_with_a_chain_that_is_solved_as_a_whole() {
        // T(j) = 1/r + up/r · T(j+1) + down/r · T(j−1), by iteration.
        let rates = Rates { node_lifetime: days(200), repair: days(20) };
        let (lifetime, mu) = (200.0 / 365.25, 365.25 / 20.0);
        let mut times = [0.0_f64; 4];
        for _ in 0..200_000 {
            for j in 0..3 {
                let up = (6 - j) as f64 / lifetime;
                let down = if j == 0 { 0.0 } else { mu };
                let below = if j == 0 { 0.0 } else { times[j - 1] };
                times[j] = (1.0 + up * times[j + 1] + down * below) / (up + down);
            }
        }
        close(years_to_loss(code(4, 2), rates), times[0], 1e-6);
    }

    #[test]
    fn faster_repair_and_more_parity_lose_less() {
        let rates = Rates { node_lifetime: YEAR * 3, repair: days(2) };
        assert!(yearly_loss(code(4, 2), rates) < yearly_loss(code(4, 1), rates) / 10.0);
        assert!(yearly_loss(code(4, 2), Rates { repair: days(1), ..rates }) < yearly_loss(code(4, 2), rates) / 3.0);
        let (one, many) = (yearly_loss(code(4, 2), rates), yearly_loss_of_any(code(4, 2), rates, 1000));
        assert!(many > 900.0 * one && many < 1000.0 * one);
    }

    #[test]
    fn a_promise_is_what_the_acknowledgements_are_worth() {
        let acks =
            |given: &[(usize, usize)]| given.iter().map(|(shard, zone)| Ack { shard: *shard, zone: *zone }).collect();
        let of = |code, given: &[(usize, usize)]| Promise::of(code, &Vec::<Ack>::from_iter::<Vec<Ack>>(acks(given)));
        assert_eq!(of(code(1, 2), &[]), Promise::Here);
        assert_eq!(of(code(1, 2), &[(0, 5)]), Promise::Domains(1));
        assert_eq!(of(code(1, 2), &[(0, 5), (1, 5)]), Promise::Domains(1));
        assert_eq!(of(code(1, 2), &[(0, 5), (1, 6), (2, 6)]), Promise::Domains(2));
        assert_eq!(of(code(2, 2), &[(0, 0)]), Promise::Here);
        assert_eq!(of(code(2, 2), &[(0, 0), (0, 1)]), Promise::Here, "twice the same shard is one shard");
        assert_eq!(of(code(2, 2), &[(0, 0), (3, 1)]), Promise::Domains(1));
        let apart = [(0, 0), (1, 1), (2, 2), (3, 3)];
        assert_eq!(of(code(2, 2), &apart), Promise::Coded { holders: 2, zones: 2 });
        let paired = [(0, 0), (1, 0), (2, 1), (3, 1)];
        assert_eq!(of(code(2, 2), &paired), Promise::Coded { holders: 2, zones: 1 });
        assert_eq!(of(code(2, 2), &[(0, 0), (1, 0), (2, 0), (9, 1)]), Promise::Domains(1));
    }
}
