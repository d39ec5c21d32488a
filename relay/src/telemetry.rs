//! a
pub mod logs;
