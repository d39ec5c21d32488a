//! Takes fields out of a message, each of which a peer may have left out or filled with anything.

use prost::Message;

use crate::{
    id::{LinkGeneration, NodeGeneration, NodeKey},
    wire::{
        frame::{FrameError, FrameKind},
        limits::{MAX_HOPS, clean_text, is_service_name},
        message,
        packet::{FlowId, RemainingHops},
    },
};

/// The minor since which there are control frames.
pub(in crate::wire) const FIRST_MINOR: u32 = 1;

/// Reads the fields of one frame.
///
/// Each required field is named with the minor that added it, in the first argument: below that
/// minor its absence is no error, because a peer of that minor has never heard of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire) struct Fields {
    frame: FrameKind,
    minor: u32,
}

impl Fields {
    /// - `minor`: the one that both ends settled on.
    pub(in crate::wire) fn new(frame: FrameKind, minor: u32) -> Self {
        Self { frame, minor }
    }

    /// The message itself; fields that this build does not know are skipped.
    pub(in crate::wire) fn message<M: Message + Default>(
        self,
        body: &[u8],
    ) -> Result<M, FrameError> {
        let frame = self.frame;
        // Every known message has a required field, so that an empty one has lost all it says.
        if body.is_empty() {
            return Err(FrameError::Empty { frame });
        }
        M::decode(body).map_err(|_| FrameError::Malformed { frame })
    }

    /// A field that must be there since the minor `since`; before, the default stands for it.
    pub(in crate::wire) fn required<T: Default>(
        self,
        since: u32,
        field: &'static str,
        value: Option<T>,
    ) -> Result<T, FrameError> {
        let frame = self.frame;
        match value {
            Some(value) => Ok(value),
            None if self.minor < since => Ok(T::default()),
            None => Err(FrameError::MissingField { frame, field }),
        }
    }

    /// As [`Self::required`], for bytes of a fixed number.
    pub(super) fn array<const N: usize>(
        self,
        since: u32,
        field: &'static str,
        value: Option<Vec<u8>>,
    ) -> Result<[u8; N], FrameError> {
        match value {
            Some(bytes) => bytes
                .try_into()
                .map_err(|_| self.bad(field, "of another length")),
            None => self.required(since, field, None::<()>).map(|()| [0; N]),
        }
    }

    /// As [`Self::required`], for a node key.
    pub(super) fn key(
        self,
        since: u32,
        field: &'static str,
        value: Option<Vec<u8>>,
    ) -> Result<NodeKey, FrameError> {
        self.array(since, field, value).map(NodeKey)
    }

    /// As [`Self::required`], for a text for people: cut and cleaned rather than refused.
    pub(super) fn text(
        self,
        since: u32,
        field: &'static str,
        value: Option<String>,
    ) -> Result<String, FrameError> {
        let text: String = self.required(since, field, value)?;
        Ok(clean_text(&text))
    }

    /// As [`Self::required`], for the name of a service.
    pub(super) fn service(
        self,
        since: u32,
        field: &'static str,
        value: Option<String>,
    ) -> Result<String, FrameError> {
        let name: String = self.required(since, field, value)?;
        if is_service_name(&name) {
            Ok(name)
        } else {
            Err(self.bad(field, "not a name of a service"))
        }
    }

    /// As [`Self::required`], for a list with something in it.
    pub(super) fn some<T>(
        self,
        since: u32,
        field: &'static str,
        list: Vec<T>,
    ) -> Result<Vec<T>, FrameError> {
        self.required(since, field, (!list.is_empty()).then_some(list))
    }

    /// As [`Self::required`], for at most [`MAX_HOPS`] node keys, one after the other.
    pub(super) fn keys(
        self,
        since: u32,
        field: &'static str,
        value: Option<Vec<u8>>,
    ) -> Result<Vec<NodeKey>, FrameError> {
        let bytes = self.required(since, field, value)?;
        let (keys, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(self.bad(field, "not of whole node keys"));
        }
        if keys.len() > MAX_HOPS {
            return Err(self.bad(field, "too many"));
        }
        Ok(keys.iter().copied().map(NodeKey).collect())
    }

    /// As [`Self::keys`], for the nodes that are still to be visited.
    pub(super) fn hops(
        self,
        since: u32,
        field: &'static str,
        value: Option<Vec<u8>>,
    ) -> Result<RemainingHops, FrameError> {
        let keys = self.keys(since, field, value)?;
        RemainingHops::try_new(&keys).ok_or_else(|| self.bad(field, "too many"))
    }

    /// That no node stands in the path twice.
    pub(super) fn check_no_loop(
        self,
        path: impl Iterator<Item = NodeKey> + Clone,
    ) -> Result<(), FrameError> {
        let frame = self.frame;
        let mut rest = path;
        while let Some(node) = rest.next() {
            if rest.clone().any(|later| later == node) {
                return Err(FrameError::Loop { frame });
            }
        }
        Ok(())
    }

    /// A flow, the same at every node.
    pub(super) fn flow(self, flow: Option<message::FlowId>) -> Result<FlowId, FrameError> {
        let flow = self.required(FIRST_MINOR, "flow", flow)?;
        let generation = self.required(FIRST_MINOR, "flow.generation", flow.generation)?;
        Ok(FlowId {
            ingress: self.key(FIRST_MINOR, "flow.ingress", flow.ingress)?,
            generation: self.generation("flow.generation", generation)?,
            number: self.required(FIRST_MINOR, "flow.number", flow.number)?,
        })
    }

    /// A node generation, which must fit a packet header.
    pub(in crate::wire) fn generation(
        self,
        field: &'static str,
        value: u64,
    ) -> Result<NodeGeneration, FrameError> {
        let generation = NodeGeneration(value);
        if generation <= NodeGeneration::MAX {
            Ok(generation)
        } else {
            Err(self.bad(field, "not below 2^48"))
        }
    }

    /// A link generation.
    pub(in crate::wire) fn link(
        self,
        link: message::LinkGeneration,
    ) -> Result<LinkGeneration, FrameError> {
        let node = self.required(FIRST_MINOR, "link_generation.node", link.node)?;
        Ok(LinkGeneration {
            dialer: self.key(FIRST_MINOR, "link_generation.dialer", link.dialer)?,
            node: self.generation("link_generation.node", node)?,
            dial: self.required(FIRST_MINOR, "link_generation.dial", link.dial)?,
        })
    }

    /// An error about a field that is there.
    pub(in crate::wire) fn bad(self, field: &'static str, why: &'static str) -> FrameError {
        let frame = self.frame;
        FrameError::BadField { frame, field, why }
    }
}

/// Node keys, one after the other.
pub(super) fn packed_keys(keys: &[NodeKey]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_required_from_the_minor_that_added_it_and_not_before() {
        let frame = FrameKind::Promote;
        let field = "reason";
        let missing = FrameError::MissingField { frame, field };
        for (minor, expected) in [(1, Ok(0)), (2, Err(missing.clone())), (3, Err(missing))] {
            let fields = Fields::new(frame, minor);
            assert_eq!(fields.required(2, field, None::<u64>), expected);
            assert_eq!(fields.required(2, field, Some(7)), Ok(7));
            let key = fields.key(2, field, None);
            assert_eq!(key, expected.map(|_| NodeKey([0; 8])));
        }
    }
}
