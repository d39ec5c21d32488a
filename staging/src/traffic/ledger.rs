//! Which packets of one flow arrived, which are under way, and which are lost.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

/// A packet that has not arrived after this long counts as lost until it does arrive. On one
/// machine a packet crosses in well under a millisecond; the rest is patience with a busy host.
pub const GRACE: Duration = Duration::from_secs(1);

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
    pub delay_median: Option<Duration>,
    /// The longest of the same.
    pub delay_max: Option<Duration>,
}

/// Keeps the account of one flow whose two ends are in this process.
///
/// Call [`Ledger::handle_sent`] and [`Ledger::handle_arrival`] as they happen, and
/// [`Ledger::handle_timeout`] before [`Ledger::totals`]; [`Ledger::close`] ends it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Sent within the last [`GRACE`], in order; the last has the number `next - 1`.
    pending: VecDeque<Pending>,
    /// Not arrived within [`GRACE`]. At most as many as were sent.
    overdue: BTreeSet<u64>,
    next: u64,
    delivered: u64,
    duplicates: u64,
    /// The latest delays, at most [`DELAYS_KEPT`].
    delays: VecDeque<Duration>,
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
        if self.delays.len() == DELAYS_KEPT {
            self.delays.pop_front();
        }
        self.delays.push_back(delay);
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

    /// The account as it stands.
    pub fn totals(&self) -> FlowTotals {
        let mut delays: Vec<Duration> = self.delays.iter().copied().collect();
        delays.sort_unstable();
        FlowTotals {
            sent: self.next,
            delivered: self.delivered,
            lost: self.overdue.len() as u64,
            duplicates: self.duplicates,
            delay_median: delays.get(delays.len() / 2).copied(),
            delay_max: delays.last().copied(),
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
    fn delays_are_those_of_the_latest_arrivals_only() {
        let (mut ledger, _) = sent(200);
        ledger.handle_arrival(0, 500 * MS);
        assert_eq!(ledger.totals().delay_max, Some(500 * MS));
        for number in 1..=64 {
            ledger.handle_arrival(number, MS * u32::try_from(number).unwrap());
        }
        let totals = ledger.totals();
        assert_eq!(totals.delay_median, Some(33 * MS));
        assert_eq!(totals.delay_max, Some(64 * MS));
    }
}
