//! What an administrator decided for the whole fleet, as bytes.

use std::{collections::BTreeMap, time::Duration};

use prost::Message;
use router::policy::{FleetPolicy, MAX_RELEASES};

use crate::wire::{
    limits::is_release,
    message,
    statement::{StatementError, bad, required},
};

/// A policy as it was decoded. Who decided it is not looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatement(pub FleetPolicy);

impl PolicyStatement {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let m = message::PolicyStatement::decode(bytes).map_err(|_| StatementError::NotProtobuf)?;
        let statement = Self(FleetPolicy {
            epoch: required("epoch", m.epoch)?,
            expires: Duration::from_secs(required("expires_s", m.expires_s)?),
            weights: m.weights,
            condemned: m.condemned.into_iter().collect(),
        });
        statement.check()?;
        Ok(statement)
    }

    /// The bytes of a policy. Its date is cut to whole seconds.
    ///
    /// # Errors
    /// [`StatementError::BadField`]: others would not take it.
    pub fn encode(&self) -> Result<Vec<u8>, StatementError> {
        self.check()?;
        let FleetPolicy {
            epoch,
            expires,
            weights,
            condemned,
        } = &self.0;
        let message = message::PolicyStatement {
            epoch: Some(*epoch),
            expires_s: Some(expires.as_secs()),
            weights: weights.clone(),
            condemned: condemned.iter().cloned().collect(),
        };
        Ok(message.encode_to_vec())
    }

    fn check(&self) -> Result<(), StatementError> {
        let FleetPolicy {
            epoch,
            weights,
            condemned,
            ..
        } = &self.0;
        // 0 is what a node has that holds none.
        if *epoch == 0 {
            return Err(bad("epoch", "0"));
        }
        let weighed: &BTreeMap<String, u32> = weights;
        if weighed.len() + condemned.len() > MAX_RELEASES {
            return Err(bad("weights", "more than 64 releases with those condemned"));
        }
        if !weighed.keys().all(|release| is_release(release)) {
            return Err(bad("weights", "not of 1 to 128 visible characters"));
        }
        if !condemned.iter().all(|release| is_release(release)) {
            return Err(bad("condemned", "not of 1 to 128 visible characters"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::limits::{MAX_RELEASE_BYTES, MAX_STATEMENT_BYTES};

    fn policy(releases: usize, bytes: usize) -> FleetPolicy {
        let name = |index| format!("{index:0bytes$}");
        FleetPolicy {
            epoch: u64::MAX,
            expires: Duration::from_secs(u64::MAX),
            weights: (0..releases / 2).map(|n| (name(n), u32::MAX)).collect(),
            condemned: (releases / 2..releases).map(name).collect(),
        }
    }

    #[test]
    fn the_largest_comes_back_and_a_release_or_a_byte_more_is_refused() {
        let largest = PolicyStatement(policy(MAX_RELEASES, MAX_RELEASE_BYTES));
        let bytes = largest.encode().unwrap();
        assert!(bytes.len() <= MAX_STATEMENT_BYTES);
        assert_eq!(PolicyStatement::decode(&bytes), Ok(largest));
        for beyond in [
            policy(MAX_RELEASES + 1, 4),
            policy(1, MAX_RELEASE_BYTES + 1),
            policy(2, MAX_RELEASE_BYTES + 1),
            FleetPolicy {
                epoch: 0,
                ..policy(0, 1)
            },
        ] {
            let refused = PolicyStatement(beyond).encode();
            assert!(matches!(refused, Err(StatementError::BadField { .. })));
        }
    }

    #[test]
    fn decoder_refuses_what_the_encoder_does_and_what_is_absent() {
        let message = |epoch, expires_s, releases: usize| message::PolicyStatement {
            epoch,
            expires_s,
            weights: BTreeMap::new(),
            condemned: (0..releases).map(|n| n.to_string()).collect(),
        };
        let read = |m: message::PolicyStatement| PolicyStatement::decode(&m.encode_to_vec());
        assert!(read(message(Some(1), Some(1), MAX_RELEASES)).is_ok());
        let field = |refused: Result<_, _>| match refused {
            Err(
                StatementError::BadField { field, .. } | StatementError::MissingField { field },
            ) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(read(message(None, Some(1), 0))), "epoch");
        assert_eq!(field(read(message(Some(0), Some(1), 0))), "epoch");
        assert_eq!(field(read(message(Some(1), None, 0))), "expires_s");
        assert_eq!(
            field(read(message(Some(1), Some(1), MAX_RELEASES + 1))),
            "weights"
        );
        assert_eq!(
            PolicyStatement::decode(&[0xff]),
            Err(StatementError::NotProtobuf)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_policy_within_bounds_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(read) = PolicyStatement::decode(&bytes) {
                prop_assert!(read.encode().is_ok());
            }
        }
    }
}
