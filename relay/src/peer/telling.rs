//! Tells readers, the router and the operator what is thought of the peer.

use std::time::{Duration, Instant};

use router::health::Condition;
use tokio::{sync::mpsc::error::TrySendError, time::timeout};
use tracing::info;

use super::{
    PeerTask,
    pair::{ConditionChange, PairFigures},
};
use crate::navigator::{NavigatorEvent, PairReport};

impl PeerTask {
    /// Says what changed since the last time.
    pub(super) fn tell_of_pair(&mut self, now: Instant) {
        let current = self.peer.slot.load().link.clone();
        let link = current
            .as_ref()
            .map(|link| (link.generation, link.health()));
        self.pair.handle_current(now, link);
        while let Some(change) = self.pair.poll_change(now) {
            let ConditionChange {
                from, to, reason, ..
            } = change;
            info!(peer = %self.peer.id, %from, %to, %reason, "peer judged");
            self.mesh.counts.conditions.incr(reason.into());
            self.unreported = true;
        }
        self.peer.set_condition(self.pair.condition());
        if now >= self.figures_at && current.is_some() {
            self.unreported = true;
        }
        if self.pair.is_news(now) {
            let PairFigures { rtt, loss_ppm, .. } = self.pair.figures(now);
            let report = PairReport {
                peer: self.peer.id.clone(),
                link: current,
                condition: self.pair.condition(),
                rtt,
                loss_ppm,
            };
            let event = NavigatorEvent::Pair(Box::new(report));
            // A router that has ended needs to hear nothing.
            let full = matches!(
                self.mesh.navigator.try_send(event),
                Err(TrySendError::Full(_))
            );
            self.pair.handle_said(now, !full);
        }
    }

    /// The peer is no more: the last that the router hears of it.
    pub(super) async fn tell_gone(&self) {
        self.peer.set_condition(Condition::Down);
        let report = PairReport {
            peer: self.peer.id.clone(),
            link: None,
            condition: Condition::Down,
            rtt: None,
            loss_ppm: 0,
        };
        let event = NavigatorEvent::Pair(Box::new(report));
        // A router that takes nothing for so long is not running; one that has ended, neither.
        let _ = timeout(TELL_WITHIN, self.mesh.navigator.send(event)).await;
    }
}

/// The router reads its queue within milliseconds.
const TELL_WITHIN: Duration = Duration::from_secs(1);
