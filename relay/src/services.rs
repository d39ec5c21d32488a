//! What this node exposes, to whom, and what its peers say that they expose.

mod candidates;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use router::{
    cost::{Cost, Load},
    graph,
};

use self::candidates::{Candidate, Standing};
use crate::{
    code::RefuseCode,
    config::{self, HostPort, Target, Transport},
    id::{NodeId, NodeKey},
    identity::Pattern,
    links::ConnectError,
    mesh::Mesh,
    routes::{Fit, Kind, Way, ways_to},
    seldom::Seldom,
    wire::{Class, ServiceDecl, ServiceKind, ServicesDecl},
};

/// A local endpoint under a name.
#[derive(Debug, Clone)]
pub struct Service {
    /// Whether packets or connections go there.
    pub kind: ServiceKind,
    /// The local endpoint.
    pub address: HostPort,
    /// How long a stream may take no byte that is ready for it, or a flow be silent.
    pub patience: Duration,
    /// Who may use it; nobody if empty.
    pub allow: Vec<Pattern>,
    /// Paces what is said in the log about the endpoint.
    pub(crate) complaints: Arc<Seldom>,
}

/// The services that this node exposes, by name.
#[derive(Debug, Default)]
pub struct Exposed {
    services: BTreeMap<String, Service>,
}

impl Exposed {
    /// Exposes `services`.
    pub fn new(services: &[config::Service]) -> Self {
        let services = services.iter().map(|service| {
            let (kind, patience) = match service.transport {
                Transport::Udp { idle_timeout } => (ServiceKind::Udp, idle_timeout),
                Transport::Tcp { stall_timeout } => (ServiceKind::Tcp, stall_timeout),
            };
            let exposed = Service {
                kind,
                address: service.address.clone(),
                patience,
                allow: service.allow.clone(),
                complaints: Arc::default(),
            };
            (service.name.clone(), exposed)
        });
        Self {
            services: services.collect(),
        }
    }

    /// The service that `peer` asks for.
    ///
    /// A service that the peer may not use looks to it like one that does not exist, except in the
    /// code: an operator who looks for the mistake has both nodes' logs.
    ///
    /// # Errors
    /// - [`RefuseCode::UnknownService`]: there is none of that name.
    /// - [`RefuseCode::NotAllowed`]: its `allow` does not name the peer.
    /// - [`RefuseCode::WrongKind`]: it is not of `kind`.
    pub fn find(
        &self,
        name: &str,
        kind: ServiceKind,
        peer: &NodeId,
    ) -> Result<&Service, RefuseCode> {
        let service = self.services.get(name).ok_or(RefuseCode::UnknownService)?;
        if !service.is_for(peer) {
            return Err(RefuseCode::NotAllowed);
        }
        if service.kind != kind {
            return Err(RefuseCode::WrongKind);
        }
        Ok(service)
    }

    /// What is declared to `peer` on a link: only what it may use.
    pub fn declared_to(&self, peer: &NodeId) -> ServicesDecl {
        let services = self
            .services
            .iter()
            .filter(|(_, service)| service.is_for(peer));
        let services = services
            .map(|(name, service)| ServiceDecl {
                name: name.clone(),
                kind: service.kind,
            })
            .collect();
        // What is exposed changes with a restart only.
        ServicesDecl {
            version: 1,
            services,
        }
    }
}

impl Service {
    fn is_for(&self, peer: &NodeId) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(peer))
    }
}

/// Where a listen's traffic goes.
#[derive(Debug)]
pub struct Destination {
    /// The service's name there.
    pub service: String,
    /// Which nodes are meant.
    pub to: Target,
    /// Paces what is said in the log about it.
    pub(crate) complaints: Seldom,
}

impl From<config::Class> for Class {
    fn from(class: config::Class) -> Self {
        match class {
            config::Class::Audio => Self::Audio,
            config::Class::Video => Self::Video,
            config::Class::Bulk => Self::Bulk,
        }
    }
}

impl Destination {
    /// `service` at `to`.
    pub fn new(service: String, to: Target) -> Self {
        Self {
            service,
            to,
            complaints: Seldom::default(),
        }
    }

    /// The node that is meant, if it is a single one.
    pub(crate) fn node(&self) -> Option<NodeKey> {
        match &self.to {
            Target::Node(node) => Some(node.key()),
            Target::Region(_) => None,
        }
    }

    /// The ways that lead to the service now, the best first.
    ///
    /// For a region these are all ways to all of its nodes that expose the service to this node, in
    /// the order of [`candidates::order`].
    ///
    /// - `draw`: spreads flows over nodes that are as good; should differ between them.
    /// - `stay`: a node whose ways are the only ones, as long as it has any that carries packets.
    pub(crate) fn ways(
        &self,
        mesh: &Mesh,
        kind: Kind,
        service: ServiceKind,
        draw: u64,
        stay: Option<NodeKey>,
    ) -> Vec<Arc<Way>> {
        if let Some(node) = stay {
            let ways = ways_to(mesh, kind, node);
            if ways.iter().any(|way| way.fit() != Fit::Gone) {
                return ways;
            }
        }
        let region = match &self.to {
            Target::Node(node) => return ways_to(mesh, kind, node.key()),
            Target::Region(region) => region,
        };
        let peers = mesh.links.snapshot();
        let exposing = peers
            .iter()
            .filter(|(_, peer)| peer.id.region() == region && peer.exposes(&self.service, service));
        let candidates = exposing.filter_map(|(node, _)| candidate(mesh, kind, *node));
        let ordered = candidates::order(candidates.collect(), draw);
        ordered.into_iter().flat_map(|node| node.ways).collect()
    }

    /// The ways that a stream to the service may take, the best first and at least one; joins the
    /// dial of a single node if one is in progress and there is no way else.
    ///
    /// # Errors
    /// As [`Links::connect`](crate::links::Links::connect); for a region that has nobody now, at
    /// once.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn ways_by(
        &self,
        mesh: &Mesh,
        kind: Kind,
        draw: u64,
        deadline: Instant,
    ) -> Result<Vec<Arc<Way>>, ConnectError> {
        let mut ways = self.ways(mesh, kind, ServiceKind::Tcp, draw, None);
        ways.retain(|way| way.fit() != Fit::Gone);
        ways.sort_by_key(|way| way.fit() != Fit::Good);
        if !ways.is_empty() {
            return Ok(ways);
        }
        match &self.to {
            Target::Node(node) => {
                let link = mesh.links.connect(node.key(), deadline).await?;
                Ok(vec![Way::direct(link)])
            }
            Target::Region(region) => Err(ConnectError::NotNow {
                why: format!("no node of {region} that is up exposes {}", self.service),
            }),
        }
    }
}

/// A node of a region, if there is any way to it that carries packets.
fn candidate(mesh: &Mesh, kind: Kind, node: NodeKey) -> Option<Candidate<Arc<Way>>> {
    let ways = ways_to(mesh, kind, node);
    let best = ways.iter().find(|way| way.fit() != Fit::Gone)?;
    let Some(route) = mesh.routes.get(kind, node) else {
        let srtt = best.first.srtt().as_micros();
        return Some(Candidate {
            ways,
            cost: Cost::from_micros(srtt as u64),
            load: Load::IDLE,
            standing: Standing::Serving,
        });
    };
    let standing = match route.service {
        _ if route.ejected => Standing::Ejected,
        graph::Service::Serving => Standing::Serving,
        graph::Service::Warming => Standing::Warming,
        graph::Service::Draining => Standing::Draining,
    };
    Some(Candidate {
        ways,
        cost: route.cost,
        load: route.load,
        standing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(region: &str) -> NodeId {
        NodeId::try_new("example.org", region, "n1").unwrap()
    }

    fn exposed(allow: &str) -> Exposed {
        Exposed::new(&[config::Service {
            name: "game".into(),
            transport: Transport::Udp {
                idle_timeout: Duration::from_secs(60),
            },
            address: HostPort::Ip("127.0.0.1:1".parse().unwrap()),
            allow: allow
                .split_whitespace()
                .map(|p| p.parse().unwrap())
                .collect(),
        }])
    }

    #[test]
    fn service_is_found_and_declared_only_where_it_is_allowed() {
        let exposed = exposed("spiffe://example.org/region/eu-west/node/*");
        let (inside, outside) = (node("eu-west"), node("us-east"));
        let find = |name, kind, peer| exposed.find(name, kind, peer).map(|service| service.kind);
        assert_eq!(
            find("game", ServiceKind::Udp, &inside),
            Ok(ServiceKind::Udp)
        );
        let not_allowed = Err(RefuseCode::NotAllowed);
        assert_eq!(find("game", ServiceKind::Udp, &outside), not_allowed);
        // Whoever may not use it does not learn its kind.
        assert_eq!(find("game", ServiceKind::Tcp, &outside), not_allowed);
        let wrong = find("game", ServiceKind::Tcp, &inside);
        assert_eq!(wrong, Err(RefuseCode::WrongKind));
        let unknown = find("other", ServiceKind::Udp, &inside);
        assert_eq!(unknown, Err(RefuseCode::UnknownService));

        assert_eq!(exposed.declared_to(&inside).services.len(), 1);
        assert!(exposed.declared_to(&outside).services.is_empty());
    }

    #[test]
    fn service_without_allow_is_for_nobody() {
        let declared = exposed("").declared_to(&node("eu-west"));
        assert!(declared.services.is_empty());
    }
}
