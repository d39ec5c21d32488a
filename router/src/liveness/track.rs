//! What is known of one loop: its probes, its replies, its round trip.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::rtt::Rtt;

/// One loop of a link.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) rtt: Rtt,
    pub(super) phase: Phase,
    /// Misses since the last reply.
    pub(super) misses: u32,
    /// Timely replies since the last miss or late reply.
    pub(super) streak: u32,
    /// When the last reply came, or since when silence is counted.
    pub(super) last_reply: Instant,
    last_sample: Option<Duration>,
    /// Oldest first. Judged probes stay until they fall out, so that a late reply is a sample.
    probes: VecDeque<Probe>,
}

/// How a loop does while the link is not Down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Answering,
    Suspect(Confirm),
    Confirmed,
}

/// How far the confirmation of a suspicion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirm {
    /// The first probe is to be sent now.
    First,
    /// The first probe is out, the second is to be sent at this time.
    Second(Instant),
    /// Both are out. With no reply in between the second is the last to be late, at this time.
    Out(Instant),
}

/// What judging a loop brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    Suspect,
    Confirmed,
}

#[derive(Debug)]
struct Probe {
    id: u64,
    sent: Instant,
    late_at: Instant,
    /// Late and counted, or forgiven.
    judged: bool,
    /// Whether it was said what became of it.
    told: bool,
}

/// What a reply brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    /// How long it took.
    pub(super) round_trip: Duration,
    /// Whether the probe does not count as lost already.
    pub(super) is_first_word: bool,
}

impl Track {
    pub(super) fn new(initial_rtt: Option<Duration>, now: Instant) -> Self {
        Self {
            rtt: Rtt::new(initial_rtt),
            phase: Phase::Answering,
            misses: 0,
            streak: 0,
            last_reply: now,
            last_sample: None,
            probes: VecDeque::new(),
        }
    }

    /// A probe goes out: its reply is late beyond what is expected now, and `slack`.
    pub(super) fn on_sent(&mut self, now: Instant, id: u64, slack: Duration) -> Instant {
        if self.probes.len() == MAX_PROBES {
            self.probes.pop_front();
        }
        let late_at = now + (self.rtt.timeout() + slack).min(MAX_ALLOWANCE);
        self.probes.push_back(Probe {
            id,
            sent: now,
            late_at,
            judged: false,
            told: false,
        });
        late_at
    }

    /// Takes a reply in, if a probe of that id is remembered.
    pub(super) fn on_reply(&mut self, now: Instant, id: u64) -> Option<Reply> {
        let at = self.probes.iter().position(|probe| probe.id == id)?;
        // The peer answered a later probe: what became of the earlier ones no longer matters.
        for earlier in self.probes.range_mut(..at) {
            earlier.judged = true;
        }
        let probe = self.probes.remove(at)?;
        let sample = now.saturating_duration_since(probe.sent);
        self.rtt.handle_sample(sample);
        self.last_sample = Some(sample);
        self.last_reply = now;
        self.misses = 0;
        // A frozen peer that comes back answers at once all that it slept through. That is life,
        // but only replies in time make the streak that ends an outage.
        self.streak = if now < probe.late_at {
            self.streak + 1
        } else {
            0
        };
        self.phase = match self.phase {
            Phase::Confirmed if self.streak < LEAVE_CONFIRMED => Phase::Confirmed,
            Phase::Answering | Phase::Suspect(_) | Phase::Confirmed => Phase::Answering,
        };
        Some(Reply {
            round_trip: sample,
            is_first_word: !probe.told,
        })
    }

    /// How many probes are lost by `now` of which that was not said before.
    ///
    /// Those that a later reply has forgiven are among them, as soon as their own is late: they are
    /// no sign of the peer's death, but they are lost.
    pub(super) fn take_lost(&mut self, now: Instant) -> u64 {
        let late = |probe: &&mut Probe| !probe.told && probe.late_at <= now;
        let mut lost = 0;
        for probe in self.probes.iter_mut().filter(late) {
            probe.told = true;
            lost += 1;
        }
        lost
    }

    /// Counts the probes that are late by `now` as misses, and moves on from Answering and Suspect
    /// if `watching`.
    pub(super) fn judge(&mut self, now: Instant, watching: bool) -> Verdict {
        for probe in &mut self.probes {
            if !probe.judged && probe.late_at <= now {
                probe.judged = true;
                self.misses += 1;
                self.streak = 0;
            }
        }
        match self.phase {
            Phase::Answering if watching && self.misses > 0 => {
                self.phase = Phase::Suspect(Confirm::First);
                Verdict::Suspect
            }
            Phase::Suspect(Confirm::Out(late_at)) if late_at <= now => {
                self.phase = Phase::Confirmed;
                Verdict::Confirmed
            }
            Phase::Answering | Phase::Suspect(_) | Phase::Confirmed => Verdict::Nothing,
        }
    }

    /// Whether a confirming probe is to be sent now; [`Track::on_confirm_sent`] says that it was.
    pub(super) fn confirm_is_due(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Suspect(Confirm::First) => true,
            Phase::Suspect(Confirm::Second(at)) => at <= now,
            Phase::Suspect(Confirm::Out(_)) | Phase::Answering | Phase::Confirmed => false,
        }
    }

    /// The confirming probe that was due went out; its reply is late at `late_at`.
    pub(super) fn on_confirm_sent(&mut self, now: Instant, late_at: Instant) {
        self.phase = match self.phase {
            Phase::Suspect(Confirm::First) => {
                Phase::Suspect(Confirm::Second(now + CONFIRM_SPACING))
            }
            Phase::Suspect(Confirm::Second(_) | Confirm::Out(_)) => {
                Phase::Suspect(Confirm::Out(late_at))
            }
            unsuspected @ (Phase::Answering | Phase::Confirmed) => unsuspected,
        };
    }

    /// Forgets the outstanding probes without a miss; silence counts from now.
    pub(super) fn void(&mut self, now: Instant) {
        self.probes.retain(|probe| probe.judged);
        // Nor is anything said of those that were only forgiven: they may have been answered.
        for forgiven in &mut self.probes {
            forgiven.told = true;
        }
        self.last_reply = now;
        self.phase = match self.phase {
            Phase::Suspect(_) => Phase::Suspect(Confirm::First),
            other @ (Phase::Answering | Phase::Confirmed) => other,
        };
    }

    /// The link went Down: from here only a streak counts.
    pub(super) fn write_off(&mut self) {
        self.phase = Phase::Answering;
        self.streak = 0;
    }

    /// The link left Down: what was measured before describes another path.
    pub(super) fn start_anew(&mut self) {
        if let Some(sample) = self.last_sample {
            self.rtt.restart(sample);
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.probes.len()
    }

    /// When something of this loop is due next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let confirm = match self.phase {
            Phase::Suspect(Confirm::Second(at)) => Some(at),
            Phase::Suspect(Confirm::First | Confirm::Out(_))
            | Phase::Answering
            | Phase::Confirmed => None,
        };
        let late = self.probes.iter().filter(|probe| !probe.judged);
        late.map(|probe| probe.late_at).chain(confirm).min()
    }
}

/// Timely replies in a row that clear a confirmed suspicion. Entering it takes three misses.
const LEAVE_CONFIRMED: u32 = 2;
/// Far enough apart that one queue's overflow does not take both confirming probes.
const CONFIRM_SPACING: Duration = Duration::from_millis(20);
/// No reply is waited for longer, whatever was measured: a peer that answered a burst of probes
/// seconds late would otherwise be trusted to be as slow again.
const MAX_ALLOWANCE: Duration = Duration::from_secs(2);
/// Covers more than two seconds of probes at the fast pace with a confirming pair after every
/// other one. When full, the oldest is forgotten without a miss.
const MAX_PROBES: usize = 64;
