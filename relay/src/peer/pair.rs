//! What is thought of a peer over all links that it ever has. Pure: no task, no link.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use router::{
    health::{Change, Condition, HealthConfig, Hold, PairHealth, Reason, Way},
    liveness::Health,
    window::{Loss, LossWindow, Quantiles, RoundTrips, Stretch},
};

use crate::{congestion::FIRST_WINDOW, id::LinkGeneration};

/// What a link showed since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// What became of probes.
    Probed {
        /// Answered, and lost.
        loss: Loss,
        /// The packet loop's last round trip, if a reply was among them.
        round_trip: Option<Duration>,
        /// Smoothed.
        srtt: Duration,
    },
    /// What came, a tenth of a second of it.
    Received {
        /// The least variation of its one-way delay.
        delay: Duration,
    },
    /// What the peer says of what was sent.
    Sent {
        /// Delivered and lost, without what this node dropped itself.
        loss: Loss,
        /// The least variation of its one-way delay, unless a clock is being doubted.
        delay: Option<Duration>,
        /// Interarrival jitter at the peer.
        jitter: Duration,
    },
}

/// What was measured of a peer lately, for people and for choosing ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PairFigures {
    /// The smoothed round trip, once there was a reply.
    pub rtt: Option<Duration>,
    /// Share of the packets sent in the last 5 to 30 s that was lost on the way, in parts per
    /// million.
    pub loss_ppm: u32,
    /// Interarrival jitter of what was sent, at the peer.
    pub jitter: Duration,
    /// Round trips of the last minute.
    pub round_trips: Option<Quantiles>,
    /// How often it ceased to carry traffic.
    pub falls: u64,
}

/// What was thought of a peer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionChange {
    /// When.
    pub at: Instant,
    /// Before.
    pub from: Condition,
    /// Since.
    pub to: Condition,
    /// Why.
    pub reason: Reason,
}

/// Judges a peer, and says when the router is to hear of it.
///
/// Call a `handle_*` on every input, then drain [`Pair::poll_change`], then see whether
/// [`Pair::is_news`], then arm [`Pair::poll_timeout`]. Handle what links say before timers. `now`
/// must never go backwards.
#[derive(Debug)]
pub(super) struct Pair {
    health: PairHealth,
    current: Option<LinkGeneration>,
    out: LossWindow,
    round_trips: RoundTrips,
    figures: PairFigures,
    /// When the quantiles are looked at next.
    quantiles_at: Instant,
    /// Oldest first.
    changes: VecDeque<ConditionChange>,
    said: Option<Said>,
    /// The router had no room: when to try again.
    retry_at: Option<Instant>,
}

/// What the router was told last.
#[derive(Debug, Clone, Copy)]
struct Said {
    at: Instant,
    current: Option<LinkGeneration>,
    condition: Condition,
    rtt: Option<Duration>,
    loss_ppm: u32,
}

impl Pair {
    pub(super) fn new(config: HealthConfig, now: Instant) -> Self {
        Self {
            health: PairHealth::new(config, now),
            current: None,
            out: LossWindow::new(now),
            round_trips: RoundTrips::new(now),
            figures: PairFigures::default(),
            quantiles_at: now,
            changes: VecDeque::new(),
            said: None,
            retry_at: None,
        }
    }

    /// What is thought of the peer.
    pub(super) fn condition(&self) -> Condition {
        self.health.condition()
    }

    /// The link that is judged, if there is one.
    pub(super) fn current(&self) -> Option<LinkGeneration> {
        self.current
    }

    /// The last changes, oldest first.
    pub(super) fn changes(&self) -> impl Iterator<Item = &ConditionChange> {
        self.changes.iter()
    }

    /// Which link is current, and how it is, or that there is none; said again, it changes nothing.
    pub(super) fn handle_current(&mut self, now: Instant, link: Option<(LinkGeneration, Health)>) {
        let current = link.map(|(generation, _)| generation);
        if self.current != current {
            self.current = current;
            self.health
                .handle_liveness(now, link.map(|(_, health)| health));
        }
    }

    /// What probes say of `link`.
    pub(super) fn handle_health(&mut self, now: Instant, link: LinkGeneration, health: Health) {
        if self.current == Some(link) {
            self.health.handle_liveness(now, Some(health));
        }
    }

    /// What `link` showed. Only the current one counts: what is left on others says little about
    /// what will be sent.
    pub(super) fn handle_measure(&mut self, now: Instant, link: LinkGeneration, measure: Measure) {
        if self.current != Some(link) {
            return;
        }
        match measure {
            Measure::Probed {
                loss,
                round_trip,
                srtt,
            } => {
                if let Some(round_trip) = round_trip {
                    self.health.handle_answer(now);
                    self.round_trips.handle_sample(now, round_trip);
                    self.figures.rtt = Some(srtt);
                }
                self.health.handle_loss(now, Way::Round, loss);
            }
            Measure::Received { delay } => self.health.handle_delay(now, Way::In, delay),
            Measure::Sent {
                loss,
                delay,
                jitter,
            } => {
                self.figures.jitter = jitter;
                self.out.handle_loss(now, loss);
                self.health.handle_loss(now, Way::Out, loss);
                if let Some(delay) = delay {
                    self.health.handle_delay(now, Way::Out, delay);
                }
            }
        }
    }

    /// Whether the window of the current link matters now: the pair is on its way back.
    pub(super) fn is_returning(&self) -> bool {
        self.condition() == Condition::Degraded
    }

    /// The congestion window of the current link; whether the link is to be replaced before
    /// traffic comes back to it.
    pub(super) fn handle_window(&mut self, now: Instant, bytes: u64) -> bool {
        self.health.handle_window(now, bytes < COLLAPSED_BYTES);
        self.health.hold(now) == Some(Hold::Collapsed)
    }

    /// This process stood still, as a timer of `link` has shown.
    pub(super) fn handle_stall(&mut self, now: Instant, link: LinkGeneration, stalled: Duration) {
        if self.current == Some(link) {
            self.health.handle_stall(now, stalled);
        }
    }

    /// Time passed. Calling it early does nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.retry_at.take_if(|at| *at <= now);
        self.health.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.health.poll_timeout(), self.retry_at];
        timers.into_iter().flatten().min()
    }

    /// The next change, kept in the history from here on.
    pub(super) fn poll_change(&mut self, now: Instant) -> Option<ConditionChange> {
        let Change { from, to, reason } = self.health.poll_output()?;
        // What was lost before is over: it must not count against the link a second time.
        if to == Condition::Up && !from.carries() {
            self.out.clear();
        }
        let change = ConditionChange {
            at: now,
            from,
            to,
            reason,
        };
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        Some(change)
    }

    /// What was measured, as of now.
    pub(super) fn figures(&mut self, now: Instant) -> PairFigures {
        self.figures.falls = self.health.falls();
        self.figures.loss_ppm = self.loss_ppm(now);
        if now >= self.quantiles_at {
            self.quantiles_at = now + QUANTILES_EVERY;
            self.figures.round_trips = self.round_trips.quantiles(now);
        }
        self.figures
    }

    /// Whether the router is to hear of the peer now: at once of another link or condition, and of
    /// figures that moved once in [`SAY_EVERY`].
    pub(super) fn is_news(&mut self, now: Instant) -> bool {
        if self.retry_at.is_some() {
            return false;
        }
        let Some(said) = self.said else {
            // Of a peer that was never linked there is nothing to say.
            return self.current.is_some();
        };
        if said.current != self.current || said.condition != self.condition() {
            return true;
        }
        now.saturating_duration_since(said.at) >= SAY_EVERY
            && (moved(said.rtt, self.figures.rtt)
                || said.loss_ppm.abs_diff(self.loss_ppm(now)) >= LOSS_STEP_PPM)
    }

    /// The router was told, or had no room: then it is told as soon as it has.
    pub(super) fn handle_said(&mut self, now: Instant, taken: bool) {
        if taken {
            self.said = Some(Said {
                at: now,
                current: self.current,
                condition: self.condition(),
                rtt: self.figures.rtt,
                loss_ppm: self.loss_ppm(now),
            });
        } else {
            self.retry_at = Some(now + RETRY_AFTER);
        }
    }

    /// Share of what was sent lately that was lost.
    pub(super) fn loss_ppm(&mut self, now: Instant) -> u32 {
        let loss = self.out.trailing(now, LATELY);
        let share = (loss.lost * 1_000_000).checked_div(loss.packets());
        share.map_or(0, |ppm| u32::try_from(ppm).unwrap_or(u32::MAX))
    }
}

/// A quarter of what a link begins with.
const COLLAPSED_BYTES: u64 = FIRST_WINDOW / 4;
/// Whether a round trip differs from what was said by a fiftieth, and by what a path's cost can show.
fn moved(said: Option<Duration>, now: Option<Duration>) -> bool {
    match (said, now) {
        (Some(said), Some(now)) => {
            let moved = said.abs_diff(now);
            moved >= RTT_STEP && moved * 50 >= said
        }
        (said, now) => said != now,
    }
}

/// Long enough that one overflow is not all there is, and 500 packets show a share of 0.2 %.
const LATELY: Stretch = Stretch {
    least: Duration::from_secs(5),
    packets: 500,
    most: Duration::from_secs(30),
};
/// What a path costs moves by less than a millisecond with less.
const LOSS_STEP_PPM: u32 = 1_000;
/// Traffic moves for ten milliseconds; within a region, round trips are shorter than this and never
/// still.
const RTT_STEP: Duration = Duration::from_micros(500);
/// Figures are smoothed over seconds.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// The router reads its queue within milliseconds.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Summing a minute's histograms takes tens of microseconds, and a person looks seldom.
const QUANTILES_EVERY: Duration = Duration::from_secs(5);
/// As many as are kept of a keeper's transitions.
const MAX_CHANGES: usize = 32;
