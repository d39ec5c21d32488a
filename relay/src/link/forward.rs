//! Packets of one turn for other nodes: this node is on their way.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Lanes, Link, lanes::NotForwarded, unknown::UnknownFlows};
use crate::{
    counts::PacketDrop,
    hops::{Loop, next_hop_of_packet},
    id::NodeKey,
    mesh::Mesh,
    outbox::Class,
    routes::Way,
    wire::{Datagram, Direction, PacketHeader, RelayedBody, RemainingHops, TooLarge},
};

/// Collects what a turn has for other nodes, then sends it, so that what came as a burst leaves as
/// one. Pieces go on as they came.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    packets: Vec<Forward>,
    lanes: Lanes,
    /// The link that the turn found last: packets of one flow mostly come together.
    last: Option<(NodeKey, Arc<Link>)>,
    stuck: UnknownFlows,
}

#[derive(Debug)]
struct Forward {
    to: Arc<Link>,
    header: PacketHeader,
    payload: Bytes,
}

impl Forwards {
    /// Takes a packet that came over `from` and has hops to go.
    ///
    /// - `mesh`, `us`: this node, and its key, which takes a hash to compute.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        (mesh, us): (&Mesh, NodeKey),
        from: &Arc<Link>,
        mut header: PacketHeader,
        payload: Bytes,
    ) {
        let next = match next_hop_of_packet(us, from.peer_key, &header) {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(Loop) => return mesh.counts.drop_packet(PacketDrop::Loop),
        };
        let (next, rest) = next;
        let Some(to) = self.link_to(mesh, next) else {
            mesh.counts.drop_packet(PacketDrop::NoLink);
            return self.tell_unreachable(now, us, from, &header, next);
        };
        header.hops = rest;
        header.sent_us = mesh.micros(now);
        self.packets.push(Forward {
            to,
            header,
            payload,
        });
    }

    fn link_to(&mut self, mesh: &Mesh, next: NodeKey) -> Option<Arc<Link>> {
        if let Some((key, link)) = &self.last
            && *key == next
        {
            return Some(link.clone());
        }
        let link = mesh.links.get(next)?;
        self.last = Some((next, link.clone()));
        Some(link)
    }

    /// Sends everything. What a link does not take is dropped, and counted by its reason.
    pub(super) fn flush(&mut self, now: Instant, from: &Link) {
        self.last = None;
        if self.packets.is_empty() {
            return;
        }
        self.lanes.begin(now);
        let bytes = self.packets.iter().map(|packet| packet.payload.len()).sum();
        self.lanes.expect((self.packets.len(), bytes));
        let mut forwarded = 0;
        for Forward {
            to,
            header,
            payload,
        } in self.packets.drain(..)
        {
            match self.lanes.forward(&to, header, &payload) {
                Ok(()) => forwarded += 1,
                Err(NotForwarded::TooLarge { limit }) => answer_too_large(from, &header, limit),
                Err(NotForwarded::Dropped) => {}
            }
        }
        from.counts.packets_forwarded.add(forwarded);
    }

    /// The ingress finds another way. Packets back are stuck where packets forward are, and their
    /// sender follows the ingress.
    fn tell_unreachable(
        &mut self,
        now: Instant,
        us: NodeKey,
        from: &Arc<Link>,
        header: &PacketHeader,
        next: NodeKey,
    ) {
        let flow = header.flow;
        if header.direction == Direction::Back || !self.stuck.handle_packet(now, flow) {
            return;
        }
        let body = RelayedBody::Unreachable {
            flow: Some(flow),
            next,
        };
        if let Some(way) = towards_ingress(from, header) {
            way.say(us, body);
        }
    }
}

/// How to reach the ingress of a packet that came over `from`. Packets do not say which nodes they
/// have passed: whoever sent this one has a link to the ingress, or there is no telling it.
pub(super) fn towards_ingress(from: &Arc<Link>, header: &PacketHeader) -> Option<Arc<Way>> {
    let ingress = header.flow.ingress;
    if ingress == from.peer_key {
        return Some(Way::direct(from.clone()));
    }
    let hops = RemainingHops::try_new(&[ingress])?;
    Some(Way::back(from.clone(), hops))
}

fn answer_too_large(from: &Link, header: &PacketHeader, limit: usize) {
    let answer = Datagram::TooLarge(TooLarge {
        packet: header.key(),
        limit: u16::try_from(limit).unwrap_or(u16::MAX),
    });
    let mut bytes = BytesMut::with_capacity(TooLarge::LEN);
    answer.encode(&mut bytes);
    // Smaller than what it answers, so that it multiplies nothing; one that is lost is repeated.
    let _ = from.outbox.push(Class::Data, bytes.freeze());
}
