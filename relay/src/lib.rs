//! The Causeway node: identity, links, services and their administration.

pub mod admin;
pub mod admission;
pub mod cli;
pub mod clock;
pub mod code;
pub mod config;
pub mod deadline;
pub mod env;
pub mod generation;
pub mod host;
pub mod id;
pub mod identity;
pub mod keeper;
pub mod outbox;
pub mod reaper;
pub mod slot;
pub mod tasks;
pub mod telemetry;
pub mod transport;
pub mod wire;
