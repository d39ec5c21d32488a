//! Frames between nodes that use no link to each other: carried on, or taken in at their end.

use std::sync::Arc;

use super::Link;
use crate::{
    code::RefuseCode,
    counts::ForwardRefusal,
    hops::{Loop, next_hop},
    id::NodeKey,
    mesh::Mesh,
    navigator::NavigatorEvent,
    routes::Way,
    udp::{self, FlowAnswer, FlowWord, service},
    wire::{Direction, FlowId, Frame, Relayed, RelayedBody, RemainingHops},
};

/// Carries `relayed`, which came over `link`, to the next node, or takes it in.
///
/// Each node vouches for the one before it: the last node that the frame names as passed must be
/// the one that it came from. Those before that are as true as the nodes on the way.
pub(super) fn handle(mesh: &Arc<Mesh>, link: &Arc<Link>, relayed: Relayed) {
    let us = mesh.id.key();
    let refused = &mesh.counts.forward_refused;
    if relayed.via.last().unwrap_or(&relayed.origin) != &link.peer_key {
        return refused.incr(ForwardRefusal::NotFromSender);
    }
    let mut passed = relayed.via.clone();
    passed.insert(0, relayed.origin);
    match next_hop(us, &passed, relayed.hops) {
        Err(Loop) => {
            refused.incr(ForwardRefusal::Loop);
            // An answer would go along what is passed, and visit this node twice itself.
            if !passed.contains(&us) {
                refuse(us, link, &relayed, RefuseCode::Loop);
            }
        }
        Ok(None) => take_in(mesh, link, relayed),
        Ok(Some((next, rest))) => match mesh.links.get(next) {
            Some(onward) => {
                let Relayed {
                    origin,
                    mut via,
                    body,
                    ..
                } = relayed;
                via.push(us);
                onward.forward_frame(Frame::Relayed(Box::new(Relayed {
                    origin,
                    via,
                    hops: rest,
                    body,
                })));
            }
            None => {
                refused.incr(ForwardRefusal::NoLink);
                say_unreachable(us, link, &relayed, next);
            }
        },
    }
}

/// The way back along which `relayed` came over `link`.
fn way_back(link: &Arc<Link>, relayed: &Relayed) -> Option<Arc<Way>> {
    // The last of those that it has passed is this link's peer; without any, that is the origin.
    let Some((_, before)) = relayed.via.split_last() else {
        return Some(Way::direct(link.clone()));
    };
    let mut back: Vec<NodeKey> = before.iter().rev().copied().collect();
    back.push(relayed.origin);
    Some(Way::back(link.clone(), RemainingHops::try_new(&back)?))
}

/// Tells who waits for an answer. An answer that is stuck has nobody who waits.
fn say_unreachable(us: NodeKey, link: &Arc<Link>, relayed: &Relayed, next: NodeKey) {
    let flow = match &relayed.body {
        RelayedBody::OpenFlow { generation, open } => Some(FlowId {
            ingress: relayed.origin,
            generation: *generation,
            number: open.flow,
        }),
        RelayedBody::Echo { .. } => None,
        _ => return,
    };
    if let Some(way) = way_back(link, relayed) {
        way.say(us, RelayedBody::Unreachable { flow, next });
    }
}

fn refuse(us: NodeKey, link: &Arc<Link>, relayed: &Relayed, code: RefuseCode) {
    if let RelayedBody::OpenFlow { generation, open } = &relayed.body
        && let Some(way) = way_back(link, relayed)
    {
        let flow = FlowId {
            ingress: relayed.origin,
            generation: *generation,
            number: open.flow,
        };
        udp::say(us, &way, flow, FlowWord::Refused(code));
    }
}

fn take_in(mesh: &Arc<Mesh>, link: &Arc<Link>, relayed: Relayed) {
    let us = mesh.id.key();
    let origin = relayed.origin;
    let Some(way) = way_back(link, &relayed) else {
        return mesh.counts.forward_refused.incr(ForwardRefusal::TooLong);
    };
    let tell = |flow: FlowId, answer| {
        if flow.ingress == us && flow.generation == link.our_generation {
            link.tell_flow(flow.number, way.hops, answer);
        }
    };
    match relayed.body {
        RelayedBody::OpenFlow { generation, open } => {
            let flow = FlowId {
                ingress: origin,
                generation,
                number: open.flow,
            };
            match mesh.node_id(origin) {
                Some(id) => service::open(mesh, way, &id, flow, &open),
                // Nobody can say what a node without a name may do.
                None => service::refuse(mesh, &way, flow, RefuseCode::NotAllowed),
            }
        }
        RelayedBody::FlowAccepted { flow } => tell(flow, FlowAnswer::Accepted),
        RelayedBody::FlowRefused { flow, code, .. } => tell(flow, FlowAnswer::Refused(code)),
        RelayedBody::CloseFlow {
            flow,
            direction: Direction::Forward,
            ..
        } => {
            if flow.ingress == origin {
                service::close(mesh, flow);
            }
        }
        RelayedBody::CloseFlow {
            flow,
            direction: Direction::Back,
            ..
        } => tell(flow, FlowAnswer::Closed),
        RelayedBody::Unreachable { flow, next } => {
            let at = origin;
            // A router without room for it hears of the link from its own ends.
            let told = NavigatorEvent::Unreachable { at, next };
            let _ = mesh.navigator.try_send(told);
            mesh.echoes.handle_unreachable(link, at, next);
            if let Some(flow) = flow {
                tell(flow, FlowAnswer::Unreachable { at, next });
            }
        }
        RelayedBody::Echo { id } => way.say(us, RelayedBody::EchoReply { id }),
        RelayedBody::EchoReply { id } => mesh.echoes.handle_reply(link, origin, id),
        RelayedBody::Unknown { .. } => mesh.counts.frames_skipped.incr(),
    }
}
