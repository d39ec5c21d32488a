//! Programs inside a region.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::Command,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
};

use super::{EnterError, Namespace};

/// Why a program did not start. The calling thread may be in the namespace already.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Not in the namespace.
    #[error(transparent)]
    Enter(EnterError),
    /// In the namespace, but `/sys` does not show it.
    #[error("cannot mount a /sys of the region's own")]
    Mount(#[source] io::Error),
    /// The program is not there, or is none.
    #[error("cannot run {}", program.display())]
    Program {
        /// Its name.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Becomes `program` inside the namespace, as `ip netns exec` does; returns only if that fails.
///
/// `/sys` is that of the namespace; mounts that the program makes are its own.
///
/// # Errors
/// [`ExecError`]; the process should end.
pub fn exec(
    namespace: &Namespace,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<Infallible, ExecError> {
    namespace
        .enter()
        .map_err(|source| ExecError::Enter(namespace.not_entered(source)))?;
    mount_sys().map_err(|error| ExecError::Mount(error.into()))?;
    Err(ExecError::Program {
        program: program.to_owned(),
        source: Command::new(program).args(arguments).exec(),
    })
}

/// Mounts a `/sys` that shows the devices of the thread's network namespace.
fn mount_sys() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Mounts of ours stay here; what the machine unmounts, a region of a lab that goes down among
    // it, also goes here.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )?;
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if statvfs("/sys")?.flags().contains(FsFlags::ST_RDONLY) {
        flags |= MsFlags::MS_RDONLY;
    }
    match umount2("/sys", MntFlags::MNT_DETACH) {
        // Not mounted.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(error) => return Err(error),
    }
    mount(Some("netem"), "/sys", Some("sysfs"), flags, None::<&str>)
}
