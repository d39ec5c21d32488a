//! What administrators decided for the whole fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// `/v1/policy`: the policy of the fleet that is in force; `null` if there is none.
///
/// A policy is brought by a POST of its signed bytes to the same place, which answers with what is in
/// force then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The higher one replaces the lower.
    pub epoch: u64,
    /// The administrator who signed it.
    pub signed_by: String,
    /// From when on it says nothing.
    pub expires: String,
    /// Shares of a region's flows by release.
    pub weights: BTreeMap<String, u32>,
    /// Releases that nobody is to run.
    pub condemned: BTreeSet<String>,
}
