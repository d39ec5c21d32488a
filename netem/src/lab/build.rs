//! A lab that is up: its regions, joined by a forwarder that impairs what crosses.

use std::{
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::{
    AddRegionError, Addresses, Claim, ClaimError, EnterError, LabName, MAX_REGIONS,
    MissingPrivileges, NameError, Namespace, Process, RegionName, State, StateError,
    TooManyRegions, Tun, TunConfig, TunError, check_privileges, forwarder::Forwarder,
};
use crate::{
    clock,
    control::{Server, ServerError},
    emulator::Emulator,
    realtime,
    report::Report,
    topology::Topology,
};

/// A lab that is built and ready to run. Dropping it clears it away; what is left of one whose
/// process was killed or aborted is cleared by the next of its name.
#[derive(Debug)]
pub struct Lab {
    regions: Vec<Region>,
    forwarder: Forwarder,
    emulator: Emulator<Bytes>,
    control: Server,
    _clearing: Clearing,
}

/// One region of a lab.
#[derive(Debug)]
pub struct Region {
    /// As the topology names the host.
    pub name: RegionName,
    /// Where its programs run.
    pub namespace: Namespace,
    /// What they are reached at.
    pub addresses: Addresses,
}

impl Lab {
    /// Builds a lab with one region for each host of `topology`; takes a quarter of a second and
    /// some milliseconds for each region.
    ///
    /// # Errors
    /// [`LabError`]; nothing of the lab is left then.
    pub fn build(name: &LabName, topology: &Topology) -> Result<Self, LabError> {
        check_privileges()?;
        let hosts = topology.hosts();
        if !(2..=MAX_REGIONS).contains(&hosts.len()) {
            return Err(LabError::Count { got: hosts.len() });
        }
        let names = hosts.iter().map(|host| RegionName::try_new(host.name()));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let claim = Clearing(Some(claim(name)?));
        let this_process = Process::current().map_err(LabError::Process)?;
        claim.get().record_forwarder(this_process)?;
        let mut forwarder = Forwarder::new();
        let mut regions = Vec::new();
        for (index, name) in (1..).zip(names) {
            let addresses = Addresses::try_new(index)?;
            let namespace = claim.get().add_region(&name)?;
            let tun = Tun::make(&namespace, addresses, TunConfig::default())?;
            forwarder.add(&namespace, tun, addresses)?;
            regions.push(Region {
                name,
                namespace,
                addresses,
            });
        }
        let idle_timer = realtime::idle_timer().map_err(LabError::Timer)?;
        let control = Server::bind(&control_socket(claim.get().directory()))?;
        let reached_at = regions.iter().map(|region| {
            let Addresses { v4, v6 } = region.addresses;
            vec![v4.to_string(), v6.to_string()]
        });
        let reached_at = reached_at.collect();
        let emulator = Emulator::new("lab", topology, reached_at, idle_timer, clock::now());
        Ok(Self {
            regions,
            forwarder,
            emulator,
            control,
            _clearing: claim,
        })
    }

    /// Its regions, in the order of the topology.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Carries packets until `stop` is readable or it is told to stop, clears the lab away, and
    /// says what was done.
    ///
    /// # Errors
    /// What the system says when a wait or a device fails.
    pub fn run(mut self, stop: BorrowedFd<'_>) -> io::Result<Report> {
        realtime::run(
            &mut self.forwarder,
            &mut self.emulator,
            Some(self.control),
            stop,
        )
    }
}

/// Claims the lab. A forwarder that was killed a moment ago may still be letting go of it.
fn claim(name: &LabName) -> Result<Claim, ClaimError> {
    let deadline = clock::now() + LET_GO;
    loop {
        let claimed = Claim::try_new(name);
        match claimed {
            Err(ClaimError::Busy { .. } | ClaimError::Up { .. }) if clock::now() < deadline => {
                realtime::pause(Duration::from_millis(10));
            }
            Err(ClaimError::Busy { lab }) => {
                let state = State::load(name).map_err(ClaimError::State)?;
                let forwarder = state.and_then(|state| state.forwarder());
                return Err(match forwarder.filter(Process::is_alive) {
                    Some(Process { pid, .. }) => ClaimError::Up { lab, pid },
                    None => ClaimError::Busy { lab },
                });
            }
            claimed => return claimed,
        }
    }
}

/// Where a lab is told what to do.
pub fn control_socket(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}

/// The kernel takes some milliseconds for each device of a process that is killed.
const LET_GO: Duration = Duration::from_secs(2);

/// Clears the lab away when it is dropped.
#[derive(Debug)]
struct Clearing(Option<Claim>);

impl Clearing {
    fn get(&self) -> &Claim {
        self.0.as_ref().expect("taken by the drop only")
    }
}

impl Drop for Clearing {
    fn drop(&mut self) {
        if let Some(claim) = self.0.take() {
            // What cannot be cleared now is by the next lab of the name.
            let _ = claim.clean_up();
        }
    }
}

/// Why there is no lab. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A namespace could not be made.
    #[error(transparent)]
    AddRegion(#[from] AddRegionError),
    /// The lab cannot be had.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// There is no control socket.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// Too few or too many regions.
    #[error("a lab of {got} hosts, must be 2 to {MAX_REGIONS}")]
    Count {
        /// How many.
        got: usize,
    },
    /// A namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A host's name is no region's.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not allowed.
    #[error(transparent)]
    Privileges(#[from] MissingPrivileges),
    /// This process does not know itself.
    #[error("cannot tell who runs the lab")]
    Process(#[source] io::Error),
    /// It could not be written down.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system has no timers for us.
    #[error("there are no timers")]
    Timer(#[source] io::Error),
    /// Too many regions.
    #[error(transparent)]
    TooMany(#[from] TooManyRegions),
    /// A device could not be made.
    #[error(transparent)]
    Tun(#[from] TunError),
}
