//! Who a node is, and whom it believes.
//!
//! A node's identity is a certificate with one SPIFFE name. [`Material`] is that certificate with
//! its key and the bundle of CAs it trusts, loaded and checked by [`FileCertificates`] or, in
//! memory, by [`FixedCertificates`]. From it come the TLS configurations of both ends of a link,
//! whose verifiers ask the same of every peer:
//!
//! 1. the chain is short and leads to a CA of the bundle, at the wall clock that was given;
//! 2. the certificate is no CA and may be used for both ends of a connection;
//! 3. it has exactly one URI name, of the form of a node, in our trust domain;
//! 4. where a certain node was dialed, that is its name.
//!
//! With the same key a node signs what others pass on, and [`Chains`] checks what they signed.
//!
//! [`pki`] makes a private CA and node certificates. [`Pattern`] says which nodes may do something.
//!
//! Nothing here reads a clock, and no private key appears in `Debug` output or in an error.

mod administrator;
mod certificate;
mod date;
mod material;
mod passed;
mod pattern;
pub mod pki;
mod refusal;
mod source;
mod statement;
mod verifier;

#[cfg(test)]
mod tests;

pub use self::{
    administrator::{Administrator, AdministratorError, LoadAdministratorError, SignedBy},
    certificate::{PeerCertificate, Usage},
    date::Date,
    material::{Files, Material, MaterialError, Pem, RequiredName},
    passed::PassedChain,
    pattern::{Pattern, PatternError},
    refusal::{PeerError, Refusal, Refused, alert_word},
    source::{FileCertificates, Fingerprint, FixedCertificates, KeyExposed},
    statement::{Chains, Context, SignStatementError, StatementRefused},
    verifier::Expect,
};

/// The application protocol of a link, as TLS negotiates it; `1` is the major version.
pub const ALPN: &[u8] = b"causeway/1";

/// The server name to give to TLS when dialing. It is neither sent nor checked: peers are known by
/// the SPIFFE name in their certificate.
pub const SERVER_NAME: &str = "causeway";

/// The most certificates that a chain may have, the node's own included.
///
/// A private PKI has one or two between node and CA; each costs a signature check per handshake.
pub const MAX_CHAIN: usize = 5;
