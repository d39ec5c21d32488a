//! A UDP path between two nodes on this machine that can be black-holed.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::net::UdpSocket;

use crate::fleet::ports::ANY_PORT;

/// Carries what comes to its front to a node, and back what the node answers. For one peer.
#[derive(Debug)]
pub(super) struct Forwarder {
    front: UdpSocket,
    back: UdpSocket,
    hole: BlackHole,
}

/// Makes a forwarder drop everything. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct BlackHole(Arc<AtomicBool>);

impl BlackHole {
    /// From now on nothing crosses, either way.
    pub(super) fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Forwarder {
    /// In front of the node at `address`.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let (front, back) = (
            UdpSocket::bind(ANY_PORT).await?,
            UdpSocket::bind(ANY_PORT).await?,
        );
        back.connect(address).await?;
        Ok(Self {
            front,
            back,
            hole: BlackHole::default(),
        })
    }

    /// Where others reach the node through it.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.front.local_addr()
    }

    /// What black-holes it.
    pub(super) fn hole(&self) -> BlackHole {
        self.hole.clone()
    }

    /// Forwards for as long as it is polled.
    pub(super) async fn run(self) {
        let mut client = None;
        let (mut out, mut home) = (vec![0; DATAGRAM_BYTES], vec![0; DATAGRAM_BYTES]);
        loop {
            // Errors are what ICMP says of a port that is not bound yet, or no longer: lost.
            tokio::select! {
                biased;
                come = self.front.recv_from(&mut out) => {
                    if let Ok((length, from)) = come {
                        client = Some(from);
                        if !self.hole.is_open() {
                            let _ = self.back.try_send(&out[..length]);
                        }
                    }
                }
                come = self.back.recv(&mut home) => {
                    if let (Ok(length), Some(client), false) = (come, client, self.hole.is_open()) {
                        let _ = self.front.try_send_to(&home[..length], client);
                    }
                }
            }
        }
    }
}

/// More than any that QUIC sends.
const DATAGRAM_BYTES: usize = 65_536;
