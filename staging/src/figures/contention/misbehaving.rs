//! Peers with a good certificate that do what no good peer does, as fast as they can.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use causeway::{
    clock,
    counts::{Counts, PacketDrop},
    deadline::Connection,
    id::NodeKey,
    link::frames::encoded,
    wire::{Class, Datagram, Direction, Frame, Open, PacketHeader, RemainingHops},
};
use tokio::task::JoinSet;

use super::responder::Responder;
use crate::sim::fleet::sleep;

/// What a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Sends packets of flows that nobody opened.
    Garbage,
    /// Dials anew a thousand times a second.
    Reconnects,
    /// Opens streams for a service that is not there.
    Streams,
}

impl Misbehaviour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reconnects, Self::Streams, Self::Garbage];

    /// What the table says.
    pub fn words(self) -> &'static str {
        match self {
            Self::Garbage => "sends packets of unknown flows without pause",
            Self::Reconnects => "dials a thousand times a second",
            Self::Streams => "opens streams without pause",
        }
    }

    /// What the node counts of it.
    pub fn counted(self) -> &'static str {
        match self {
            Self::Garbage => "packets of unknown flows dropped",
            Self::Reconnects => "first flights let in or turned away",
            Self::Streams => "streams refused",
        }
    }

    /// How often the node has counted it.
    pub fn count(self, counts: &Counts) -> u64 {
        match self {
            Self::Garbage => counts.packets_dropped.value(PacketDrop::UnknownFlow),
            Self::Reconnects => counts.inbound.total(),
            Self::Streams => counts.opens_refused.total(),
        }
    }

    /// Does so until it is dropped.
    pub async fn go_on(self, peer: Arc<Responder>, to: SocketAddr) {
        match self {
            Self::Garbage => {
                if let Ok(link) = peer.link(to).await {
                    send_garbage(&peer, &link).await;
                }
            }
            Self::Reconnects => reconnect(peer, to).await,
            Self::Streams => {
                if let Ok(link) = peer.link(to).await {
                    open_streams(link).await;
                }
            }
        }
    }
}

async fn reconnect(peer: Arc<Responder>, to: SocketAddr) {
    let mut dials = JoinSet::new();
    loop {
        let peer = peer.clone();
        dials.spawn(async move {
            // Refused or let in, it is dropped.
            drop(peer.dial(to, clock::now() + GIVE_UP).await);
        });
        while dials.try_join_next().is_some() {}
        sleep(MILLISECOND).await;
    }
}

async fn open_streams(link: Connection) {
    let open = Frame::Open(Open {
        session: [2; 16],
        destination: NodeKey([0; 8]),
        service: "none".to_owned(),
        budget: GIVE_UP,
        resume_offset: 0,
        trace: None,
        hops: RemainingHops::NONE,
        via: Vec::new(),
    });
    let open = encoded(&open).expect("it is a short frame");
    let mut asked = JoinSet::new();
    // The link's limit of streams is what holds it back, until the node has refused some.
    while let Ok((mut sender, _)) = link.open(clock::now() + PATIENCE).await {
        let open = open.clone();
        asked.spawn(async move {
            let deadline = clock::now() + PATIENCE;
            if sender.write(open, deadline).await.is_ok() {
                // A stream that is reset at once may never be seen.
                let _ = sender.finish(deadline).await;
            }
        });
        while asked.try_join_next().is_some() {}
    }
}

async fn send_garbage(peer: &Responder, link: &Connection) {
    for number in 0.. {
        let header = PacketHeader {
            direction: Direction::Forward,
            class: Class::Video,
            flow: peer.unknown_flow(number),
            sequence: 0,
            sent_us: 0,
            link_sequence: 0,
            lifetime_ms: 0,
            fragment: None,
            hops: RemainingHops::NONE,
        };
        let mut packet = BytesMut::new();
        let payload = &[0; 100];
        Datagram::Packet { header, payload }.encode(&mut packet);
        let packet: Bytes = packet.freeze();
        // Waits for room: what the congestion window lets out is as fast as can be.
        if link
            .send_datagram(packet, clock::now() + PATIENCE)
            .await
            .is_err()
        {
            return;
        }
        if number % PACKETS_PER_MILLISECOND == 0 {
            sleep(MILLISECOND).await;
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
/// 100,000 a second.
const PACKETS_PER_MILLISECOND: u32 = 100;
const GIVE_UP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
