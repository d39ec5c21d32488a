//! What administrators decide for the whole fleet: signed by them, and believed here.
//!
//! The one place of the node that vouches for a policy.

mod ask;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use ring::digest;
use router::{policy::FleetPolicy, verified::Verified};
use thiserror::Error;

pub use self::ask::{ApplyPolicyError, apply, in_force};
use crate::{
    id::AdministratorId,
    identity::{Administrator, AdministratorError, Context, Material, SignStatementError},
    wire::{PolicyStatement, SignedStatement, StatementError, words::words},
};

/// The policy that a node goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// What it says.
    pub policy: FleetPolicy,
    /// Who decided.
    pub signed_by: AdministratorId,
}

/// Signs a policy.
///
/// # Errors
/// [`SignPolicyError`]; nodes would refuse it, or it cannot be signed.
pub fn sign_policy(
    administrator: &Administrator,
    policy: FleetPolicy,
) -> Result<Vec<u8>, SignPolicyError> {
    let statement = PolicyStatement(policy).encode()?;
    let signed = administrator.sign(Context::POLICY, statement.into())?;
    Ok(signed.encode()?)
}

/// Why a policy was not signed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SignPolicyError {
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignStatementError),
    /// Nodes could not read it, or not take it.
    #[error("the policy cannot be used: {0}")]
    Statement(#[from] StatementError),
}

/// A policy that somebody is said to have decided: read, and not believed yet.
#[derive(Debug)]
pub struct HeardPolicy<'a> {
    signed: &'a [u8],
    envelope: SignedStatement,
    policy: FleetPolicy,
}

impl<'a> HeardPolicy<'a> {
    /// Reads a [`SignedStatement`] as it came.
    ///
    /// # Errors
    /// [`PolicyRefused::Malformed`].
    pub fn decode(signed: &'a [u8]) -> Result<Self, PolicyRefused> {
        let envelope = SignedStatement::decode(signed)?;
        let PolicyStatement(policy) = PolicyStatement::decode(&envelope.statement)?;
        Ok(Self {
            signed,
            envelope,
            policy,
        })
    }

    /// Which policy it is said to be.
    pub fn epoch(&self) -> u64 {
        self.policy.epoch
    }

    /// Believes it, if an administrator of our trust domain did decide so.
    ///
    /// It ends when a certificate of its chain does, should that be sooner than its own date: from
    /// then on, no node that starts could check it.
    ///
    /// # Errors
    /// [`PolicyRefused`], to be counted by its reason.
    pub fn verify(
        self,
        material: &Material,
        now: SystemTime,
    ) -> Result<(AdministratorId, Verified<FleetPolicy>), PolicyRefused> {
        let by = material.check_administrator(Context::POLICY, now, &self.envelope)?;
        let mut policy = self.policy;
        policy.expires = policy.expires.min(by.until);
        Ok((by.id, Verified::vouch(policy, self.signed)))
    }
}

/// What tells two signed policies of one epoch apart.
pub fn policy_hash(signed: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA256, signed);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    u64::from_be_bytes(first)
}

/// Why a policy is not believed, or not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyRefused {
    /// The signature is not the certificate's.
    #[error("the signature of the policy does not pass")]
    BadSignature,
    /// Another policy of the same epoch is held: two administrators decided at once.
    #[error("another policy of epoch {epoch} is in force: sign it again with epoch {}", .epoch.saturating_add(1))]
    Conflicting {
        /// The epoch.
        epoch: u64,
    },
    /// Its date is over.
    #[error("the policy has expired")]
    Expired,
    /// It cannot be read.
    #[error("the policy cannot be read: {0}")]
    Malformed(#[from] StatementError),
    /// It is signed by somebody else.
    #[error("the policy is not an administrator's: {0}")]
    NotAnAdministrator(#[source] AdministratorError),
    /// It says more than a policy may.
    #[error("the policy lists too much")]
    Oversized,
    /// A newer one is held.
    #[error(
        "a policy of epoch {held} is held, and this one is of epoch {got}: sign it again with a higher one"
    )]
    Outdated {
        /// Its epoch.
        got: u64,
        /// The epoch that is held.
        held: u64,
    },
    /// Its sender's last one did not pass, a moment ago.
    #[error("the last policy of its sender did not pass")]
    TooSoon,
    /// Its certificates do not pass.
    #[error("the certificate of the policy does not pass: {0}")]
    Untrusted(#[source] AdministratorError),
}

impl PolicyRefused {
    /// What to count it under.
    pub fn reason(&self) -> PolicyRefusedReason {
        match self {
            Self::BadSignature => PolicyRefusedReason::BadSignature,
            Self::Conflicting { .. } => PolicyRefusedReason::Conflicting,
            Self::Expired => PolicyRefusedReason::Expired,
            Self::Malformed(_) => PolicyRefusedReason::Malformed,
            Self::NotAnAdministrator(_) => PolicyRefusedReason::NotAnAdministrator,
            Self::Outdated { .. } => PolicyRefusedReason::Outdated,
            Self::Oversized => PolicyRefusedReason::Oversized,
            Self::TooSoon => PolicyRefusedReason::TooSoon,
            Self::Untrusted(_) => PolicyRefusedReason::Untrusted,
        }
    }
}

impl PolicyRefused {
    /// Whether it cost a check of a signature for nothing: no administrator ever said so.
    pub fn is_forgery(&self) -> bool {
        match self {
            Self::BadSignature | Self::NotAnAdministrator(_) | Self::Untrusted(_) => true,
            Self::Conflicting { .. }
            | Self::Expired
            | Self::Malformed(_)
            | Self::Outdated { .. }
            | Self::Oversized
            | Self::TooSoon => false,
        }
    }
}

impl From<AdministratorError> for PolicyRefused {
    fn from(error: AdministratorError) -> Self {
        match error {
            AdministratorError::BadSignature => Self::BadSignature,
            AdministratorError::NotAnAdministrator { .. } => Self::NotAnAdministrator(error),
            AdministratorError::Untrusted(_) => Self::Untrusted(error),
        }
    }
}

words! {
    /// The kinds of [`PolicyRefused`].
    PolicyRefusedReason {
        /// [`PolicyRefused::BadSignature`].
        BadSignature = "bad_signature";
        /// [`PolicyRefused::Conflicting`].
        Conflicting = "conflicting";
        /// [`PolicyRefused::Expired`].
        Expired = "expired";
        /// [`PolicyRefused::Malformed`].
        Malformed = "malformed";
        /// [`PolicyRefused::NotAnAdministrator`].
        NotAnAdministrator = "not_an_administrator";
        /// [`PolicyRefused::Outdated`].
        Outdated = "outdated";
        /// [`PolicyRefused::Oversized`].
        Oversized = "oversized";
        /// [`PolicyRefused::TooSoon`].
        TooSoon = "too_soon";
        /// [`PolicyRefused::Untrusted`].
        Untrusted = "untrusted";
    }
}
