//! Linux plumbing of the `lab` backend: one network namespace per region, a TUN device in each.
//!
//! Read in this order:
//!
//! - [`LabName`], [`RegionName`], [`Addresses`]: what a lab and its regions are called.
//! - [`Claim`]: the right to build a lab and to clear it away. All that a lab leaves on the
//!   machine hangs off one directory, so that whatever a killed lab left can be told from what
//!   belongs to others. [`State`] is what everybody else may read of it.
//! - [`Namespace`]: runs closures and programs inside a region.
//! - [`Tun`]: where every packet that leaves a region comes out, and the way in.
//! - [`check_privileges`]: whether this process may do any of it.
//!
//! Nothing here forwards or impairs packets, and nothing touches the namespace it is called in.

mod address;
mod claim;
mod exec;
mod name;
mod namespace;
mod netlink;
mod privileges;
mod process;
mod state;
mod tun;

pub use self::{
    address::{Addresses, MAX_REGIONS, TooManyRegions, addresses, payload_offset},
    claim::{Claim, ClaimError, CleanUpError},
    exec::{ExecError, exec},
    name::{LabName, MAX_NAME_BYTES, NameError, RegionName},
    namespace::{AddRegionError, EnterError, Namespace},
    privileges::{MissingPrivileges, check_privileges},
    process::Process,
    state::{State, StateError},
    tun::{MIN_MTU, Tun, TunConfig, TunError},
};
