//! The search for the best path to a destination, and for one that avoids another.

use super::{
    mesh::Mesh,
    path::MAX_LINKS,
    weight::{Shared, Weight},
};
use crate::graph::RegionId;

/// A path found: the nodes between its links, and what it weighs. The lesser is the better one.
///
/// Equal weights go to the fewer links, then to the smaller keys from the source on, so that every
/// node that computes this path from the same graph finds the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trail {
    pub(super) weight: Weight,
    between: u8,
    via: [u32; MAX_LINKS - 1],
}

/// From one source, what it weighs to arrive at a node and go on from there, over one link and over
/// two.
///
/// The lists for two links are kept whole and sorted. A best path needs the two least entries: the
/// least may come from the destination itself. A backup goes on until what is left is worse than
/// what it has, usually after a few; where every way shares a region with the primary, as between
/// two regions alone, it looks at one label for each region and passes over the rest.
#[derive(Debug)]
pub(super) struct Labels {
    source: u32,
    max_links: u8,
    /// Over the link from the source, without going on.
    direct: Vec<Weight>,
    /// Over the link from the source, and through the node.
    first: Vec<Weight>,
    /// Over two links, and through the node.
    second: Vec<Vec<Label>>,
}

/// Over two links by way of `via`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    weight: Weight,
    via: u32,
}

impl Trail {
    pub(super) fn direct(weight: Weight) -> Self {
        Self {
            weight,
            between: 0,
            via: [0; 2],
        }
    }

    fn through(weight: Weight, via: u32) -> Self {
        Self {
            weight,
            between: 1,
            via: [via, 0],
        }
    }

    fn through_two(weight: Weight, first: u32, second: u32) -> Self {
        Self {
            weight,
            between: 2,
            via: [first, second],
        }
    }

    /// From the nodes between; `None` if there are too many.
    pub(super) fn over(weight: Weight, via: &[u32]) -> Option<Self> {
        match *via {
            [] => Some(Self::direct(weight)),
            [a] => Some(Self::through(weight, a)),
            [a, b] => Some(Self::through_two(weight, a, b)),
            _ => None,
        }
    }

    pub(super) fn via(&self) -> &[u32] {
        &self.via[..usize::from(self.between)]
    }
}

impl Labels {
    pub(super) fn new(mesh: &Mesh, source: u32, max_links: u8) -> Self {
        let mut labels = Self {
            source,
            max_links,
            direct: vec![Weight::UNUSABLE; mesh.len()],
            first: vec![Weight::UNUSABLE; mesh.len()],
            second: vec![Vec::new(); mesh.len()],
        };
        labels.relax(mesh);
        labels
    }

    /// Computes everything anew.
    pub(super) fn relax(&mut self, mesh: &Mesh) {
        self.direct.fill(Weight::UNUSABLE);
        self.first.fill(Weight::UNUSABLE);
        for list in &mut self.second {
            list.clear();
        }
        for edge in mesh.edges(self.source) {
            self.direct[edge.peer as usize] = edge.outward;
            self.first[edge.peer as usize] = edge.outward + mesh.transit(edge.peer);
        }
        if usize::from(self.max_links) < MAX_LINKS {
            return;
        }
        for edge in mesh.edges(self.source) {
            let first = self.first[edge.peer as usize];
            for next in mesh.edges(edge.peer) {
                let weight = first + next.outward + mesh.transit(next.peer);
                if weight.is_usable() && next.peer != self.source {
                    let via = edge.peer;
                    self.second[next.peer as usize].push(Label { weight, via });
                }
            }
        }
        for list in &mut self.second {
            list.sort_unstable();
        }
    }

    /// Takes in that the link from `from` to `to` changed, and calls `affected` with every node to
    /// which a path leads over it; with some of them more than once.
    pub(super) fn update(
        &mut self,
        mesh: &Mesh,
        from: u32,
        to: u32,
        mut affected: impl FnMut(u32),
    ) {
        if to == self.source {
            return;
        }
        affected(to);
        let onward = |node: u32| mesh.edges(node).iter().map(|edge| edge.peer);
        if from == self.source {
            self.direct[to as usize] = mesh.outward(from, to);
            self.first[to as usize] = self.direct[to as usize] + mesh.transit(to);
            for next in onward(to) {
                self.relabel(mesh, to, next);
                affected(next);
                onward(next).for_each(&mut affected);
            }
        } else if self.direct[from as usize].is_usable() {
            self.relabel(mesh, from, to);
            onward(to).for_each(&mut affected);
        }
    }

    /// Whether the source has a usable link to a node.
    pub(super) fn direct(&self, to: u32) -> Option<Trail> {
        let weight = self.direct[to as usize];
        weight.is_usable().then(|| Trail::direct(weight))
    }

    /// The best path over two links or more.
    pub(super) fn overlay(&self, mesh: &Mesh, to: u32) -> Option<Trail> {
        let mut best: Option<Trail> = None;
        let mut offer = |trail: Trail| {
            if trail.weight.is_usable() && best.is_none_or(|best| trail < best) {
                best = Some(trail);
            }
        };
        if self.max_links < 2 {
            return None;
        }
        for edge in mesh.edges(to) {
            let last = edge.peer;
            offer(Trail::through(
                self.first[last as usize] + edge.inward,
                last,
            ));
            // The list is sorted, so the first that does not come from the destination is the best.
            let mut labels = self.second[last as usize].iter();
            if let Some(label) = labels.find(|label| label.via != to) {
                offer(Trail::through_two(
                    label.weight + edge.inward,
                    label.via,
                    last,
                ));
            }
        }
        best
    }

    /// The best path that shares no link with `primary`, and if there is one, no node and no region.
    pub(super) fn backup(&self, mesh: &Mesh, to: u32, primary: &Trail) -> Option<Trail> {
        let avoided = Course::new(mesh, self.source, primary.via(), to);
        let mut best: Option<Trail> = None;
        let offer = |best: &mut Option<Trail>, mut trail: Trail| {
            // What is shared only adds, so most candidates end here.
            if !trail.weight.is_usable() || best.is_some_and(|best| trail > best) {
                return;
            }
            let course = Course::new(mesh, self.source, trail.via(), to);
            let Some(shared) = course.shared(&avoided) else {
                return;
            };
            trail.weight = trail.weight.sharing(shared);
            if best.is_none_or(|best| trail < best) {
                *best = Some(trail);
            }
        };
        offer(&mut best, Trail::direct(self.direct[to as usize]));
        if self.max_links < 2 {
            return best;
        }
        for edge in mesh.edges(to) {
            let weight = self.first[edge.peer as usize] + edge.inward;
            offer(&mut best, Trail::through(weight, edge.peer));
        }
        // What is shared with the primary follows from the regions, unless a node of the primary is
        // passed: of all ways through one region to `last`, the first is then the best.
        let mut tried = vec![None; mesh.region_count()];
        for edge in mesh.edges(to) {
            let last = edge.peer;
            for label in &self.second[last as usize] {
                let weight = label.weight + edge.inward;
                if !weight.is_usable() || best.is_some_and(|best| weight > best.weight) {
                    break;
                }
                if label.via == to {
                    continue;
                }
                let tried = &mut tried[mesh.region_place(label.via)];
                if primary.via().contains(&label.via) || tried.replace(last) != Some(last) {
                    offer(&mut best, Trail::through_two(weight, label.via, last));
                }
            }
        }
        best
    }

    fn relabel(&mut self, mesh: &Mesh, via: u32, to: u32) {
        if usize::from(self.max_links) < MAX_LINKS || to == self.source {
            return;
        }
        let list = &mut self.second[to as usize];
        list.retain(|label| label.via != via);
        let weight = self.first[via as usize] + mesh.outward(via, to) + mesh.transit(to);
        if weight.is_usable() {
            let label = Label { weight, via };
            let place = list.partition_point(|other| *other < label);
            list.insert(place, label);
        }
    }
}

/// What two paths between the same ends can have in common.
struct Course {
    /// The nodes between, and their regions.
    between: [Option<(u32, RegionId)>; MAX_LINKS - 1],
    /// The links, each with the lower end first.
    links: [Option<(u32, u32)>; MAX_LINKS],
    /// The pairs of regions that the links cross, each with the lower first.
    crossings: [Option<(RegionId, RegionId)>; MAX_LINKS],
}

impl Course {
    fn new(mesh: &Mesh, source: u32, via: &[u32], destination: u32) -> Self {
        let mut course = Self {
            between: [None; 2],
            links: [None; 3],
            crossings: [None; 3],
        };
        for (between, &node) in course.between.iter_mut().zip(via) {
            *between = Some((node, mesh.region(node)));
        }
        let mut from = source;
        for (place, &to) in via.iter().chain([&destination]).enumerate() {
            course.links[place] = Some((from.min(to), from.max(to)));
            let (a, b) = (mesh.region(from), mesh.region(to));
            course.crossings[place] = (a != b).then(|| (a.min(b), a.max(b)));
            from = to;
        }
        course
    }

    /// What both have in common; `None` if that is a link.
    ///
    /// Two links that cross the same pair of regions count as a region in common: what cuts one of
    /// them is likely to cut the other. So a neighbour of the source is no good backup for the
    /// direct link where another region is.
    fn shared(&self, other: &Self) -> Option<Shared> {
        if meets(&self.links, &other.links, |a, b| a == b) {
            None
        } else if meets(&self.between, &other.between, |a, b| a.0 == b.0) {
            Some(Shared::Node)
        } else if meets(&self.between, &other.between, |a, b| a.1 == b.1)
            || meets(&self.crossings, &other.crossings, |a, b| a == b)
        {
            Some(Shared::Region)
        } else {
            Some(Shared::Nothing)
        }
    }
}

fn meets<T>(one: &[Option<T>], other: &[Option<T>], is_met: impl Fn(&T, &T) -> bool) -> bool {
    let mut one = one.iter().flatten();
    one.any(|a| other.iter().flatten().any(|b| is_met(a, b)))
}
