//! Certificates of administrators, whose signature the whole fleet obeys.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use super::{
    Context, Files, MAX_CHAIN, Material, MaterialError, PeerError, SignStatementError,
    certificate::{Contents, split},
    material::{certificates, certify, private_key},
    passed::validity,
    source::read,
    statement::{has_signed, sign_with},
};
use crate::{id::AdministratorId, wire::SignedStatement};

/// An administrator's certificate and key, to sign with. `Debug` shows the name only.
pub struct Administrator {
    id: AdministratorId,
    certified: CertifiedKey,
}

impl Administrator {
    /// Loads a certificate, with whatever lies between it and the CA, and its private key, both PEM.
    ///
    /// Whether nodes take it is for them to say: the CA need not be at hand.
    ///
    /// # Errors
    /// [`LoadAdministratorError`].
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, LoadAdministratorError> {
        let files = Files {
            certificate,
            key,
            bundle: PathBuf::new(),
        };
        let chain = certificates(&read(&files.certificate)?.0, &files.certificate, MAX_CHAIN)?;
        let key = private_key(&read(&files.key)?.0, &files.key)?;
        let certified = certify(chain, key, &files)?;
        let id = administrator_of(&certified.cert).map_err(|why| LoadAdministratorError::Name {
            path: files.certificate,
            why,
        })?;
        Ok(Self { id, certified })
    }

    /// Who it is.
    pub fn id(&self) -> &AdministratorId {
        &self.id
    }

    /// Signs `statement`.
    ///
    /// # Errors
    /// As [`Material::sign`].
    pub fn sign(
        &self,
        context: Context,
        statement: Bytes,
    ) -> Result<SignedStatement, SignStatementError> {
        sign_with(&self.certified, context, statement)
    }
}

impl std::fmt::Debug for Administrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Administrator")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why an administrator's files cannot be used to sign.
#[derive(Debug, Error)]
pub enum LoadAdministratorError {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    Files(#[from] MaterialError),
    /// The certificate is not an administrator's.
    #[error("{}: {why}", path.display())]
    Name {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        why: AdministratorError,
    },
}

/// Whose signature passed, and for how long it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// The administrator.
    pub id: AdministratorId,
    /// When the first certificate of its chain ends, as a date: time since 1970, UTC.
    pub until: Duration,
}

/// Why a statement is not believed to be an administrator's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdministratorError {
    /// The signature was not made with the certificate's key over this statement in this context.
    #[error("the signature does not pass")]
    BadSignature,
    /// It is a certificate, and not an administrator's.
    #[error("{got} is no administrator, whose name is spiffe://TRUST-DOMAIN/admin/NAME")]
    NotAnAdministrator {
        /// The name, cut; or that there is none.
        got: String,
    },
    /// The chain does not pass.
    #[error(transparent)]
    Untrusted(#[from] PeerError),
}

impl Material {
    /// Checks chain, name and signature of what an administrator of our trust domain said.
    ///
    /// Decisions of administrators are rare: no chain is remembered, and each costs 140 us.
    ///
    /// # Errors
    /// [`AdministratorError`].
    pub fn check_administrator(
        &self,
        context: Context,
        now: SystemTime,
        signed: &SignedStatement,
    ) -> Result<SignedBy, AdministratorError> {
        self.bundle.check_signer(&signed.chain, now)?;
        let id = administrator_of(&signed.chain)?;
        if id.trust_domain() != self.id().trust_domain() {
            let (expected, got) = (self.id().trust_domain(), id.trust_domain());
            return Err(AdministratorError::Untrusted(PeerError::WrongTrustDomain {
                expected: expected.to_owned(),
                got: got.to_owned(),
            }));
        }
        if !has_signed(context, signed) {
            return Err(AdministratorError::BadSignature);
        }
        let (_, until) = validity(&signed.chain)?;
        let until = until.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(SignedBy { id, until })
    }
}

/// The administrator that a certificate names. Nothing is checked but the name.
fn administrator_of(chain: &[CertificateDer<'_>]) -> Result<AdministratorId, AdministratorError> {
    let (leaf, _) = split(chain)?;
    let name = Contents::read(leaf)?.one_uri()?.to_owned();
    name.parse()
        .map_err(|_| AdministratorError::NotAnAdministrator { got: clip(&name) })
}

fn clip(name: &str) -> String {
    name.chars().take(MAX_SHOWN_CHARS).collect()
}

/// What an error shows of a name that came from elsewhere.
const MAX_SHOWN_CHARS: usize = 80;
