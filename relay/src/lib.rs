//! The Causeway node: identity, links, services and their administration.

pub mod clock;
pub mod code;
pub mod env;
pub mod id;
pub mod identity;
pub mod wire;
