//! Shows the policy of the fleet, and brings a new one.

use std::{fs, io::Write, path::Path};

use super::{
    super::{
        Stop,
        arguments::Ask,
        table::{fact, table},
    },
    show, wait,
};
use crate::{admin::view::PolicyView, wire::limits::MAX_SIGNED_BYTES};

/// Shows what the node goes by.
pub(in crate::cli) fn policy(ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let policy = wait(ask, async |client| client.policy().await)?;
    let text = |policy: &Option<PolicyView>| match policy {
        Some(policy) => policy_text(policy),
        None => "no policy is in force\n".to_owned(),
    };
    show(ask, &policy, text, out)
}

/// Brings a policy to the node, which passes it on to the others.
pub(in crate::cli) fn apply(file: &Path, ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let unreadable = |why: String| Stop::Failed(format!("{}: {why}", file.display()).into());
    let signed = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    if signed.len() > MAX_SIGNED_BYTES {
        return Err(unreadable("is too large for a signed policy".to_owned()));
    }
    let policy = wait(ask, async |client| client.apply_policy(signed).await)?;
    show(ask, &policy, policy_text, out)
}

fn policy_text(policy: &PolicyView) -> String {
    let mut text = format!(
        "epoch {} is in force, signed by {}\n",
        policy.epoch, policy.signed_by
    );
    text.push_str(&fact("until", &policy.expires));
    let condemned: Vec<&str> = policy.condemned.iter().map(String::as_str).collect();
    if !condemned.is_empty() {
        text.push_str(&fact("condemned", condemned.join(", ")));
    }
    if !policy.weights.is_empty() {
        let weights = policy.weights.iter();
        let rows = weights.map(|(release, weight)| [release.clone(), weight.to_string()]);
        text.push_str(&format!("\n{}", table(["RELEASE", "WEIGHT"], &[1], rows)));
    }
    text
}
