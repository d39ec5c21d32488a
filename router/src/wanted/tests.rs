use super::*;
use crate::random::SplitMix64;

const ME: NodeKey = NodeKey(1);

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
fn origin() -> Instant {
    Instant::now()
}

/// A fleet with random keys.
fn fleet(regions: u32, per_region: u32) -> BTreeMap<NodeKey, RegionId> {
    let mut random = SplitMix64(u64::from(regions * 1_000 + per_region));
    let nodes = 0..regions * per_region;
    nodes
        .map(|node| (NodeKey(random.next()), RegionId(node % regions)))
        .collect()
}

fn all(members: &BTreeMap<NodeKey, RegionId>) -> BTreeMap<NodeKey, BTreeSet<NodeKey>> {
    let of = |node: &NodeKey| (*node, wish(members, *node));
    members.keys().map(of).collect()
}

/// Links by their two ends.
fn links(wishes: &BTreeMap<NodeKey, BTreeSet<NodeKey>>) -> BTreeSet<(NodeKey, NodeKey)> {
    let of = |(node, peers): (&NodeKey, &BTreeSet<NodeKey>)| {
        let node = *node;
        let ends = peers
            .iter()
            .map(move |peer| (node.min(*peer), node.max(*peer)));
        ends.collect::<Vec<_>>()
    };
    wishes.iter().flat_map(of).collect()
}

#[test]
fn both_ends_of_every_link_wish_for_it() {
    for (regions, per_region) in [(1, 17), (1, 18), (3, 2), (10, 30), (33, 9)] {
        let wishes = all(&fleet(regions, per_region));
        for (node, peers) in &wishes {
            assert!(!peers.contains(node));
            for peer in peers {
                assert!(wishes[peer].contains(node), "{regions} x {per_region}");
            }
        }
    }
}

#[test]
fn both_ends_wish_the_same_however_they_number_regions() {
    let members = fleet(5, 20);
    let renumbered = members
        .iter()
        .map(|(node, region)| (*node, RegionId(90 - region.0 * 7)));
    let renumbered = renumbered.collect();
    assert_eq!(all(&members), all(&renumbered));
}

#[test]
fn regions_up_to_seventeen_nodes_are_meshed_whole_and_larger_ones_have_few_more_links_a_node() {
    for nodes in 1..=17 {
        let wishes = all(&fleet(1, nodes));
        assert!(
            wishes
                .values()
                .all(|peers| peers.len() + 1 == nodes as usize)
        );
    }
    for nodes in [18, 30, 100, 300] {
        let wishes = all(&fleet(1, nodes));
        let degrees = || wishes.values().map(BTreeSet::len);
        let mean = degrees().sum::<usize>() as f64 / f64::from(nodes);
        assert!(degrees().all(|degree| degree >= OWN_REGION), "{nodes}");
        println!("{nodes}: {mean:.1}, at most {}", degrees().max().unwrap());
        assert!(mean < 19.5, "{nodes}: {mean}");
        assert!(degrees().all(|degree| degree <= 40), "{nodes}");
    }
}

#[test]
fn every_node_has_two_links_to_every_other_region_that_has_two_nodes() {
    let members = fleet(10, 30);
    for (node, peers) in all(&members) {
        for region in (0..10)
            .map(RegionId)
            .filter(|region| *region != members[&node])
        {
            let there = peers.iter().filter(|peer| members[peer] == region);
            assert!(there.count() >= PER_REGION);
        }
    }
}

#[test]
fn fleets_of_stated_sizes_need_the_stated_numbers_of_links() {
    println!("nodes  regions  mean  max");
    for (regions, per_region, most_mean, most) in [
        (3, 3, 8, 8),
        (5, 20, 32, 45),
        (6, 50, 36, 52),
        (10, 30, 53, 70),
        (33, 9, 123, 150),
        (10, 100, 53, 75),
        (20, 50, 92, 115),
    ] {
        let wishes = all(&fleet(regions, per_region));
        let max = wishes.values().map(BTreeSet::len).max().unwrap();
        let sum: usize = wishes.values().map(BTreeSet::len).sum();
        let nodes = regions * per_region;
        let mean = sum as f64 / f64::from(nodes);
        println!("{nodes:5}  {regions:7}  {mean:4.1}  {max:3}");
        assert!(mean <= f64::from(most_mean), "{nodes} in {regions}: {mean}");
        assert!(max <= most, "{nodes} in {regions}: {max}");
    }
}

#[test]
fn node_that_joins_or_leaves_changes_hardly_more_links_than_its_own() {
    for (regions, per_region) in [(1, 17), (10, 30), (33, 9)] {
        let before = fleet(regions, per_region);
        let links_before = links(&all(&before));
        let mut after = before.clone();
        let joins = NodeKey(12_345);
        after.insert(joins, RegionId(0));
        let links_after = links(&all(&after));
        let is_own = |link: &&(NodeKey, NodeKey)| link.0 == joins || link.1 == joins;
        let changed: Vec<_> = links_before.symmetric_difference(&links_after).collect();
        let own = changed.iter().filter(|link| is_own(link)).count();
        let others = changed.len() - own;
        println!("{regions} x {per_region}: {own} of its own, {others} of others");
        // Each link that it has took the place of at most one.
        assert!(
            others <= own + usize::try_from(per_region).unwrap() / 2,
            "{own} {others}"
        );
    }
}

#[test]
fn thousand_nodes_stay_connected_when_a_tenth_of_them_is_gone() {
    let members = fleet(20, 50);
    let wishes = all(&members);
    let gone = |node: &NodeKey| SplitMix64(node.0).below(10) == 0;
    let left: BTreeSet<_> = members.keys().filter(|node| !gone(node)).copied().collect();
    let first = *left.first().unwrap();
    let mut reached = BTreeSet::from([first]);
    let mut queue = vec![first];
    while let Some(node) = queue.pop() {
        let next = wishes[&node].iter().filter(|peer| left.contains(peer));
        queue.extend(next.filter(|peer| reached.insert(**peer)));
    }
    assert_eq!(reached, left);
}

/// One of many nodes of its region, in a mesh with as many in another.
fn large(now: Instant) -> WantedLinks {
    let mut links = WantedLinks::new(ME, RegionId(0));
    for node in 100..400 {
        links.handle_member(now, NodeKey(node), RegionId(node as u32 % 2));
    }
    links.handle_timeout(now);
    while links.poll_output().is_some() {}
    links
}

/// The same, and a node to which it wishes for no link.
fn bench(now: Instant) -> (WantedLinks, NodeKey) {
    let links = large(now);
    let wanted: BTreeSet<_> = links.peers().collect();
    let other = (100..400).map(NodeKey).find(|node| !wanted.contains(node));
    (links, other.unwrap())
}

fn drain(links: &mut WantedLinks) -> Vec<Output> {
    std::iter::from_fn(|| links.poll_output()).collect()
}

#[test]
fn link_on_demand_is_wanted_until_a_minute_after_the_last_demand_and_not_longer() {
    let start = origin();
    let (mut links, other) = bench(start);
    assert!(links.handle_demand(start, other));
    assert_eq!(drain(&mut links), [Output::Want(other)]);
    let again = start + Duration::from_secs(30);
    assert!(links.handle_demand(again, other));
    assert_eq!(links.poll_timeout(), Some(again + LINGER));
    links.handle_timeout(again + LINGER - Duration::from_millis(1));
    assert_eq!(drain(&mut links), []);
    links.handle_timeout(again + LINGER);
    assert_eq!(drain(&mut links), [Output::Unwant(other)]);
}

#[test]
fn node_that_is_back_within_a_minute_moves_no_link() {
    let start = origin();
    let (mut links, _) = bench(start);
    let before: Vec<_> = links.peers().collect();
    let peer = before[0];
    links.handle_gone(start, peer);
    links.handle_timeout(start);
    let back = start + LINGER - Duration::from_millis(1);
    links.handle_timeout(back);
    let replaced: Vec<_> = drain(&mut links);
    assert!(
        replaced
            .iter()
            .all(|output| matches!(output, Output::Want(_)))
    );
    links.handle_member(back, peer, RegionId(peer.0 as u32 % 2));
    links.handle_timeout(back);
    links.handle_timeout(back + LINGER * 2);
    for output in drain(&mut links) {
        assert!(matches!(output, Output::Unwant(gone) if !before.contains(&gone)));
    }
    assert_eq!(links.peers().collect::<Vec<_>>(), before);
}

#[test]
fn links_on_demand_are_refused_beyond_their_limit_and_for_strangers() {
    let start = origin();
    let mut links = large(start);
    let wanted: BTreeSet<_> = links.peers().collect();
    let others = (100..400)
        .map(NodeKey)
        .filter(|node| !wanted.contains(node));
    let taken = others
        .filter(|node| links.handle_demand(start, *node))
        .count();
    assert_eq!(taken, MAX_ON_DEMAND);
    assert!(links.refused() > 0);
    assert!(!links.handle_demand(start, NodeKey(7)));
    assert!(!links.handle_demand(start, ME));
}
