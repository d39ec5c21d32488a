//! The task that cuts one link of the mesh, heals it, and watches which paths are used meanwhile.

use std::time::{Duration, Instant};

use causeway::clock;
use futures_util::future::join;
use tokio::sync::{oneshot, watch};

use super::mesh::CUT;
use crate::{
    failover::{ASK_INTERVAL, Failover},
    fleet::{Fleet, paths::PathClient, switch::Switch},
    traffic::trace::Trace,
};

/// A link that is to be cut, and whom to ask about it.
#[derive(Debug)]
pub(super) struct Cut {
    /// The link.
    pub switch: Switch,
    /// The nodes at its ends, each for its path to the other, in the order of the ways of
    /// [`Failover`].
    pub ends: [PathClient; 2],
    /// Where what happens is published.
    pub published: watch::Sender<Failover>,
    /// Where the flows between its ends leave what they have of it, in the same order.
    pub traced: [Option<oneshot::Sender<Trace>>; 2],
}

impl Cut {
    /// Where the flow between these two nodes, by their places in the mesh, leaves its trace, if
    /// that is wanted and was not asked for before.
    pub(super) fn take_traced(&mut self, ends: (usize, usize)) -> Option<oneshot::Sender<Trace>> {
        let way = match ends {
            CUT => 0,
            (from, to) if (to, from) == CUT => 1,
            _ => return None,
        };
        self.traced[way].take()
    }

    /// Cuts and heals, and asks every [`ASK_INTERVAL`] until `stop_at`.
    ///
    /// The moment of the cut is the one just before it was asked for, and that of a path the one
    /// when it was told: what is measured from the one to the other is never too short.
    ///
    /// # Errors
    /// The emulator did not do as it was told.
    ///
    /// # Cancel safety
    /// Not cancel safe: the link stays as it is then.
    pub(super) async fn run(self, origin: Instant, stop_at: Instant) -> anyhow::Result<()> {
        let age = |now: Instant| now.saturating_duration_since(origin);
        let mut step = Step::Cut;
        let mut next_ask = origin;
        loop {
            let next_step = match step {
                Step::Cut => origin + CUT_AT,
                Step::Heal => origin + HEAL_AT,
                Step::End => stop_at,
            };
            clock::sleep_until(Some(next_step.min(next_ask))).await;
            let now = clock::now();
            if now >= next_step {
                match step {
                    Step::Cut => {
                        self.switch.cut().await?;
                        self.published.send_modify(|it| it.handle_cut(age(now)));
                        step = Step::Heal;
                    }
                    Step::Heal => {
                        self.switch.heal().await?;
                        self.published.send_modify(|it| it.handle_healed(age(now)));
                        step = Step::End;
                    }
                    Step::End => return Ok(()),
                }
                continue;
            }
            join(self.ask(0, &age), self.ask(1, &age)).await;
            // After a stall the missed ones are not made up for.
            next_ask = (next_ask + ASK_INTERVAL).max(clock::now());
        }
    }

    async fn ask(&self, way: usize, age: &impl Fn(Instant) -> Duration) {
        let path = self.ends[way].ask().await;
        let at = age(clock::now());
        self.published
            .send_modify(|it| it.handle_path(at, way, path));
    }
}

/// A link that is cut, and what of it is known.
#[derive(Debug)]
pub(super) struct Tested {
    seen: watch::Receiver<Failover>,
    /// Of the flows between its ends, in the order of the ways; each comes when its flow ends.
    traces: [oneshot::Receiver<Trace>; 2],
    arrived: [Option<Trace>; 2],
}

impl Tested {
    /// Takes what flows that have ended left.
    pub(super) fn take_traces(&mut self) {
        for (arrived, trace) in self.arrived.iter_mut().zip(&mut self.traces) {
            // One that is not there yet is looked for at the next end of anything.
            *arrived = arrived.take().or_else(|| trace.try_recv().ok());
        }
    }

    /// What is known by now.
    pub(super) fn failover(&self) -> Failover {
        let mut failover = self.seen.borrow().clone();
        for (way, trace) in self.arrived.iter().enumerate() {
            if let Some(trace) = trace {
                failover.handle_trace(way, trace);
            }
        }
        failover
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Cut,
    Heal,
    End,
}

/// Who cuts the link, and what will be seen of it.
pub(super) fn prepare(fleet: &Fleet) -> (Cut, Tested) {
    let (a, b) = CUT;
    let region = |place| {
        let node = fleet.nodes().nth(place);
        node.map(|(_, region, _)| region).expect("the mesh has it")
    };
    let (published, seen) = watch::channel(Failover::new(region(a), region(b)));
    let [(there, from_there), (back, from_back)] = [oneshot::channel(), oneshot::channel()];
    let cut = Cut {
        switch: fleet.switch(a, b),
        ends: [fleet.path_client(a, b), fleet.path_client(b, a)],
        published,
        traced: [Some(there), Some(back)],
    };
    let tested = Tested {
        seen,
        traces: [from_there, from_back],
        arrived: [None, None],
    };
    (cut, tested)
}

/// When the link is cut, from the start of traffic: every flow has long been steady.
const CUT_AT: Duration = Duration::from_secs(5);
/// When it is healed: long enough after the cut that a node without another path is told from one
/// that has it, and shorter than the silence after which nodes give a connection up.
const HEAL_AT: Duration = Duration::from_secs(9);
/// The shortest run in which a link is cut: traffic comes back to a link once that has been well
/// for five seconds, and a busy machine may take as much again.
pub(super) const SHORTEST_RUN: Duration = Duration::from_secs(20);
