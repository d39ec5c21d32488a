//! A pair over a network: liveness, traffic, reports, and this end's judgement of it all.

use std::collections::BTreeMap;

use super::*;
use crate::liveness::{Liveness, LivenessConfig, Loop, Output};

/// Says whether what leaves at this time after the start, on this way, is lost.
pub(super) type Network = Box<dyn FnMut(Duration, Way) -> bool>;

pub(super) struct Bench {
    pub(super) live: Liveness,
    pub(super) pair: PairHealth,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) changes: Vec<(Duration, Change)>,
    network: Network,
    rtt: Duration,
    /// Packets a second, both ways, while the pair carries.
    rate: u64,
    /// What was sent and is not reported yet, on its way out and in.
    out: Loss,
    back: Loss,
    events: BTreeMap<(Instant, u64), Event>,
    numbered: u64,
}

enum Event {
    Reply(Loop, u64),
    Report,
    Reported(Loss),
}

impl Bench {
    pub(super) fn new(fast: bool, seed: u64, rtt: Duration, rate: u64, network: Network) -> Self {
        let start = origin();
        let (liveness, health) = if fast {
            (LivenessConfig::fast(), HealthConfig::fast())
        } else {
            (LivenessConfig::default(), HealthConfig::default())
        };
        let mut bench = Self {
            live: Liveness::new(liveness, seed, Some(rtt), start),
            pair: PairHealth::new(health, start),
            start,
            now: start,
            changes: Vec::new(),
            network,
            rtt,
            rate,
            out: Loss::default(),
            back: Loss::default(),
            events: BTreeMap::new(),
            numbered: 0,
        };
        bench.pair.handle_liveness(start, Some(bench.live.state()));
        bench.at(start + ms(100), Event::Report);
        bench
    }

    pub(super) fn since(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn run_until(&mut self, until: Duration) {
        let until = self.start + until;
        loop {
            let timers = [self.live.poll_timeout(), self.pair.poll_timeout()];
            let timer = timers.into_iter().flatten().min().unwrap();
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let next = event.map_or(timer, |event| event.min(timer));
            if next > until {
                break;
            }
            // After a stall, all that was due is done now.
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.handle(event);
            } else {
                let voided = self.live.voided();
                self.live.handle_timeout(self.now);
                if self.live.voided() > voided {
                    self.pair.handle_stall(self.now, self.now - next);
                }
                self.pair.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = until.max(self.now);
    }

    /// The process stands still.
    pub(super) fn stall(&mut self, time: Duration) {
        self.now += time;
    }

    /// When traffic left for the first time after `from`.
    pub(super) fn fell(&self, from: Duration) -> Option<Duration> {
        self.first(from, |change| !change.to.carries())
    }

    pub(super) fn first(&self, from: Duration, is: impl Fn(&Change) -> bool) -> Option<Duration> {
        let mut changes = self.changes.iter();
        let found = changes.find(|(at, change)| *at >= from && is(change));
        found.map(|(at, _)| *at)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Reply(r#loop, id) => {
                self.live.handle_reply(self.now, r#loop, id);
            }
            Event::Report => self.report(),
            Event::Reported(loss) => self.pair.handle_loss(self.now, Way::Out, loss),
        }
    }

    /// A tenth of a second of packets, and both ends' reports of them.
    fn report(&mut self) {
        let (now, at) = (self.now, self.since());
        self.at(now + ms(100), Event::Report);
        if !self.pair.condition().carries() {
            return;
        }
        let tenth = at.as_millis() as u64 / 100;
        let packets = self.rate * (tenth + 1) / 10 - self.rate * tenth / 10;
        for _ in 0..packets {
            for way in [Way::Out, Way::In] {
                let lost = u64::from((self.network)(at, way));
                let sum = if way == Way::Out {
                    &mut self.out
                } else {
                    &mut self.back
                };
                sum.delivered += 1 - lost;
                sum.lost += lost;
            }
        }
        // What is missing shows when something else arrives.
        if self.back.delivered > 0 {
            let back = std::mem::take(&mut self.back);
            self.pair.handle_loss(now, Way::In, back);
        }
        if self.out.delivered > 0 && !(self.network)(at, Way::In) {
            let out = std::mem::take(&mut self.out);
            self.at(now + self.rtt, Event::Reported(out));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::SendProbe { r#loop, id } => {
                    let at = self.since();
                    let lost =
                        (self.network)(at, Way::Out) || (self.network)(at + self.rtt / 2, Way::In);
                    if !lost {
                        self.at(self.now + self.rtt, Event::Reply(r#loop, id));
                    }
                }
                Output::StateChanged { to, .. } => self.pair.handle_liveness(self.now, Some(to)),
                Output::Probed(_, loss) => self.pair.handle_loss(self.now, Way::Round, loss),
                Output::RoundTrip(Loop::Packet, _) => self.pair.handle_answer(self.now),
                Output::RoundTrip(Loop::Request, _) | Output::Silent => {}
            }
        }
        while let Some(change) = self.pair.poll_output() {
            self.changes.push((self.since(), change));
        }
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.numbered += 1;
        self.events.insert((at, self.numbered), event);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
pub(super) fn origin() -> Instant {
    Instant::now()
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
