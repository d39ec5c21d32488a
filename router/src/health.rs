//! Whether traffic may rely on the direct way between two nodes.

mod config;
mod damping;
mod measures;
#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{config::HealthConfig, measures::Way};
use self::{config::RENEW_WITHIN, damping::Damping, measures::Measures};
use crate::{liveness, window::Loss};

/// Judges a pair of nodes over all links that it ever has: by whether the current one answers, by
/// what is lost and by what is delayed.
///
/// ```text
///               late              unanswered            silent, or no link
///      Up ◀──────────▶ Suspect ──────────────▶ Confirmed ──────────────▶ Down
///      ▲ │ lossy, delayed │                        │ answered              │
///      │ └──────────────▶ Degraded ◀───────────────┴──────── answered, ────┘
///      └─── recovered ───────┘ └── silent ──▶ Down       stayed long enough
/// ```
///
/// Up and Suspect carry traffic; the others send it elsewhere if there is an elsewhere. Leaving the
/// first two is a *fall*. Falls are quick, and the way back is slow and has one gate, Degraded:
///
/// - the link answered for long enough since it last did not, and Degraded lasted long enough;
/// - of what was sent lately, much less was lost than it takes to fall, in every [`Way`];
/// - no queue stood lately that is near what it takes to fall;
/// - the link's congestion window is not in ruins, or two seconds were given to replace the link
///   ([`PairHealth::handle_window`]);
/// - falls were not too frequent: each adds to a penalty that halves every few seconds, as routers
///   damp flapping routes (RFC 2439), only that here it is bounded so low that it is gone within
///   ten seconds. Damping that outlives its cause has kept clean regions isolated elsewhere.
///
/// Where there is no traffic, probes alone bring it back: nothing waits for a number of packets.
///
/// A lost probe is Suspect, and moves nothing. Three in a row are Confirmed by liveness, and with 1 %
/// of loss each way that is one probe in 125,000: so Confirmed is believed only when nothing that
/// was sent was seen to arrive for a little while, by a report or by an answer of the packet loop: on
/// the control stream, one loss holds up replies and reports alike. Down is believed in any case: a peer
/// whose requests hang forwards packets still.
///
/// The first link of a pair is Up at once; there is nothing that it would have to recover from.
///
/// A timer that fires later than half a tick, or [`PairHealth::handle_stall`], voids: what came
/// before says nothing, waiting is longer by the stall, and for a moment loss and delay are
/// ignored, for our own sockets overflowed or held packets back.
///
/// Call a `handle_*` on every input, then drain [`PairHealth::poll_output`], then arm
/// [`PairHealth::poll_timeout`]. `now` must never go backwards. Measures are to be fed a report at
/// a time, not for each packet.
///
/// # Bounds
///
/// With timers on time and reports every 100 ms. Both profiles fall at the same loss; they differ
/// in how long they look and wait.
///
/// | | default | fast |
/// | --- | --- | --- |
/// | Down | with liveness | with liveness |
/// | a cut to Confirmed, if that is later than liveness's | 0.45 s + RTT | 0.25 s + RTT |
/// | 20 % of one-way loss to a fall, 50 packets/s and more | 3 s | 3 s |
/// | the same with nothing but probes, as a rule | 30 s | 8 s |
/// | 1 % of random loss each way, 50 packets/s and more | a fall in three weeks | in 90 minutes |
/// | the same with nothing but probes | a fall in 7 hours | in 90 minutes |
/// | network is clean to Up, over the same link | 12 s + RTT | 7 s + RTT |
/// | falls a minute, whatever the network does | 9 | 16 |
///
/// Where the link is replaced first, Up is as much later as that takes, two seconds at the most.
///
/// When fast, three lost probes in a row are not only Confirmed but Down. A pair whose link was
/// closed meanwhile is Up by the later of the bound and 3 s after its next link (fast: 1.5 s).
#[derive(Debug, Clone)]
pub struct PairHealth {
    config: HealthConfig,
    link: Option<liveness::Health>,
    state: State,
    /// Since when the link answers, if it does.
    answering: Option<Instant>,
    /// When something that we sent was last reported to have arrived.
    evidence: Option<Instant>,
    /// When a probe of the packet loop was last answered.
    answered: Option<Instant>,
    /// Until when our own stall hides what the network does.
    blind_until: Instant,
    damping: Damping,
    measures: Measures,
    /// The congestion window of the link is too small to come back with.
    collapsed: bool,
    /// Since when that is all that keeps the pair from being Up.
    renewing: Option<Instant>,
    timer: Option<Instant>,
    falls: u64,
    voided: u64,
    outputs: VecDeque<Change>,
}

/// What is thought of a pair, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Works.
    Up,
    /// A reply is late. Worth protecting what is sent; nothing moves.
    Suspect,
    /// Works badly, or has not worked well for long enough.
    Degraded,
    /// Nothing comes back. What is sent now is probably lost.
    Confirmed,
    /// Does not work, or there is no link.
    Down,
}

/// A condition ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: Condition,
    /// Now.
    pub to: Condition,
    /// Why.
    pub reason: Reason,
}

/// Why a condition ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A late reply came, or replies came again.
    Answered,
    /// Queues stand on this way.
    Delayed(Way),
    /// A reply is late.
    Late,
    /// The first link of the pair.
    Linked,
    /// Too much is lost on this way.
    Lossy(Way),
    /// There is no link any more.
    NoLink,
    /// All that made it fall has been over for long enough.
    Recovered,
    /// The link is Down.
    Silent,
    /// Confirming probes were not answered either.
    Unanswered,
}

/// What keeps a pair that answers from being Up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It does not answer.
    Unanswered,
    /// It has not answered, or not been Degraded, for long enough.
    Stay,
    /// This way lost too much lately.
    Lossy(Way),
    /// A queue stood on this way lately.
    Delayed(Way),
    /// It fell too often.
    Damped,
    /// Its link is to be replaced by one with a whole congestion window.
    Collapsed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There has been no link yet.
    Unlinked,
    Up,
    Suspect,
    Degraded {
        since: Instant,
    },
    Confirmed,
    Down {
        since: Instant,
    },
}

/// What the current link shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Answering,
    /// Late, or unanswered though other packets arrive.
    Late,
    Unanswered,
    Silent,
    NoLink,
}

impl Condition {
    /// Whether traffic stays. Otherwise it goes elsewhere, if there is an elsewhere.
    pub fn carries(self) -> bool {
        match self {
            Self::Up | Self::Suspect => true,
            Self::Degraded | Self::Confirmed | Self::Down => false,
        }
    }
}

impl PairHealth {
    /// Starts Down, without a link.
    pub fn new(config: HealthConfig, now: Instant) -> Self {
        Self {
            link: None,
            state: State::Unlinked,
            answering: None,
            evidence: None,
            answered: None,
            blind_until: now,
            damping: Damping::new(config.half_life, now),
            measures: Measures::new(&config, now),
            collapsed: false,
            renewing: None,
            timer: None,
            falls: 0,
            voided: 0,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// What is thought of the pair.
    pub fn condition(&self) -> Condition {
        self.state.condition()
    }

    /// How often it ceased to carry traffic.
    pub fn falls(&self) -> u64 {
        self.falls
    }

    /// How often a stall of our own was left out of the judgement.
    pub fn voided(&self) -> u64 {
        self.voided
    }

    /// The current link's health changed, another link became current, or there is none any more.
    pub fn handle_liveness(&mut self, now: Instant, link: Option<liveness::Health>) {
        self.link = link;
        self.judge(now);
    }

    /// This became of packets on `way` since the last call.
    ///
    /// - [`Way::Out`]: what the peer's report, or QUIC's acknowledgements, newly told of packets
    ///   that we sent.
    /// - [`Way::In`]: what we received, and what by the numbers is missing.
    /// - [`Way::Round`]: probes answered and missed. They are what brings a pair back that carries
    ///   nothing.
    pub fn handle_loss(&mut self, now: Instant, way: Way, loss: Loss) {
        if way == Way::Out && loss.delivered > 0 {
            self.evidence = Some(now);
        }
        if now >= self.blind_until {
            self.measures.handle_loss(now, way, loss);
        }
        self.judge(now);
    }

    /// The peer answered a probe of its packet loop: what is sent arrives, whatever the control
    /// stream says, on which a loss holds up replies and reports alike.
    pub fn handle_answer(&mut self, now: Instant) {
        self.answered = Some(now);
        self.judge(now);
    }

    /// The least one-way-delay variation of the packets of one report.
    pub fn handle_delay(&mut self, now: Instant, way: Way, least_variation: Duration) {
        if now >= self.blind_until {
            self.measures.handle_delay(now, way, least_variation);
        }
        self.judge(now);
    }

    /// Whether the current link's congestion window has collapsed: traffic that comes back as a whole
    /// would be held up until it has grown, and an idle link's does not grow.
    ///
    /// To be asked of the link before each timeout of a Degraded pair. [`Hold::Collapsed`] then says
    /// that it is time to replace the link.
    pub fn handle_window(&mut self, now: Instant, collapsed: bool) {
        self.collapsed = collapsed;
        self.judge(now);
    }

    /// Our own process stood still for `stalled`, as a timer elsewhere has shown.
    pub fn handle_stall(&mut self, now: Instant, stalled: Duration) {
        self.voided += 1;
        self.blind_until = now + self.config.blind;
        self.measures.forget_queues();
        let later = |since: Instant| (since + stalled).min(now);
        self.answering = self.answering.map(later);
        if let State::Degraded { since } | State::Down { since } = &mut self.state {
            *since = later(*since);
        }
        // Reports lie unread in a socket; they have as long as they would have had.
        self.evidence = self.evidence.map(|_| now);
        self.answered = self.answered.map(|_| now);
        self.arm(now);
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.timer.filter(|due| *due <= now) else {
            return;
        };
        let late = now.duration_since(due);
        if late > self.config.tolerance() {
            self.handle_stall(now, late);
        } else {
            self.judge(now);
        }
    }

    /// When to call [`PairHealth::handle_timeout`]. Nothing for a pair that is well.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// The next change, until there is none.
    pub fn poll_output(&mut self) -> Option<Change> {
        self.outputs.pop_front()
    }

    /// What keeps the pair from being Up. Nothing if it is, or will be at the next tick.
    pub fn hold(&mut self, now: Instant) -> Option<Hold> {
        let stay = self.config.stay;
        let stayed = |since: Instant| now.saturating_duration_since(since) >= stay;
        match self.state {
            State::Up | State::Suspect => return None,
            State::Unlinked | State::Confirmed => return Some(Hold::Unanswered),
            State::Degraded { since } => {
                let Some(answering) = self.answering else {
                    return Some(Hold::Unanswered);
                };
                if !stayed(answering.max(since)) {
                    return Some(Hold::Stay);
                }
            }
            State::Down { .. } => {
                return Some(self.answering.map_or(Hold::Unanswered, |_| Hold::Stay));
            }
        }
        let damped = self.damping.is_suppressed(now).then_some(Hold::Damped);
        let hold = self.measures.hold(now).or(damped);
        if hold.is_some() || !self.collapsed {
            return hold;
        }
        let since = *self.renewing.get_or_insert(now);
        (now.saturating_duration_since(since) < RENEW_WITHIN).then_some(Hold::Collapsed)
    }

    fn judge(&mut self, now: Instant) {
        let sight = self.sight(now);
        self.answering = match sight {
            Sight::Answering | Sight::Late => self.answering.or(Some(now)),
            Sight::Unanswered | Sight::Silent | Sight::NoLink => None,
        };
        match (self.state, sight) {
            (State::Unlinked | State::Down { .. }, Sight::NoLink | Sight::Silent)
            | (State::Confirmed | State::Degraded { .. } | State::Down { .. }, Sight::Unanswered) =>
                {}
            (_, Sight::NoLink) => self.enter(now, State::Down { since: now }, Reason::NoLink),
            (_, Sight::Silent) => self.enter(now, State::Down { since: now }, Reason::Silent),

            (State::Unlinked | State::Up | State::Suspect, Sight::Unanswered) => {
                self.enter(now, State::Confirmed, Reason::Unanswered);
            }
            (State::Unlinked, Sight::Answering) => self.enter(now, State::Up, Reason::Linked),
            (State::Unlinked, Sight::Late) => self.enter(now, State::Suspect, Reason::Linked),
            (State::Up | State::Suspect, Sight::Answering | Sight::Late) => {
                self.judge_measures(now, sight);
            }
            (State::Confirmed, Sight::Answering | Sight::Late) => {
                self.enter(now, State::Degraded { since: now }, Reason::Answered);
            }
            (State::Degraded { .. }, Sight::Answering | Sight::Late) => {
                // A reply that is late just now is not the moment to come back.
                if sight == Sight::Answering && self.hold(now).is_none() {
                    // What made it fall must not count a second time.
                    self.measures.clear();
                    self.enter(now, State::Up, Reason::Recovered);
                }
            }
            (State::Down { since }, Sight::Answering | Sight::Late) => {
                if now.saturating_duration_since(since) >= self.config.stay_down {
                    // What was lost in silence is liveness's to judge, and it has.
                    self.measures.clear();
                    self.enter(now, State::Degraded { since: now }, Reason::Answered);
                }
            }
        }
        self.arm(now);
    }

    fn judge_measures(&mut self, now: Instant, sight: Sight) {
        if let Some(reason) = self.measures.trouble(now) {
            self.enter(now, State::Degraded { since: now }, reason);
        } else if sight == Sight::Late {
            self.enter(now, State::Suspect, Reason::Late);
        } else {
            self.enter(now, State::Up, Reason::Answered);
        }
    }

    fn sight(&self, now: Instant) -> Sight {
        match self.link {
            None => Sight::NoLink,
            Some(liveness::Health::Up) => Sight::Answering,
            Some(liveness::Health::Suspect) => Sight::Late,
            Some(liveness::Health::Confirmed) if self.believed_from() > Some(now) => Sight::Late,
            Some(liveness::Health::Confirmed) => Sight::Unanswered,
            Some(liveness::Health::Down) => Sight::Silent,
        }
    }

    /// From when unanswered probes outweigh what was last seen to have arrived.
    fn believed_from(&self) -> Option<Instant> {
        let reported = self.evidence.map(|at| at + self.config.evidence);
        let answered = self.answered.map(|at| at + self.config.answer);
        reported.max(answered)
    }

    /// The only transition.
    fn enter(&mut self, now: Instant, state: State, reason: Reason) {
        let (from, to) = (self.condition(), state.condition());
        if from == to && self.state != State::Unlinked {
            return;
        }
        if from.carries() && !to.carries() {
            self.falls += 1;
            self.damping.handle_fall(now);
        }
        self.state = state;
        self.renewing = None;
        if from != to {
            self.outputs.push_back(Change { from, to, reason });
        }
    }

    fn arm(&mut self, now: Instant) {
        // Once what was waited for is over, the next look is a tick later.
        let at_or_tick = |at: Instant| match self.timer {
            _ if at > now => at,
            Some(timer) if timer > now => timer,
            Some(_) | None => now + self.config.tick,
        };
        self.timer = match self.state {
            State::Up | State::Suspect => self
                .believed_from()
                .filter(|at| *at > now && self.link == Some(liveness::Health::Confirmed)),
            State::Degraded { since } => self
                .answering
                .map(|answering| at_or_tick(answering.max(since) + self.config.stay)),
            State::Down { since } => self
                .answering
                .map(|_| at_or_tick(since + self.config.stay_down)),
            State::Unlinked | State::Confirmed => None,
        };
    }
}

impl State {
    fn condition(self) -> Condition {
        match self {
            Self::Up => Condition::Up,
            Self::Suspect => Condition::Suspect,
            Self::Degraded { .. } => Condition::Degraded,
            Self::Confirmed => Condition::Confirmed,
            Self::Unlinked | Self::Down { .. } => Condition::Down,
        }
    }
}
