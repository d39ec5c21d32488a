//! a
mod address;
pub use self::address::{AdminAddress, AdminAddressError};
