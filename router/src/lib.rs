//! Pure decisions about links: measure, judge, choose.
//!
//! There is no runtime, no clock, no socket and no randomness of the operating system in here, and
//! no dependency that could bring one. Time comes in as `now: Instant`, randomness as a seed, and
//! what is to be done goes out as values, so that a whole fleet's decisions replay from one seed.
//!
//! What one link shows:
//!
//! - [`rtt`]: the round-trip time of one loop of one link, smoothed.
//! - [`liveness`]: when to probe a link, and whether its peer still works.
//! - [`owd`]: by how much the one-way delay exceeds its least, between clocks that do not agree.
//! - [`window`]: what of a link is measured over windows of time: loss, jitter, round trips.
//!
//! What that says of pairs, nodes and oneself:
//!
//! - [`health`]: whether traffic may rely on the direct way between two nodes.
//! - [`outlier`]: which nodes of a region fail what they are asked.
//! - [`load`]: how much of what it can do this node does.
//! - [`isolation`]: when many links are lost at once: oneself first.
//! - [`warmup`]: just started, what was not heard yet is not gone.
//!
//! Who is there:
//!
//! - [`advert`]: what a node says of itself and its links, and when that is worth saying.
//! - [`gossip`]: how every node comes to know it.
//! - [`wanted`]: which links a node should have.
//! - [`policy`]: what administrators decided for all.
//! - [`verified`]: what carries a signature that was checked.
//!
//! Where traffic goes:
//!
//! - [`cost`]: what a link costs a flow.
//! - [`graph`]: what is known of the mesh.
//! - [`paths`]: the best path to every destination, and a backup.
//! - [`choice`]: when to move from one path to another.
//! - [`router`]: all of it together, as one node has it.

pub mod advert;
pub mod choice;
pub mod cost;
pub mod gossip;
pub mod graph;
pub mod health;
pub mod isolation;
pub mod liveness;
pub mod load;
pub mod outlier;
pub mod owd;
pub mod paths;
pub mod policy;
mod random;
pub mod router;
pub mod rtt;
pub mod verified;
pub mod wanted;
pub mod warmup;
pub mod window;
