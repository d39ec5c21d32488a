//! What the demo sends across: numbered packets and a stream of bytes, counted at both ends.

pub mod flow;
pub mod ledger;
pub mod packet;
pub mod stream;
pub mod trace;
