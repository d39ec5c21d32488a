//! How fast packets leave, and how long they wait for that.
//!
//! What is expected is given in numbers, not by the emulator's own arithmetic.

use std::time::Duration;

use super::{
    Check,
    LeansOn::{Packets, Timers},
    Measured, as_f64, millis, nanos,
};
use crate::verify::ground::PairRun;

/// A queue that never runs empty leaves at its rate, within 1 %.
///
/// - `wire_bytes`: of a packet, overhead counted.
pub(in crate::verify) fn rate(megabits_per_second: u32, wire_bytes: u32) -> Check {
    let asked = format!("{megabits_per_second} Mbit/s ± 1%");
    Check::certain("rate", asked, Timers, move |run| {
        let times = arrival_times(run);
        let [first, .., last] = times.as_slice() else {
            return Measured::wrong("nothing arrived");
        };
        let packets = i64::try_from(times.len() - 1).expect("a length in memory");
        // Bits in a microsecond are megabits in a second.
        let bits = as_f64(packets * 8) * f64::from(wire_bytes);
        let measured = bits * 1e3 / as_f64(last - first);
        let off = measured / f64::from(megabits_per_second) - 1.0;
        Measured::new(format!("{measured:.4} Mbit/s"), off.abs() <= 0.01)
    })
}

/// In a queue that never runs empty, packets follow each other by the time that each takes, to the
/// nanosecond.
pub(in crate::verify) fn serialization(each: Duration) -> Check {
    let expected = nanos(each);
    Check::certain("serialization", millis(expected), Timers, move |run| {
        let times = arrival_times(run);
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let (Some(least), Some(most)) = (gaps.clone().min(), gaps.max()) else {
            return Measured::wrong("nothing arrived");
        };
        let shown = if least == most {
            format!("{} each", millis(least))
        } else {
            format!("{} to {}", millis(least), millis(most))
        };
        Measured::new(shown, least == expected && most == expected)
    })
}

/// The packet that found the queue fullest waited until all that is in it had left, within one
/// packet.
pub(in crate::verify) fn longest_wait(base: Duration, full: Duration, packet: Duration) -> Check {
    let asked = format!("{} within a packet", millis(nanos(full)));
    Check::certain("longest wait", asked, Timers, move |run| {
        let Some(longest) = run.greatest(run.delays_of_arrived()) else {
            return Measured::wrong("nothing arrived");
        };
        let waited = longest - nanos(base);
        let least = nanos(full - packet);
        let most = nanos(full + packet + run.lateness_allowed());
        Measured::new(millis(waited), (least..=most).contains(&waited))
    })
}

/// What is sent and what arrives of packets of two sizes, one of which is a byte too large.
pub(in crate::verify) fn size(max_bytes: usize) -> Check {
    let asked = format!("{max_bytes} B, not {} B", max_bytes + 1);
    Check::certain("size", asked, Packets, |run| {
        let lost = run.lost();
        let (fitting, larger): (Vec<_>, Vec<_>) = (0..)
            .zip(&lost)
            .partition(|(sequence, _)| sequence % 2 == 0);
        let passed = |packets: &[(u32, &bool)]| packets.iter().filter(|(_, lost)| !**lost).count();
        let (fitting_passed, larger_passed) = (passed(&fitting), passed(&larger));
        Measured::new(
            format!(
                "{fitting_passed} of {}, {larger_passed} of {}",
                fitting.len(),
                larger.len()
            ),
            fitting_passed == fitting.len() && larger_passed == 0 && !larger.is_empty(),
        )
    })
}

/// When each arrived, in order.
fn arrival_times(run: &PairRun) -> Vec<i64> {
    let times = run.arrivals.iter();
    times
        .map(|arrival| nanos(arrival.due.unwrap_or(arrival.at)))
        .collect()
}
