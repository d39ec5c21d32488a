//! When to tell the other end that packets come for a flow that is not known here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Limits what is said about unknown flows: each once in [`TELL_EVERY`], and [`MAX_TOLD`] of them.
///
/// Packets of a flow that was closed a moment ago are the ordinary case, and garbage is the worst
/// one: neither may turn into a frame for each packet. What is not said now is said of a later
/// packet.
#[derive(Debug, Default)]
pub(super) struct UnknownFlows {
    told: VecDeque<(Instant, u32)>,
}

impl UnknownFlows {
    /// A packet came for `flow`, which is not known: whether to tell the other end.
    pub(super) fn handle_packet(&mut self, now: Instant, flow: u32) -> bool {
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

    #[test]
    fn each_flow_is_told_once_a_second_and_no_more_than_the_limit() {
        let mut unknown = UnknownFlows::default();
        let now = crate::clock::now();
        assert!(unknown.handle_packet(now, 1));
        assert!(!unknown.handle_packet(now, 1));
        assert!(!unknown.handle_packet(now + TELL_EVERY - Duration::from_nanos(1), 1));
        assert!(unknown.handle_packet(now + TELL_EVERY, 1));
        let told = (2..1_000).filter(|flow| unknown.handle_packet(now + TELL_EVERY, *flow));
        assert_eq!(told.count(), MAX_TOLD - 1);
    }
}
