//! Who may build a lab and clear it away.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    AddRegionError, LabName, Namespace, Process, RegionName, StateError,
    state::{Directory, Record},
};

/// The sole right to build, run and clear away one lab, until it is dropped.
///
/// A new claim is on an empty lab. Dropping it leaves the lab as it is.
#[derive(Debug)]
pub struct Claim {
    directory: Directory,
    /// Holds the lock.
    _lock: File,
}

/// Why a lab could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process has it.
    #[error("the lab {lab} is being built, run or cleared by another process")]
    Busy {
        /// Its name.
        lab: LabName,
    },
    /// An earlier lab of this name was killed, and what it left cannot be cleared.
    #[error("cannot clear what an earlier lab {lab} left")]
    CleanUp {
        /// Its name.
        lab: LabName,
        /// Why.
        #[source]
        source: CleanUpError,
    },
    /// Its directory cannot be made or locked.
    #[error("cannot claim {}", directory.display())]
    Directory {
        /// Its directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its record cannot be read.
    #[error(transparent)]
    State(StateError),
    /// It is running.
    #[error("the lab {lab} is up, run by process {pid}")]
    Up {
        /// Its name.
        lab: LabName,
        /// Who runs it.
        pid: u32,
    },
}

/// Why something of a lab is still there. Clearing may be tried again.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {}", path.display())]
pub struct CleanUpError {
    /// What is still there; what else is, is not said.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Claim {
    /// Claims a lab; what an earlier one of this name left when it was killed is cleared first.
    ///
    /// # Errors
    /// [`ClaimError`]. A lab that is up, or that another process has claimed, is left as it is.
    pub fn try_new(lab: &LabName) -> Result<Self, ClaimError> {
        Self::try_on(Directory::new(lab))
    }

    fn try_on(directory: Directory) -> Result<Self, ClaimError> {
        let lab = || directory.lab().clone();
        let broken = |source| ClaimError::Directory {
            directory: directory.path().to_owned(),
            source,
        };
        let lock = lock(directory.path())
            .map_err(broken)?
            .ok_or_else(|| ClaimError::Busy { lab: lab() })?;
        let record = Record::load(&directory).map_err(ClaimError::State)?;
        if let Some(forwarder) = record.forwarder.filter(Process::is_alive) {
            return Err(ClaimError::Up {
                lab: lab(),
                pid: forwarder.pid,
            });
        }
        clear(&directory).map_err(|source| ClaimError::CleanUp { lab: lab(), source })?;
        fs::create_dir(directory.regions_path()).map_err(broken)?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// The lab's directory, mode 0700: room for a control socket, and removed with the lab.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes the network namespace of a region.
    ///
    /// # Errors
    /// [`AddRegionError::Taken`] if its name is taken, by whomever; the lab is as before then.
    pub fn add_region(&self, region: &RegionName) -> Result<Namespace, AddRegionError> {
        self.directory.place(region).make()
    }

    /// Records which process runs the lab, for [`super::State`].
    ///
    /// # Errors
    /// [`StateError`] if that cannot be written; what was recorded before stays.
    pub fn record_forwarder(&self, forwarder: Process) -> Result<(), StateError> {
        let record = Record {
            forwarder: Some(forwarder),
        };
        record.save(&self.directory)
    }

    /// Clears the lab away: its namespaces, as far as nobody else took their names, and its
    /// directory. Programs in it keep running, without a network.
    ///
    /// # Errors
    /// [`CleanUpError`] names something that is left; all the rest was tried.
    pub fn clean_up(self) -> Result<(), CleanUpError> {
        clear(&self.directory)?;
        // While it is locked: whoever opened it before sees that it is gone.
        let path = self.directory.path();
        fs::remove_dir(path).map_err(failure(path))
    }
}

/// Removes everything within the directory, which stays for its lock.
fn clear(directory: &Directory) -> Result<(), CleanUpError> {
    let regions = directory.regions();
    let regions = regions.map_err(failure(&directory.regions_path()))?;
    let remove = |region| {
        let place = directory.place(region);
        place.remove().map_err(failure(place.mount()))
    };
    // All of them, before the first failure counts.
    let removed: Vec<_> = regions.iter().map(remove).collect();
    removed.into_iter().collect::<Result<(), _>>()?;
    let unreadable = failure(directory.path());
    for entry in fs::read_dir(directory.path()).map_err(&unreadable)? {
        let path = entry.map_err(&unreadable)?.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(failure(&path))?;
    }
    Ok(())
}

fn failure(path: &Path) -> impl Fn(io::Error) -> CleanUpError {
    move |source| CleanUpError {
        path: path.to_owned(),
        source,
    }
}

/// Makes and locks the directory; nothing if somebody else has the lock.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_ATTEMPTS {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(directory)?;
        let lock = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_at(&lock, directory)? {
            return Ok(Some(lock));
        }
    }
    Ok(None)
}

/// Whether `lock` is what is at `path` now. Otherwise its lab was cleared between opening and
/// locking, and somebody else may hold the lock of the directory that came after.
fn is_at(lock: &File, path: &Path) -> io::Result<bool> {
    let locked = lock.metadata()?;
    match fs::metadata(path) {
        Ok(now) => Ok((now.dev(), now.ino()) == (locked.dev(), locked.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Each attempt but the last meets another process that cleared the lab away just then.
const LOCK_ATTEMPTS: u32 = 10;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    /// A lab below a directory of the test's own.
    struct Fixture(TempDir);

    impl Fixture {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn directory(&self) -> Directory {
            Directory::below(self.0.path(), &LabName::try_new("lab").unwrap())
        }

        fn claim(&self) -> Result<Claim, ClaimError> {
            Claim::try_on(self.directory())
        }
    }

    #[test]
    fn a_lab_has_one_claim_at_a_time() {
        let t = Fixture::new();
        let claim = t.claim().unwrap();
        assert!(matches!(t.claim().unwrap_err(), ClaimError::Busy { .. }));
        drop(claim);
        t.claim().unwrap();
    }

    #[test]
    fn a_lab_whose_process_lives_cannot_be_claimed() {
        let t = Fixture::new();
        let this = Process::current().unwrap();
        t.claim().unwrap().record_forwarder(this).unwrap();
        let error = t.claim().unwrap_err();
        assert!(matches!(error, ClaimError::Up { pid, .. } if pid == this.pid));
        assert_eq!(Record::load(&t.directory()).unwrap().forwarder, Some(this));
    }

    #[test]
    fn what_a_dead_lab_left_is_cleared_also_if_its_process_id_is_in_use_again() {
        let t = Fixture::new();
        let claim = t.claim().unwrap();
        let _socket = UnixListener::bind(claim.directory().join("control")).unwrap();
        let reused = format!(
            r#"{{"forwarder":{{"pid":{},"start_ticks":0}}}}"#,
            std::process::id()
        );
        fs::write(claim.directory().join("state.json"), reused).unwrap();
        drop(claim);
        let claim = t.claim().unwrap();
        let left: Vec<_> = fs::read_dir(claim.directory()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        claim.clean_up().unwrap();
        assert!(!t.directory().path().exists());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named_and_kept() {
        let t = Fixture::new();
        let record = t.claim().unwrap().directory().join("state.json");
        fs::write(&record, "{").unwrap();
        let error = t.claim().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot read or write {}", record.display())
        );
        assert!(record.exists());
    }

    #[test]
    fn the_lock_of_a_cleared_lab_is_not_that_of_the_next() {
        let t = Fixture::new();
        let claim = t.claim().unwrap();
        let path = claim.directory().to_owned();
        let old = File::open(&path).unwrap();
        assert!(is_at(&old, &path).unwrap());
        claim.clean_up().unwrap();
        assert!(!is_at(&old, &path).unwrap());
        let _next = t.claim().unwrap();
        assert!(!is_at(&old, &path).unwrap());
        old.try_lock().unwrap();
    }

    #[test]
    fn the_directory_is_its_owners_alone() {
        let t = Fixture::new();
        let metadata = fs::metadata(t.claim().unwrap().directory()).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o700);
    }
}
