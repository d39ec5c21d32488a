//! Why a peer's certificate is refused, and how that reason leaves the TLS stack.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use rustls::{CertificateError, OtherError};
use rustls_pki_types::UnixTime;
use thiserror::Error;

use super::{
    MAX_CHAIN,
    date::{Date, from_unix_seconds, unix_time},
};
use crate::id::NodeId;

/// Why a certificate is not that of a node we believe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerError {
    /// The chain is longer than [`MAX_CHAIN`].
    #[error("certificate chain has {got} certificates, the limit is {MAX_CHAIN}")]
    ChainTooLong {
        /// Certificates in the chain.
        got: usize,
    },
    /// The certificate, or one of its chain, is past its end.
    #[error("certificate expired at {}", Date(*.since))]
    Expired {
        /// When its validity ended.
        since: SystemTime,
    },
    /// There is more than one URI name.
    #[error("certificate has {got} URI names, expected exactly one")]
    ManyNames {
        /// URI names in the certificate.
        got: usize,
    },
    /// There is no certificate at all.
    #[error("there is no certificate")]
    NoCertificate,
    /// There is no URI name.
    #[error("certificate has no URI name")]
    NoName,
    /// The URI name is not of the form of a node's.
    #[error(
        "certificate name {got:?} is not of the form spiffe://<trust-domain>/region/<region>/node/<name>"
    )]
    NotANode {
        /// The name, shortened.
        got: String,
    },
    /// The certificate, or one of its chain, is before its begin.
    #[error("certificate is not valid before {}", Date(*.from))]
    NotYetValid {
        /// When its validity begins.
        from: SystemTime,
    },
    /// The chain was refused for a reason that has no word of its own here.
    #[error("certificate chain does not pass: {why}")]
    Rejected {
        /// What the chain check said.
        why: String,
    },
    /// The chain does not lead to a CA of the bundle.
    #[error("certificate is not signed by a CA of the bundle")]
    UnknownIssuer,
    /// The certificate could not be read.
    #[error("certificate cannot be read: {why}")]
    Unreadable {
        /// What the reader said.
        why: String,
    },
    /// The certificate is that of another node than the one that was dialed.
    #[error("wrong name: expected {expected}, got {got}")]
    WrongName {
        /// The node that was dialed.
        expected: NodeId,
        /// The node that answered.
        got: NodeId,
    },
    /// The certificate is of another trust domain.
    #[error("wrong trust domain: expected {expected}, got {got}")]
    WrongTrustDomain {
        /// Our trust domain.
        expected: String,
        /// That of the certificate.
        got: String,
    },
    /// The certificate may not be used for what a node does with it.
    #[error("certificate may not be used by a node: {why}")]
    WrongUsage {
        /// What it says, and what it would have to say.
        why: &'static str,
    },
}

impl PeerError {
    /// Every word that [`PeerError::word`] gives, for metrics.
    pub const WORDS: &'static [&'static str] = &[
        "chain_too_long",
        "expired",
        "many_names",
        "no_certificate",
        "no_name",
        "not_a_node",
        "not_yet_valid",
        "rejected",
        "unknown_issuer",
        "unreadable",
        "wrong_name",
        "wrong_trust_domain",
        "wrong_usage",
    ];

    /// The word for logs, metrics and tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ChainTooLong { .. } => "chain_too_long",
            Self::Expired { .. } => "expired",
            Self::ManyNames { .. } => "many_names",
            Self::NoCertificate => "no_certificate",
            Self::NoName => "no_name",
            Self::NotANode { .. } => "not_a_node",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Rejected { .. } => "rejected",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Unreadable { .. } => "unreadable",
            Self::WrongName { .. } => "wrong_name",
            Self::WrongTrustDomain { .. } => "wrong_trust_domain",
            Self::WrongUsage { .. } => "wrong_usage",
        }
    }

    /// What rustls' chain check said, in our words.
    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(certificate) = error else {
            return Self::Rejected {
                why: error.to_string(),
            };
        };
        match certificate {
            CertificateError::BadEncoding => Self::Unreadable {
                why: "bad encoding".to_owned(),
            },
            // A CA of the same name with another key shows as a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired {
                since: date(not_after.as_secs()),
            },
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid {
                from: date(not_before.as_secs()),
            },
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongUsage {
                    why: "its chain does not allow both serverAuth and clientAuth",
                }
            }
            other => Self::Rejected {
                why: other.to_string(),
            },
        }
    }

    /// The error that a verifier returns: its alert tells the peer as much as TLS has words for,
    /// and its text, which QUIC puts into the closing frame, says the rest.
    pub(super) fn into_tls(self, now: UnixTime) -> rustls::Error {
        let certificate = match self {
            Self::Expired { since } => CertificateError::ExpiredContext {
                time: now,
                not_after: unix_time(since),
            },
            Self::NotYetValid { from } => CertificateError::NotValidYetContext {
                time: now,
                not_before: unix_time(from),
            },
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::Unreadable { .. } => CertificateError::BadEncoding,
            other => CertificateError::Other(OtherError(Arc::new(Said(other)))),
        };
        certificate.into()
    }
}

/// Says the reason in words also as `Debug`, which is what rustls shows.
#[derive(Error)]
#[error(transparent)]
struct Said(PeerError);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a verifier calls with the reason each time it refuses a peer, before the handshake fails.
///
/// QUIC gives the failed handshake's reason as text only, so this is how the reason stays typed:
/// the acceptor counts by [`PeerError::word`], and a dialer keeps the last one with [`Refusal`].
/// It is called from within the handshake, so it must return at once.
pub type Refused = Arc<dyn Fn(&PeerError) + Send + Sync>;

/// Keeps the reason with which a dial's verifier refused the peer. Clones share it.
#[derive(Clone, Default)]
pub struct Refusal(Arc<ArcSwapOption<PeerError>>);

impl Refusal {
    /// The callback to build the dial's configuration with.
    pub fn observer(&self) -> Refused {
        let last = Arc::clone(&self.0);
        Arc::new(move |error| last.store(Some(Arc::new(error.clone()))))
    }

    /// Takes the last reason out, if a peer was refused since.
    ///
    /// Where the addresses of one peer are raced with one configuration, it is the last of them.
    pub fn take(&self) -> Option<Arc<PeerError>> {
        self.0.swap(None)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refusal").field(&self.0.load_full()).finish()
    }
}

/// The word for a handshake that failed with a TLS alert, from the QUIC transport error code.
///
/// `None` if the code is no TLS alert. It covers what no verifier is asked about, such as a client
/// without a certificate, and what the other end refused: the code is the same on both ends.
pub fn alert_word(quic_code: u64) -> Option<&'static str> {
    // RFC 9001 section 4.8: 0x0100 plus the alert's number, which RFC 8446 section 6 lists.
    let alert = u8::try_from(quic_code.checked_sub(0x100)?).ok()?;
    Some(match alert {
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        48 => "unknown_ca",
        51 => "decrypt_error",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "other_alert",
    })
}

fn date(unix_seconds: u64) -> SystemTime {
    from_unix_seconds(i64::try_from(unix_seconds).unwrap_or(i64::MAX))
}
