//! What the packets of a link show at the end where they arrive.

use std::time::{Duration, Instant};

use router::{
    owd::WrappingMicros,
    window::{ArrivalReport, Arrivals},
};

use crate::wire::PacketHeader;

/// Counts the packets that a link brings, and says when a report of them is due: every
/// [`REPORT_EVERY`] while packets come, and once after the last.
///
/// A packet costs a few integer operations. A link without packets holds no more than this value.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    measured: Option<Box<Measured>>,
    report_at: Option<Instant>,
}

#[derive(Debug)]
struct Measured {
    numbers: Numbers,
    stamps: WrappingMicros,
    arrivals: Arrivals,
}

impl Incoming {
    /// A packet came, or a piece of one.
    pub(super) fn handle_packet(&mut self, now: Instant, header: &PacketHeader) {
        let measured = self.measured.get_or_insert_with(|| {
            Box::new(Measured {
                numbers: Numbers::default(),
                stamps: WrappingMicros::default(),
                arrivals: Arrivals::new(0, now),
            })
        });
        // Before the first there is none: only a sender that makes numbers up says so.
        let Some(number) = measured.numbers.handle_sequence(header.link_sequence) else {
            return;
        };
        let sent = measured.stamps.handle_stamp(header.sent_us);
        measured.arrivals.handle_packet(now, number, sent);
        if self.report_at.is_none() {
            self.report_at = Some(now + REPORT_EVERY);
        }
    }

    /// When to ask for a report; never while all that came is reported.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.report_at
    }

    /// The report for the sender, if one is due.
    pub(super) fn take_report(&mut self, now: Instant) -> Option<ArrivalReport> {
        self.report_at.take_if(|at| *at <= now)?;
        self.measured.as_mut()?.arrivals.take_report()
    }
}

/// Turns link sequences, which are 32 bits that wrap, into numbers that do not.
///
/// Each is taken for the one nearest to the highest so far, so neither loss nor reordering of less
/// than two thousand million packets is any trouble.
#[derive(Debug, Default)]
struct Numbers {
    highest: u64,
}

impl Numbers {
    fn handle_sequence(&mut self, sequence: u32) -> Option<u64> {
        let ahead = sequence.wrapping_sub(self.highest as u32).cast_signed();
        let number = self.highest.checked_add_signed(ahead.into())?;
        self.highest = self.highest.max(number);
        Some(number)
    }
}

/// Often enough for falls within half a second and rare enough to cost nothing: what a receiver
/// tells its sender every tenth of a second is one small frame.
const REPORT_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        id::{NodeGeneration, NodeKey},
        wire::{Class, Direction, FlowId, RemainingHops},
    };

    fn packet(link_sequence: u32) -> PacketHeader {
        PacketHeader {
            direction: Direction::Forward,
            class: Class::Video,
            flow: FlowId {
                ingress: NodeKey([0; NodeKey::LEN]),
                generation: NodeGeneration(1),
                number: 1,
            },
            sequence: 0,
            sent_us: 0,
            link_sequence,
            lifetime_ms: 0,
            fragment: None,
            hops: RemainingHops::NONE,
        }
    }

    #[test]
    fn numbers_go_on_over_the_end_of_32_bits_in_any_order() {
        let mut numbers = Numbers::default();
        let turn = 1_u64 << 32;
        let mut last = 0;
        // In strides of less than half a turn.
        for number in (0..3 * turn).step_by(2_000_000_000) {
            assert_eq!(numbers.handle_sequence(number as u32), Some(number));
            last = number;
        }
        for number in [last - 5, last + 7, last - 2_000_000_000, last + 6] {
            assert_eq!(numbers.handle_sequence(number as u32), Some(number));
        }
    }

    #[test]
    fn there_is_no_number_before_the_first() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.handle_sequence(u32::MAX), None);
        assert_eq!(numbers.handle_sequence(0), Some(0));
    }

    #[test]
    fn reports_are_due_every_tenth_of_a_second_while_packets_come_and_once_after() {
        let start = clock::now();
        let mut incoming = Incoming::default();
        let ms = Duration::from_millis;
        assert_eq!(incoming.poll_timeout(), None);
        let mut reports = Vec::new();
        for step in 0..100 {
            let now = start + ms(step * 10);
            incoming.handle_packet(now, &packet(step as u32));
            if let Some(report) = incoming.take_report(now) {
                reports.push((step, report.received));
            }
        }
        let expected: Vec<_> = (0..9).map(|nth| (10 + nth * 11, 11 + nth * 11)).collect();
        assert_eq!(reports, expected);
        let due = incoming.poll_timeout().unwrap();
        assert!(incoming.take_report(due - ms(1)).is_none());
        let last = incoming.take_report(due).unwrap();
        assert_eq!((last.received, last.highest), (100, 99));
        assert_eq!(incoming.poll_timeout(), None, "and then none");
    }
}
