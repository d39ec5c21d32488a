//! Network namespaces that `ip netns` knows by name, and that can be told from those of others.
//!
//! Device and inode do not prove whose a namespace is: the kernel gives the inode of a deleted
//! one to the next that is made. So the place proves it. The namespace is mounted on a file in
//! the lab's own directory, and its public name is a symbolic link to that file, which the kernel
//! makes at once and never over another. Whatever carries the name without being that link
//! belongs to somebody else.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    panic,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use super::netlink;

/// The network namespace of one region.
///
/// Dropping it leaves it as it is: it ends with its [`super::Claim`]'s clean-up.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

/// Why a region could not be added to a lab. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum AddRegionError {
    /// A step failed.
    #[error("cannot {step} for the network namespace {}", link.display())]
    Failed {
        /// What was tried.
        step: &'static str,
        /// The namespace's public name.
        link: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody has the name already, and keeps it.
    #[error("the network namespace {} exists already", link.display())]
    Taken {
        /// The namespace's public name.
        link: PathBuf,
    },
}

/// Why a namespace could not be entered.
#[derive(Debug, thiserror::Error)]
#[error("cannot enter the network namespace {}", path.display())]
pub struct EnterError {
    /// Where it is, or should be.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Namespace {
    /// Opens the one that is mounted at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Self, EnterError> {
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(EnterError { path, source }),
        }
    }

    /// Runs `inside` on a new thread in this namespace, and waits for what it returns.
    ///
    /// Sockets and devices that it makes belong to the namespace wherever they are used later. A
    /// panic goes on in the caller.
    ///
    /// # Errors
    /// [`EnterError`]: there is no thread or no namespace any more; `inside` was not called.
    pub fn run_in<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
        let entered = on_new_thread(|| {
            self.enter()?;
            Ok(inside())
        });
        entered.map_err(|source| self.not_entered(source))
    }

    /// Moves the calling thread into this namespace, for good.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    pub(super) fn not_entered(&self, source: io::Error) -> EnterError {
        EnterError {
            path: self.path.clone(),
            source,
        }
    }
}

/// Where one namespace is mounted, and the link that is its public name.
#[derive(Debug)]
pub(super) struct Place {
    mount: PathBuf,
    link: PathBuf,
}

impl Place {
    /// - `mount`: a file in a directory of the lab's own.
    /// - `name`: what `ip netns` calls it.
    pub(super) fn new(mount: PathBuf, name: &str) -> Self {
        Self {
            mount,
            link: Path::new(NAMED).join(name),
        }
    }

    /// Where it is mounted.
    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// Makes a namespace here, its loopback device up.
    ///
    /// After a kill at any point, [`Self::remove`] finds all of it: the file comes first and
    /// goes last.
    pub(super) fn make(&self) -> Result<Namespace, AddRegionError> {
        let reserved = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&self.mount);
        match reserved {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.taken()),
            Err(error) => return Err(self.failed("make a file", error)),
        }
        let made = self.make_on_file();
        if made.is_err() {
            // The first failure says more than this one could; clean-up tries again.
            let _ = self.remove();
        }
        made
    }

    /// Removes whatever [`Self::make`] left, and nothing else. Absence is success.
    pub(super) fn remove(&self) -> io::Result<()> {
        if fs::read_link(&self.link).is_ok_and(|target| target == self.mount) {
            fs::remove_file(&self.link)?;
        }
        match umount2(&self.mount, MntFlags::MNT_DETACH) {
            // Not mounted, or not there.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Removing the file also unmounts it in those mount namespaces that had a copy.
        match fs::remove_file(&self.mount) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn make_on_file(&self) -> Result<Namespace, AddRegionError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(NAMED)
            .map_err(|error| self.failed("make /run/netns", error))?;
        symlink(&self.mount, &self.link).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.taken(),
            _ => self.failed("make the link", error),
        })?;
        on_new_thread(|| self.unshare_and_mount())
            .map_err(|error| self.failed("make and mount", error))?;
        let made = Namespace::open(self.mount.clone())
            .map_err(|error| self.failed("open what was mounted", error.source))?;
        made.run_in(netlink::bring_up_loopback)
            .map_err(|error| error.source)
            .flatten()
            .map_err(|error| self.failed("bring up the loopback device", error))?;
        Ok(made)
    }

    /// Ends with the calling thread in the new namespace.
    fn unshare_and_mount(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(
            Some("/proc/thread-self/ns/net"),
            &self.mount,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        Ok(())
    }

    fn failed(&self, step: &'static str, source: io::Error) -> AddRegionError {
        AddRegionError::Failed {
            step,
            link: self.link.clone(),
            source,
        }
    }

    fn taken(&self) -> AddRegionError {
        AddRegionError::Taken {
            link: self.link.clone(),
        }
    }
}

/// Runs `work` on a thread of its own, which takes with it whatever namespace it went into.
fn on_new_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netem-namespace".into())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

/// Where `ip netns` looks for names.
const NAMED: &str = "/run/netns";
