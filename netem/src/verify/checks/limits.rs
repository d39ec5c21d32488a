//! How fast packets leave, and how long they wait for that.

use std::time::Duration;

use super::{
    Check,
    LeansOn::{Packets, Timers},
    Measured, as_f64, millis, nanos,
};
use crate::{model::Rate, verify::ground::PairRun};

/// A queue that never runs empty leaves at its rate, overhead counted, within 1 %.
pub(in crate::verify) fn rate(rate: Rate, packet_bytes: usize) -> Check {
    let bits = rate.bits_per_second.get();
    let asked = format!("{} Mbit/s ± 1%", bits / 1_000_000);
    Check::certain("rate", asked, Timers, move |run| {
        let times = arrival_times(run);
        let [first, .., last] = times.as_slice() else {
            return Measured::wrong("nothing arrived");
        };
        let overhead = isize::try_from(rate.overhead_bytes).expect("32 bits fit");
        let bits_each = packet_bytes.saturating_add_signed(overhead) * 8;
        let bits_sent = i64::try_from(bits_each * (times.len() - 1)).expect("far below 2^63");
        let measured = as_f64(bits_sent) * 1e9 / as_f64(last - first);
        let off = measured / as_f64(i64::try_from(bits).expect("far below 2^63")) - 1.0;
        Measured::new(format!("{:.4} Mbit/s", measured / 1e6), off.abs() <= 0.01)
    })
}

/// In a queue that never runs empty, packets follow each other by the time each takes, to the
/// nanosecond.
pub(in crate::verify) fn spacing(rate: Rate, packet_bytes: usize) -> Check {
    let expected = nanos(rate.serialization(packet_bytes));
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

/// The packet that found the queue fullest waited for what it holds, within one packet.
pub(in crate::verify) fn longest_wait(base: Duration, rate: Rate, packet_bytes: usize) -> Check {
    let queue_bytes = rate.queue_bytes.expect("a queue with a bound");
    let full = Rate {
        overhead_bytes: 0,
        ..rate
    };
    let expected = nanos(full.serialization(queue_bytes));
    let packet = nanos(rate.serialization(packet_bytes));
    let asked = format!("{} within a packet", millis(expected));
    Check::certain("longest wait", asked, Timers, move |run| {
        let Some(longest) = run.greatest(run.delays_of_arrived()) else {
            return Measured::wrong("nothing arrived");
        };
        let waited = longest - nanos(base);
        let most = expected + packet + nanos(run.lateness_allowed());
        Measured::new(millis(waited), (expected - packet..=most).contains(&waited))
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
