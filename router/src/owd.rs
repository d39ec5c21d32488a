//! How much longer than at best packets take one way, between clocks that do not agree.

mod minimum;
mod stamp;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::minimum::WindowedMinimum;
pub use self::{minimum::WINDOW, stamp::WrappingMicros};

/// Estimates by how much the one-way delay exceeds the least of the last 30 s.
///
/// It is fed, for each packet or each probe of one direction, with when the sender sent it, by the
/// sender's clock, and with when it came, by the receiver's. The difference is the delay plus the
/// clocks' offset, which nobody knows; but the offset is in the least difference too, so what a
/// packet took beyond that, its *variation*, is free of it. It is what queues on the way add, and
/// jitter: the least variation of a tenth of a second is a queue that stands, its spread is jitter.
///
/// The clocks need not be set, have the same zero or run equally fast. A direction needs one
/// estimator, and a pair of nodes therefore two, each at the receiving end.
///
/// ```
/// use std::time::{Duration, Instant};
/// use router::owd::OneWayDelay;
///
/// # #[expect(clippy::disallowed_methods)]
/// # fn clock() -> Instant { Instant::now() }
/// let start = clock();
/// let mut delay = OneWayDelay::new(start);
/// let ms = Duration::from_millis;
/// // The sender's clock shows an hour more than ours, and packets take 80 ms and once 95.
/// let hour = Duration::from_secs(3_600);
/// assert_eq!(delay.handle_packet(start + ms(80), hour), Some(ms(0)));
/// assert_eq!(delay.handle_packet(start + ms(295), hour + ms(200)), Some(ms(15)));
/// ```
///
/// # What it makes of
///
/// - **Drift.** A sender's clock that runs slower by `p` makes each packet look later than those
///   before it, and the least of them is at most [`WINDOW`] and a second old: variation is too
///   large by at most `31 s * p`, which is 6.2 ms at 200 ppm. One that runs faster keeps the
///   minimum up to date: while a queue stands for `t`, variation is too small by at most `t * p`.
/// - **A path that got longer.** Reads as variation until the shorter one has left the window, at
///   most 31 s, and is then learned. One that got shorter is learned with its first packet.
/// - **A queue that stands for longer than the window.** Is learned too, as if the path had got
///   longer. Whoever reacts to delay has to do so within 30 s.
/// - **A stepped clock.** A difference that leaves what was seen by more than [`STEP`], from one
///   packet to the next, is doubted: it gives no variation. Three such packets that agree, over
///   [`DOUBT`] at least, are a step, and the estimate starts anew from them. Steps smaller than
///   that read as delay for the window, or, in the other direction, as a shorter path.
/// - **A stall.** What a process or a network held back and then lets go at once arrives with a
///   difference that falls as quickly as it rose. That is doubted, and forgotten without a trace.
///   If it falls over more than a second, so does the variation, from zero: the first packet after
///   a gap cannot tell a queue of seconds from a step. A queue that *grows* to seconds is reported
///   as what it is, since no two packets of it are a second apart.
/// - **Loss, reordering, duplicates.** Nothing: each packet is judged by itself.
/// - **A forged or broken timestamp.** Doubted, and forgotten with the next good one.
///
/// Variation is never negative. A packet costs a few comparisons, whatever the rate; memory is
/// [`WINDOW`] in slots of a second, inside the value, and never grows.
///
/// The minimum over a window is LEDBAT's base delay, whose minutes are seconds here because a mesh
/// has other paths to be compared with: RFC 6817, sections 2.4.2 and 3.4.2. What clocks do to such
/// measurements: V. Paxson, "On calibrating measurements of packet transit times", 1998.
#[derive(Debug, Clone)]
pub struct OneWayDelay {
    /// The receiver's time is counted from here.
    start: Instant,
    minimum: WindowedMinimum,
    /// The last difference, in nanoseconds, and the last that was believed.
    latest: i64,
    believed: i64,
    doubt: Option<Doubt>,
    steps: u64,
}

/// Differences far from what was seen so far.
#[derive(Debug, Clone)]
struct Doubt {
    since: Instant,
    samples: u32,
    lowest: i64,
    latest: i64,
}

impl OneWayDelay {
    /// Knows nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            minimum: WindowedMinimum::new(),
            latest: 0,
            believed: 0,
            doubt: None,
            steps: 0,
        }
    }

    /// A packet came that was sent at `sent`, counted from whatever zero the sender's clock has.
    ///
    /// Returns its variation, or nothing while it is not clear whether a clock was stepped.
    pub fn handle_packet(&mut self, now: Instant, sent: Duration) -> Option<Duration> {
        let since_start = now.saturating_duration_since(self.start);
        let difference = nanos(since_start).saturating_sub(nanos(sent));
        self.minimum.advance(since_start);
        self.latest = difference;
        let Some(base) = self.minimum.lowest() else {
            return Some(self.believe(difference));
        };
        // Queues grow from packet to packet and may be any length; falling below the least delay
        // by a second is what no path does.
        let lowest = base.saturating_sub(STEP_NANOS);
        let highest = self.believed.max(base).saturating_add(STEP_NANOS);
        if (lowest..=highest).contains(&difference) {
            self.doubt = None;
            return Some(self.believe(difference));
        }
        self.doubt(now, difference)
    }

    /// How often a stepped clock made the estimate start anew.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Delay plus offset of the last packet, in nanoseconds, believed or not: of use only beside
    /// that of another packet.
    pub(crate) fn difference(&self) -> i64 {
        self.latest
    }

    fn believe(&mut self, difference: i64) -> Duration {
        self.believed = difference;
        let base = self.minimum.insert(difference);
        Duration::from_nanos(difference.abs_diff(base))
    }

    fn doubt(&mut self, now: Instant, difference: i64) -> Option<Duration> {
        let agrees = |doubt: &&mut Doubt| {
            let apart = difference.saturating_sub(doubt.latest);
            (-STEP_NANOS..=STEP_NANOS).contains(&apart)
        };
        let Some(doubt) = self.doubt.as_mut().filter(agrees) else {
            self.doubt = Some(Doubt {
                since: now,
                samples: 1,
                lowest: difference,
                latest: difference,
            });
            return None;
        };
        doubt.samples = doubt.samples.saturating_add(1);
        doubt.lowest = doubt.lowest.min(difference);
        doubt.latest = difference;
        if doubt.samples < DOUBT_SAMPLES || now.saturating_duration_since(doubt.since) < DOUBT {
            return None;
        }
        let lowest = doubt.lowest;
        self.doubt = None;
        self.steps += 1;
        self.minimum.clear();
        self.minimum.insert(lowest);
        Some(self.believe(difference))
    }
}

/// 292 years fit. In 64 bits: this is done for each packet, and `as_nanos` has 128.
fn nanos(time: Duration) -> i64 {
    if time < MAX_TIME {
        (time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())).cast_signed()
    } else {
        i64::MAX
    }
}

const MAX_TIME: Duration = Duration::from_nanos(i64::MAX.cast_unsigned());

/// Between two packets, no queue changes by more: one that is fed at the rate of the clock grows by
/// a second in a second, and probes of a link that nothing uses are a second apart.
pub const STEP: Duration = Duration::from_secs(1);
const STEP_NANOS: i64 = STEP.as_nanos() as i64;

/// How long a new level must last to be a step of a clock: longer than it takes to read what piled
/// up in a socket during a stall.
pub const DOUBT: Duration = Duration::from_secs(1);

/// How many packets must be of that level: more than a stray and its duplicate.
const DOUBT_SAMPLES: u32 = 3;
