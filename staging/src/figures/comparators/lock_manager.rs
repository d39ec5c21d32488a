//! A connection manager that dials under its lock, as one of this field's worst outages did.
//!
//! It is right at first sight: a map of connections behind a lock, and whoever finds none dials one
//! before the next looks. While that dial is on its way, everybody else waits for the lock, whoever
//! they want; so a mesh of such managers makes one dial for each round trip.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Instant};

use causeway::{
    deadline::{Connection, Endpoint},
    env::{BoxFuture, WallClock},
    id::{NodeId, NodeKey},
    identity::{Expect, Material, Refusal},
    transport,
};
use tokio::time::timeout_at;

use crate::figures::contention::load::Connects;

/// The stand-in.
#[derive(Debug)]
pub struct LockManager {
    endpoint: Endpoint,
    material: Material,
    transport: Arc<quinn::TransportConfig>,
    wall: Arc<dyn WallClock>,
    peers: BTreeMap<NodeKey, (NodeId, SocketAddr)>,
    #[expect(
        clippy::disallowed_types,
        reason = "what a lock across a dial does is what it shows"
    )]
    connections: tokio::sync::Mutex<BTreeMap<NodeKey, Connection>>,
}

impl LockManager {
    /// A manager without connections, which dials from `endpoint`.
    pub fn new(
        endpoint: Endpoint,
        material: Material,
        transport: Arc<quinn::TransportConfig>,
        wall: Arc<dyn WallClock>,
        peers: impl IntoIterator<Item = (NodeId, SocketAddr)>,
    ) -> Self {
        let peers = peers.into_iter().map(|(id, at)| (id.key(), (id, at)));
        Self {
            endpoint,
            material,
            transport,
            wall,
            peers: peers.collect(),
            connections: Default::default(),
        }
    }

    #[expect(
        clippy::await_holding_invalid_type,
        reason = "what a lock across a dial does is what it shows"
    )]
    async fn find(&self, peer: NodeKey, deadline: Instant) -> Option<Connection> {
        let (id, address) = self.peers.get(&peer)?;
        let mut connections = self.connections.lock().await;
        if let Some(connection) = connections.get(&peer)
            && connection.close_reason().is_none()
        {
            return Some(connection.clone());
        }
        let tls = self.material.client_config(
            Expect::Node(id.clone()),
            self.wall.clone(),
            Refusal::default().observer(),
        );
        let config = transport::client_config(tls, self.transport.clone()).ok()?;
        let dialed = self.endpoint.connect(config, *address, deadline).await;
        let connection = dialed.ok()?;
        connections.insert(peer, connection.clone());
        Some(connection)
    }
}

impl Connects for LockManager {
    fn connect(&self, peer: NodeKey, deadline: Instant) -> BoxFuture<'_, Option<Connection>> {
        // Nobody waits for the lock for longer than the request has.
        Box::pin(async move {
            timeout_at(deadline.into(), self.find(peer, deadline))
                .await
                .ok()?
        })
    }
}
