//! What administrators decided for the whole fleet: held, stored, and exchanged with neighbours.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use router::policy::{PolicyStore, Reception};
use tracing::{error, info, warn};

use crate::{
    id::{AdministratorId, NodeKey},
    mesh::Mesh,
    policies::{HeardPolicy, PolicyInForce, PolicyRefused, policy_hash},
    wire::Frame,
};

/// The policy of the fleet, as this node knows it.
///
/// Neighbours compare epoch and hash of what they hold with every digest of adverts; whoever holds
/// the newer one sends it. Where there is none, there is nothing to compare, and nothing is sent.
pub(super) struct Policies {
    mesh: Arc<Mesh>,
    store: PolicyStore,
    signed_by: Option<AdministratorId>,
    hash: u64,
    /// Neighbours whose policy did not pass, and until when they are not listened to: each costs a
    /// check of a signature in this time, and not one for each frame that it can send.
    distrusted: BTreeMap<NodeKey, Instant>,
}

impl Policies {
    /// Begins with what was stored, if it passes.
    pub(super) fn load(mesh: Arc<Mesh>) -> Self {
        let stored = mesh.env.state.load_policy();
        let mut policies = Self {
            mesh,
            store: PolicyStore::new(),
            signed_by: None,
            hash: 0,
            distrusted: BTreeMap::new(),
        };
        match stored {
            Ok(None) => {}
            Ok(Some(signed)) => match policies.restore(&signed) {
                Ok(()) => {
                    let epoch = policies.store.epoch();
                    policies.mesh.survey.policy.store(epoch, Ordering::Relaxed);
                }
                Err(why) => warn!(error = %why, "the stored policy of the fleet is not used"),
            },
            Err(why) => warn!(error = %why, "the stored policy of the fleet is not used"),
        }
        policies
    }

    /// Holds what was stored, or at least its epoch: it passed once, or it would not be there.
    fn restore(&mut self, signed: &[u8]) -> Result<(), PolicyRefused> {
        self.store.remember(HeardPolicy::decode(signed)?.epoch());
        self.take(signed)?;
        // It is where it would be stored, and neighbours compare by themselves.
        while self.store.poll_output().is_some() {}
        Ok(())
    }

    /// What is in force.
    pub(super) fn report(&self) -> Option<PolicyInForce> {
        let policy = self.store.policy(self.today())?;
        Some(PolicyInForce {
            policy: policy.value().clone(),
            signed_by: self.signed_by.clone()?,
        })
    }

    /// What goes to a neighbour with each digest of adverts.
    pub(super) fn digest(&self) -> Option<Frame> {
        (self.store.epoch() > 0).then(|| self.held())
    }

    /// A neighbour says which one it holds; what it is to be answered.
    pub(super) fn handle_digest(&self, epoch: u64, hash: u64) -> Option<Frame> {
        let held = self.store.epoch();
        if epoch > held {
            return Some(self.held());
        }
        if (epoch, hash) == (held, self.hash) {
            return None;
        }
        // One that has expired is not passed on.
        let policy = self.store.policy(self.today())?;
        Some(Frame::Policy {
            signed: Bytes::from_owner(policy.signed().clone()),
        })
    }

    /// A neighbour sent a policy; what the other neighbours are to get.
    pub(super) fn handle_policy(
        &mut self,
        now: Instant,
        from: NodeKey,
        signed: &[u8],
    ) -> Option<Frame> {
        self.distrusted.retain(|_, until| *until > now);
        let taken = match self.distrusted.contains_key(&from) {
            true => Err(PolicyRefused::TooSoon),
            false => self.take(signed),
        };
        if let Err(why) = &taken {
            if why.is_forgery() {
                self.distrusted.insert(from, now + LISTEN_AGAIN);
            }
            self.mesh.counts.policies_refused.incr(why.reason());
            tracing::debug!(error = %why, %from, "policy of the fleet refused");
        }
        self.poll_news()
    }

    /// A program on this machine brings a policy; what the neighbours are to get.
    ///
    /// # Errors
    /// Why it is not in force.
    pub(super) fn apply(&mut self, signed: &[u8]) -> Result<Option<Frame>, PolicyRefused> {
        if let Err(why) = self.take(signed) {
            self.mesh.counts.policies_refused.incr(why.reason());
            return Err(why);
        }
        Ok(self.poll_news())
    }

    /// Stores what is new.
    fn poll_news(&mut self) -> Option<Frame> {
        let policy = self.store.poll_output()?;
        let epoch = policy.value().epoch;
        self.mesh.survey.policy.store(epoch, Ordering::Relaxed);
        let by = self.signed_by.as_ref().map(ToString::to_string);
        info!(epoch, by, "policy of the fleet changed");
        if let Err(error) = self.mesh.env.state.store_policy(policy.signed()) {
            error!(%error, "the policy of the fleet is in force and cannot be stored");
        }
        Some(Frame::Policy {
            signed: Bytes::from_owner(policy.signed().clone()),
        })
    }

    /// Holds a policy, if it passes and is newer.
    fn take(&mut self, signed: &[u8]) -> Result<(), PolicyRefused> {
        let heard = HeardPolicy::decode(signed)?;
        let (got, held) = (heard.epoch(), self.store.epoch());
        let hash = policy_hash(signed);
        // Looked at before the signature, which costs a thousand times as much.
        if (got, hash) == (held, self.hash) {
            return Ok(());
        }
        if got < held {
            return Err(PolicyRefused::Outdated { got, held });
        }
        let date = self.mesh.env.wall.now();
        let (by, policy) = heard.verify(&self.mesh.material.load(), date)?;
        let reception = self.store.handle_policy(self.today(), policy);
        if let Reception::Taken | Reception::TookOver = reception {
            self.signed_by = Some(by);
            self.hash = hash;
        }
        match reception {
            Reception::Known | Reception::Taken => Ok(()),
            // Whoever signed the other one is to know.
            Reception::TookOver => {
                warn!(epoch = got, "two policies of the fleet have one epoch");
                Ok(())
            }
            Reception::Yielded => Err(PolicyRefused::Conflicting { epoch: got }),
            Reception::Outdated => Err(PolicyRefused::Outdated { got, held }),
            Reception::Expired => Err(PolicyRefused::Expired),
            Reception::Oversized => Err(PolicyRefused::Oversized),
        }
    }

    fn held(&self) -> Frame {
        Frame::PolicyDigest {
            epoch: self.store.epoch(),
            hash: self.hash,
        }
    }

    fn today(&self) -> Duration {
        let date = self.mesh.env.wall.now();
        date.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }
}

/// As long as neighbours take to compare again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);
