//! Linux plumbing of the `lab` backend: what its regions are called, and whose a packet is.

mod address;
mod name;

pub use self::{
    address::{Addresses, MAX_REGIONS, TooManyRegions, addresses, payload_offset},
    name::{LabName, MAX_NAME_BYTES, NameError, RegionName},
};
