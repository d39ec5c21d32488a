//! The flows that a link carries to this node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use crate::wire::FlowId;

/// Finds the sink of a flow; whoever opened the flow owns the sink.
///
/// Removal is a message that a full queue may drop. A sink whose owner is gone is therefore not
/// found either, and such entries are swept when the map has doubled since the last sweep: it never
/// holds more than twice what is alive, and a sweep costs nothing per flow in the long run.
#[derive(Debug)]
pub(super) struct Sinks<T> {
    by_flow: BTreeMap<FlowId, Weak<T>>,
    sweep_at: usize,
}

impl<T> Sinks<T> {
    pub(super) fn new() -> Self {
        Self {
            by_flow: BTreeMap::new(),
            sweep_at: MIN_SWEEP,
        }
    }

    pub(super) fn insert(&mut self, flow: FlowId, sink: Weak<T>) {
        if self.by_flow.len() >= self.sweep_at {
            self.by_flow.retain(|_, sink| sink.strong_count() > 0);
            self.sweep_at = MIN_SWEEP.max(2 * self.by_flow.len());
        }
        self.by_flow.insert(flow, sink);
    }

    pub(super) fn remove(&mut self, flow: FlowId) {
        self.by_flow.remove(&flow);
    }

    /// The sink of `flow`, while its owner keeps it.
    pub(super) fn get(&self, flow: FlowId) -> Option<Arc<T>> {
        self.by_flow.get(&flow)?.upgrade()
    }
}

const MIN_SWEEP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeGeneration, NodeKey};

    fn flow(ingress: u8, number: u32) -> FlowId {
        FlowId {
            ingress: NodeKey([ingress; NodeKey::LEN]),
            generation: NodeGeneration(1),
            number,
        }
    }

    #[test]
    fn sink_is_found_until_it_is_removed_or_its_owner_lets_go() {
        let mut sinks = Sinks::new();
        let (first, second) = (Arc::new(1), Arc::new(2));
        sinks.insert(flow(0, 1), Arc::downgrade(&first));
        sinks.insert(flow(0, 2), Arc::downgrade(&second));
        assert_eq!(sinks.get(flow(0, 1)).as_deref(), Some(&1));
        sinks.remove(flow(0, 1));
        assert!(sinks.get(flow(0, 1)).is_none());
        drop(second);
        assert!(sinks.get(flow(0, 2)).is_none());
    }

    #[test]
    fn flows_of_two_ingresses_with_one_number_are_two() {
        let mut sinks = Sinks::new();
        let (one, other) = (Arc::new(1), Arc::new(2));
        sinks.insert(flow(1, 7), Arc::downgrade(&one));
        sinks.insert(flow(2, 7), Arc::downgrade(&other));
        assert_eq!(sinks.get(flow(1, 7)).as_deref(), Some(&1));
        assert_eq!(sinks.get(flow(2, 7)).as_deref(), Some(&2));
        assert!(sinks.get(flow(3, 7)).is_none());
    }

    #[test]
    fn lost_removals_leave_at_most_twice_what_is_alive() {
        let mut sinks = Sinks::new();
        let alive: Vec<Arc<u32>> = (0..100).map(Arc::new).collect();
        for sink in &alive {
            sinks.insert(flow(0, **sink), Arc::downgrade(sink));
        }
        for number in 1_000..100_000 {
            sinks.insert(flow(0, number), Arc::downgrade(&Arc::new(number)));
            assert!(sinks.by_flow.len() <= 2 * alive.len() + 1);
        }
        let found = |sink: &Arc<u32>| sinks.get(flow(0, **sink)).is_some();
        assert!(alive.iter().all(found));
    }
}
