//! Which node of a region takes a flow.

use super::RouteTable;
use crate::{
    graph::{NodeKey, RegionId, Service},
    random::SplitMix64,
};

impl RouteTable {
    /// The node of `region` that takes a flow; `None` if none can.
    ///
    /// Out of the nodes that have a path, are not ejected, have a weight and are `eligible`, those
    /// in full service are asked, and draining ones only if there are none. Warming ones are not.
    ///
    /// The hash of the flow draws one node, each as often as its weight says, and a second of the
    /// same weight. The one with the better path takes the flow if it is better by the margin, else
    /// the less loaded one. Because the two have the same weight, load cannot undo what weights say:
    /// a canary that is given 5 % gets 5 %, however idle that leaves it.
    ///
    /// - `flow`: evenly distributed, as a hash is. The same flow draws the same two nodes wherever
    ///   this is asked, and a node that comes or leaves moves only the flows that draw it.
    /// - `current`: the node that has the flow. It keeps it while it might have been asked, whatever
    ///   the loads.
    ///
    /// Sources: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS
    /// 12(10), 2001; Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
    /// IEEE/ACM ToN 6(1), 1998, for drawing by the least hash.
    pub fn pick(
        &self,
        region: RegionId,
        flow: u64,
        current: Option<NodeKey>,
        eligible: impl Fn(NodeKey) -> bool,
    ) -> Option<NodeKey> {
        let pick = |service| self.pick_in(region, flow, current, service, &eligible);
        pick(Service::Serving).or_else(|| pick(Service::Draining))
    }

    fn pick_in(
        &self,
        region: RegionId,
        flow: u64,
        current: Option<NodeKey>,
        service: Service,
        eligible: &impl Fn(NodeKey) -> bool,
    ) -> Option<NodeKey> {
        let asked = || {
            let members = self.mesh.members(region).iter().copied();
            members.filter(|&index| {
                let node = self.mesh.node(index);
                node.service == service
                    && !node.ejected
                    && node.weight > 0
                    && self.routes[index as usize].is_some()
                    && eligible(self.mesh.key(index))
            })
        };
        let index_of_current = current.and_then(|key| self.mesh.index(key));
        if index_of_current.is_some_and(|current| asked().any(|index| index == current)) {
            return current;
        }
        let arrival = |index: &u32| {
            let weight = self.mesh.node(*index).weight;
            arrival(flow, self.mesh.key(*index), weight)
        };
        let earlier = |a: &u32, b: &u32| arrival(a).total_cmp(&arrival(b));
        let first = asked().min_by(earlier)?;
        let weight = self.mesh.node(first).weight;
        let second = asked()
            .filter(|&index| index != first && self.mesh.node(index).weight == weight)
            .min_by(earlier);
        let winner = second.map_or(first, |second| self.better(first, second));
        Some(self.mesh.key(winner))
    }

    /// The second if its path or else its load is better.
    fn better(&self, first: u32, second: u32) -> u32 {
        let primary = |index: u32| self.routes[index as usize].map(|route| route.primary);
        let load = |index: u32| self.mesh.node(index).load;
        let (Some(path), Some(other)) = (primary(first), primary(second)) else {
            return first;
        };
        let margin = self.config.margin;
        if other.beats(&path, margin) {
            second
        } else if path.beats(&other, margin) || load(first) <= load(second) {
            first
        } else {
            second
        }
    }
}

/// When a node arrives in a race that each wins as often as its share of all weights.
///
/// Exponential arrival times of a rate do that: the least of several is that of each with the
/// probability of its rate over the sum. The logarithm is `libm`'s, so that every node agrees.
fn arrival(flow: u64, key: NodeKey, weight: u32) -> f64 {
    let bits = mix(flow ^ mix(key.0)) >> 11;
    // In (0, 1], all of it exact in 53 bits.
    let uniform = (bits + 1) as f64 / (1_u64 << 53) as f64;
    -libm::log(uniform) / f64::from(weight)
}

/// Spreads a change of any bit over all bits.
fn mix(value: u64) -> u64 {
    SplitMix64(value).next()
}
