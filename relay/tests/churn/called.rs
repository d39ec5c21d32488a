//! Peers that the node dials.

use std::net::SocketAddr;

use causeway::{code::CloseCode, id::NodeId};
use netem::sim::Host;

use crate::{
    fleet::{Fleet, Member, PORT, ms, node_id, sleep},
    raw::{Answers, Raw},
};

/// A machine that the node dials for as long as it is configured there.
pub(crate) struct Called {
    host: Host,
    id: NodeId,
    number: u16,
    lives: u32,
}

impl Called {
    pub(crate) fn new(fleet: &Fleet, number: u16) -> Self {
        let name = format!("called-{number}");
        Self {
            host: fleet.host(&name),
            id: node_id("ap", &name),
            number,
            lives: 0,
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Makes `node` dial it, from its next reload on.
    pub(crate) fn configure(&self, fleet: &mut Fleet, node: Member) {
        let address = self.address().to_string();
        fleet.add_peer(node, &self.id, &[address]);
    }

    /// Is dialed, until dropped: a fourth of them are black holes.
    pub(crate) async fn serve(&mut self, fleet: &Fleet) {
        if self.number.is_multiple_of(4) {
            let _unread = self.host.bind_udp(self.address()).unwrap();
            return std::future::pending().await;
        }
        loop {
            self.lives += 1;
            let raw = Raw::on(fleet, self.host.clone(), self.id.clone(), self.lives);
            // Good, and closed in order.
            let link = raw.accept_link(Answers::ALL).await;
            sleep(ms(300)).await;
            link.connection.close(CloseCode::Shutdown, b"");
            // TLS, and then silence.
            let silent = raw.accept().await;
            silent.closed().await;
            // A link, and then death.
            drop(raw.accept_link(Answers::ALL).await);
            sleep(ms(300)).await;
            self.host.kill();
        }
    }

    /// Ends its process, if one runs.
    pub(crate) fn kill(&self) {
        self.host.kill();
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.ip(), PORT)
    }
}
