//! One keeper, its clock, and a shell that remembers what it was told.

use crate::{id::NodeKey, keeper::*};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The `nth` dial of the peer, or of this node.
pub(super) fn theirs(nth: u32) -> LinkGeneration {
    generation(9, nth)
}

pub(super) fn ours(nth: u32) -> LinkGeneration {
    generation(1, nth)
}

fn generation(dialer: u8, dial: u32) -> LinkGeneration {
    LinkGeneration {
        dialer: NodeKey([dialer; NodeKey::LEN]),
        node: NodeGeneration(100),
        dial,
    }
}

pub(super) fn refused() -> DialError {
    DialError {
        kind: DialErrorKind::Unreachable,
        text: "no route".into(),
    }
}

#[derive(Clone)]
pub(super) struct Bench {
    pub(super) keeper: Keeper,
    pub(super) start: Instant,
    pub(super) now: Instant,
    /// The outputs of the last event, without what was published.
    pub(super) outputs: Vec<Output>,
}

impl Bench {
    pub(super) fn new(role: Role) -> Self {
        let now = crate::clock::now();
        let config = KeeperConfig {
            role,
            seed: 7,
            epoch_floor: 0,
            backoff_max: Duration::from_secs(5),
            backoff_reset: Duration::from_secs(10),
        };
        Self {
            keeper: Keeper::new(config),
            start: now,
            now,
            outputs: Vec::new(),
        }
    }

    /// One event, one millisecond after the last.
    pub(super) fn act(&mut self, event: impl FnOnce(&mut Keeper, Instant)) -> &mut Self {
        self.now += ms(1);
        self.act_now(event)
    }

    fn act_now(&mut self, event: impl FnOnce(&mut Keeper, Instant)) -> &mut Self {
        event(&mut self.keeper, self.now);
        self.outputs.clear();
        while let Some(output) = self.keeper.poll_output() {
            if let Output::Publish(status) = &output {
                assert_eq!(status, self.keeper.status());
            } else {
                self.outputs.push(output);
            }
        }
        self
    }

    pub(super) fn want(&mut self) -> &mut Self {
        self.act(|keeper, now| keeper.want(now))
    }

    pub(super) fn facts(&self, link: LinkGeneration) -> LinkFacts {
        LinkFacts {
            link,
            began: self.start,
            peer_generation: NodeGeneration(100),
            peer_holds: None,
        }
    }

    pub(super) fn accepted(&mut self, link: LinkGeneration) -> &mut Self {
        let facts = self.facts(link);
        self.act(|keeper, now| keeper.handle_accepted(now, facts))
    }

    pub(super) fn dialed(&mut self, link: LinkGeneration) -> &mut Self {
        let facts = self.facts(link);
        let dial = self.keeper.dial.expect("a dial is out");
        self.act(|keeper, now| keeper.handle_dialed(now, dial, facts))
    }

    pub(super) fn dial_failed(&mut self) -> &mut Self {
        let dial = self.keeper.dial.expect("a dial is out");
        self.act(|keeper, now| keeper.handle_dial_failed(now, dial, refused()))
    }

    pub(super) fn promote(&mut self, link: LinkGeneration, epoch: u64) -> &mut Self {
        self.act(|keeper, now| keeper.handle_promote(now, link, epoch))
    }

    pub(super) fn promoted(&mut self, link: LinkGeneration, epoch: u64) -> &mut Self {
        self.act(|keeper, now| keeper.handle_promoted(now, link, epoch))
    }

    pub(super) fn health(&mut self, link: LinkGeneration, health: Health) -> &mut Self {
        self.act(|keeper, now| keeper.handle_health(now, link, health))
    }

    pub(super) fn closed(&mut self, link: LinkGeneration) -> &mut Self {
        self.act(|keeper, now| keeper.handle_closed(now, link, CloseCause::Lost))
    }

    pub(super) fn forget(&mut self) -> &mut Self {
        self.act(|keeper, now| keeper.forget(now, CloseCode::Removed, now + ms(1_000)))
    }

    /// Lets time pass up to the next timer.
    pub(super) fn timer(&mut self) -> &mut Self {
        self.now = self.keeper.poll_timeout().expect("a timer is armed");
        self.act_now(Keeper::handle_timeout)
    }

    pub(super) fn wait(&mut self, time: Duration) -> &mut Self {
        let until = self.now + time;
        while let Some(due) = self.keeper.poll_timeout().filter(|due| *due <= until) {
            self.now = due;
            self.act_now(Keeper::handle_timeout);
        }
        self.now = until;
        self
    }

    /// The outputs of the last event, in words.
    pub(super) fn said(&self) -> String {
        let words: Vec<_> = self.outputs.iter().map(word).collect();
        words.join(" ")
    }
}

/// A link by who dialed it and which dial it was: `t1`, `o0`.
pub(super) fn name(link: LinkGeneration) -> String {
    let dialer = if link.dialer.0[0] == 1 { "o" } else { "t" };
    format!("{dialer}{}", link.dial)
}

fn word(output: &Output) -> String {
    match output {
        Output::Dial { pool, .. } => format!("dial({pool:?})").to_lowercase(),
        Output::CancelDial { .. } => "cancel".to_owned(),
        Output::SendPromote { link, epoch } => format!("promote({},{epoch})", name(*link)),
        Output::SendPromoted { link, epoch } => format!("promoted({},{epoch})", name(*link)),
        Output::Retire { link, .. } => format!("retire({})", name(*link)),
        Output::Close { link, code, .. } => format!("close({},{code})", name(*link)),
        Output::Publish(_) => unreachable!("kept apart"),
        Output::StaleReported { known } => format!("stale({known})"),
    }
}
