//! What nodes say of themselves: signed here, and believed here.
//!
//! The one place of the node that vouches for an advert. A node speaks for itself only: the key in
//! an advert is that of the certificate that proves its signature, and so is the region.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use router::{
    advert::{Adjustments, Advert, AdvertError, State},
    gossip::MAX_NODES,
    graph::RegionId,
    verified::Verified,
};
use thiserror::Error;

use crate::{
    id::{NodeId, NodeKey},
    identity::{Chains, Context, Material, PeerError, SignStatementError, StatementRefused},
    wire::{AdvertStatement, SignedStatement, StatementError, words::words},
};

/// Signs what this node says of itself.
///
/// What comes back is what others will hold: with whole microseconds, and figures as they adjust
/// them.
///
/// # Errors
/// [`SignAdvertError`]; others would refuse it, or it cannot be signed.
pub fn sign_advert(
    material: &Material,
    regions: &Regions,
    advert: &Advert,
) -> Result<Verified<Advert>, SignAdvertError> {
    let id = material.id();
    let region = advert.content().region;
    if NodeKey::from(advert.node()) != id.key() || regions.name(region) != Some(id.region()) {
        return Err(SignAdvertError::NotOurs);
    }
    let statement = AdvertStatement::encode(advert, id.region());
    let heard = AdvertStatement::decode(&statement)?;
    let (heard, _) = Advert::try_new(heard.into_raw(region))?;
    let signed = material.sign(Context::ADVERT, statement.into())?.encode()?;
    Ok(Verified::vouch(heard, signed))
}

/// What a node is said to say of itself: read, and not believed yet.
#[derive(Debug)]
pub struct HeardAdvert<'a> {
    signed: &'a [u8],
    envelope: SignedStatement,
    statement: AdvertStatement,
}

impl<'a> HeardAdvert<'a> {
    /// Reads a [`SignedStatement`] as it came.
    ///
    /// # Errors
    /// [`AdvertRefused::Malformed`].
    pub fn decode(signed: &'a [u8]) -> Result<Self, AdvertRefused> {
        let envelope = SignedStatement::decode(signed)?;
        let statement = AdvertStatement::decode(&envelope.statement)?;
        Ok(Self {
            signed,
            envelope,
            statement,
        })
    }

    /// Whom it is said to be from.
    pub fn node(&self) -> NodeKey {
        self.statement.node().into()
    }

    /// What it is said to do. Means something only to decide whether to check who says so.
    pub fn state(&self) -> State {
        self.statement.state()
    }

    /// Believes it, if that node does say so.
    ///
    /// - `chains`, `regions`: what was learned from earlier adverts.
    /// - `now`: the date.
    ///
    /// Returns who speaks, what it says, and how many of its figures had to be adjusted.
    ///
    /// # Errors
    /// [`AdvertRefused`], to be counted by its reason.
    pub fn verify(
        self,
        material: &Material,
        chains: &mut Chains,
        regions: &mut Regions,
        now: SystemTime,
    ) -> Result<(NodeId, Verified<Advert>, Adjustments), AdvertRefused> {
        let id = chains.verify(material, Context::ADVERT, now, &self.envelope)?;
        let got = self.node();
        if got != id.key() {
            return Err(AdvertRefused::NotItsOwn { signer: id, got });
        }
        if self.statement.region != id.region() {
            return Err(AdvertRefused::WrongRegion { signer: id });
        }
        let region = regions.intern(id.region())?;
        let (advert, adjusted) = Advert::try_new(self.statement.into_raw(region))?;
        Ok((id, Verified::vouch(advert, self.signed), adjusted))
    }
}

/// Why an advert is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdvertRefused {
    /// The signature is not the certificate's.
    #[error("the signature of an advert does not pass")]
    BadSignature,
    /// It cannot be read.
    #[error("an advert cannot be read")]
    Malformed(#[from] StatementError),
    /// It is signed by one node and speaks of another.
    #[error("{signer} speaks in the name of {got}")]
    NotItsOwn {
        /// Who signed.
        signer: NodeId,
        /// Of whom it speaks.
        got: NodeKey,
    },
    /// It says more than an advert may.
    #[error("an advert is out of bounds")]
    OutOfBounds(#[from] AdvertError),
    /// There are more regions than a mesh may have.
    #[error(transparent)]
    TooManyRegions(#[from] TooManyRegions),
    /// Its certificates do not pass.
    #[error("the certificate of an advert does not pass")]
    Untrusted(#[source] PeerError),
    /// It names another region than its certificate.
    #[error("{signer} says that it is in another region")]
    WrongRegion {
        /// Who signed.
        signer: NodeId,
    },
}

impl AdvertRefused {
    /// What to count it under.
    pub fn reason(&self) -> AdvertRefusedReason {
        match self {
            Self::BadSignature => AdvertRefusedReason::BadSignature,
            Self::Malformed(_) => AdvertRefusedReason::Malformed,
            Self::NotItsOwn { .. } => AdvertRefusedReason::NotItsOwn,
            Self::OutOfBounds(_) => AdvertRefusedReason::OutOfBounds,
            Self::TooManyRegions(_) => AdvertRefusedReason::TooManyRegions,
            Self::Untrusted(_) => AdvertRefusedReason::Untrusted,
            Self::WrongRegion { .. } => AdvertRefusedReason::WrongRegion,
        }
    }
}

impl From<StatementRefused> for AdvertRefused {
    fn from(refused: StatementRefused) -> Self {
        match refused {
            StatementRefused::BadSignature => Self::BadSignature,
            StatementRefused::Untrusted(why) => Self::Untrusted(why),
        }
    }
}

words! {
    /// The kinds of [`AdvertRefused`].
    AdvertRefusedReason {
        /// [`AdvertRefused::BadSignature`].
        BadSignature = "bad_signature";
        /// [`AdvertRefused::Malformed`].
        Malformed = "malformed";
        /// [`AdvertRefused::NotItsOwn`].
        NotItsOwn = "not_its_own";
        /// [`AdvertRefused::OutOfBounds`].
        OutOfBounds = "out_of_bounds";
        /// [`AdvertRefused::TooManyRegions`].
        TooManyRegions = "too_many_regions";
        /// [`AdvertRefused::Untrusted`].
        Untrusted = "untrusted";
        /// [`AdvertRefused::WrongRegion`].
        WrongRegion = "wrong_region";
    }
}

/// Why this node's own advert was not signed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SignAdvertError {
    /// It speaks of another node or region than our certificate.
    #[error("the advert is not of this node and its region")]
    NotOurs,
    /// It says more than an advert may.
    #[error("the advert is out of bounds")]
    OutOfBounds(#[from] AdvertError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignStatementError),
    /// Others could not read it, or not take it.
    #[error("the advert cannot be sent")]
    Statement(#[from] StatementError),
}

/// The regions that were heard of, and the number of each in this process.
///
/// None is forgotten: what bounds them is the CA, which names a region in each certificate.
#[derive(Debug, Default)]
pub struct Regions {
    names: Vec<Arc<str>>,
    ids: BTreeMap<Arc<str>, RegionId>,
}

impl Regions {
    /// Most regions: as many as there may be nodes.
    pub const MAX: usize = MAX_NODES;

    /// The number of a region, which gets one if it has none yet.
    ///
    /// # Errors
    /// [`TooManyRegions`].
    pub fn intern(&mut self, name: &str) -> Result<RegionId, TooManyRegions> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        if self.names.len() >= Self::MAX {
            return Err(TooManyRegions);
        }
        let id = RegionId(self.names.len() as u32);
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        Ok(id)
    }

    /// The number of a region that was heard of.
    pub fn id(&self, name: &str) -> Option<RegionId> {
        self.ids.get(name).copied()
    }

    /// The name behind a number.
    pub fn name(&self, id: RegionId) -> Option<&str> {
        let index = usize::try_from(id.0).ok()?;
        self.names.get(index).map(|name| &**name)
    }
}

/// There are as many regions as a mesh may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there are more than {} regions", Regions::MAX)]
pub struct TooManyRegions;
