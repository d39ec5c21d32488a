//! One flow of a [`FlowTable`](super::FlowTable): where it is open, and where it wants to be.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Course, OPEN_WITHIN, Ways};
use crate::routes::Fit;

#[derive(Debug)]
pub(super) struct Flow<W> {
    pub(super) client: SocketAddr,
    pub(super) next_sequence: u64,
    pub(super) last_packet: Instant,
    /// Whether it was accepted once.
    pub(super) was_open: bool,
    /// Ways on which a node could not go on, and until when each is left alone.
    avoided: Vec<(W, Instant)>,
    pub(super) phase: Phase<W>,
}

#[derive(Debug)]
pub(super) enum Phase<W> {
    Opening {
        way: Option<W>,
        give_up_at: Instant,
        held: VecDeque<Bytes>,
    },
    Open {
        way: W,
        next: Option<Next<W>>,
        spare: Option<Spare<W>>,
        /// When to tell the far end, again, that this is the way now; `None` once it has answered.
        confirm_at: Option<Instant>,
    },
    Refused {
        until: Instant,
    },
}

/// The move of an open flow to another way.
#[derive(Debug)]
pub(super) struct Next<W> {
    /// Where it is being opened; `None` if it was refused there.
    pub(super) way: Option<W>,
    /// When to try again.
    pub(super) until: Instant,
}

/// The way that an open flow changes to when its own breaks.
#[derive(Debug)]
pub(super) enum Spare<W> {
    /// Being opened there.
    Asked {
        way: W,
        /// When to ask again.
        until: Instant,
    },
    /// Open there: packets may go at any time.
    Ready { way: W },
    /// Not to be had.
    Refused {
        /// When to ask again.
        until: Instant,
    },
}

/// What a flow needs a frame for.
#[derive(Debug)]
pub(super) enum Wish<W> {
    /// To be opened on a way that is yet to be found.
    Open,
    /// To be confirmed on the way that it is on.
    Confirm(W),
    /// To be opened on this way too, for when its own breaks.
    Spare(W),
}

impl<W> Spare<W> {
    /// Where the flow is, or is being, opened.
    pub(super) fn way(&self) -> Option<&W> {
        match self {
            Self::Asked { way, .. } | Self::Ready { way } => Some(way),
            Self::Refused { .. } => None,
        }
    }

    fn way_mut(&mut self) -> Option<&mut W> {
        match self {
            Self::Asked { way, .. } | Self::Ready { way } => Some(way),
            Self::Refused { .. } => None,
        }
    }
}

impl<W: Clone> Flow<W> {
    pub(super) fn new(now: Instant, client: SocketAddr) -> Self {
        Self {
            client,
            next_sequence: 0,
            last_packet: now,
            was_open: false,
            avoided: Vec::new(),
            phase: opening(now, None),
        }
    }

    /// What the way that it is, or is being, opened on is good for.
    pub(super) fn own_fit(&self, now: Instant, ways: &impl Ways<W>) -> Fit {
        match &self.phase {
            Phase::Open { way, .. } | Phase::Opening { way: Some(way), .. } => {
                self.fit(now, way, ways)
            }
            Phase::Opening { way: None, .. } | Phase::Refused { .. } => Fit::Gone,
        }
    }

    /// What `way` is good for, for this flow.
    pub(super) fn fit(&self, now: Instant, way: &W, ways: &impl Ways<W>) -> Fit {
        match self.avoids(now, way, ways) {
            true => Fit::Gone,
            false => ways.fit(way),
        }
    }

    /// Whether a node could not go on there a moment ago.
    pub(super) fn avoids(&self, now: Instant, way: &W, ways: &impl Ways<W>) -> bool {
        let mut avoided = self.avoided.iter();
        avoided.any(|(avoided, until)| now < *until && ways.is_same(avoided, way))
    }

    /// Leaves `way` alone for a while.
    pub(super) fn avoid(&mut self, now: Instant, way: W, until: Instant) {
        self.avoided.retain(|(_, until)| now < *until);
        // A route has two ways; more come only while routes change.
        self.avoided.truncate(MAX_AVOIDED - 1);
        self.avoided.push((way, until));
    }

    /// Takes the routes' own handles for the ways that it has.
    ///
    /// A way that was left and is taken up again has another handle. The old one says that it is
    /// left for good: the flow would go on asking to move to where it is, and never have a spare.
    pub(super) fn renew(&mut self, ways: &impl Ways<W>) {
        let (way, next, spare) = match &mut self.phase {
            Phase::Opening { way: Some(way), .. } => (way, None, None),
            Phase::Open {
                way, next, spare, ..
            } => (way, next.as_mut(), spare.as_mut()),
            Phase::Opening { way: None, .. } | Phase::Refused { .. } => return,
        };
        let Some(Course { primary, backup }) = ways.course(way) else {
            return;
        };
        let next = next.and_then(|next| next.way.as_mut());
        let spare = spare.and_then(Spare::way_mut);
        for held in [Some(way), next, spare].into_iter().flatten() {
            let mut known = std::iter::once(&primary).chain(&backup);
            if let Some(known) = known.find(|known| ways.is_same(known, held)) {
                *held = known.clone();
            }
        }
    }

    /// Changes to the spare, if the flow is open there and it carries packets.
    ///
    /// The far end learns of that by a frame, which may come after the first packets: it takes
    /// them, and answers on the old way until then.
    pub(super) fn take_over(&mut self, now: Instant, ways: &impl Ways<W>) -> bool {
        let ready = match &self.phase {
            Phase::Open {
                spare: Some(Spare::Ready { way }),
                ..
            } if self.fit(now, way, ways) != Fit::Gone => way.clone(),
            Phase::Open { .. } | Phase::Opening { .. } | Phase::Refused { .. } => return false,
        };
        self.phase = Phase::Open {
            way: ready,
            next: None,
            spare: None,
            confirm_at: Some(now),
        };
        true
    }

    /// Gives up its way, which carries nothing: the flow is opened again where it was on its way
    /// to, or on a way that is yet to be found. Whether it has to be found.
    pub(super) fn reopen(&mut self, now: Instant, ways: &impl Ways<W>) -> bool {
        let next = match &mut self.phase {
            Phase::Open { next, .. } => next.take().and_then(|next| next.way),
            Phase::Opening { .. } | Phase::Refused { .. } => None,
        };
        let next = next.filter(|way| self.fit(now, way, ways) != Fit::Gone);
        let lost = next.is_none();
        self.phase = opening(now, next);
        lost
    }

    /// Does what a look at its ways shows and takes no frame. Returns what was held for too long.
    pub(super) fn settle(&mut self, now: Instant, ways: &impl Ways<W>) -> VecDeque<Bytes> {
        self.avoided.retain(|(_, until)| now < *until);
        self.renew(ways);
        match &self.phase {
            Phase::Open { way, .. } => match self.fit(now, way, ways) {
                Fit::Gone => {
                    if !self.take_over(now, ways) {
                        self.reopen(now, ways);
                    }
                }
                Fit::Good | Fit::Leaving => self.settle_open(now, ways),
            },
            Phase::Opening { .. } => return self.settle_opening(now, ways),
            Phase::Refused { .. } => {}
        }
        VecDeque::new()
    }

    /// Its way carries packets.
    fn settle_open(&mut self, now: Instant, ways: &impl Ways<W>) {
        let Phase::Open { way, spare, .. } = &self.phase else {
            return;
        };
        let target = self.target(now, way, ways);
        let stays = target.is_none() && self.fit(now, way, ways) == Fit::Good;
        let is_ready = match (spare, &target) {
            (Some(Spare::Ready { way }), Some(target)) => ways.is_same(way, target),
            _ => false,
        };
        let spare_way = spare.as_ref().and_then(Spare::way);
        let spare_lost = spare_way.is_some_and(|way| self.fit(now, way, ways) == Fit::Gone);
        if is_ready && self.take_over(now, ways) {
            return;
        }
        if let Phase::Open { next, spare, .. } = &mut self.phase {
            if stays {
                *next = None;
            }
            if spare_lost {
                *spare = None;
            }
        }
    }

    fn settle_opening(&mut self, now: Instant, ways: &impl Ways<W>) -> VecDeque<Bytes> {
        let lost = match &self.phase {
            Phase::Opening { way: Some(way), .. } => self.fit(now, way, ways) == Fit::Gone,
            _ => false,
        };
        let Phase::Opening {
            way,
            give_up_at,
            held,
        } = &mut self.phase
        else {
            return VecDeque::new();
        };
        if lost {
            *way = None;
        }
        // The first opening ends the flow when it is late, another one starts over.
        if self.was_open && *give_up_at <= now {
            *way = None;
            *give_up_at = now + OPEN_WITHIN;
            return std::mem::take(held);
        }
        VecDeque::new()
    }

    /// What it needs now, after [`Flow::settle`]; one thing at a time.
    pub(super) fn wish(&self, now: Instant, ways: &impl Ways<W>) -> Option<Wish<W>> {
        match &self.phase {
            Phase::Opening { way, .. } => way.is_none().then_some(Wish::Open),
            Phase::Refused { .. } => None,
            Phase::Open {
                way,
                next,
                spare,
                confirm_at,
            } => {
                if confirm_at.is_some_and(|at| at <= now) {
                    return Some(Wish::Confirm(way.clone()));
                }
                let leaves = ways.fit(way) == Fit::Leaving;
                if leaves || self.target(now, way, ways).is_some() {
                    let is_due = next.as_ref().is_none_or(|next| next.until <= now);
                    return is_due.then_some(Wish::Open);
                }
                let wanted = self.wanted_spare(now, way, ways)?;
                let is_due = match spare {
                    None => true,
                    Some(Spare::Asked { way, until }) => {
                        *until <= now || !ways.is_same(way, &wanted)
                    }
                    Some(Spare::Ready { way }) => !ways.is_same(way, &wanted),
                    Some(Spare::Refused { until }) => *until <= now,
                };
                is_due.then_some(Wish::Spare(wanted))
            }
        }
    }

    /// The frame for a wish goes out.
    pub(super) fn handle_said(&mut self, now: Instant, wish: &Wish<W>) {
        let Phase::Open {
            spare, confirm_at, ..
        } = &mut self.phase
        else {
            return;
        };
        let until = now + OPEN_WITHIN;
        match wish {
            Wish::Open => {}
            Wish::Confirm(_) => *confirm_at = Some(until),
            Wish::Spare(way) => {
                let way = way.clone();
                *spare = Some(Spare::Asked { way, until });
            }
        }
    }

    /// The way that traffic to its node takes, if that is another one and works.
    fn target(&self, now: Instant, way: &W, ways: &impl Ways<W>) -> Option<W> {
        let Course { primary, .. } = ways.course(way)?;
        let is_other = !ways.is_same(&primary, way);
        (is_other && self.fit(now, &primary, ways) == Fit::Good).then_some(primary)
    }

    /// What should stand by for a flow on `way`.
    fn wanted_spare(&self, now: Instant, way: &W, ways: &impl Ways<W>) -> Option<W> {
        let course = ways.course(way)?;
        course
            .backup
            .filter(|spare| !ways.is_same(spare, way) && self.fit(now, spare, ways) == Fit::Good)
    }

    pub(super) fn ends_at(&self, idle: Duration) -> Instant {
        match self.phase {
            Phase::Opening { give_up_at, .. } if !self.was_open => give_up_at,
            Phase::Opening { .. } | Phase::Open { .. } => self.last_packet + idle,
            Phase::Refused { until } => until,
        }
    }
}

fn opening<W>(now: Instant, way: Option<W>) -> Phase<W> {
    Phase::Opening {
        way,
        give_up_at: now + OPEN_WITHIN,
        held: VecDeque::new(),
    }
}

const MAX_AVOIDED: usize = 4;
