//! The first frame on a link, and the protocol minor that both ends settle on.

use std::{collections::BTreeMap, fmt};

use thiserror::Error;

use crate::{
    id::{LinkGeneration, NodeGeneration, NodeId},
    wire::{
        frame::{FIRST_MINOR, Fields, FrameError, FrameKind},
        limits::{
            MAX_ADDRESSES, MAX_LABELS, is_address, is_label_name, is_label_value, is_release,
        },
        message,
    },
};

/// Who a node is and what it speaks: the first frame on a link, both ways, and only once.
///
/// Whether it names whom the certificate names is for the link to check, as are its generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol minors that the sender speaks.
    pub protocol: Minors,
    /// A bit for each optional feature that the sender has. None is defined yet; a bit that is not
    /// known means nothing.
    pub features: u64,
    /// The sender, and with it its region.
    pub node: NodeId,
    /// The sender's own generation.
    pub generation: NodeGeneration,
    /// The generation of this link, as its dialer minted it; the acceptor repeats it.
    pub link: LinkGeneration,
    /// The sender's release: 1 to 128 visible ASCII characters.
    pub release: String,
    /// What operators wrote on the sender: at most 32 names and values.
    pub labels: BTreeMap<String, String>,
    /// Where the sender can be dialed, as `host:port`, in the order to try them: at most 16.
    pub addresses: Vec<String>,
    /// The link to the receiver that the sender holds to be current.
    pub current_link: Option<LinkGeneration>,
}

impl Hello {
    /// Reads a Hello, and settles the minor that its required fields follow from.
    pub(super) fn read(ours: Minors, body: &[u8]) -> Result<(Self, u32), FrameError> {
        let fields = Fields::new(FrameKind::Hello, FIRST_MINOR);
        let m: message::Hello = fields.message(body)?;
        let protocol = Minors {
            min: fields.required(FIRST_MINOR, "protocol_min", m.protocol_min)?,
            max: fields.required(FIRST_MINOR, "protocol_max", m.protocol_max)?,
        };
        if protocol.min > protocol.max {
            return Err(fields.bad("protocol_min", "above protocol_max"));
        }
        // Before anything else: a peer without a common minor need not have the other fields.
        let minor = negotiate(ours, protocol)?;
        let fields = Fields::new(FrameKind::Hello, minor);

        let node: String = fields.required(FIRST_MINOR, "node", m.node)?;
        let release = fields.required(FIRST_MINOR, "release", m.release)?;
        let generation = fields.required(FIRST_MINOR, "generation", m.generation)?;
        let link = fields.required(FIRST_MINOR, "link", m.link)?;
        let hello = Self {
            protocol,
            features: fields.required(FIRST_MINOR, "features", m.features)?,
            node: node
                .parse()
                .map_err(|_| fields.bad("node", "not the SPIFFE URI of a node"))?,
            generation: fields.generation("generation", generation)?,
            link: fields.link(link)?,
            release,
            labels: m.labels,
            addresses: m.addresses,
            current_link: m.current_link.map(|link| fields.link(link)).transpose()?,
        };
        match hello.fault() {
            None => Ok((hello, minor)),
            Some((field, why)) => Err(fields.bad(field, why)),
        }
    }

    pub(super) fn to_message(&self) -> message::Hello {
        message::Hello {
            protocol_min: Some(self.protocol.min),
            protocol_max: Some(self.protocol.max),
            features: Some(self.features),
            node: Some(self.node.uri().to_owned()),
            generation: Some(self.generation.0),
            link: Some(link_message(self.link)),
            release: Some(self.release.clone()),
            labels: self.labels.clone(),
            addresses: self.addresses.clone(),
            current_link: self.current_link.map(link_message),
        }
    }

    /// What is beyond a limit, if anything is: the field and why.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        if !is_release(&self.release) {
            Some(("release", "not 1 to 128 visible characters"))
        } else if self.labels.len() > MAX_LABELS {
            Some(("labels", "too many"))
        } else if !self.labels.keys().all(|name| is_label_name(name)) {
            Some(("labels", "not a name of a label"))
        } else if !self.labels.values().all(|value| is_label_value(value)) {
            Some(("labels", "not a value of a label"))
        } else if self.addresses.len() > MAX_ADDRESSES {
            Some(("addresses", "too many"))
        } else if !self.addresses.iter().all(|address| is_address(address)) {
            Some(("addresses", "not of the form host:port"))
        } else {
            None
        }
    }
}

/// A range of protocol minors, both included; `min` is never above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minors {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
}

impl fmt::Display for Minors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// Settles the minor to speak: the highest that both ends know.
///
/// # Errors
/// [`NoCommonProtocol`] if there is none.
pub fn negotiate(ours: Minors, theirs: Minors) -> Result<u32, NoCommonProtocol> {
    let highest = ours.max.min(theirs.max);
    if highest >= ours.min.max(theirs.min) {
        Ok(highest)
    } else {
        Err(NoCommonProtocol { ours, theirs })
    }
}

/// Two nodes have no protocol minor in common: their releases are too far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no protocol minor in common: this node speaks {ours}, its peer {theirs}")]
pub struct NoCommonProtocol {
    /// What this node speaks.
    pub ours: Minors,
    /// What the peer speaks.
    pub theirs: Minors,
}

fn link_message(link: LinkGeneration) -> message::LinkGeneration {
    message::LinkGeneration {
        dialer: Some(link.dialer.0.to_vec()),
        node: Some(link.node.0),
        dial: Some(link.dial),
    }
}

#[cfg(test)]
pub(super) mod tests;
