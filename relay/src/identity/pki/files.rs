//! The private CA as files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use thiserror::Error;

use super::{
    AUTHORITY_VALIDITY, Authority, DAY_SECONDS, Leaf, NodePem, PkiError, Randomness, Validity,
};
use crate::{
    id::{AdministratorId, NodeId, NodeIdError},
    identity::{Files, MaterialError, certificate::Contents, date::Date, source::read},
};

/// Makes the CA of a new trust domain: `ca.pem` and `ca.key` (mode 0600) in `dir`.
///
/// Makes `dir` if need be. Never overwrites: whoever wants a new CA moves the old one away.
/// Returns the two paths, certificate first.
///
/// # Errors
/// [`FileError::Exists`] if one of the two is there; [`FileError::Make`] for a bad trust domain;
/// [`FileError::Write`]. On any of them no file of this call is left.
pub fn init(
    dir: &Path,
    trust_domain: &str,
    now: SystemTime,
) -> Result<(PathBuf, PathBuf), FileError> {
    let (certificate, key) = authority_paths(dir);
    let authority = Authority::generate(trust_domain, Randomness::System, now)
        .map_err(|why| make_error(&certificate, why))?;
    make_dir(dir)?;
    create(&key, authority.key_pem().as_bytes(), SECRET_MODE)?;
    if let Err(error) = create(
        &certificate,
        authority.certificate_pem().as_bytes(),
        PUBLIC_MODE,
    ) {
        // A key without its certificate would only stand in the way of the next try.
        let _ = fs::remove_file(&key);
        return Err(error);
    }
    Ok((certificate, key))
}

/// Issues a node's certificate with a new key, signed by the CA in `dir`.
///
/// Writes `<name>.pem` (the certificate), `<name>.key` (mode 0600) and `bundle.pem` (the CA) into
/// `out_dir`, which it makes if need be. Each file is replaced as a whole, so a running node finds
/// the old or the new one; between key and certificate it finds a pair that does not match, keeps
/// what it has and looks again. A `bundle.pem` that holds several CAs is replaced too.
///
/// The certificate of a node with the same name in another region is not replaced, nor is an
/// administrator's.
///
/// - `days`: how long it is valid, 1..=3650, but no longer than the CA.
///
/// # Errors
/// [`FileError::Authority`] if the CA cannot be loaded, [`FileError::Expired`] if it is over,
/// [`FileError::Days`], [`FileError::Make`] for a bad name, [`FileError::Other`],
/// [`FileError::Reserved`], and
/// [`FileError::Write`], after which some of the files may be new.
pub fn issue(
    dir: &Path,
    region: &str,
    name: &str,
    out_dir: &Path,
    days: u32,
    now: SystemTime,
) -> Result<Issued, FileError> {
    let place = Place::try_new(out_dir, name, days)?;
    let authority = load(dir, now)?;
    let id = NodeId::try_new(authority.trust_domain(), region, name);
    let id = id.map_err(|why| place.bad_name(why))?;
    let leaf = Leaf::node(&id, place.validity(now));
    let issued = place.fill(&authority, &leaf)?;
    let files = Files {
        certificate: place.certificate,
        key: place.key,
        bundle: out_dir.join("bundle.pem"),
    };
    let bundle = authority.certificate_pem().as_bytes();
    replace(&files.bundle, bundle, PUBLIC_MODE)?;
    Ok(Issued {
        id,
        files,
        not_after: issued.not_after,
    })
}

/// Issues an administrator's certificate with a new key, signed by the CA in `dir`.
///
/// Writes `<name>.pem` (the certificate) and `<name>.key` (mode 0600) into `out_dir`, as [`issue`]
/// does for a node. The certificate of anybody else is not replaced.
///
/// - `days`: how long it is valid, 1..=3650, but no longer than the CA. What it signs ends with it.
///
/// # Errors
/// As [`issue`].
pub fn issue_administrator(
    dir: &Path,
    name: &str,
    out_dir: &Path,
    days: u32,
    now: SystemTime,
) -> Result<IssuedAdministrator, FileError> {
    let place = Place::try_new(out_dir, name, days)?;
    let authority = load(dir, now)?;
    let id = AdministratorId::try_new(authority.trust_domain(), name);
    let id = id.map_err(|why| place.bad_name(why))?;
    let leaf = Leaf::administrator(&id, place.validity(now));
    let issued = place.fill(&authority, &leaf)?;
    Ok(IssuedAdministrator {
        id,
        certificate: place.certificate,
        key: place.key,
        not_after: issued.not_after,
    })
}

/// Where a certificate and its key go, and for how long they are.
struct Place {
    certificate: PathBuf,
    key: PathBuf,
    days: u32,
}

impl Place {
    fn try_new(out_dir: &Path, name: &str, days: u32) -> Result<Self, FileError> {
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(FileError::Days { got: days });
        }
        if RESERVED_NAMES.contains(&name) {
            return Err(FileError::Reserved {
                name: name.to_owned(),
            });
        }
        Ok(Self {
            certificate: out_dir.join(format!("{name}.pem")),
            key: out_dir.join(format!("{name}.key")),
            days,
        })
    }

    fn bad_name(&self, why: NodeIdError) -> FileError {
        make_error(&self.certificate, why.into())
    }

    fn validity(&self, now: SystemTime) -> Validity {
        let duration = Duration::from_secs(u64::from(self.days) * DAY_SECONDS);
        Validity::starting(now, duration)
    }

    /// Issues what `leaf` says, and writes certificate and key.
    fn fill(&self, authority: &Authority, leaf: &Leaf) -> Result<NodePem, FileError> {
        self.keep_others(leaf)?;
        let issued = authority.issue(leaf);
        let issued = issued.map_err(|why| make_error(&self.certificate, why))?;
        if let Some(dir) = self.key.parent() {
            make_dir(dir)?;
        }
        replace(&self.key, issued.key.as_bytes(), SECRET_MODE)?;
        let certificate = issued.certificate.as_bytes();
        replace(&self.certificate, certificate, PUBLIC_MODE)?;
        Ok(issued)
    }

    /// Names are unique in their region only, and the files bear nothing but the name.
    fn keep_others(&self, leaf: &Leaf) -> Result<(), FileError> {
        let Ok((pem, _)) = read(&self.certificate) else {
            return Ok(());
        };
        let mut found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        let found = found.next().and_then(|der| Contents::read(&der).ok());
        match found.as_ref().and_then(shown_owner) {
            Some((uri, other)) if !leaf.uris.iter().any(|ours| ours == uri) => {
                Err(FileError::Other {
                    path: self.certificate.clone(),
                    other,
                })
            }
            // What is no certificate of ours at all is nothing to keep.
            _ => Ok(()),
        }
    }
}

/// Whose certificate it is, as its name and for people.
fn shown_owner(contents: &Contents) -> Option<(&str, String)> {
    let uri = contents.one_uri().ok()?;
    let node = uri.parse::<NodeId>().map(|node| node.to_string());
    let administrator = || uri.parse::<AdministratorId>().map(|id| id.to_string());
    let shown = node.or_else(|_| administrator().map(|name| format!("administrator {name}")));
    Some((uri, shown.ok()?))
}

/// What [`issue`] has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Whose certificate it is.
    pub id: NodeId,
    /// Where the files are.
    pub files: Files,
    /// When the certificate ends.
    pub not_after: SystemTime,
}

/// What [`issue_administrator`] has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedAdministrator {
    /// Whose certificate it is.
    pub id: AdministratorId,
    /// Where it is.
    pub certificate: PathBuf,
    /// Where its private key is.
    pub key: PathBuf,
    /// When the certificate ends.
    pub not_after: SystemTime,
}

/// Why files of the private CA could not be made. Each names the file.
#[derive(Debug, Error)]
pub enum FileError {
    /// The CA's files cannot be used.
    #[error("{}: {why}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: PkiError,
    },
    /// The days asked for make no sense.
    #[error("a certificate cannot be valid for {got} days, expected 1 to {MAX_DAYS}")]
    Days {
        /// What was asked for.
        got: u32,
    },
    /// There is a CA already, and it is not overwritten.
    #[error("{}: exists already, and a CA is never overwritten", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The CA is over.
    #[error("{}: the CA expired at {}", path.display(), Date(*.since))]
    Expired {
        /// The CA's certificate.
        path: PathBuf,
        /// Since when.
        since: SystemTime,
    },
    /// The certificate cannot be made.
    #[error("{}: {why}", path.display())]
    Make {
        /// The file it would have been written to.
        path: PathBuf,
        /// What is wrong.
        why: PkiError,
    },
    /// The file is of a node with the same name in another region, or of an administrator with it.
    #[error("{}: belongs to {other}: name another directory with --out", path.display())]
    Other {
        /// The certificate.
        path: PathBuf,
        /// Whose it is.
        other: String,
    },
    /// A file of the CA cannot be read.
    #[error(transparent)]
    Read(#[from] MaterialError),
    /// Files of this name could take the place of the CA's.
    #[error("nobody can be named {name:?}: the CA's files are called so")]
    Reserved {
        /// The name.
        name: String,
    },
    /// A file or directory cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn load(dir: &Path, now: SystemTime) -> Result<Authority, FileError> {
    let (certificate, key) = authority_paths(dir);
    let (certificate_pem, _) = read(&certificate)?;
    let (key_pem, _) = read(&key)?;
    let authority = Authority::from_pem(
        &String::from_utf8_lossy(&certificate_pem),
        &String::from_utf8_lossy(&key_pem),
    )
    .map_err(|why| FileError::Authority {
        path: match why {
            PkiError::Key { .. } => key,
            _ => certificate.clone(),
        },
        why,
    })?;
    if now > authority.not_after() {
        return Err(FileError::Expired {
            path: certificate,
            since: authority.not_after(),
        });
    }
    Ok(authority)
}

fn authority_paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("ca.pem"), dir.join("ca.key"))
}

fn make_error(path: &Path, why: PkiError) -> FileError {
    FileError::Make {
        path: path.to_owned(),
        why,
    }
}

fn make_dir(dir: &Path) -> Result<(), FileError> {
    fs::create_dir_all(dir).map_err(|source| write_error(dir, source))
}

/// Writes a file that must not be there yet. What is left of a failed write is removed.
fn create(path: &Path, contents: &[u8], mode: u32) -> Result<(), FileError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists {
                path: path.to_owned(),
            },
            _ => write_error(path, source),
        })?;
    fill(file, contents).map_err(|source| {
        let _ = fs::remove_file(path);
        write_error(path, source)
    })
}

fn fill(mut file: File, contents: &[u8]) -> io::Result<()> {
    file.write_all(contents)?;
    file.sync_all()
}

/// Puts a new file in the place of an old one, which readers see as a whole or not at all.
fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // Left over from a call that was killed. Its mode may be anything, so it is not reused.
    let _ = fs::remove_file(&new);
    create(&new, contents, mode)?;
    fs::rename(&new, path).map_err(|source| {
        let _ = fs::remove_file(&new);
        write_error(path, source)
    })
}

fn write_error(path: &Path, source: io::Error) -> FileError {
    FileError::Write {
        path: path.to_owned(),
        source,
    }
}

/// `ca.key` in the CA's own directory, and `bundle.pem` beside every node, are nobody's own.
const RESERVED_NAMES: [&str; 2] = ["ca", "bundle"];
/// As long as a CA of ours.
const MAX_DAYS: u32 = (AUTHORITY_VALIDITY.as_secs() / DAY_SECONDS) as u32;
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;
