//! The policy of the fleet at the fake node.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    admin::{QuestionError, view::PolicyView},
    policies::PolicyRefused,
};

pub(super) fn in_force() -> PolicyView {
    PolicyView {
        epoch: 7,
        signed_by: "ops".into(),
        expires: "2027-01-31 00:00:00 UTC".into(),
        weights: BTreeMap::from([("0b7c1d9e22aa".into(), 1), ("77aa01c4b3d2".into(), 9)]),
        condemned: BTreeSet::from(["bad0bad0bad0".into()]),
    }
}

/// Takes what says that it is newer.
pub(super) fn apply(signed: &[u8]) -> Result<PolicyView, QuestionError> {
    match signed {
        b"epoch 8" => Ok(PolicyView {
            epoch: 8,
            ..in_force()
        }),
        _ => Err(QuestionError::Policy(PolicyRefused::Outdated {
            got: 6,
            held: 7,
        })),
    }
}
