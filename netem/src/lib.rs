//! A seeded network impairment model, and an in-memory network on virtual time.

pub mod counters;
pub mod engine;
pub mod model;
