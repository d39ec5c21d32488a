//! A chain that was found to pass, and for how long that stands.

use std::{sync::Arc, time::SystemTime};

use rustls_pki_types::CertificateDer;

use super::{Material, PeerError, certificate::Contents, verifier::Bundle};
use crate::id::NodeId;

/// What need not be checked again: a chain that passed does so until a certificate in it ends, or
/// another bundle is loaded.
#[derive(Debug, Clone)]
pub struct PassedChain {
    bundle: Arc<Bundle>,
    from: SystemTime,
    until: SystemTime,
}

impl PassedChain {
    /// Checks a chain as [`Material::check_peer`] does, and remembers for how long that stands; also
    /// tells whose it is.
    ///
    /// # Errors
    /// As [`Material::check_peer`].
    pub fn check(
        material: &Material,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(NodeId, Self), PeerError> {
        let node = material.check_peer(chain, now)?.id;
        let (from, until) = validity(chain)?;
        let passed = Self {
            bundle: Arc::clone(&material.bundle),
            from,
            until,
        };
        Ok((node, passed))
    }

    /// Whether the chain would pass now for what is known, without a look at it.
    pub fn stands(&self, material: &Material, now: SystemTime) -> bool {
        Arc::ptr_eq(&self.bundle, &material.bundle) && (self.from..=self.until).contains(&now)
    }
}

/// When all certificates of a chain are valid at once.
pub(super) fn validity(
    chain: &[CertificateDer<'_>],
) -> Result<(SystemTime, SystemTime), PeerError> {
    let mut whole = (SystemTime::UNIX_EPOCH, None::<SystemTime>);
    for der in chain {
        let contents = Contents::read(der)?;
        whole.0 = whole.0.max(contents.not_before);
        let until = contents.not_after;
        whole.1 = Some(whole.1.map_or(until, |earlier| earlier.min(until)));
    }
    Ok((whole.0, whole.1.ok_or(PeerError::NoCertificate)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        env::Certificates,
        identity::{
            FixedCertificates, Pem,
            pki::{Authority, Leaf, Randomness, Validity},
        },
    };

    const HOUR: Duration = Duration::from_secs(3_600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)
    }

    fn material(valid_for: Duration) -> Material {
        let authority = Authority::generate("example.org", Randomness::Seed(1), now()).unwrap();
        let node = NodeId::try_new("example.org", "eu-west", "a").unwrap();
        let validity = Validity::starting(now(), valid_for);
        let issued = authority.issue(&Leaf::node(&node, validity)).unwrap();
        let pem = Pem {
            certificate: issued.certificate.into_bytes(),
            key: issued.key.into_bytes(),
            bundle: authority.certificate_pem().as_bytes().to_vec(),
        };
        FixedCertificates::new(pem).load(now()).unwrap()
    }

    #[test]
    fn chain_stands_as_long_as_it_would_pass_under_the_same_bundle() {
        let ours = material(HOUR);
        let (node, passed) = PassedChain::check(&ours, ours.chain(), now()).unwrap();
        assert_eq!(&node, ours.id());
        let end = now() + HOUR;
        for at in [now(), end - HOUR / 60, end + HOUR / 60, now() - HOUR] {
            let passes = ours.check_peer(ours.chain(), at).is_ok();
            assert_eq!(passed.stands(&ours, at), passes, "{at:?}");
        }
        // The same CA, loaded anew: whether it still signs for this chain is for a check to say.
        assert!(!passed.stands(&material(HOUR), now()));
    }

    #[test]
    fn chain_that_does_not_pass_is_not_remembered() {
        let ours = material(HOUR);
        let late = now() + HOUR * 2;
        assert!(PassedChain::check(&ours, ours.chain(), late).is_err());
    }
}
