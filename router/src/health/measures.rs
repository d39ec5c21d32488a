//! What loss and delay say about a pair.

use std::time::{Duration, Instant};

use super::{
    Hold, Reason,
    config::{
        BELIEVED, HealthConfig, LOSS_FALL, LOSS_FALL_ROUND, LOSS_RISE, LOSS_RISE_ROUND, QUEUE_FALL,
        QUEUE_RISE,
    },
};
use crate::window::{Loss, LossWindow, Stretch};

/// Which way packets took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From us to the peer.
    Out,
    /// From the peer to us.
    In,
    /// There and back: probes and their replies.
    Round,
}

/// Loss and delay of a pair, each way by itself.
#[derive(Debug, Clone)]
pub(super) struct Measures {
    fall: Stretch,
    rise: Stretch,
    queue: Duration,
    stay: Duration,
    ways: [Measure; 3],
}

#[derive(Debug, Clone)]
struct Measure {
    loss: LossWindow,
    /// Whether what is counted next was sent before.
    overdue: bool,
    queue: Option<Queue>,
}

/// A queue that was above what a pair may come back with.
#[derive(Debug, Clone, Copy)]
struct Queue {
    /// Since when every report was above what ends Up.
    high_since: Option<Instant>,
    /// When it was last seen.
    last: Instant,
}

impl Measures {
    pub(super) fn new(config: &HealthConfig, now: Instant) -> Self {
        let measure = Measure {
            loss: LossWindow::new(now),
            overdue: false,
            queue: None,
        };
        Self {
            fall: config.fall,
            rise: config.rise,
            queue: config.queue,
            stay: config.stay,
            ways: [measure.clone(), measure.clone(), measure],
        }
    }

    pub(super) fn handle_loss(&mut self, now: Instant, way: Way, mut loss: Loss) {
        let measure = self.way(way);
        if loss.packets() > 0 && std::mem::take(&mut measure.overdue) {
            loss.lost = 0;
        }
        measure.loss.handle_loss(now, loss);
    }

    pub(super) fn handle_delay(&mut self, now: Instant, way: Way, variation: Duration) {
        let queue = &mut self.way(way).queue;
        let high_since = queue
            .filter(|queue| now.saturating_duration_since(queue.last) <= MAX_GAP)
            .and_then(|queue| queue.high_since);
        if variation > QUEUE_RISE {
            *queue = Some(Queue {
                high_since: (variation >= QUEUE_FALL).then_some(high_since.unwrap_or(now)),
                last: now,
            });
        } else if let Some(queue) = queue {
            queue.high_since = None;
        }
    }

    /// What is bad enough to end Up.
    pub(super) fn trouble(&mut self, now: Instant) -> Option<Reason> {
        let (fall, queue) = (self.fall, self.queue);
        WAYS.into_iter().find_map(|way| {
            let (limit, _) = limits(way);
            let measure = self.way(way);
            let loss = &mut measure.loss;
            if loss.has_lost(now) && loss.trailing(now, fall).reaches(limit, BELIEVED) {
                return Some(Reason::Lossy(way));
            }
            let stands = |queue_seen: &Queue| {
                let since = queue_seen.high_since?;
                (queue_seen.last.saturating_duration_since(since) >= queue).then_some(())
            };
            measure.queue.as_ref().and_then(stands)?;
            Some(Reason::Delayed(way))
        })
    }

    /// What is too bad for coming back.
    pub(super) fn hold(&mut self, now: Instant) -> Option<Hold> {
        let (rise, stay) = (self.rise, self.stay);
        WAYS.into_iter().find_map(|way| {
            let (_, limit) = limits(way);
            let measure = self.way(way);
            if measure.loss.trailing(now, rise).exceeds(limit) {
                return Some(Hold::Lossy(way));
            }
            let recent = |queue: Queue| now.saturating_duration_since(queue.last) < stay;
            measure
                .queue
                .is_some_and(recent)
                .then_some(Hold::Delayed(way))
        })
    }

    /// No queue is known to stand, whatever was seen.
    pub(super) fn forget_queues(&mut self) {
        for measure in &mut self.ways {
            if let Some(queue) = &mut measure.queue {
                queue.high_since = None;
            }
        }
    }

    /// Nothing is known, and of what was lost before, nothing is to be heard.
    ///
    /// What traffic lost at the moment when it left shows as a gap when there is traffic again, so
    /// the first count of each way tells of that. Counted as of now, it would end Up once more.
    pub(super) fn clear(&mut self) {
        for measure in &mut self.ways {
            measure.loss.clear();
            measure.overdue = true;
            measure.queue = None;
        }
    }

    fn way(&mut self, way: Way) -> &mut Measure {
        match way {
            Way::Out => &mut self.ways[0],
            Way::In => &mut self.ways[1],
            Way::Round => &mut self.ways[2],
        }
    }
}

/// Losses in a thousand that end Up, and up to which a pair may come back.
fn limits(way: Way) -> (u64, u64) {
    match way {
        Way::Out | Way::In => (LOSS_FALL, LOSS_RISE),
        Way::Round => (LOSS_FALL_ROUND, LOSS_RISE_ROUND),
    }
}

const WAYS: [Way; 3] = [Way::Out, Way::In, Way::Round];

/// Between reports that are further apart, a queue may have come and gone: twice the distance of
/// probes on a link that nothing uses.
const MAX_GAP: Duration = Duration::from_secs(2);
