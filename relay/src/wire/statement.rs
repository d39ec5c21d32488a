//! What a node signs, for others to pass on: the envelope, without its cryptography.

use bytes::Bytes;
use prost::Message;
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::wire::{
    limits::{
        MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES, MAX_SIGNATURE_BYTES, MAX_SIGNED_BYTES,
        MAX_STATEMENT_BYTES,
    },
    message,
};

/// A statement, its signature, and the certificates that prove whose key made it.
///
/// Decoding believes nothing. Fields that this build does not know are skipped, and are not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement {
    /// What is said: at most [`MAX_STATEMENT_BYTES`].
    pub statement: Bytes,
    /// The signer's certificate first: 1 to [`MAX_CHAIN_CERTIFICATES`], at most
    /// [`MAX_CHAIN_BYTES`] in all.
    pub chain: Vec<CertificateDer<'static>>,
    /// How it is signed: a SignatureScheme of TLS 1.3.
    pub scheme: u16,
    /// The signature, over a context, a zero byte, and the statement.
    pub signature: Bytes,
}

impl SignedStatement {
    /// Reads a signed statement.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        at_most("signed statement", bytes.len(), MAX_SIGNED_BYTES)?;
        let m = message::SignedStatement::decode(bytes).map_err(|_| StatementError::NotProtobuf)?;
        let scheme = required("scheme", m.scheme)?;
        let signed = Self {
            statement: required("statement", m.statement)?.into(),
            chain: m.chain.into_iter().map(CertificateDer::from).collect(),
            scheme: u16::try_from(scheme).map_err(|_| bad("scheme", "above 65,535"))?,
            signature: required("signature", m.signature)?.into(),
        };
        signed.check()?;
        Ok(signed)
    }

    /// The bytes that others are to get.
    ///
    /// # Errors
    /// [`StatementError::TooLong`] and [`StatementError::BadField`]: others would not take it.
    pub fn encode(&self) -> Result<Vec<u8>, StatementError> {
        self.check()?;
        let message = message::SignedStatement {
            statement: Some(self.statement.to_vec()),
            chain: self.chain.iter().map(|der| der.to_vec()).collect(),
            scheme: Some(self.scheme.into()),
            signature: Some(self.signature.to_vec()),
        };
        Ok(message.encode_to_vec())
    }

    fn check(&self) -> Result<(), StatementError> {
        at_most("statement", self.statement.len(), MAX_STATEMENT_BYTES)?;
        at_most("signature", self.signature.len(), MAX_SIGNATURE_BYTES)?;
        if !(1..=MAX_CHAIN_CERTIFICATES).contains(&self.chain.len()) {
            return Err(bad("chain", "not of 1 to 4 certificates"));
        }
        let chain_bytes = self.chain.iter().map(|der| der.len()).sum();
        at_most("chain", chain_bytes, MAX_CHAIN_BYTES)
    }
}

/// Why bytes are no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StatementError {
    /// A field holds what it must not.
    #[error("field {field} is {why}")]
    BadField {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A field is absent.
    #[error("field {field} is absent")]
    MissingField {
        /// Which.
        field: &'static str,
    },
    /// It is not protobuf, or not of these fields.
    #[error("it cannot be decoded")]
    NotProtobuf,
    /// A part is longer than any may be.
    #[error("{what} is {got_bytes} bytes, limit is {limit_bytes}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// How long it is.
        got_bytes: usize,
        /// How long it may be.
        limit_bytes: usize,
    },
}

pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, StatementError> {
    value.ok_or(StatementError::MissingField { field })
}

pub(super) fn bad(field: &'static str, why: &'static str) -> StatementError {
    StatementError::BadField { field, why }
}

fn at_most(what: &'static str, got_bytes: usize, limit_bytes: usize) -> Result<(), StatementError> {
    match got_bytes > limit_bytes {
        false => Ok(()),
        true => Err(StatementError::TooLong {
            what,
            got_bytes,
            limit_bytes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(statement: usize, chain: &[usize], signature: usize) -> SignedStatement {
        SignedStatement {
            statement: vec![1; statement].into(),
            chain: chain.iter().map(|len| vec![2; *len].into()).collect(),
            scheme: 0x0807,
            signature: vec![3; signature].into(),
        }
    }

    #[test]
    fn the_longest_comes_back_and_a_byte_or_a_certificate_more_is_refused() {
        let quarter = MAX_CHAIN_BYTES / 4;
        let longest = signed(MAX_STATEMENT_BYTES, &[quarter; 4], MAX_SIGNATURE_BYTES);
        let bytes = longest.encode().unwrap();
        assert!(bytes.len() <= MAX_SIGNED_BYTES);
        assert_eq!(SignedStatement::decode(&bytes), Ok(longest));
        for beyond in [
            signed(MAX_STATEMENT_BYTES + 1, &[1], 1),
            signed(1, &[MAX_CHAIN_BYTES, 1], 1),
            signed(1, &[1], MAX_SIGNATURE_BYTES + 1),
            signed(1, &[1; 5], 1),
            signed(1, &[], 1),
        ] {
            assert!(beyond.encode().is_err());
            let message = message::SignedStatement {
                statement: Some(beyond.statement.to_vec()),
                chain: beyond.chain.iter().map(|der| der.to_vec()).collect(),
                scheme: Some(1),
                signature: Some(beyond.signature.to_vec()),
            };
            assert!(SignedStatement::decode(&message.encode_to_vec()).is_err());
        }
        let too_long = SignedStatement::decode(&vec![0; MAX_SIGNED_BYTES + 1]);
        assert!(matches!(too_long, Err(StatementError::TooLong { .. })));
    }

    #[test]
    fn each_absent_field_is_named() {
        let whole = message::SignedStatement {
            statement: Some(vec![1]),
            chain: vec![vec![2]],
            scheme: Some(1),
            signature: Some(vec![3]),
        };
        let error = |change: &dyn Fn(&mut message::SignedStatement)| {
            let mut m = whole.clone();
            change(&mut m);
            SignedStatement::decode(&m.encode_to_vec()).unwrap_err()
        };
        let missing = |field| StatementError::MissingField { field };
        assert_eq!(error(&|m| m.statement = None), missing("statement"));
        assert_eq!(error(&|m| m.scheme = None), missing("scheme"));
        assert_eq!(error(&|m| m.signature = None), missing("signature"));
        assert_eq!(
            error(&|m| m.scheme = Some(65_536)),
            bad("scheme", "above 65,535")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_statement_that_can_be_sent_on_or_a_typed_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(signed) = SignedStatement::decode(&bytes) {
                let again = signed.encode().unwrap();
                prop_assert_eq!(SignedStatement::decode(&again), Ok(signed));
            }
        }
    }
}
