//! Why material cannot be loaded.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::identity::PeerError;

/// Why certificate, key and bundle are not fit to be used. Each names the file.
#[derive(Debug, Error)]
pub enum MaterialError {
    /// Our certificate would be refused by our peers: its dates, name or usage are wrong, or its
    /// chain does not pass.
    #[error("{}: {why}", path.display())]
    BadCertificate {
        /// The certificate's file.
        path: PathBuf,
        /// What a peer would say.
        why: PeerError,
    },
    /// The private key cannot be used.
    #[error("{}: {why}", path.display())]
    BadKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong; nothing of the key itself.
        why: &'static str,
    },
    /// A PEM block is damaged.
    #[error("{}: a PEM block is damaged", path.display())]
    BadPem {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the bundle cannot be trusted as a CA.
    #[error("{}: certificate {position} of the bundle {why}", path.display())]
    BadRoot {
        /// The bundle's file.
        path: PathBuf,
        /// Which one, counted from 1.
        position: usize,
        /// What is wrong.
        why: String,
    },
    /// Key and certificate are not of one pair.
    #[error("{}: is not the key of the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// There are several private keys in one file.
    #[error("{}: has {got} private keys, expected exactly one", path.display())]
    ManyKeys {
        /// The key's file.
        path: PathBuf,
        /// How many.
        got: usize,
    },
    /// There is no such file.
    #[error("{}: no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file has no PEM block of the kind it should have.
    #[error("{}: has no PEM block {expected:?}", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// The kind of block.
        expected: &'static str,
    },
    /// The path leads to something that is not a regular file.
    #[error("{}: is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Our own chain does not lead to a CA of our own bundle.
    #[error(
        "{}: is not signed by a CA of the bundle in {}, or certificates between them are missing",
        path.display(), bundle.display()
    )]
    NotInBundle {
        /// The certificate's file.
        path: PathBuf,
        /// The bundle's file.
        bundle: PathBuf,
    },
    /// The process may not read the file.
    #[error("{}: may not be read by this user", path.display())]
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any that would make sense.
    #[error("{}: is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// There are more certificates in the file than would make sense.
    #[error("{}: has {got} certificates, the limit is {limit}", path.display())]
    TooManyCertificates {
        /// The file.
        path: PathBuf,
        /// How many.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// A CA of the bundle is of another trust domain than our certificate.
    #[error(
        "{}: certificate {position} of the bundle is of trust domain {got:?}, expected {expected}",
        path.display()
    )]
    WrongBundle {
        /// The bundle's file.
        path: PathBuf,
        /// Which one, counted from 1.
        position: usize,
        /// Our certificate's trust domain.
        expected: String,
        /// That of the CA, shortened.
        got: String,
    },
    /// The name in our certificate is not the one that the configuration asks for.
    #[error("{}: {part} of the certificate is {got}, the configuration says {expected}", path.display())]
    WrongName {
        /// The certificate's file.
        path: PathBuf,
        /// Trust domain, region or node name.
        part: &'static str,
        /// What the configuration says.
        expected: String,
        /// What the certificate says.
        got: String,
    },
}

impl MaterialError {
    /// The file that is named first.
    pub fn path(&self) -> &Path {
        match self {
            Self::BadCertificate { path, .. }
            | Self::BadKey { path, .. }
            | Self::BadPem { path }
            | Self::BadRoot { path, .. }
            | Self::KeyMismatch { key: path, .. }
            | Self::ManyKeys { path, .. }
            | Self::Missing { path }
            | Self::NoPem { path, .. }
            | Self::NotAFile { path }
            | Self::NotInBundle { path, .. }
            | Self::Permission { path }
            | Self::Read { path, .. }
            | Self::TooLarge { path, .. }
            | Self::TooManyCertificates { path, .. }
            | Self::WrongBundle { path, .. }
            | Self::WrongName { path, .. } => path,
        }
    }
}
