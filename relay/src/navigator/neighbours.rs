//! What is said to neighbours and what they say, between the router's values and frames.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use router::{
    advert::{Advert, State},
    gossip::Message,
    graph::NodeKey as RouterKey,
    verified::Verified,
};

use crate::{
    adverts::{HeardAdvert, Regions, SignAdvertError, sign_advert},
    id::{NodeId, NodeKey},
    identity::Chains,
    link::Link,
    mesh::Mesh,
    wire::Frame,
};

/// The current link to every peer, and the cryptography of what goes over it.
pub(super) struct Neighbours {
    mesh: Arc<Mesh>,
    links: BTreeMap<NodeKey, Arc<Link>>,
    chains: Chains,
    regions: Regions,
}

impl Neighbours {
    pub(super) fn new(mesh: Arc<Mesh>, regions: Regions) -> Self {
        Self {
            mesh,
            links: BTreeMap::new(),
            chains: Chains::default(),
            regions,
        }
    }

    pub(super) fn links(&self) -> &BTreeMap<NodeKey, Arc<Link>> {
        &self.links
    }

    /// The current link to a peer; whether that is another than before.
    pub(super) fn handle_link(&mut self, peer: NodeKey, link: Option<Arc<Link>>) -> bool {
        let before = match &link {
            Some(link) => self.links.insert(peer, link.clone()),
            None => self.links.remove(&peer),
        };
        match (&before, &link) {
            (Some(before), Some(link)) => !Arc::ptr_eq(before, link),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// How long a last word takes that is lost on its way to any of them and sent again: QUIC
    /// notices that after a round trip and what the receiver may hold an acknowledgement back for,
    /// 25 ms, twice as long for good measure. No longer than [`MAX_LAST_WORD`], so that nobody's
    /// silence holds up an end.
    pub(super) fn last_word(&self) -> Duration {
        let round_trips = self.links.values().map(|link| link.srtt());
        let longest = round_trips.max();
        longest.map_or(Duration::ZERO, |rtt| {
            (rtt * 2 + ACK_DELAYS).min(MAX_LAST_WORD)
        })
    }

    /// Says something to a neighbour. What does not get through is found missing by digest.
    pub(super) fn send(&self, peer: NodeKey, message: Message) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        match message {
            Message::Advert { advert, age } => link.send_frame(Frame::Advert {
                signed: bytes::Bytes::from_owner(advert.signed().clone()),
                age,
            }),
            Message::Digest(digest) => link.send_frame(Frame::AdvertDigest(digest)),
            Message::Offer(versions) => {
                Frame::offers(&versions).for_each(|frame| link.send_frame(frame));
            }
            Message::Request(versions) => {
                Frame::requests(&versions).for_each(|frame| link.send_frame(frame));
            }
        }
    }

    /// Says something else to a neighbour.
    pub(super) fn send_frame(&self, peer: NodeKey, frame: Frame) {
        if let Some(link) = self.links.get(&peer) {
            link.send_frame(frame);
        }
    }

    /// What a frame says, and who signed it if it is an advert. Nothing if it was not `expected`, or
    /// does not pass; that is counted.
    pub(super) fn read(
        &mut self,
        frame: Frame,
        expected: impl FnOnce(RouterKey, State) -> bool,
    ) -> Option<(Message, Option<NodeId>)> {
        match frame {
            Frame::AdvertOffer(versions) => Some((Message::Offer(versions), None)),
            Frame::AdvertRequest(versions) => Some((Message::Request(versions), None)),
            Frame::AdvertDigest(digest) => Some((Message::Digest(digest), None)),
            Frame::Advert { signed, age } => {
                let (advert, author) = self.believe(&signed, expected)?;
                Some((Message::Advert { advert, age }, Some(author)))
            }
            _ => None,
        }
    }

    /// What a node says of itself, if it does and is `expected` to.
    fn believe(
        &mut self,
        signed: &[u8],
        expected: impl FnOnce(RouterKey, State) -> bool,
    ) -> Option<(Verified<Advert>, NodeId)> {
        let mesh = self.mesh.clone();
        let believed = HeardAdvert::decode(signed).and_then(|heard| {
            // Whether it is expected is looked at before its signature, which costs a thousand
            // times as much.
            if !expected(heard.node().into(), heard.state()) {
                mesh.counts.adverts_unasked.incr();
                return Ok(None);
            }
            let material = mesh.material.load();
            let (chains, regions) = (&mut self.chains, &mut self.regions);
            let heard = heard.verify(&material, chains, regions, mesh.env.wall.now())?;
            Ok(Some(heard))
        });
        match believed {
            Ok(believed) => {
                let (author, advert, adjusted) = believed?;
                mesh.counts.adverts_adjusted.add(adjusted.total().into());
                Some((advert, author))
            }
            Err(refused) => {
                mesh.counts.adverts_refused.incr(refused.reason());
                tracing::debug!(error = %refused, "advert refused");
                None
            }
        }
    }

    /// Signs what this node says of itself.
    pub(super) fn sign(&self, advert: &Advert) -> Result<Verified<Advert>, SignAdvertError> {
        let material = self.mesh.material.load();
        sign_advert(&material, &self.regions, advert)
    }
}

/// Two of QUIC's default delay of acknowledgements, RFC 9000 section 18.2.
const ACK_DELAYS: Duration = Duration::from_millis(50);
/// One loss over 225 ms is repaired within it; over more, another neighbour passes the word on.
const MAX_LAST_WORD: Duration = Duration::from_millis(500);
