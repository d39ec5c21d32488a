//! Local TCP across the mesh: listens at the ingress, services at the egress.

pub(crate) mod forward;
pub(crate) mod listen;
pub(crate) mod room;
pub(crate) mod service;
pub(crate) mod splice;
