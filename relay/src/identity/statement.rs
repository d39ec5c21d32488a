//! Statements that carry their own proof: signed with a node's key, believed through its chain.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use bytes::Bytes;
use ring::digest;
use rustls::{SignatureScheme, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use thiserror::Error;
use webpki::EndEntityCert;

use super::{
    Material, PeerError,
    passed::validity,
    verifier::{Bundle, provider},
};
use crate::{id::NodeId, wire::SignedStatement};

/// What a signature is for. One that was made for something else never passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context(&'static str);

impl Context {
    /// What a node says of itself and its links.
    pub const ADVERT: Self = Self("causeway advert v1");
    /// What an administrator decided for the whole fleet.
    pub const POLICY: Self = Self("causeway policy v1");

    /// - `text`: used for nothing else, and without a zero byte, which ends it.
    pub const fn new(text: &'static str) -> Self {
        Self(text)
    }

    fn signed_bytes(self, statement: &[u8]) -> Vec<u8> {
        [self.0.as_bytes(), &[0], statement].concat()
    }
}

impl Material {
    /// Signs `statement` with our own key.
    ///
    /// # Errors
    /// [`SignStatementError`]. Whether the result is within what others take is for
    /// [`SignedStatement::encode`] to say.
    pub fn sign(
        &self,
        context: Context,
        statement: Bytes,
    ) -> Result<SignedStatement, SignStatementError> {
        sign_with(&self.certified, context, statement)
    }
}

pub(super) fn sign_with(
    certified: &CertifiedKey,
    context: Context,
    statement: Bytes,
) -> Result<SignedStatement, SignStatementError> {
    let signer = certified.key.choose_scheme(SCHEMES);
    let signer = signer.ok_or(SignStatementError::NoScheme)?;
    let signature = signer.sign(&context.signed_bytes(&statement))?;
    Ok(SignedStatement {
        statement,
        chain: certified.cert.clone(),
        scheme: signer.scheme().into(),
        signature: signature.into(),
    })
}

/// Whether the key of the first certificate made the signature. Of the chain nothing is said.
pub(super) fn has_signed(context: Context, signed: &SignedStatement) -> bool {
    let Some(leaf) = signed.chain.first() else {
        return false;
    };
    let (Ok(leaf), Some(algorithm)) = (EndEntityCert::try_from(leaf), algorithm(signed.scheme))
    else {
        return false;
    };
    let signed_bytes = context.signed_bytes(&signed.statement);
    leaf.verify_signature(algorithm, &signed_bytes, &signed.signature)
        .is_ok()
}

/// Why a statement could not be signed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SignStatementError {
    /// The key makes no signature that TLS 1.3 knows.
    #[error("the private key makes no signature of TLS 1.3")]
    NoScheme,
    /// The key failed.
    #[error("signing failed")]
    Sign(#[from] rustls::Error),
}

/// The chains that were found to pass, so that what their nodes say next costs one signature check
/// and no chain check.
///
/// A statement of a known chain costs 65 us on a core of 2.6 GHz, of a new one 140 us; signing
/// one costs 40 us. A chain is remembered until a certificate in it ends, the bundle is loaded anew, or
/// [`Chains::MAX`] others were used since.
#[derive(Debug, Default)]
pub struct Chains {
    /// The bundle that the chains passed.
    bundle: Option<Arc<Bundle>>,
    passed: BTreeMap<Hash, Passed>,
    uses: u64,
    checks: u64,
}

#[derive(Debug)]
struct Passed {
    id: NodeId,
    /// When all of the chain is valid.
    from: SystemTime,
    until: SystemTime,
    last_use: u64,
}

impl Chains {
    /// Most chains that are remembered: one for each node of a mesh several times as large as is
    /// supported, in a quarter of a megabyte. Beyond, the one that was not used for longest is
    /// forgotten, and costs a check when it comes again.
    pub const MAX: usize = 1_024;

    /// Checks chain and signature, and tells which node signed.
    ///
    /// # Errors
    /// [`StatementRefused`].
    pub fn verify(
        &mut self,
        material: &Material,
        context: Context,
        now: SystemTime,
        signed: &SignedStatement,
    ) -> Result<NodeId, StatementRefused> {
        let id = self.check(material, now, &signed.chain)?;
        match has_signed(context, signed) {
            true => Ok(id),
            false => Err(StatementRefused::BadSignature),
        }
    }

    /// How many chains are remembered.
    pub fn len(&self) -> usize {
        self.passed.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty()
    }

    /// How many chains had to be checked.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    fn check(
        &mut self,
        material: &Material,
        now: SystemTime,
        chain: &[CertificateDer<'static>],
    ) -> Result<NodeId, PeerError> {
        let is_same = |bundle: &Arc<Bundle>| Arc::ptr_eq(bundle, &material.bundle);
        if !self.bundle.as_ref().is_some_and(is_same) {
            self.passed.clear();
            self.bundle = Some(Arc::clone(&material.bundle));
        }
        self.uses += 1;
        let hash = hash(chain);
        if let Some(passed) = self.passed.get_mut(&hash)
            && (passed.from..=passed.until).contains(&now)
        {
            passed.last_use = self.uses;
            return Ok(passed.id.clone());
        }
        self.checks += 1;
        let checked = material.check_peer(chain, now);
        if checked.is_err() {
            self.passed.remove(&hash);
        }
        let id = checked?.id;
        let (from, until) = validity(chain)?;
        let passed = Passed {
            id: id.clone(),
            from,
            until,
            last_use: self.uses,
        };
        self.passed.insert(hash, passed);
        // Looking at all of them costs little beside the check of a chain.
        if self.passed.len() > Self::MAX
            && let Some(oldest) = self.passed.iter().min_by_key(|(_, passed)| passed.last_use)
        {
            let oldest = *oldest.0;
            self.passed.remove(&oldest);
        }
        Ok(id)
    }
}

/// Why a statement is not believed to be its signer's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementRefused {
    /// The signature was not made with the certificate's key over this statement in this context.
    #[error("the signature does not pass")]
    BadSignature,
    /// The chain does not pass.
    #[error(transparent)]
    Untrusted(#[from] PeerError),
}

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

fn hash(chain: &[CertificateDer<'static>]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for der in chain {
        // With the lengths, no two chains give the same input.
        context.update(&(der.len() as u64).to_be_bytes());
        context.update(der);
    }
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What checks signatures of a scheme, as in a handshake of TLS 1.3.
fn algorithm(scheme: u16) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let scheme = SignatureScheme::from(scheme);
    let mapping = provider().signature_verification_algorithms.mapping;
    let (_, algorithms) = mapping.iter().find(|(known, _)| *known == scheme)?;
    // A scheme of TLS 1.3 names one curve, which is the first.
    SCHEMES
        .contains(&scheme)
        .then(|| algorithms.first().copied())?
}

/// The signatures of TLS 1.3, those first that are quick to check.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];
