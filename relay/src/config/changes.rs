//! What differs between two configurations, for a reload.

use std::collections::BTreeMap;

use super::{Config, Peer};
use crate::id::NodeId;

/// What a reload changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Peers to dial from now on.
    pub peers_added: Vec<Peer>,
    /// Peers to let go. A peer without a name that has other addresses is removed and added.
    pub peers_removed: Vec<Peer>,
    /// Named peers with other addresses, as they are now: nothing else about them changes.
    pub peers_moved: Vec<Peer>,
    /// Keys that differ and take effect only at the next start, such as `node.bind` or `service`.
    pub needs_restart: Vec<&'static str>,
}

impl Changes {
    /// Whether both configurations are the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Config {
    /// What has to happen on a node that runs with `self` to make it run with `new`.
    pub fn changes_to(&self, new: &Self) -> Changes {
        let named = |peers: &[Peer]| -> BTreeMap<NodeId, Peer> {
            let pair = |peer: &Peer| Some((peer.id.clone()?, peer.clone()));
            peers.iter().filter_map(pair).collect()
        };
        let (old_named, new_named) = (named(&self.peers), named(&new.peers));
        let known = |peer: &Peer, peers: &[Peer], named: &BTreeMap<NodeId, Peer>| match &peer.id {
            Some(id) => named.contains_key(id),
            None => peers.contains(peer),
        };
        let peers_added = new
            .peers
            .iter()
            .filter(|p| !known(p, &self.peers, &old_named));
        let peers_removed = self
            .peers
            .iter()
            .filter(|p| !known(p, &new.peers, &new_named));
        let moved = |(id, peer): (&NodeId, &Peer)| {
            let old = old_named.get(id)?;
            (old.addresses != peer.addresses).then(|| peer.clone())
        };
        Changes {
            peers_added: peers_added.cloned().collect(),
            peers_removed: peers_removed.cloned().collect(),
            peers_moved: new_named.iter().filter_map(moved).collect(),
            needs_restart: self.fixed_differences(new),
        }
    }

    /// The keys that differ besides peers. Destructured, so that a new field cannot be forgotten.
    fn fixed_differences(&self, new: &Self) -> Vec<&'static str> {
        let Self {
            path: _,
            id,
            bind,
            workers,
            advertise,
            state_dir,
            identity,
            admin,
            log,
            labels,
            shared,
            limits,
            peers: _,
            services,
            listens,
            caps,
        } = self;
        let keys = [
            ("node.name", id.name() != new.id.name()),
            ("node.region", id.region() != new.id.region()),
            (
                "node.trust_domain",
                id.trust_domain() != new.id.trust_domain(),
            ),
            ("node.bind", *bind != new.bind),
            ("node.workers", *workers != new.workers),
            ("node.advertise", *advertise != new.advertise),
            ("node.state_dir", *state_dir != new.state_dir),
            (
                "identity.certificate",
                identity.certificate != new.identity.certificate,
            ),
            ("identity.key", identity.key != new.identity.key),
            ("identity.bundle", identity.bundle != new.identity.bundle),
            ("admin.listen", *admin != new.admin),
            ("log", *log != new.log),
            ("labels", *labels != new.labels),
            ("shared", *shared != new.shared),
            ("limits", *limits != new.limits),
            ("service", *services != new.services),
            ("listen", *listens != new.listens),
            ("cap", *caps != new.caps),
        ];
        let differs = |(key, differs): (&'static str, bool)| differs.then_some(key);
        keys.into_iter().filter_map(differs).collect()
    }
}
