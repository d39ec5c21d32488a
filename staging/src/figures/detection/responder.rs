//! A peer of which one loop can stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::{Bytes, BytesMut};
use causeway::{
    deadline::{Connection, Sender},
    id::{LinkGeneration, NodeGeneration, NodeId},
    keeper::Role,
    link::{frames::FrameReader, setup::Established},
    wire::{Datagram, Frame, Hello, PROTOCOL, Probe},
};

use crate::figures::endpoint::soon;

/// The loop that stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wedge {
    /// What answers datagrams.
    Packets,
    /// What answers on the control stream.
    Requests,
}

/// Makes a responder's loop stop. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Switch(Arc<AtomicBool>);

impl Switch {
    /// From now on the loop does not answer.
    pub(super) fn strike(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_struck(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A Hello in which nothing is wrong.
pub(super) fn hello(own: &NodeId) -> Hello {
    let generation = NodeGeneration(1);
    Hello {
        protocol: PROTOCOL,
        features: 0,
        node: own.clone(),
        generation,
        link: LinkGeneration {
            dialer: own.key(),
            node: generation,
            dial: 0,
        },
        release: "responder".into(),
        labels: Default::default(),
        addresses: Vec::new(),
        current_link: None,
    }
}

/// Answers probes and promotions as a node does, each loop until it is struck, and goes on reading
/// and acknowledging; returns when the link ends.
pub(super) async fn serve(own: NodeId, link: Established, wedge: Wedge, switch: Switch) {
    let Established {
        connection,
        mut control,
        frames,
        peer,
        ..
    } = link;
    let role = Role::of(own.key(), peer.key());
    if role == Role::Arbiter && !say(&mut control, &Frame::Promote { epoch: 1 }).await {
        return;
    }
    let packets = (wedge == Wedge::Packets).then(|| switch.clone());
    let requests = (wedge == Wedge::Requests).then_some(switch);
    tokio::join!(
        answer_packets(&connection, packets),
        answer_frames(control, frames, requests),
    );
}

async fn answer_packets(connection: &Connection, switch: Option<Switch>) {
    while let Ok(bytes) = connection.read_datagram().await {
        if switch.as_ref().is_some_and(Switch::is_struck) {
            continue;
        }
        if let Ok(Datagram::Probe(probe)) = Datagram::decode(&bytes) {
            let mut reply = BytesMut::with_capacity(Probe::LEN);
            Datagram::ProbeReply(probe).encode(&mut reply);
            // One that finds no room is lost, as on the way.
            let _ = connection.try_send_datagram(reply.freeze());
        }
    }
}

async fn answer_frames(mut control: Sender, mut frames: FrameReader, switch: Option<Switch>) {
    while let Ok(Some(frame)) = frames.next().await {
        let wedged = switch.as_ref().is_some_and(Switch::is_struck);
        let answer = match frame {
            Frame::Probe { id } if !wedged => Frame::ProbeReply { id },
            Frame::Promote { epoch } => Frame::Promoted { epoch },
            _ => continue,
        };
        if !say(&mut control, &answer).await {
            return;
        }
    }
}

async fn say(control: &mut Sender, frame: &Frame) -> bool {
    let mut bytes = BytesMut::new();
    let encoded = frame.encode(&mut bytes).is_ok();
    let bytes: Bytes = bytes.freeze();
    encoded && control.write(bytes, soon()).await.is_ok()
}
