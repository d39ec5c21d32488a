//! The `lab` backend: one network namespace for each region, joined by a forwarder over TUN
//! devices, so that any program is impaired as it is. Linux, and root.
//!
//! Read in this order:
//!
//! - [`LabName`], [`RegionName`], [`Addresses`]: what a lab and its regions are called.
//! - [`Lab`]: builds a lab and runs it.
//! - [`Claim`]: the right to build a lab and to clear it away. All that a lab leaves on the
//!   machine hangs off one directory, so that whatever a killed lab left can be told from what
//!   belongs to others. [`State`] is what everybody else may read of it.
//! - [`Namespace`]: runs closures and programs inside a region.
//! - [`Tun`]: where every packet that leaves a region comes out, and the way in.
//! - [`check_privileges`]: whether this process may do any of it.
//!
//! Nothing here touches the namespace that it is called in.

mod address;
mod build;
mod claim;
mod exec;
mod forwarder;
mod name;
mod namespace;
mod netlink;
mod privileges;
mod process;
mod state;
mod tun;

pub use self::{
    address::{Addresses, MAX_REGIONS, TooManyRegions, addresses, payload_offset},
    build::{Lab, LabError, Region, control_socket},
    claim::{Claim, ClaimError, CleanUpError},
    exec::{ExecError, exec},
    name::{LabName, MAX_NAME_BYTES, NameError, RegionName},
    namespace::{AddRegionError, EnterError, Namespace},
    privileges::{MissingPrivileges, check_privileges},
    process::Process,
    state::{State, StateError},
    tun::{MIN_MTU, Tun, TunConfig, TunError},
};
