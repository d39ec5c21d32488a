//! What a link brings, at its receiver.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::seen::{Order, Seen};
use crate::owd::{OneWayDelay, STEP};

/// Counts what one direction of a link brings, for the receiver's report.
///
/// The counts only grow, so that a report that is lost costs nothing: the next one says it again.
/// Jitter is smoothed over all packets, and one-way-delay variation is of the packets since the last
/// report.
///
/// Memory is within the value, about a kilobyte; a packet costs the same at any rate.
#[derive(Debug, Clone)]
pub struct Arrivals {
    delay: OneWayDelay,
    seen: Seen,
    received: u64,
    reordered: u64,
    duplicates: u64,
    too_old: u64,
    jitter: Jitter,
    interval: Interval,
}

/// What the receiver of one direction of a link tells its sender, every 100 ms while packets come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivalReport {
    /// The highest sequence number that came.
    pub highest: u64,
    /// Every packet below came or is given up on: its sender may forget it.
    pub covered: u64,
    /// Packets that came since the link began, without duplicates and what came too late to tell.
    pub received: u64,
    /// Those of them that came after one with a higher number.
    pub reordered: u64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// What the luckiest and the unluckiest packet since the last report took beyond the least
    /// one-way delay. The least is a queue that stands. Nothing while a clock is being doubted.
    pub variation: Option<(Duration, Duration)>,
}

#[derive(Debug, Clone, Default)]
struct Interval {
    fresh: bool,
    variation: Option<(Duration, Duration)>,
}

impl Arrivals {
    /// Nothing came yet; the first packet will have the number `first`.
    pub fn new(first: u64, now: Instant) -> Self {
        Self {
            delay: OneWayDelay::new(now),
            seen: Seen::new(first),
            received: 0,
            reordered: 0,
            duplicates: 0,
            too_old: 0,
            jitter: Jitter::default(),
            interval: Interval::default(),
        }
    }

    /// A packet came, sent at `sent` by the sender's clock.
    pub fn handle_packet(&mut self, now: Instant, sequence: u64, sent: Duration) {
        match self.seen.insert(sequence) {
            Order::Newest => {}
            Order::Reordered => self.reordered += 1,
            // Its way took it, not that of the packet that was counted.
            Order::Duplicate => {
                self.duplicates += 1;
                return;
            }
            Order::TooOld => {
                self.too_old += 1;
                return;
            }
        }
        self.received += 1;
        self.interval.fresh = true;
        let variation = self.delay.handle_packet(now, sent);
        self.jitter.handle_difference(self.delay.difference());
        if let Some(variation) = variation {
            let (least, most) = self.interval.variation.unwrap_or((variation, variation));
            self.interval.variation = Some((least.min(variation), most.max(variation)));
        }
    }

    /// The report that is due now, if any packet came since the last.
    pub fn take_report(&mut self) -> Option<ArrivalReport> {
        let interval = std::mem::take(&mut self.interval);
        interval.fresh.then(|| ArrivalReport {
            highest: self.seen.next() - 1,
            covered: self.seen.covered(),
            received: self.received,
            reordered: self.reordered,
            jitter: self.jitter.value(),
            variation: interval.variation,
        })
    }

    /// Packets that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came so late that they count as lost.
    pub fn too_old(&self) -> u64 {
        self.too_old
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        self.jitter.value()
    }

    /// How often a stepped clock made the delay estimate start anew.
    pub fn clock_steps(&self) -> u64 {
        self.delay.steps()
    }
}

/// The smoothed difference of spacing at receiver and sender.
///
/// For packets i-1 and i, in the order in which they came, `D = (R_i - R_{i-1}) - (S_i - S_{i-1})`,
/// and `J <- J + (|D| - J) / 16`. Kept times 16, so that integers lose nothing to rounding.
/// A spacing that differs by over a second is a stepped clock or a stall, and no jitter.
///
/// Source: RFC 3550, section 6.4.1 and appendix A.8.
#[derive(Debug, Clone, Default)]
struct Jitter {
    last: Option<i64>,
    nanos_x16: u64,
}

impl Jitter {
    /// `R - S` of a packet.
    fn handle_difference(&mut self, difference: i64) {
        if let Some(last) = self.last.replace(difference) {
            let spacing = difference.abs_diff(last);
            if spacing <= STEP.as_nanos() as u64 {
                self.nanos_x16 = self.nanos_x16 + spacing - ((self.nanos_x16 + 8) >> 4);
            }
        }
    }

    fn value(&self) -> Duration {
        Duration::from_nanos(self.nanos_x16 >> 4)
    }
}
