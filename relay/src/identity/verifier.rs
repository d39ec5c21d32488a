//! What rustls asks about a peer's certificate, for both ends of a link.
//!
//! rustls' own verifiers check DNS names, which nodes do not have. Ours leave the chain to rustls
//! and check usage, trust domain and name themselves.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, PeerIncompatible, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    server::{
        ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    MAX_CHAIN, PeerCertificate, PeerError, Refused,
    certificate::{Contents, split},
    date::{from_unix_seconds, unix_time},
};
use crate::{env::WallClock, id::NodeId};

/// Which node a dialer accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Any node of our trust domain: an address is known, but not whose it is.
    AnyOfTrustDomain,
    /// This node and no other.
    Node(NodeId),
}

/// The CAs a node trusts, for the names of one trust domain.
#[derive(Debug)]
pub(super) struct Bundle {
    roots: Arc<RootCertStore>,
    /// Checks chains for `clientAuth`, for which rustls has a verifier and no function.
    dialers: Arc<dyn ClientCertVerifier>,
    trust_domain: String,
}

impl Bundle {
    /// Trusts `roots` for the nodes of `trust_domain`.
    ///
    /// # Errors
    /// If `roots` is empty.
    pub(super) fn try_new(
        roots: RootCertStore,
        trust_domain: &str,
    ) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::new(roots);
        let dialers =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider()).build()?;
        Ok(Self {
            roots,
            dialers,
            trust_domain: trust_domain.to_owned(),
        })
    }

    /// Checks `chain`, leaf first. Its node may be at either end: every node accepts and dials.
    pub(super) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<PeerCertificate, PeerError> {
        let (leaf, intermediates) = split(chain)?;
        self.check_parts(leaf, intermediates, now)
    }

    /// Checks the chain of somebody who signs statements and is at no end of a link; whose it is, is
    /// for the caller to say.
    pub(super) fn check_signer(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), PeerError> {
        let (leaf, intermediates) = split(chain)?;
        let contents = Contents::read(leaf)?;
        contents.usage.check_signer()?;
        contents.check_time(now)?;
        self.check_chain(leaf, intermediates, unix_time(now))
            .map_err(|error| PeerError::from_tls(&error))
    }

    fn check_parts(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<PeerCertificate, PeerError> {
        // The cheap checks come first, for their words are clearer than the chain check's. Until
        // the chain has passed, nothing of the name is looked at.
        let contents = Contents::read(leaf)?;
        contents.usage.check()?;
        contents.check_time(now)?;
        self.check_chain(leaf, intermediates, unix_time(now))
            .map_err(|error| PeerError::from_tls(&error))?;
        let id = contents.node()?;
        if id.trust_domain() != self.trust_domain {
            return Err(PeerError::WrongTrustDomain {
                expected: self.trust_domain.clone(),
                got: id.trust_domain().to_owned(),
            });
        }
        Ok(PeerCertificate {
            id,
            not_after: contents.not_after,
        })
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            PROVIDER.signature_verification_algorithms.all,
        )?;
        // Only certificates between leaf and CA can pass for the one end and not for the other:
        // the leaf's own usage is checked for both.
        if !intermediates.is_empty() {
            self.dialers.verify_client_cert(leaf, intermediates, now)?;
        }
        Ok(())
    }
}

/// Answers rustls on behalf of one TLS configuration.
pub(super) struct Verifier {
    pub(super) bundle: Arc<Bundle>,
    pub(super) expect: Expect,
    pub(super) refused: Refused,
}

impl Verifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.try_check(leaf, intermediates, now).map_err(|error| {
            (self.refused)(&error);
            error.into_tls(now)
        })
    }

    fn try_check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), PeerError> {
        let got = intermediates.len() + 1;
        if got > MAX_CHAIN {
            return Err(PeerError::ChainTooLong { got });
        }
        let peer = self
            .bundle
            .check_parts(leaf, intermediates, system_time(now))?;
        match &self.expect {
            Expect::Node(expected) if *expected != peer.id => Err(PeerError::WrongName {
                expected: expected.clone(),
                got: peer.id,
            }),
            Expect::AnyOfTrustDomain | Expect::Node(_) => Ok(()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// None: a node has one certificate, so hints would only make the handshake larger.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("trust_domain", &self.bundle.trust_domain)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

/// Gives rustls the node's wall clock, so that certificates age in simulation too.
#[derive(Debug)]
pub(super) struct WallTime(pub(super) Arc<dyn WallClock>);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

/// The cryptography of links: ring's, with AES-128-GCM offered first.
///
/// AES-128 costs a packet the least where the processor has AES instructions, and a link protects
/// no secret that outlives 128 bits.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    })
});

fn system_time(now: UnixTime) -> SystemTime {
    from_unix_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
