//! When to probe a link, and whether its peer still works.

mod config;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::config::LivenessConfig;
use self::track::{Phase, Reply, Track, Verdict};
use crate::{random::SplitMix64, window::Loss};

/// Decides when to probe one link, and from the replies whether its peer works.
///
/// ```text
///          reply late                both confirming probes late
///     Up ─────────────▶ Suspect ─────────────────────────────────▶ Confirmed
///      ▲◀─── 1 reply ──────┘                                           │
///      ▲◀─── 2 replies in a row ───────────────────────────────────────┤
///      │                                  3 misses in a row and silent │ in one loop
///      └──── 3 timely replies in a row, in each loop ──── Down ◀───────┘
/// ```
///
/// There are two loops: the packet loop is answered by whatever forwards packets, the request loop
/// by the task that answers requests. Probes alternate between them, and misses, replies and round
/// trips are counted for each by itself: a reply in one says nothing about the other, so a peer
/// whose requests hang is found out while its packets still flow. The link is as well as the worse
/// of its loops.
///
/// - A reply is late beyond `srtt + 4 rttvar + slack` of its loop, as it was when the probe left.
///   That is a miss. A late reply is still a reply: it ends a run of misses and it is a sample.
/// - A reply to a later probe of the loop forgives the earlier ones: what was lost before the peer
///   answered is no sign of its death.
/// - Suspicion sends two more probes into that loop, 20 ms apart; they count as misses too.
/// - While the request loop is not Up, each probe into it has one beside it in the packet loop: their
///   answers tell a path that delivers from one that does not, where the control stream waits for
///   the repair of a loss and shows neither.
/// - Three misses in a row and 0.8 s without a reply are Down (fast: 0.2 s). While the other loop
///   answers it takes 1.2 s (0.4 s): the request loop's probes are on a stream, where a loss holds up
///   what comes after it, and two losses of the same bytes are repaired by then.
/// - A timer that fires later than half an interval voids what it was to judge: outstanding probes
///   are forgotten without a miss, silence is counted from now, and a new probe goes out. One's own
///   stall is not the peer's death.
/// - Each probe is told of once as answered or lost, by [`Output::Probed`]: lost once it is late,
///   forgiven or not.
/// - While Down, probes go on. Leaving it starts the round-trip estimate anew, for what was
///   measured before and during an outage describes another path.
/// - After 5 s of Down without a reply in either loop, [`Output::Silent`] is given once.
///
/// Call a `handle_*` on every input, then drain [`Liveness::poll_output`], then arm
/// [`Liveness::poll_timeout`]. `now` must never go backwards. Where replies and the timer are ready
/// together, handle the replies first. Replies to unknown probes are harmless.
///
/// # Bounds
///
/// From a cut to the verdict, with timers on time and a round trip that is steady: 4 rttvar at most
/// 39 ms by default and 9 ms when fast, which takes some fifteen replies in each loop after a start.
/// Any more of it is added to the bound, twice to the second.
///
/// | | default | fast |
/// | --- | --- | --- |
/// | Suspect | 0.35 s + RTT | 0.15 s + RTT |
/// | Confirmed | 0.5 s + 2 RTT | 0.2 s + 2 RTT |
/// | Down | 0.9 s + RTT | 0.3 s + RTT |
/// | Down, request loop alone wedged | 1.5 s + RTT | 0.5 s + RTT |
///
/// They hold for a cut of either direction or of both, wherever on the way it is, with one
/// exception: by default, above an RTT of 478 ms, a cut of the forward direction at our own end is
/// Down by 1.11 s + RTT, because the confirming probes then take too long and the third regular
/// probe of the loop decides. The allowance for one reply never exceeds 2 s, so a link with
/// a longer round trip is Down for good.
#[derive(Debug)]
pub struct Liveness {
    config: LivenessConfig,
    packet: Track,
    request: Track,
    state: State,
    next_probe: Instant,
    next_loop: Loop,
    next_id: u64,
    jitter: SplitMix64,
    voided: u64,
    outputs: VecDeque<Output>,
}

/// One of the two ways in which a peer has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loop {
    /// Answered where packets are forwarded.
    Packet,
    /// Answered by the task that answers requests.
    Request,
}

/// What is thought of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Replies come in time.
    Up,
    /// A reply is late; two more probes are out.
    Suspect,
    /// Those were not answered in time either.
    Confirmed,
    /// Three misses in a row in one loop, which has been silent for a while.
    Down,
}

/// What the caller is to do or to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Probes of this loop were answered in time or are lost, each of which is said once. Of those
    /// that a stall of our own has voided nothing is said.
    Probed(Loop, Loss),
    /// A reply of this loop took so long, late or not.
    RoundTrip(Loop, Duration),
    /// Send a probe into this loop; its reply brings `id` back.
    SendProbe {
        /// Where the probe goes.
        r#loop: Loop,
        /// Never given twice by one machine.
        id: u64,
    },
    /// The state changed.
    StateChanged {
        /// Before.
        from: Health,
        /// Now.
        to: Health,
        /// Why.
        reason: Reason,
    },
    /// No reply at all for as long as a silent link is kept.
    Silent,
}

/// Why the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A reply of this loop is late.
    Late(Loop),
    /// Both confirming probes of this loop are late.
    ConfirmLate(Loop),
    /// This loop missed three in a row and has been silent for long enough.
    LoopSilent(Loop),
    /// This loop answered again.
    Answered(Loop),
    /// Both loops answered several times in a row.
    Recovered,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// As well as the worse of the two loops.
    Watching,
    Down {
        reported_silent: bool,
    },
}

impl Liveness {
    /// Starts with an Up link, and a first probe due at once.
    ///
    /// - `seed`: decides the jitter of the probes; give every link another.
    /// - `initial_rtt`: a guess such as the handshake's round trip; 333 ms without one. It counts
    ///   until the first reply, and with half of itself as variation it is pessimistic.
    pub fn new(
        config: LivenessConfig,
        seed: u64,
        initial_rtt: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            config,
            packet: Track::new(initial_rtt, now),
            request: Track::new(initial_rtt, now),
            state: State::Watching,
            next_probe: now,
            next_loop: Loop::Packet,
            next_id: 0,
            jitter: SplitMix64(seed),
            voided: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What is thought of the link.
    pub fn state(&self) -> Health {
        match self.state {
            State::Watching => self.packet.health().max(self.request.health()),
            State::Down { .. } => Health::Down,
        }
    }

    /// The smoothed round trip of the packet loop.
    pub fn srtt(&self) -> Duration {
        self.packet.rtt.srtt()
    }

    /// The variation of the packet loop's round trip.
    pub fn rttvar(&self) -> Duration {
        self.packet.rtt.rttvar()
    }

    /// Misses in a row in `r#loop`.
    pub fn misses(&self, r#loop: Loop) -> u32 {
        match r#loop {
            Loop::Packet => self.packet.misses,
            Loop::Request => self.request.misses,
        }
    }

    /// How many times a late timer of our own voided what it was to judge.
    pub fn voided(&self) -> u64 {
        self.voided
    }

    /// A reply came in.
    pub fn handle_reply(&mut self, now: Instant, r#loop: Loop, id: u64) {
        let before = self.state();
        if !self.take_reply(now, r#loop, id) {
            return;
        }
        match self.state {
            State::Watching => self.note(before, Reason::Answered(r#loop)),
            State::Down { .. } => {
                if self.packet.streak.min(self.request.streak) >= LEAVE_DOWN {
                    self.packet.start_anew();
                    self.request.start_anew();
                    self.state = State::Watching;
                    self.note(before, Reason::Recovered);
                }
            }
        }
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        debug_assert!(self.outputs.is_empty(), "drain the outputs first");
        let due = self.earliest();
        if now < due {
            return;
        }
        if now.duration_since(due) > self.config.tolerance() {
            self.void(now);
            return;
        }
        for r#loop in [Loop::Packet, Loop::Request] {
            self.judge(now, r#loop);
            self.send_confirming(now, r#loop);
        }
        if self.next_probe <= now {
            self.send_regular(now);
        }
        self.judge_silence(now);
    }

    /// When to call [`Liveness::handle_timeout`]. There is always a next probe.
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.earliest())
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// `false` if no probe of that id is remembered.
    fn take_reply(&mut self, now: Instant, r#loop: Loop, id: u64) -> bool {
        let Some(reply) = self.track(r#loop).on_reply(now, id) else {
            return false;
        };
        let Reply {
            round_trip,
            is_first_word,
        } = reply;
        self.outputs
            .push_back(Output::RoundTrip(r#loop, round_trip));
        if is_first_word {
            self.tell_probed(r#loop, 1, 0);
        }
        true
    }

    fn tell_probed(&mut self, r#loop: Loop, delivered: u64, lost: u64) {
        let loss = Loss { delivered, lost };
        self.outputs.push_back(Output::Probed(r#loop, loss));
    }

    fn earliest(&self) -> Instant {
        let down_at = |r#loop| match self.state {
            State::Watching => self.down_at(r#loop),
            State::Down { .. } => None,
        };
        let silent_at = match self.state {
            State::Down {
                reported_silent: false,
            } => Some(self.silent_at()),
            State::Down {
                reported_silent: true,
            }
            | State::Watching => None,
        };
        [
            self.packet.next_timeout(),
            self.request.next_timeout(),
            down_at(Loop::Packet),
            down_at(Loop::Request),
            silent_at,
        ]
        .into_iter()
        .flatten()
        .fold(self.next_probe, Instant::min)
    }

    /// When the silence of a loop that missed enough is a death: later while the other one answers.
    fn down_at(&self, r#loop: Loop) -> Option<Instant> {
        let (track, other) = match r#loop {
            Loop::Packet => (&self.packet, &self.request),
            Loop::Request => (&self.request, &self.packet),
        };
        let config = &self.config;
        let alone =
            (other.last_reply + config.down_after).min(track.last_reply + config.down_alone);
        let at = (track.last_reply + config.down_after).max(alone);
        (track.misses >= ENTER_DOWN).then_some(at)
    }

    fn silent_at(&self) -> Instant {
        self.packet.last_reply.max(self.request.last_reply) + SILENCE_LIMIT
    }

    /// Counts the probes of a loop that are late by now, and draws the conclusions.
    fn judge(&mut self, now: Instant, r#loop: Loop) {
        let lost = self.track(r#loop).take_lost(now);
        if lost > 0 {
            self.tell_probed(r#loop, 0, lost);
        }
        let before = self.state();
        let watching = matches!(self.state, State::Watching);
        match self.track(r#loop).judge(now, watching) {
            Verdict::Nothing => {}
            Verdict::Suspect => self.note(before, Reason::Late(r#loop)),
            Verdict::Confirmed => self.note(before, Reason::ConfirmLate(r#loop)),
        }
        if watching && self.down_at(r#loop).is_some_and(|at| at <= now) {
            let before = self.state();
            self.state = State::Down {
                reported_silent: false,
            };
            self.packet.write_off();
            self.request.write_off();
            self.note(before, Reason::LoopSilent(r#loop));
        }
    }

    fn judge_silence(&mut self, now: Instant) {
        let due = self.silent_at() <= now;
        match &mut self.state {
            State::Down { reported_silent } if due && !*reported_silent => {
                *reported_silent = true;
                self.outputs.push_back(Output::Silent);
            }
            State::Down { .. } | State::Watching => {}
        }
    }

    /// Our own stall: nothing that was to be judged meanwhile says anything about the peer.
    fn void(&mut self, now: Instant) {
        self.voided += 1;
        for r#loop in [Loop::Packet, Loop::Request] {
            self.track(r#loop).void(now);
            self.send_confirming(now, r#loop);
        }
        self.send_regular(now);
    }

    fn send_regular(&mut self, now: Instant) {
        let r#loop = self.next_loop;
        self.send(now, r#loop);
        self.next_loop = match r#loop {
            Loop::Packet => Loop::Request,
            Loop::Request => Loop::Packet,
        };
        // Jitter keeps the links of a node from probing in step. It only shortens, so that every
        // bound may be derived from the whole interval.
        let spread = self.config.interval / JITTER_PARTS;
        let cut = self.jitter.below(spread.as_nanos() as u64 + 1);
        self.next_probe = now + self.config.interval - Duration::from_nanos(cut);
    }

    fn send_confirming(&mut self, now: Instant, r#loop: Loop) {
        if self.track(r#loop).confirm_is_due(now) {
            let late_at = self.send(now, r#loop);
            self.track(r#loop).on_confirm_sent(now, late_at);
        }
    }

    fn send(&mut self, now: Instant, r#loop: Loop) -> Instant {
        if r#loop == Loop::Request && self.request.health() != Health::Up {
            self.send_one(now, Loop::Packet);
        }
        self.send_one(now, r#loop)
    }

    fn send_one(&mut self, now: Instant, r#loop: Loop) -> Instant {
        let id = self.next_id;
        self.next_id += 1;
        let slack = self.config.slack;
        self.outputs.push_back(Output::SendProbe { r#loop, id });
        self.track(r#loop).on_sent(now, id, slack)
    }

    fn note(&mut self, from: Health, reason: Reason) {
        let to = self.state();
        if from != to {
            self.outputs
                .push_back(Output::StateChanged { from, to, reason });
        }
    }

    fn track(&mut self, r#loop: Loop) -> &mut Track {
        match r#loop {
            Loop::Packet => &mut self.packet,
            Loop::Request => &mut self.request,
        }
    }
}

impl Track {
    fn health(&self) -> Health {
        match self.phase {
            Phase::Answering => Health::Up,
            Phase::Suspect(_) => Health::Suspect,
            Phase::Confirmed => Health::Confirmed,
        }
    }
}

/// Misses in a row, in one loop, that make a silent link Down: as routers' BFD counts by default.
const ENTER_DOWN: u32 = 3;
/// Timely replies in a row, in each loop, that end it: some 1.2 s by default. More than enough to
/// tell a peer that is back from one that answers now and then.
const LEAVE_DOWN: u32 = 3;
/// How long a link without any reply is kept.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// Jitter takes away up to one part in five of an interval.
const JITTER_PARTS: u32 = 5;
