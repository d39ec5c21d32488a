//! The admin API: what a running node tells about itself, over HTTP on loopback or a Unix socket.
//!
//! [`serve`] answers from a [`NodeView`], which the node implements; [`Client`] asks. Both speak the
//! types of [`view`]. The server belongs on a runtime apart from the workers: how traffic flows must
//! not depend on who looks.

mod address;
mod client;
mod listener;
mod question;
mod server;
pub mod view;

pub(crate) use self::question::meant;
pub use self::{
    address::{AdminAddress, AdminAddressError},
    client::{Client, ClientError},
    listener::{AdminListener, ListenError},
    question::{Answer, QuestionError},
    server::{LoopCheck, NodeView, serve},
};

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
