//! When each packet of one flow was sent, and when it arrived.

use std::time::Duration;

/// The first [`MAX_PACKETS`] packets of a flow; times count from the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order of their numbers.
    packets: Vec<Crossed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crossed {
    sent: Duration,
    /// The first copy of it.
    arrived: Option<Duration>,
}

/// What became of a flow while the link below it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The longest time between two packets that arrived one after the other, of all such times of
    /// which any part lies between the cut and its end.
    pub gap: Duration,
    /// When the packet arrived that ended it.
    pub flows_again: Duration,
    /// Packets that never arrived, of those sent from a second before the cut to a second after
    /// [`Outage::flows_again`].
    pub packets_lost: u64,
}

impl Trace {
    /// Enters the next packet.
    pub fn handle_sent(&mut self, sent: Duration) {
        if self.packets.len() < MAX_PACKETS {
            self.packets.push(Crossed {
                sent,
                arrived: None,
            });
        }
    }

    /// Notes that packet `number`, counted from 0, arrived. Further copies change nothing.
    pub fn handle_arrival(&mut self, number: u64, arrived: Duration) {
        let packet = usize::try_from(number)
            .ok()
            .and_then(|place| self.packets.get_mut(place));
        if let Some(packet) = packet {
            packet.arrived.get_or_insert(arrived);
        }
    }

    /// What a cut from `cut` to `healed` did; none if no packet arrived before it, or none after.
    pub fn outage(&self, cut: Duration, healed: Duration) -> Option<Outage> {
        let mut arrivals: Vec<_> = self.packets.iter().filter_map(|it| it.arrived).collect();
        arrivals.sort_unstable();
        let gaps = arrivals.windows(2).map(|pair| (pair[0], pair[1]));
        let gaps = gaps.filter(|(last, next)| *last < healed && *next > cut);
        let (last, next) = gaps.max_by_key(|(last, next)| *next - *last)?;
        Some(Outage {
            gap: next - last,
            flows_again: next,
            packets_lost: self.lost(cut.saturating_sub(MARGIN), next + MARGIN),
        })
    }

    /// How many packets never arrived of those sent from `from` until just before `to`.
    pub fn lost(&self, from: Duration, to: Duration) -> u64 {
        let sent = self.packets.iter();
        let sent = sent.filter(|packet| (from..to).contains(&packet.sent));
        sent.filter(|packet| packet.arrived.is_none()).count() as u64
    }
}

/// What is lost around a cut counts from this long before it to this long after traffic flows
/// again: longer than any packet is under way.
pub const MARGIN: Duration = Duration::from_secs(1);
/// More than a minute at the demo's rate; cuts come in the first seconds.
pub const MAX_PACKETS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A packet every 20 ms for 10 s, 35 ms under way, without those that `lost` names.
    fn trace(lost: impl Fn(u32) -> bool) -> Trace {
        let mut trace = Trace::default();
        for number in 0..500 {
            trace.handle_sent(20 * MS * number);
        }
        for number in (0..500).filter(|number| !lost(*number)) {
            trace.handle_arrival(number.into(), 20 * MS * number + 35 * MS);
        }
        trace
    }

    #[test]
    fn the_gap_and_what_is_lost_are_counted_from_the_last_packet_before_to_the_first_after() {
        // Sent at 3.98 s to 4.58 s.
        let outage = trace(|number| (199..230).contains(&number)).outage(4_000 * MS, 8_000 * MS);
        let outage = outage.unwrap();
        assert_eq!(outage.gap, 32 * 20 * MS);
        assert_eq!(outage.flows_again, 230 * 20 * MS + 35 * MS);
        assert_eq!(outage.packets_lost, 31);
    }

    #[test]
    fn a_longer_gap_before_or_after_the_cut_is_not_the_cut_s() {
        let noise = |number| (20..100).contains(&number) || (430..480).contains(&number);
        let trace = trace(|number| noise(number) || (200..205).contains(&number));
        let outage = trace.outage(4_000 * MS, 8_000 * MS).unwrap();
        assert_eq!((outage.gap, outage.packets_lost), (6 * 20 * MS, 5));
        assert_eq!(trace.lost(8_000 * MS, 10_000 * MS), 50);
    }

    #[test]
    fn the_second_before_the_cut_and_the_second_after_the_gap_count_and_nothing_beyond() {
        // Sent at 2.98 s, 3.00 s, and around the end of the margin after the gap.
        let single = [149, 150, 256, 257];
        let trace = trace(|number| (200..205).contains(&number) || single.contains(&number));
        // The gap ends at 205 * 20 + 35 ms, the margin at 5,135 ms: packet 256 was sent before.
        let outage = trace.outage(4_000 * MS, 8_000 * MS).unwrap();
        assert_eq!(outage.packets_lost, 5 + 2);
    }

    #[test]
    fn without_a_packet_after_the_cut_there_is_no_outage_to_measure() {
        let trace = trace(|number| number >= 200);
        assert_eq!(trace.outage(4_100 * MS, 8_000 * MS), None);
    }

    #[test]
    fn copies_do_not_end_a_gap_and_numbers_beyond_the_limit_are_left_out() {
        let mut trace = trace(|number| (200..230).contains(&number));
        trace.handle_arrival(100, 4_300 * MS);
        trace.handle_arrival(MAX_PACKETS as u64, 4_300 * MS);
        let outage = trace.outage(4_000 * MS, 8_000 * MS).unwrap();
        assert_eq!(outage.gap, 31 * 20 * MS);
        for _ in 0..2 * MAX_PACKETS {
            trace.handle_sent(10_000 * MS);
        }
        assert_eq!(trace.packets.len(), MAX_PACKETS);
    }
}
