//! Which packets of one flow arrived, which are under way, and which are lost.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// A packet that has not arrived after this long counts as lost until it does arrive. The longest
/// way takes a sixth of a second, and the first packets, which wait until the far node has opened
/// the flow, were seen to take a whole one; the rest is patience with a busy host.
pub const GRACE: Duration = Duration::from_secs(2);

/// What became of the packets of one flow so far.
///
/// What is in none of `delivered` and `lost` is still under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowTotals {
    /// Packets handed to the near node.
    pub sent: u64,
    /// Those of them that came out of the far node, each counted once.
    pub delivered: u64,
    /// Those that have not come out within [`GRACE`].
    pub lost: u64,
    /// Further copies of packets that had come out before.
    pub duplicates: u64,
    /// The median of the latest one-way delays; none before the first arrival.
    pub delay_now: Option<Duration>,
    /// The median of all one-way delays so far.
    pub delay_p50: Option<Duration>,
    /// Their 99th percentile.
    pub delay_p99: Option<Duration>,
    /// The longest of them.
    pub delay_max: Option<Duration>,
}

/// Keeps the account of one flow whose two ends are in this process.
///
/// Call [`Ledger::handle_sent`] and [`Ledger::handle_arrival`] as they happen, and
/// [`Ledger::handle_timeout`] before [`Ledger::totals`]; [`Ledger::close`] ends it.
#[derive(Debug)]
pub struct Ledger {
    /// Sent within the last [`GRACE`], in order; the last has the number `next - 1`.
    pending: VecDeque<Pending>,
    /// Not arrived within [`GRACE`]. At most as many as were sent.
    overdue: BTreeSet<u64>,
    next: u64,
    delivered: u64,
    duplicates: u64,
    /// The latest delays, at most [`DELAYS_KEPT`].
    latest: VecDeque<Duration>,
    /// All delays, in microseconds.
    delays: Histogram<u64>,
    delay_max: Option<Duration>,
}

#[derive(Debug)]
struct Pending {
    sent_at: Instant,
    arrived: bool,
}

impl Ledger {
    /// Enters the next packet and returns its number.
    pub fn handle_sent(&mut self, now: Instant) -> u64 {
        self.pending.push_back(Pending {
            sent_at: now,
            arrived: false,
        });
        self.next += 1;
        self.next - 1
    }

    /// Notes that packet `number` arrived after `delay`. A number that was never sent is ignored.
    pub fn handle_arrival(&mut self, number: u64, delay: Duration) {
        if number >= self.next {
            return;
        }
        let first = self.first_pending();
        let is_new = match number.checked_sub(first) {
            Some(place) => !mem::replace(&mut self.pending[place as usize].arrived, true),
            None => self.overdue.remove(&number),
        };
        if !is_new {
            self.duplicates += 1;
            return;
        }
        self.delivered += 1;
        if self.latest.len() == DELAYS_KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(delay);
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delays.saturating_record(micros);
        self.delay_max = self.delay_max.max(Some(delay));
    }

    /// Counts as lost what has not arrived in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(oldest) = self.pending.front() {
            if now.saturating_duration_since(oldest.sent_at) < GRACE {
                break;
            }
            self.settle_oldest();
        }
    }

    /// Counts as lost everything that has not arrived.
    pub fn close(&mut self) {
        while !self.pending.is_empty() {
            self.settle_oldest();
        }
    }

    /// Whether every packet that was sent has arrived or was given up.
    pub fn is_settled(&self) -> bool {
        self.pending.iter().all(|packet| packet.arrived)
    }

    /// The account as it stands; some ten thousand steps of work, so not for every packet.
    pub fn totals(&self) -> FlowTotals {
        let mut latest: Vec<Duration> = self.latest.iter().copied().collect();
        latest.sort_unstable();
        let quantile = |quantile| {
            let micros = self.delays.value_at_quantile(quantile);
            // A bucket's upper end may lie above all that is in it.
            self.delay_max
                .map(|max| Duration::from_micros(micros).min(max))
        };
        FlowTotals {
            sent: self.next,
            delivered: self.delivered,
            lost: self.overdue.len() as u64,
            duplicates: self.duplicates,
            delay_now: latest.get(latest.len() / 2).copied(),
            delay_p50: quantile(0.5),
            delay_p99: quantile(0.99),
            delay_max: self.delay_max,
        }
    }

    fn first_pending(&self) -> u64 {
        self.next - self.pending.len() as u64
    }

    fn settle_oldest(&mut self) {
        let number = self.first_pending();
        if let Some(packet) = self.pending.pop_front()
            && !packet.arrived
        {
            self.overdue.insert(number);
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        let delays = Histogram::new_with_bounds(1, MAX_MICROS, DIGITS);
        Self {
            pending: VecDeque::new(),
            overdue: BTreeSet::new(),
            next: 0,
            delivered: 0,
            duplicates: 0,
            latest: VecDeque::new(),
            delays: delays.expect("bounds and digits are in range"),
            delay_max: None,
        }
    }
}

/// A minute; in quantiles, more is a minute.
const MAX_MICROS: u64 = 60_000_000;
/// Significant digits of quantiles.
const DIGITS: u8 = 3;
/// A bit more than a second of them at the demo's rate: what is shown is the present.
const DELAYS_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sent(count: u64) -> (Ledger, Instant) {
        let (mut ledger, now) = (Ledger::default(), causeway::clock::now());
        for number in 0..count {
            assert_eq!(ledger.handle_sent(now), number);
        }
        (ledger, now)
    }

    #[test]
    fn a_packet_is_lost_after_the_grace_and_not_before() {
        let (mut ledger, now) = sent(2);
        ledger.handle_arrival(1, MS);
        ledger.handle_timeout(now + GRACE - MS);
        assert_eq!(ledger.totals().lost, 0);
        assert!(!ledger.is_settled());
        ledger.handle_timeout(now + GRACE);
        let totals = ledger.totals();
        assert_eq!((totals.sent, totals.delivered, totals.lost), (2, 1, 1));
        assert!(ledger.is_settled());
    }

    #[test]
    fn a_packet_that_arrives_after_the_grace_is_not_lost_any_more() {
        let (mut ledger, now) = sent(1);
        ledger.handle_timeout(now + GRACE);
        ledger.handle_arrival(0, GRACE);
        let totals = ledger.totals();
        assert_eq!((totals.delivered, totals.lost), (1, 0));
    }

    #[test]
    fn copies_count_once_however_late() {
        let (mut ledger, now) = sent(1);
        ledger.handle_arrival(0, MS);
        ledger.handle_arrival(0, MS);
        ledger.handle_timeout(now + GRACE);
        ledger.handle_arrival(0, GRACE);
        let totals = ledger.totals();
        assert_eq!((totals.delivered, totals.duplicates), (1, 2));
    }

    #[test]
    fn a_number_that_was_never_sent_is_ignored() {
        let (mut ledger, _) = sent(1);
        ledger.handle_arrival(1, MS);
        assert_eq!(ledger.totals().delivered, 0);
    }

    #[test]
    fn closing_counts_what_is_under_way_as_lost() {
        let (mut ledger, _) = sent(3);
        ledger.handle_arrival(1, MS);
        ledger.close();
        let totals = ledger.totals();
        assert_eq!((totals.delivered, totals.lost), (1, 2));
    }

    #[test]
    fn the_delay_of_now_is_that_of_the_latest_arrivals_only_and_the_others_are_of_all() {
        let (mut ledger, _) = sent(200);
        ledger.handle_arrival(0, 500 * MS);
        assert_eq!(ledger.totals().delay_now, Some(500 * MS));
        for number in 1..=64 {
            ledger.handle_arrival(number, MS * u32::try_from(number).unwrap());
        }
        let totals = ledger.totals();
        assert_eq!(totals.delay_now, Some(33 * MS));
        let near = |delay: Option<Duration>, millis| {
            let off = delay.unwrap().abs_diff(millis * MS);
            off <= millis * MS / 1_000
        };
        assert!(near(totals.delay_p50, 33), "{totals:?}");
        assert!(near(totals.delay_p99, 500), "{totals:?}");
        assert_eq!(totals.delay_max, Some(500 * MS));
    }
}
