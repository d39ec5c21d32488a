//! The flows that a link carries to this node, by number.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// Finds the sink of a flow; whoever opened the flow owns the sink.
///
/// Removal is a message that a full queue may drop. A sink whose owner is gone is therefore not
/// found either, and such entries are swept when the map has doubled since the last sweep: it never
/// holds more than twice what is alive, and a sweep costs nothing per flow in the long run.
#[derive(Debug)]
pub(super) struct Sinks<T> {
    by_flow: BTreeMap<u32, Weak<T>>,
    sweep_at: usize,
}

impl<T> Sinks<T> {
    pub(super) fn new() -> Self {
        Self {
            by_flow: BTreeMap::new(),
            sweep_at: MIN_SWEEP,
        }
    }

    pub(super) fn insert(&mut self, flow: u32, sink: Weak<T>) {
        if self.by_flow.len() >= self.sweep_at {
            self.by_flow.retain(|_, sink| sink.strong_count() > 0);
            self.sweep_at = MIN_SWEEP.max(2 * self.by_flow.len());
        }
        self.by_flow.insert(flow, sink);
    }

    pub(super) fn remove(&mut self, flow: u32) {
        self.by_flow.remove(&flow);
    }

    /// The sink of `flow`, while its owner keeps it.
    pub(super) fn get(&self, flow: u32) -> Option<Arc<T>> {
        self.by_flow.get(&flow)?.upgrade()
    }
}

const MIN_SWEEP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sink_is_found_until_it_is_removed_or_its_owner_lets_go() {
        let mut sinks = Sinks::new();
        let (first, second) = (Arc::new(1), Arc::new(2));
        sinks.insert(1, Arc::downgrade(&first));
        sinks.insert(2, Arc::downgrade(&second));
        assert_eq!(sinks.get(1).as_deref(), Some(&1));
        sinks.remove(1);
        assert!(sinks.get(1).is_none());
        drop(second);
        assert!(sinks.get(2).is_none());
    }

    #[test]
    fn lost_removals_leave_at_most_twice_what_is_alive() {
        let mut sinks = Sinks::new();
        let alive: Vec<Arc<u32>> = (0..100).map(Arc::new).collect();
        for sink in &alive {
            sinks.insert(**sink, Arc::downgrade(sink));
        }
        for flow in 1_000..100_000 {
            sinks.insert(flow, Arc::downgrade(&Arc::new(flow)));
            assert!(sinks.by_flow.len() <= 2 * alive.len() + 1);
        }
        assert!(alive.iter().all(|sink| sinks.get(**sink).is_some()));
    }
}
