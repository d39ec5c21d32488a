//! Congestion control of a link: CUBIC, with a first window and a floor.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// What a link begins with, in bytes: 20 Mbit/s over 105 ms, and over 210 ms after one round trip,
/// which is as long as the queue before it can hold the rest.
///
/// A link carries nothing until traffic moves there as a whole, at a rate that does not wait for a
/// window to grow: ten packets for a round trip would be most of it lost. What a link cannot carry of
/// it is lost once, and takes three tenths off.
pub(crate) const FIRST_WINDOW: u64 = 256 << 10;

/// What a link has at the least, in bytes: 1.2 Mbit/s over 220 ms, a few dozen calls.
///
/// CUBIC takes three tenths off at each loss and gives nothing back to a sender that does not fill
/// its window, as flows of sound never do. With 1 % of loss that leaves two packets for a round trip
/// within minutes: packets then wait, and leave several in one, so that one loss takes them all. A
/// path that is full gets this much too much in a round trip, at the most.
pub(crate) const LEAST_WINDOW: u64 = 32 << 10;

/// Builds [`Floored`] controllers.
#[derive(Debug)]
pub(crate) struct CongestionControl {
    cubic: Arc<CubicConfig>,
}

impl CongestionControl {
    pub(crate) fn new() -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(FIRST_WINDOW);
        Self {
            cubic: Arc::new(cubic),
        }
    }
}

impl ControllerFactory for CongestionControl {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Floored(Cubic::new(self.cubic.clone(), now, current_mtu)))
    }
}

/// CUBIC whose window never falls below [`LEAST_WINDOW`].
#[derive(Debug, Clone)]
struct Floored(Cubic);

impl Controller for Floored {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.0.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.0.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.0
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.0
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.0.window().max(LEAST_WINDOW)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.0.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.0.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn window_begins_whole_shrinks_with_losses_and_stops_at_the_floor() {
        let mut now = clock::now();
        let control = Arc::new(CongestionControl::new());
        let mut controller = control.build(now, 1_452);
        assert_eq!(controller.window(), FIRST_WINDOW);
        let mut before = FIRST_WINDOW;
        for losses in 1..=200 {
            now += Duration::from_secs(1);
            controller.on_congestion_event(now, now, losses % 50 == 0, 1_200);
            assert!(controller.window() <= before);
            before = controller.window();
            assert!(before >= LEAST_WINDOW);
        }
        assert_eq!(before, LEAST_WINDOW);
        // What quinn copies for another path keeps it.
        assert_eq!(controller.clone_box().window(), LEAST_WINDOW);
    }
}
