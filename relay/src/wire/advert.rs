//! What a node says of itself, as bytes.

use prost::Message;
use router::{
    advert::{Advert, RawAdvert, RawLink, RawView, State},
    graph::{self, LinkHealth, NodeKey, RegionId, Service},
    window::Loss,
};

use crate::wire::{
    limits::{is_address, is_label_name, is_label_value, is_release},
    message,
    statement::{StatementError, bad, required},
};

/// An advert as it was decoded: its figures are not checked, and its region is still a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertStatement {
    /// The name of the node's region.
    pub region: String,
    /// Its region is to be filled in.
    raw: RawAdvert,
}

impl AdvertStatement {
    /// Reads an advert. Addresses, labels and release are as in a [`Hello`](crate::wire::Hello).
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let m = message::AdvertStatement::decode(bytes).map_err(|_| StatementError::NotProtobuf)?;
        let links = m.links.iter().map(read_link);
        let views = m.views.iter().map(read_view);
        let ports = m.ports.iter().map(|port| u16::try_from(*port));
        let raw = RawAdvert {
            node: NodeKey(required("node", m.node)?),
            generation: required("generation", m.generation)?,
            sequence: required("sequence", m.sequence)?,
            region: UNKNOWN_REGION,
            state: state(required("state", m.state)?)?,
            load_permille: required("load_permille", m.load_permille)?,
            links: links.collect::<Result<_, _>>()?,
            views: views.collect::<Result<_, _>>()?,
            ports: ports
                .collect::<Result<_, _>>()
                .map_err(|_| bad("ports", "above 65,535"))?,
            addresses: m.addresses,
            release: required("release", m.release)?,
            labels: m.labels,
        };
        if !is_release(&raw.release) {
            return Err(bad("release", "not 1 to 128 visible characters"));
        }
        if !raw.addresses.iter().all(|address| is_address(address)) {
            return Err(bad("addresses", "not of the form host:port"));
        }
        if !raw.labels.keys().all(|name| is_label_name(name)) {
            return Err(bad("labels", "not a name of a label"));
        }
        if !raw.labels.values().all(|value| is_label_value(value)) {
            return Err(bad("labels", "not a value of a label"));
        }
        let region = required("region", m.region)?;
        Ok(Self { region, raw })
    }

    /// The bytes of an advert.
    ///
    /// - `region`: the name of its region.
    pub fn encode(advert: &Advert, region: &str) -> Vec<u8> {
        let (version, content) = (advert.version(), advert.content());
        let message = message::AdvertStatement {
            node: Some(version.node.0),
            generation: Some(version.generation),
            sequence: Some(version.sequence),
            region: Some(region.to_owned()),
            state: Some(state_number(content.state)),
            load_permille: Some(content.load.as_permille().into()),
            addresses: content.addresses.clone(),
            ports: content.ports.iter().map(|port| u32::from(*port)).collect(),
            release: Some(content.release.clone()),
            labels: content.labels.clone(),
            links: content.links.iter().map(link_message).collect(),
            views: content.views.iter().map(view_message).collect(),
        };
        message.encode_to_vec()
    }

    /// Who speaks, as it says.
    pub fn node(&self) -> NodeKey {
        self.raw.node
    }

    /// What it does, as it says.
    pub fn state(&self) -> State {
        self.raw.state
    }

    /// What is said, for [`Advert::try_new`] to check.
    ///
    /// - `region`: what stands for the region's name in this process.
    pub fn into_raw(self, region: RegionId) -> RawAdvert {
        RawAdvert { region, ..self.raw }
    }
}

fn read_link(m: &message::AdvertLink) -> Result<RawLink, StatementError> {
    Ok(RawLink {
        peer: NodeKey(required("link.peer", m.peer)?),
        rtt_us: m.rtt_us,
        loss_ppm: required("link.loss_ppm", m.loss_ppm)?,
        limit_bytes: required("link.limit_bytes", m.limit_bytes)?,
        health: match required("link.health", m.health)? {
            1 => LinkHealth::Usable,
            2 => LinkHealth::Suspect,
            // A newer release may tell more apart; to rely on what is not understood would be worse
            // than to leave it alone.
            _ => LinkHealth::Down,
        },
    })
}

fn link_message((peer, link): (&NodeKey, &graph::Link)) -> message::AdvertLink {
    // Saturates: beyond any bound in both cases.
    let micros = |rtt: std::time::Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
    message::AdvertLink {
        peer: Some(peer.0),
        rtt_us: link.measure.map(|measure| micros(measure.rtt)),
        loss_ppm: Some(link.measure.map_or(0, |m| m.loss.as_ppm().into())),
        limit_bytes: Some(link.limit_bytes.into()),
        health: Some(match link.health {
            LinkHealth::Usable => 1,
            LinkHealth::Suspect => 2,
            LinkHealth::Down => 3,
        }),
    }
}

fn read_view(m: &message::AdvertView) -> Result<RawView, StatementError> {
    Ok(RawView {
        node: NodeKey(required("view.node", m.node)?),
        delivered: required("view.delivered", m.delivered)?,
        lost: required("view.lost", m.lost)?,
    })
}

fn view_message((node, seen): (&NodeKey, &Loss)) -> message::AdvertView {
    message::AdvertView {
        node: Some(node.0),
        delivered: Some(seen.delivered),
        lost: Some(seen.lost),
    }
}

/// What a node does that this build has no word for cannot be relied on in any way.
fn state(number: u32) -> Result<State, StatementError> {
    Ok(match number {
        1 => State::Present(Service::Warming),
        2 => State::Present(Service::Serving),
        3 => State::Present(Service::Draining),
        4 => State::Left,
        _ => return Err(bad("state", "not 1 to 4")),
    })
}

fn state_number(state: State) -> u32 {
    match state {
        State::Present(Service::Warming) => 1,
        State::Present(Service::Serving) => 2,
        State::Present(Service::Draining) => 3,
        State::Left => 4,
    }
}

/// Replaced before anybody sees it.
const UNKNOWN_REGION: RegionId = RegionId(u32::MAX);

#[cfg(test)]
mod tests;
