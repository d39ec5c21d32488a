//! What loss costs a transfer, by the throughput that it allows.

use super::{Cost, Loss};

/// How much longer a megabyte takes because of loss.
///
/// A loss-driven sender gets at most `MSS / RTT * 1.22 / sqrt(p)` through. Streams are sent again at
/// every hop, so the slowest link bounds a path; the times of its links are nevertheless added, as
/// every cost is, which puts a path with one bad link before one with two.
///
/// The bound says nothing of a link without loss, whose cost is its round trip alone. Above some
/// 5 % of loss timeouts rule and real throughput is lower still; such a link is bad enough by this.
///
/// Source: Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance
/// algorithm", ACM SIGCOMM CCR 27(3), 1997; 1.22 is the root of 3/2.
pub(super) fn transfer_cost(rtt_micros: u64, loss: Loss) -> Cost {
    // 1e6 * sqrt(ppm / 1e6) = sqrt(ppm * 1e6).
    let root_ppm = (u64::from(loss.as_ppm()) * 1_000_000).isqrt();
    Cost::from_micros(rtt_micros * root_ppm / 1_000_000 * TRANSFER_SEGMENTS * 100 / 122)
}

/// A megabyte in segments of 1,200 bytes, the smallest that a QUIC path must carry.
const TRANSFER_SEGMENTS: u64 = 1_000_000 / 1_200;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in a second, from how long the megabyte took.
    fn throughput(rtt_ms: u64, percent: f64) -> f64 {
        let loss = Loss::from_ppm((percent * 10_000.0) as u32);
        1e12 / transfer_cost(rtt_ms * 1_000, loss).as_micros() as f64
    }

    #[test]
    fn a_megabyte_takes_as_long_as_the_bound_says() {
        for (rtt_ms, percent) in [(10, 1.0), (100, 0.1), (220, 1.0), (220, 0.01)] {
            let book = 1_200.0 / (rtt_ms as f64 / 1e3) * 1.22 / f64::sqrt(percent / 100.0);
            let ours = throughput(rtt_ms, percent);
            assert!((ours / book - 1.0).abs() < 0.002, "{ours} against {book}");
        }
    }

    #[test]
    fn one_percent_over_220_ms_allows_half_a_megabit() {
        let megabits = throughput(220, 1.0) * 8.0 / 1e6;
        assert!((0.5..0.6).contains(&megabits), "{megabits}");
    }

    #[test]
    fn halving_the_round_trip_or_quartering_the_loss_halves_the_time() {
        let whole = transfer_cost(100_000, Loss::from_ppm(40_000)).as_micros();
        let half_rtt = transfer_cost(50_000, Loss::from_ppm(40_000)).as_micros();
        let quarter_loss = transfer_cost(100_000, Loss::from_ppm(10_000)).as_micros();
        // The last digit is rounded.
        assert!(whole.abs_diff(2 * half_rtt) <= 1);
        assert!(whole.abs_diff(2 * quarter_loss) <= 1);
    }
}
