//! What both forwarders share: packets go out as a node sends them.

use std::{io, net::SocketAddr, sync::Arc};

use causeway::env::{LocalUdp, PacketRun};
use tokio::runtime::{Builder, Runtime};

/// One thread, as a node's worker has.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Packets to one address, sent in runs of equal length with one call of the system each.
#[derive(Debug)]
pub(super) struct Runs {
    socket: Arc<dyn LocalUdp>,
    to: SocketAddr,
    bytes: Vec<u8>,
    stride: usize,
}

impl Runs {
    pub(super) fn new(socket: Arc<dyn LocalUdp>, to: SocketAddr) -> Self {
        Self {
            socket,
            to,
            bytes: Vec::new(),
            stride: 0,
        }
    }

    pub(super) fn push(&mut self, packet: &[u8]) {
        if packet.len() != self.stride || self.bytes.len() + packet.len() > MAX_RUN_BYTES {
            self.flush();
            self.stride = packet.len();
        }
        self.bytes.extend_from_slice(packet);
    }

    /// Sends what there is; what the socket does not take is lost, as on any network.
    pub(super) fn flush(&mut self) {
        let mut rest = (!self.bytes.is_empty()).then(|| PacketRun::new(&self.bytes, self.stride));
        while let Some(run) = rest {
            let dealt_with = self.socket.try_send_run(run, self.to).unwrap_or(1);
            rest = run.skip(dealt_with);
        }
        self.bytes.clear();
    }
}

const MAX_RUN_BYTES: usize = 65_000;
