//! When to tell of flows whose packets get no further.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::wire::FlowId;

/// Limits what is said about flows that are not known here, or whose way ends here: each once in
/// [`TELL_EVERY`], and [`MAX_TOLD`] of them.
///
/// Packets of a flow that was closed a moment ago are the ordinary case, and garbage is the worst
/// one: neither may turn into a frame for each packet. What is not said now is said of a later
/// packet.
#[derive(Debug, Default)]
pub(super) struct UnknownFlows {
    told: VecDeque<(Instant, FlowId)>,
}

impl UnknownFlows {
    /// A packet of `flow` came and was dropped: whether to tell.
    pub(super) fn handle_packet(&mut self, now: Instant, flow: FlowId) -> bool {
        while let Some((at, _)) = self.told.front()
            && now.saturating_duration_since(*at) >= TELL_EVERY
        {
            self.told.pop_front();
        }
        let tell = self.told.len() < MAX_TOLD && self.told.iter().all(|(_, told)| *told != flow);
        if tell {
            self.told.push_back((now, flow));
        }
        tell
    }
}

const TELL_EVERY: Duration = Duration::from_secs(1);
/// Searched for each such packet, hence few; a node that lost all its flows gets its peers to open
/// them again at this many a second on each link, besides those whose link it lost too.
const MAX_TOLD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeGeneration, NodeKey};

    fn flow(number: u32) -> FlowId {
        FlowId {
            ingress: NodeKey([0; NodeKey::LEN]),
            generation: NodeGeneration(1),
            number,
        }
    }

    #[test]
    fn each_flow_is_told_once_a_second_and_no_more_than_the_limit() {
        let mut unknown = UnknownFlows::default();
        let now = crate::clock::now();
        assert!(unknown.handle_packet(now, flow(1)));
        assert!(!unknown.handle_packet(now, flow(1)));
        assert!(!unknown.handle_packet(now + TELL_EVERY - Duration::from_nanos(1), flow(1)));
        assert!(unknown.handle_packet(now + TELL_EVERY, flow(1)));
        let told =
            (2..1_000).filter(|number| unknown.handle_packet(now + TELL_EVERY, flow(*number)));
        assert_eq!(told.count(), MAX_TOLD - 1);
    }
}
