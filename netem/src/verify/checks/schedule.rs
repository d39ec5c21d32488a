//! How a pair changes over time.

use std::{ops::Range, time::Duration};

use super::{Check, LeansOn::Timers, Measured, millis, nanos};

/// The delay of a packet follows from when it was sent, counted from when the schedule began:
/// within a nanosecond on the schedule, as divisions are rounded. Where realised times are all that
/// is known, packets sent close to one of the `jumps` may be on either side of it.
pub(in crate::verify) fn follows(
    asked: &str,
    jumps: &'static [Duration],
    line: impl Fn(Duration) -> Duration + 'static,
) -> Check {
    Check::certain("delay over time", asked, Timers, move |run| {
        let is_exact = run.is_on_schedule();
        let off = run
            .sent_on_schedule()
            .zip(run.delays())
            .filter(|(sent, _)| is_exact || !jumps.iter().any(|jump| is_close(*sent, *jump)))
            .filter_map(|(sent, delay)| Some((delay? - nanos(line(sent))).abs()));
        let Some(off) = run.greatest(off.collect()) else {
            return Measured::wrong("nothing arrived");
        };
        let allowed = nanos(run.lateness_allowed()).max(1);
        Measured::new(format!("off by {}", millis(off)), off <= allowed)
    })
}

/// Lost are the packets sent within these times, counted from when the schedule began, and no
/// others.
pub(in crate::verify) fn down(asked: &str, outages: Vec<Range<Duration>>) -> Check {
    Check::certain("lost", asked, Timers, move |run| {
        let is_exact = run.is_on_schedule();
        let mut lost_count = 0;
        let mut wrong = 0;
        for (sent, lost) in run.sent_on_schedule().zip(run.lost()) {
            let mut edges = outages.iter().flat_map(|outage| [outage.start, outage.end]);
            if !is_exact && edges.any(|edge| is_close(sent, edge)) {
                continue;
            }
            let expected = outages.iter().any(|outage| outage.contains(&sent));
            lost_count += usize::from(lost);
            wrong += usize::from(lost != expected);
        }
        let shown = format!("{lost_count} lost, {wrong} wrong");
        Measured::new(shown, wrong == 0 && lost_count > 0)
    })
}

fn is_close(sent: Duration, edge: Duration) -> bool {
    sent.abs_diff(edge) <= EDGE_WIDTH
}

/// How far from an edge a packet must be sent to be surely on one side of it, where it travels to
/// the emulator in real time first.
const EDGE_WIDTH: Duration = Duration::from_millis(5);
