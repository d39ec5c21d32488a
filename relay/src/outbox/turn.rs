//! When data is held back so that the control stream has its turn: pure.

use std::time::{Duration, Instant};

/// Decides whether data is held back.
///
///   Idle --announced--> Watching --frames sent--> Idle
///                          | not within `WATCH`
///                          v
///                       Holding --frames sent--> Idle
///                          | `HOLD_LIMIT`, or dry for too long
///                          v
///                       Resting --`REST`--> Idle
///
/// While [`Turn::poll_timeout`] names a time, call [`Turn::handle_progress`] by then.
/// `now` must never go backwards between calls.
#[derive(Debug)]
pub(super) struct Turn {
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Watching {
        target: u64,
        until: Instant,
    },
    Holding {
        target: u64,
        limit: Instant,
        next_look: Instant,
        dry_since: Option<Instant>,
    },
    Resting {
        until: Instant,
    },
}

/// What a look found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// STREAM frames that the connection has sent.
    pub(super) stream_frames: u64,
    /// The datagram buffer is empty.
    pub(super) dry: bool,
    /// The round-trip time.
    pub(super) rtt: Duration,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Data is held back from now on.
    Held,
    /// Data may go on: the control bytes are out.
    Released,
    /// Data may go on: waiting longer would be in vain.
    GivenUp,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Idle }
    }

    pub(super) fn is_holding(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    /// When to look next; `None` while nothing is awaited.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle | Phase::Resting { .. } => None,
            Phase::Watching { until, .. } => Some(until),
            Phase::Holding { next_look, .. } => Some(next_look),
        }
    }

    /// Control bytes are about to be written; they are out at `new_target` STREAM frames.
    pub(super) fn handle_announcement(&mut self, now: Instant, new_target: u64) {
        match &mut self.phase {
            Phase::Resting { until } if now < *until => {}
            Phase::Idle | Phase::Resting { .. } => {
                self.phase = Phase::Watching {
                    target: new_target,
                    until: now + WATCH,
                };
            }
            Phase::Watching { target, .. } | Phase::Holding { target, .. } => {
                *target = new_target.max(*target);
            }
        }
    }

    pub(super) fn handle_progress(&mut self, now: Instant, progress: Progress) -> Change {
        match &mut self.phase {
            Phase::Idle | Phase::Resting { .. } => Change::None,
            Phase::Watching { target, .. } if progress.stream_frames >= *target => {
                self.phase = Phase::Idle;
                Change::None
            }
            Phase::Watching { until, .. } if now < *until => Change::None,
            Phase::Watching { target, .. } => {
                self.phase = Phase::Holding {
                    target: *target,
                    limit: now + HOLD_LIMIT,
                    next_look: now + LOOK,
                    dry_since: None,
                };
                Change::Held
            }
            Phase::Holding { target, .. } if progress.stream_frames >= *target => {
                self.phase = Phase::Idle;
                Change::Released
            }
            Phase::Holding {
                limit,
                next_look,
                dry_since,
                ..
            } => {
                *dry_since = progress.dry.then(|| dry_since.unwrap_or(now));
                // A congestion window that the last datagrams filled opens again with the next
                // acknowledgement.
                let patience = progress.rtt + ACK_DELAY;
                if now >= *limit || dry_since.is_some_and(|since| now >= since + patience) {
                    self.phase = Phase::Resting { until: now + REST };
                    return Change::GivenUp;
                }
                *next_look = now + LOOK;
                Change::None
            }
        }
    }
}

/// Bytes of a control message that surely go into one frame: a path of 1,200 bytes carries more.
pub(super) const FRAME_BYTES: usize = 1_000;

/// On a link with room, control bytes leave within the turn of the loop in which they are written.
const WATCH: Duration = Duration::from_millis(5);

/// The step of looking while data is held back: the least that tokio's clock can do in practice.
const LOOK: Duration = Duration::from_millis(2);

/// Drains 64 KiB at 0.5 Mbit/s; a link that is slower moves its control stream seldom.
pub(super) const HOLD_LIMIT: Duration = Duration::from_secs(1);

/// How long after a hold in vain there is no other: the share of time that a peer which does not
/// read its control stream can take from its packets is small.
const REST: Duration = Duration::from_secs(2);

/// QUIC's default `max_ack_delay` (RFC 9000 section 18.2).
const ACK_DELAY: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const RTT: Duration = Duration::from_millis(40);

    fn look(stream_frames: u64, dry: bool) -> Progress {
        Progress {
            stream_frames,
            dry,
            rtt: RTT,
        }
    }

    /// A turn that holds since `now`, for two frames beyond 10.
    fn holding(now: Instant) -> Turn {
        let mut turn = Turn::new();
        turn.handle_announcement(now - WATCH, 12);
        assert_eq!(turn.handle_progress(now, look(10, false)), Change::Held);
        turn
    }

    #[test]
    fn frames_that_leave_within_the_watch_hold_nothing_and_later_ones_do() {
        let now = clock::now();
        let mut turn = Turn::new();
        turn.handle_announcement(now, 11);
        let before = now + WATCH - Duration::from_nanos(1);
        assert_eq!(turn.handle_progress(before, look(10, true)), Change::None);
        assert!(!turn.is_holding());
        assert_eq!(
            turn.handle_progress(now + WATCH, look(11, false)),
            Change::None
        );
        assert_eq!(turn.poll_timeout(), None);

        turn.handle_announcement(now, 12);
        assert_eq!(
            turn.handle_progress(now + WATCH, look(11, true)),
            Change::Held
        );
        assert!(turn.is_holding());
    }

    #[test]
    fn data_is_held_until_the_last_announced_frame_is_sent() {
        let now = clock::now();
        let mut turn = holding(now);
        assert_eq!(turn.handle_progress(now, look(11, false)), Change::None);
        turn.handle_announcement(now, 13);
        assert_eq!(turn.handle_progress(now, look(12, false)), Change::None);
        assert_eq!(turn.handle_progress(now, look(13, false)), Change::Released);
        assert!(!turn.is_holding());
    }

    #[test]
    fn a_hold_on_a_buffer_that_never_runs_dry_ends_at_its_limit_and_not_before() {
        let now = clock::now();
        let mut turn = holding(now);
        let before = now + HOLD_LIMIT - Duration::from_nanos(1);
        assert_eq!(turn.handle_progress(before, look(10, false)), Change::None);
        let limit = now + HOLD_LIMIT;
        assert_eq!(
            turn.handle_progress(limit, look(10, false)),
            Change::GivenUp
        );
    }

    #[test]
    fn a_hold_on_a_dry_buffer_is_given_up_after_a_round_trip_and_followed_by_a_rest() {
        let now = clock::now();
        let mut turn = holding(now);
        assert_eq!(turn.handle_progress(now, look(10, true)), Change::None);
        // Not dry in between: the time starts anew.
        let dry = now + RTT;
        assert_eq!(turn.handle_progress(dry, look(10, false)), Change::None);
        assert_eq!(turn.handle_progress(dry, look(10, true)), Change::None);
        let end = dry + RTT + ACK_DELAY;
        let before = end - Duration::from_nanos(1);
        assert_eq!(turn.handle_progress(before, look(10, true)), Change::None);
        assert_eq!(turn.handle_progress(end, look(10, true)), Change::GivenUp);

        let rested = end + REST;
        turn.handle_announcement(rested - Duration::from_nanos(1), 20);
        assert_eq!(turn.poll_timeout(), None);
        turn.handle_announcement(rested, 20);
        assert_eq!(turn.poll_timeout(), Some(rested + WATCH));
    }
}
