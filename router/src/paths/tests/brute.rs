//! The same answers by trying everything, straight from the graph.

use std::cmp::Ordering;

use super::*;

/// What decides between two paths, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) tier: Tier,
    pub(super) cost: Cost,
    pub(super) links: usize,
    pub(super) hops: Vec<NodeKey>,
}

/// All usable paths, the best one first.
pub(super) fn all(
    graph: &Graph,
    config: RouteConfig,
    from: NodeKey,
    to: NodeKey,
) -> Vec<Candidate> {
    let keys: Vec<NodeKey> = graph.nodes().map(|(key, _)| key).collect();
    let mut ways = vec![vec![to]];
    if config.max_links >= 2 {
        ways.extend(keys.iter().map(|&a| vec![a, to]));
    }
    if config.max_links >= 3 {
        ways.extend(
            keys.iter()
                .flat_map(|&a| keys.iter().map(move |&b| vec![a, b, to])),
        );
    }
    let mut found: Vec<Candidate> = ways
        .into_iter()
        .filter_map(|hops| candidate(graph, config.policy, from, hops))
        .collect();
    found.sort();
    found
}

fn candidate(
    graph: &Graph,
    policy: CostPolicy,
    source: NodeKey,
    hops: Vec<NodeKey>,
) -> Option<Candidate> {
    let mut seen = vec![source];
    let mut tier = Tier::default();
    let mut cost = Cost::ZERO;
    for (place, &to) in hops.iter().enumerate() {
        let from = seen[place];
        if seen.contains(&to) {
            return None;
        }
        match graph.health(from, to) {
            LinkHealth::Usable => {}
            LinkHealth::Suspect => tier.suspect += 1,
            LinkHealth::Down => return None,
        }
        cost += policy.link(graph.link(from, to)?.measure).total();
        if place + 1 < hops.len() {
            let node = graph.node(to)?;
            cost += policy.transit(node.load);
            tier.draining += u8::from(node.service == Service::Draining);
        }
        seen.push(to);
    }
    Some(Candidate {
        tier,
        cost,
        links: hops.len(),
        hops,
    })
}

/// The best of all paths that shares no link with `primary`, by what else it shares with it.
pub(super) fn backup(
    graph: &Graph,
    source: NodeKey,
    all: &[Candidate],
    primary: &[NodeKey],
) -> Option<Candidate> {
    let order = |a: &Candidate, b: &Candidate| -> Ordering {
        let key = |path: &Candidate| (path.tier, shared(graph, source, &path.hops, primary));
        key(a).cmp(&key(b)).then_with(|| a.cmp(b))
    };
    let apart = all
        .iter()
        .filter(|path| is_link_disjoint(source, &path.hops, primary));
    apart.min_by(|a, b| order(a, b)).cloned()
}

pub(super) fn is_link_disjoint(source: NodeKey, one: &[NodeKey], other: &[NodeKey]) -> bool {
    let other = links(source, other);
    links(source, one)
        .iter()
        .all(|&(a, b)| !other.contains(&(a, b)) && !other.contains(&(b, a)))
}

/// 2 if both pass a node, 1 if both pass a region or cross between the same two, else 0.
fn shared(graph: &Graph, source: NodeKey, one: &[NodeKey], other: &[NodeKey]) -> u8 {
    let region = |key: NodeKey| graph.node(key).unwrap().region;
    let between = |hops: &[NodeKey]| hops[..hops.len() - 1].to_vec();
    let (mine, theirs) = (between(one), between(other));
    if mine.iter().any(|node| theirs.contains(node)) {
        return 2;
    }
    let passes = mine
        .iter()
        .any(|&a| theirs.iter().any(|&b| region(a) == region(b)));
    let crossings = |hops: &[NodeKey]| -> Vec<(RegionId, RegionId)> {
        let pairs = links(source, hops)
            .into_iter()
            .map(|(a, b)| (region(a), region(b)));
        pairs.filter(|(a, b)| a != b).collect()
    };
    let theirs = crossings(other);
    let crosses = crossings(one)
        .iter()
        .any(|&(a, b)| theirs.contains(&(a, b)) || theirs.contains(&(b, a)));
    u8::from(passes || crosses)
}

fn links(source: NodeKey, hops: &[NodeKey]) -> Vec<(NodeKey, NodeKey)> {
    let from = std::iter::once(&source).chain(hops);
    from.zip(hops).map(|(&a, &b)| (a, b)).collect()
}
