//! Where certificate material comes from: files, or memory.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use thiserror::Error;

use super::{Files, Material, MaterialError, Pem, RequiredName};
use crate::env::Certificates;

/// Loads certificate, key and bundle from files, anew each time.
///
/// To notice that files were replaced, compare [`FileCertificates::fingerprint`] every few seconds.
/// Take it *before* [`Certificates::load`] and keep it whether or not loading succeeds: a file
/// that changes while it is read is then loaded again, and a bad one is not tried over and over.
/// While the new files do not load, such as between the replacement of certificate and key, the
/// material from before stays in use.
#[derive(Debug, Clone)]
pub struct FileCertificates {
    files: Files,
    required: RequiredName,
}

impl FileCertificates {
    /// Names the files, and what the configuration says about the name in the certificate.
    pub fn new(files: Files, required: RequiredName) -> Self {
        Self { files, required }
    }

    /// Which files these are.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Tells whether the files are still the same, without reading them. Never fails: a file that
    /// cannot be looked at is one more state of it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(
            [&self.files.certificate, &self.files.key, &self.files.bundle].map(|path| {
                let metadata = fs::metadata(path).ok()?;
                Some(FileState {
                    inode: metadata.ino(),
                    len: metadata.len(),
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                    changed: (metadata.ctime(), metadata.ctime_nsec()),
                })
            }),
        )
    }
}

impl Certificates for FileCertificates {
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Self::fingerprint(self).hash(&mut hasher);
        hasher.finish()
    }

    fn load(&self, now: SystemTime) -> Result<Material, MaterialError> {
        let (certificate, _) = read(&self.files.certificate)?;
        let (key, key_mode) = read(&self.files.key)?;
        let (bundle, _) = read(&self.files.bundle)?;
        let pem = Pem {
            certificate,
            key,
            bundle,
        };
        let mut material = Material::try_new(&pem, &self.files, &self.required, now)?;
        if key_mode & OTHERS != 0 {
            material.warning = Some(KeyExposed {
                path: self.files.key.clone(),
                mode: key_mode & 0o777,
            });
        }
        Ok(material)
    }
}

/// What the material's files looked like at one moment; equal while nobody touches them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint([Option<FileState>; 3]);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FileState {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    /// Notices what keeps the modification time, such as `cp -p`.
    changed: (i64, i64),
}

/// The private key can be read by more than its owner. Not an error: some platforms mount secrets
/// so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: the private key has mode {mode:04o}, so that more than its owner can read or write it", path.display())]
pub struct KeyExposed {
    /// The key's file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// Certificate material in memory, for simulated nodes and tests. Clones share it.
#[derive(Debug, Clone)]
pub struct FixedCertificates(Arc<ArcSwap<Pem>>);

impl FixedCertificates {
    /// Starts with `pem`.
    pub fn new(pem: Pem) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(pem)))
    }

    /// Puts `pem` in its place: what the next load sees, as if files were replaced.
    pub fn replace(&self, pem: Pem) {
        self.0.store(Arc::new(pem));
    }
}

impl Certificates for FixedCertificates {
    fn fingerprint(&self) -> u64 {
        // Another text lies elsewhere in memory while this one is in use.
        Arc::as_ptr(&self.0.load_full()) as u64
    }

    fn load(&self, now: SystemTime) -> Result<Material, MaterialError> {
        let files = Files {
            certificate: "certificate in memory".into(),
            key: "key in memory".into(),
            bundle: "bundle in memory".into(),
        };
        Material::try_new(&self.0.load_full(), &files, &RequiredName::default(), now)
    }
}

/// Reads a file of at most [`MAX_FILE_BYTES`]: its contents and its mode.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, u32), MaterialError> {
    // Looked at first, for opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(|error| read_error(path, error))?;
    if !metadata.is_file() {
        return Err(MaterialError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut contents = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut contents))
        .map_err(|error| read_error(path, error))?;
    if contents.len() as u64 > MAX_FILE_BYTES {
        return Err(MaterialError::TooLarge {
            path: path.to_owned(),
            limit_bytes: MAX_FILE_BYTES,
        });
    }
    Ok((contents, metadata.mode()))
}

fn read_error(path: &Path, source: io::Error) -> MaterialError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => MaterialError::Missing { path },
        io::ErrorKind::PermissionDenied => MaterialError::Permission { path },
        _ => MaterialError::Read { path, source },
    }
}

/// 64 CAs with large RSA keys and comments are a third of this.
const MAX_FILE_BYTES: u64 = 512 * 1024;
/// What group and others may do.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use super::*;

    // Tests may run as root, who may read everything, so the system's answer is made up.
    #[test]
    fn what_the_system_says_about_a_file_is_told_apart_and_names_it() {
        let said = |kind: io::ErrorKind| read_error(Path::new("node.key"), kind.into()).to_string();
        assert_eq!(
            said(io::ErrorKind::PermissionDenied),
            "node.key: may not be read by this user"
        );
        assert_eq!(said(io::ErrorKind::NotFound), "node.key: no such file");
        assert_eq!(
            said(io::ErrorKind::TimedOut),
            "node.key: cannot be read: timed out"
        );
    }
}
