//! Linux plumbing of the `lab` backend: one network namespace per region.
//!
//! Read in this order:
//!
//! - [`LabName`], [`RegionName`], [`Addresses`]: what a lab and its regions are called.
//! - [`Claim`]: the right to build a lab and to clear it away. All that a lab leaves on the
//!   machine hangs off one directory, so that whatever a killed lab left can be told from what
//!   belongs to others. [`State`] is what everybody else may read of it.
//! - [`Namespace`]: runs closures inside a region.
//!
//! Nothing here touches the namespace it is called in.

mod address;
mod claim;
mod name;
mod namespace;
mod netlink;
mod process;
mod state;

pub use self::{
    address::{Addresses, MAX_REGIONS, TooManyRegions, addresses, payload_offset},
    claim::{Claim, ClaimError, CleanUpError},
    name::{LabName, MAX_NAME_BYTES, NameError, RegionName},
    namespace::{AddRegionError, EnterError, Namespace},
    process::Process,
    state::{State, StateError},
};
