//! Asks the node's router about the policy of the fleet.

use std::time::Duration;

use thiserror::Error;
use tokio::{sync::oneshot, time::timeout};

use super::{PolicyInForce, PolicyRefused};
use crate::{mesh::Mesh, navigator::NavigatorEvent};

/// Brings a policy, as an administrator signed it, to this node, which passes it on.
///
/// # Errors
/// [`ApplyPolicyError`].
///
/// # Cancel safety
/// Not cancel safe: whether the policy was taken is then not known.
pub async fn apply(mesh: &Mesh, signed: Vec<u8>) -> Result<PolicyInForce, ApplyPolicyError> {
    let asked = ask(mesh, |answer| NavigatorEvent::ApplyPolicy {
        signed,
        answer,
    });
    Ok(asked.await.ok_or(ApplyPolicyError::NoRouter)??)
}

/// The policy that is in force at this node.
///
/// # Errors
/// [`ApplyPolicyError::NoRouter`].
///
/// # Cancel safety
/// Cancel safe.
pub async fn in_force(mesh: &Mesh) -> Result<Option<PolicyInForce>, ApplyPolicyError> {
    let asked = ask(mesh, NavigatorEvent::InspectPolicy);
    asked.await.ok_or(ApplyPolicyError::NoRouter)
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyPolicyError {
    /// The node's router is wedged, or has ended.
    #[error("the router does not answer")]
    NoRouter,
    /// It is not in force.
    #[error(transparent)]
    Refused(#[from] PolicyRefused),
}

async fn ask<T>(
    mesh: &Mesh,
    question: impl FnOnce(oneshot::Sender<T>) -> NavigatorEvent,
) -> Option<T> {
    let asked = async {
        let (answer, heard) = oneshot::channel();
        mesh.navigator.send(question(answer)).await.ok()?;
        heard.await.ok()
    };
    timeout(ANSWER_WITHIN, asked).await.ok().flatten()
}

/// The router answers within a signature's time, and a queue of a thousand before that.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
