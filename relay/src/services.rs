//! What this node exposes, to whom, and what its peers say that they expose.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    code::RefuseCode,
    config::{self, HostPort, Target, Transport},
    id::NodeId,
    identity::Pattern,
    link::Link,
    links::{ConnectError, Links},
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

    /// A usable link towards the service, if there is one now.
    pub fn link_now(&self, links: &Links, kind: ServiceKind) -> Option<Arc<Link>> {
        match &self.to {
            Target::Node(node) => links.get(node.key()),
            Target::Region(region) => links.nearest(region, &self.service, kind),
        }
    }

    /// A usable link towards a TCP service; joins the dial of a single node if one is in progress.
    ///
    /// # Errors
    /// As [`Links::connect`]; for a region that has nobody now, at once.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn link_by(
        &self,
        links: &Links,
        deadline: Instant,
    ) -> Result<Arc<Link>, ConnectError> {
        match &self.to {
            Target::Node(node) => links.connect(node.key(), deadline).await,
            Target::Region(region) => {
                let nearest = links.nearest(region, &self.service, ServiceKind::Tcp);
                nearest.ok_or_else(|| ConnectError::NotNow {
                    why: format!("no node of {region} that is up exposes {}", self.service),
                })
            }
        }
    }
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
