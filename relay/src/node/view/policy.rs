//! What a node tells about the policy of the fleet, and how it takes a new one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    admin::{QuestionError, view::PolicyView},
    identity::Date,
    mesh::Mesh,
    policies::{self, ApplyPolicyError, PolicyInForce},
};

pub(super) async fn policy(mesh: Arc<Mesh>) -> Result<Option<PolicyView>, QuestionError> {
    Ok(policies::in_force(&mesh).await?.map(view))
}

pub(super) async fn apply(mesh: Arc<Mesh>, signed: Vec<u8>) -> Result<PolicyView, QuestionError> {
    Ok(view(policies::apply(&mesh, signed).await?))
}

fn view(PolicyInForce { policy, signed_by }: PolicyInForce) -> PolicyView {
    let expires = SystemTime::UNIX_EPOCH.checked_add(policy.expires);
    // Beyond what a clock can show it is no matter when.
    let expires = expires.unwrap_or(SystemTime::UNIX_EPOCH + FAR);
    PolicyView {
        epoch: policy.epoch,
        signed_by: signed_by.name().to_owned(),
        expires: Date(expires).to_string(),
        weights: policy.weights,
        condemned: policy.condemned,
    }
}

impl From<ApplyPolicyError> for QuestionError {
    fn from(error: ApplyPolicyError) -> Self {
        match error {
            ApplyPolicyError::NoRouter => Self::NoRouter,
            ApplyPolicyError::Refused(why) => Self::Policy(why),
        }
    }
}

/// The end of the year 9999.
const FAR: Duration = Duration::from_secs(253_402_300_799);
