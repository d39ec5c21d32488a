//! What the router knows, in the names and words that the admin API shows.
//!
//! Pure: an [`Inspection`] in, views out.

mod words;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use router::{
    choice::{Decision, Wish},
    cost::{Cost, Loss, Measure},
    graph::{Link, LinkHealth, NodeKey as RouterKey, Service},
    paths::Path,
};

use crate::{
    admin::{
        QuestionError, meant,
        view::{
            DecisionView, MeshNodeView, MeshView, PathView, RegionsView, ReportView,
            RouteDetailView, RouteHistoryView, RouteView, WishView,
        },
    },
    counts::MoveReason,
    id::NodeKey,
    navigator::{Inspection, RouteReport},
    routes::Kind,
    telemetry::Label as _,
};

/// How traffic of each kind for each node goes, by name and kind.
pub(crate) fn routes(of: &Inspection) -> Vec<RouteView> {
    let known = of
        .routes
        .iter()
        .map(|route| ((route.destination, route.kind), route));
    let known: BTreeMap<(NodeKey, Kind), &RouteReport> = known.collect();
    let keys = of.graph.nodes().map(|(key, _)| NodeKey::from(key));
    let others = keys.filter(|key| *key != of.own);
    let each = others.flat_map(|key| Kind::ALL.map(|kind| (key, kind)));
    let mut rows: Vec<RouteView> = each
        .map(|(key, kind)| match known.get(&(key, kind)) {
            Some(route) => of.route(route),
            None => of.route(&unreached(key, kind)),
        })
        .collect();
    // Stable: kinds stay in their order.
    rows.sort_by(|a, b| a.to.cmp(&b.to));
    rows
}

/// How traffic for `destination` goes, whose decisions were inspected.
pub(crate) fn route(of: &Inspection, destination: NodeKey) -> RouteDetailView {
    let kinds = Kind::ALL.map(|kind| {
        let is = |r: &&RouteReport| r.destination == destination && r.kind == kind;
        let route = of.routes.iter().find(is).cloned();
        let route = route.unwrap_or_else(|| unreached(destination, kind));
        let decisions = of.decisions.iter().filter(|(kind, _)| *kind == route.kind);
        RouteHistoryView {
            now: of.route(&route),
            wish: route.wish.as_ref().map(|wish| of.wish(wish)),
            decisions: decisions.map(|(_, d)| of.decision(d)).collect(),
        }
    });
    RouteDetailView {
        to: of.name(destination),
        kinds: kinds.into(),
    }
}

/// The node that is meant by a name, which must not be the one that was asked.
///
/// # Errors
/// [`QuestionError`] says why there is none.
pub(crate) fn destination(of: &Inspection, asked: &str) -> Result<NodeKey, QuestionError> {
    let known = of.graph.nodes().map(|(key, _)| NodeKey::from(key));
    let (name, key) = meant(asked, known.map(|key| (of.name(key), key)))?;
    match key == of.own {
        true => Err(QuestionError::Itself(name)),
        false => Ok(key),
    }
}

/// Every node that is known, and every link that is reported.
pub(crate) fn mesh(of: &Inspection) -> MeshView {
    let mut nodes: Vec<MeshNodeView> = of.graph.nodes().map(|(key, _)| of.node(key)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let is_known = |key| of.graph.node(key).is_some();
    let reports = || {
        let reports = of.graph.reports();
        reports.filter(move |(from, to, _)| is_known(*from) && is_known(*to))
    };
    let mut links: Vec<ReportView> = reports()
        .map(|(from, to, l)| of.report(from, to, l))
        .collect();
    links.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    MeshView {
        node: of.name(of.own),
        warming: of.is_warming,
        doubting: of.is_doubting,
        nodes,
        regions: of.regions(reports()),
        links,
    }
}

impl Inspection {
    fn name(&self, key: NodeKey) -> String {
        let name = self.names.get(&key).map(ToString::to_string);
        name.unwrap_or_else(|| key.to_string())
    }

    /// Regions have numbers of this process in the graph, and names in their nodes' names.
    fn region(&self, key: RouterKey) -> String {
        let name = self.names.get(&NodeKey::from(key));
        name.map_or_else(|| "?".to_owned(), |id| id.region().to_owned())
    }

    fn names_of(&self, path: &Path) -> Vec<String> {
        let hops = path.hops().iter().map(|hop| NodeKey::from(*hop));
        let nodes = std::iter::once(self.own).chain(hops);
        nodes.map(|key| self.name(key)).collect()
    }

    fn route(&self, route: &RouteReport) -> RouteView {
        let path = route.path.as_ref();
        let parts = path.map(Path::parts);
        let tier = path.map(Path::tier).unwrap_or_default();
        let last = route.last.as_ref();
        RouteView {
            to: self.name(route.destination),
            kind: route.kind.word().to_owned(),
            path: path.map(|path| self.names_of(path)),
            why: last.map_or_else(|| "no path was ever found".to_owned(), words::briefly),
            since_ms: last.map(|last| self.ago_ms(last.at)),
            cost_ms: path.map(|path| ms(path.cost())),
            delay_ms: parts.map(|parts| ms(parts.delay)),
            loss_ms: parts.map(|parts| ms(parts.loss)),
            load_ms: parts.map(|parts| ms(parts.load)),
            suspect_links: tier.suspect,
            draining_nodes: tier.draining,
            unmeasured_links: path.map_or(0, |path| self.unmeasured(path)),
            backup: route.backup.as_ref().map(|backup| self.names_of(backup)),
            backup_cost_ms: route.backup.map(|backup| ms(backup.cost())),
        }
    }

    fn unmeasured(&self, path: &Path) -> u8 {
        let from = std::iter::once(RouterKey::from(self.own)).chain(path.hops().iter().copied());
        let links = from.zip(path.hops());
        let is_unmeasured = |(from, to): &(RouterKey, &RouterKey)| {
            let link = self.graph.link(*from, **to);
            link.is_some_and(|link| link.measure.is_none())
        };
        u8::try_from(links.filter(is_unmeasured).count()).unwrap_or(u8::MAX)
    }

    fn path(&self, path: &Path) -> PathView {
        let parts = path.parts();
        PathView {
            path: self.names_of(path),
            cost_ms: ms(path.cost()),
            delay_ms: ms(parts.delay),
            loss_ms: ms(parts.loss),
            load_ms: ms(parts.load),
            suspect_links: path.tier().suspect,
            draining_nodes: path.tier().draining,
        }
    }

    fn decision(&self, decision: &Decision) -> DecisionView {
        let path = |path: &Option<Path>| path.as_ref().map(|path| self.path(path));
        DecisionView {
            ago_ms: self.ago_ms(decision.at),
            reason: MoveReason::from(decision.reason).word().to_owned(),
            why: words::fully(decision),
            from: path(&decision.from),
            to: path(&decision.to),
            direct: path(&decision.direct),
            overlay: path(&decision.overlay),
            waited_ms: millis(decision.waited),
            doublings: decision.doublings,
        }
    }

    fn wish(&self, wish: &Wish) -> WishView {
        WishView {
            reason: MoveReason::from(wish.reason).word().to_owned(),
            why: words::wished(wish.reason).to_owned(),
            since_ms: self.ago_ms(wish.since),
            due_ms: millis(wish.due.saturating_duration_since(self.at)),
        }
    }

    fn node(&self, key: RouterKey) -> MeshNodeView {
        let node = self.graph.node(key);
        let links = self.graph.links(key).map(|(to, _)| to);
        let links = links.filter(|to| self.graph.health(key, *to) != LinkHealth::Down);
        let own = NodeKey::from(key);
        MeshNodeView {
            name: self.name(own),
            key: own.to_string(),
            region: self.region(key),
            state: node
                .map_or("", |node| service_word(node.service))
                .to_owned(),
            ejected: node.is_some_and(|node| node.ejected),
            release: self.releases.get(&own).cloned(),
            load: node.map_or(0.0, |node| f64::from(node.load.as_permille()) / 1_000.0),
            links: u32::try_from(links.count()).unwrap_or(u32::MAX),
            contested: self.contested.contains(&own),
        }
    }

    fn report(&self, from: RouterKey, to: RouterKey, link: &Link) -> ReportView {
        ReportView {
            from: self.name(from.into()),
            to: self.name(to.into()),
            rtt_us: link.measure.map(rtt_us),
            loss: link.measure.map(|measure| share(measure.loss)),
            health: health_word(link.health).to_owned(),
        }
    }

    fn regions<'a>(
        &self,
        reports: impl Iterator<Item = (RouterKey, RouterKey, &'a Link)>,
    ) -> Vec<RegionsView> {
        let mut pairs = BTreeMap::<(String, String), Between>::new();
        for (from, to, link) in reports {
            let (a, b) = (self.region(from), self.region(to));
            let between = pairs
                .entry(if a <= b { (a, b) } else { (b, a) })
                .or_default();
            // Both ends report a link, or only one of them.
            let is_first = from < to || self.graph.link(to, from).is_none();
            between.links += u32::from(is_first);
            between.worst = between.worst.max(Some(self.graph.health(from, to)));
            if let Some(measure) = link.measure {
                let rtt = rtt_us(measure);
                between.rtt_us = Some(between.rtt_us.map_or(rtt, |least| least.min(rtt)));
                between.loss = between.loss.max(Some(measure.loss));
            }
        }
        let view = |((a, b), between): ((String, String), Between)| RegionsView {
            a,
            b,
            links: between.links,
            rtt_us: between.rtt_us,
            loss: between.loss.map(share),
            health: health_word(between.worst.unwrap_or(LinkHealth::Down)).to_owned(),
        };
        pairs.into_iter().map(view).collect()
    }

    fn ago_ms(&self, at: Instant) -> u64 {
        millis(self.at.saturating_duration_since(at))
    }
}

/// How traffic for a node goes that the router has no route to: there never was a path.
fn unreached(destination: NodeKey, kind: Kind) -> RouteReport {
    RouteReport {
        kind,
        destination,
        path: None,
        backup: None,
        wish: None,
        last: None,
    }
}

#[derive(Default)]
struct Between {
    links: u32,
    rtt_us: Option<u64>,
    loss: Option<Loss>,
    worst: Option<LinkHealth>,
}

fn service_word(service: Service) -> &'static str {
    match service {
        Service::Warming => "warming",
        Service::Serving => "serving",
        Service::Draining => "draining",
    }
}

fn health_word(health: LinkHealth) -> &'static str {
    match health {
        LinkHealth::Usable => "ok",
        LinkHealth::Suspect => "suspect",
        LinkHealth::Down => "down",
    }
}

fn rtt_us(measure: Measure) -> u64 {
    u64::try_from(measure.rtt.as_micros()).unwrap_or(u64::MAX)
}

fn share(loss: Loss) -> f64 {
    f64::from(loss.as_ppm()) / 1_000_000.0
}

#[expect(clippy::cast_precision_loss, reason = "costs are far below 2^53 us")]
fn ms(cost: Cost) -> f64 {
    cost.as_micros() as f64 / 1_000.0
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
