//! Requests at stated rates: to healthy peers, half of them first connects, and to black holes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use causeway::{
    clock,
    deadline::Connection,
    env::BoxFuture,
    id::NodeKey,
    link::frames::{FrameReader, encoded},
    links::Links,
    mesh::Mesh,
    wire::{Frame, Open, PROTOCOL, RemainingHops},
};
use tokio::task::JoinSet;

/// Whoever finds connections to peers.
pub trait Connects: Send + Sync {
    /// The connection to `peer`, by `deadline`.
    fn connect(&self, peer: NodeKey, deadline: Instant) -> BoxFuture<'_, Option<Connection>>;
}

/// A connection manager under load.
pub trait Manager {
    /// How its connections are found.
    fn connects(&self) -> Arc<dyn Connects>;

    /// Makes the peers of a group known, and those of the group before the last few unknown again.
    fn admit(&self, group: usize) -> impl Future<Output = ()>;
}

impl Connects for Mesh {
    fn connect(&self, peer: NodeKey, deadline: Instant) -> BoxFuture<'_, Option<Connection>> {
        Box::pin(async move {
            let link = Links::connect(&self.links, peer, deadline).await.ok()?;
            Some(link.connection.clone())
        })
    }
}

/// A healthy peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healthy {
    /// The peer.
    pub key: NodeKey,
    /// How far it is: an index into the figure's distances.
    pub distance: usize,
}

/// Whom the requests are for.
#[derive(Debug, Clone, Default)]
pub struct Crowd {
    /// Peers that stay linked.
    pub linked: Vec<Healthy>,
    /// Peers that become known with their group, and are asked for then, for the first time.
    pub groups: Vec<Vec<Healthy>>,
    /// Peers that nobody answers for.
    pub holes: Vec<NodeKey>,
    /// How fast they are asked for.
    pub pace: Pace,
}

/// How fast a crowd is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one group to the next.
    pub turn: Duration,
    /// Requests for holes in a turn.
    pub holes_per_turn: u32,
}

impl Pace {
    /// On virtual time: four groups a second, and 200 requests for holes.
    pub const SIMULATED: Self = Self {
        turn: Duration::from_millis(250),
        holes_per_turn: HOLES_PER_S / 4,
    };
    /// With real processes: ten groups a second, so that fewer dials begin at once, and as many
    /// requests for holes.
    pub const REAL: Self = Self {
        turn: Duration::from_millis(100),
        holes_per_turn: HOLES_PER_S / 10,
    };
}

impl Default for Pace {
    fn default() -> Self {
        Self::SIMULATED
    }
}

/// What became of a request to a healthy peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// As in [`Healthy`].
    pub distance: usize,
    /// Whether the peer was not linked before.
    pub first: bool,
    /// From the request to its answer; [`WITHIN`] if there was none.
    pub took: Duration,
    /// There was an answer.
    pub answered: bool,
}

/// Asks turn by turn, from turn `first` on and as long as `goes_on` says so, and returns what became
/// of the requests to healthy peers.
///
/// A run that follows another goes on with the turn after its last, so that each group has left
/// before it comes again.
///
/// Each turn makes one group known and asks for all of it at once; asks for as many peers that are
/// linked, and for black holes, spread over the turn.
///
/// # Panics
/// If the crowd has no group.
pub async fn run(
    manager: &impl Manager,
    crowd: &Crowd,
    first: usize,
    mut goes_on: impl FnMut(usize) -> bool,
) -> Vec<Sample> {
    let mut asked = JoinSet::new();
    let mut samples = Vec::new();
    let (mut linked, mut holes) = (crowd.linked.iter().cycle(), crowd.holes.iter().cycle());
    let Pace {
        turn: length,
        holes_per_turn,
    } = crowd.pace;
    let began = clock::now();
    for (ago, turn) in (0..).zip(first..) {
        if !goes_on(turn) {
            break;
        }
        let turn_began = began + length * ago;
        clock::sleep_until(Some(turn_began)).await;
        let group = turn % crowd.groups.len();
        let members = crowd.groups[group].len();
        for (index, peer) in (0..).zip(linked.by_ref().take(members)) {
            let at = turn_began + length * index / u32::try_from(members).expect("they are few");
            asked.spawn(sample(manager.connects(), *peer, false, at));
        }
        for (index, hole) in (0..holes_per_turn).zip(holes.by_ref()) {
            let (connects, hole) = (manager.connects(), *hole);
            let at = turn_began + length * index / holes_per_turn;
            asked.spawn(async move {
                clock::sleep_until(Some(at)).await;
                // Counted as little as anybody would who asks for a peer that is not there.
                let _ = request(&*connects, hole, clock::now() + HOLE_WITHIN).await;
                None
            });
        }
        manager.admit(group).await;
        for peer in &crowd.groups[group] {
            asked.spawn(sample(manager.connects(), *peer, true, clock::now()));
        }
        while let Some(ended) = asked.try_join_next() {
            samples.extend(ended.expect("requests do not panic"));
        }
    }
    while let Some(ended) = asked.join_next().await {
        samples.extend(ended.expect("requests do not panic"));
    }
    samples
}

async fn sample(
    connects: Arc<dyn Connects>,
    peer: Healthy,
    first: bool,
    at: Instant,
) -> Option<Sample> {
    clock::sleep_until(Some(at)).await;
    let began = clock::now();
    let answered = request(&*connects, peer.key, began + WITHIN).await;
    Some(Sample {
        distance: peer.distance,
        first,
        took: match answered {
            Some(()) => clock::now() - began,
            None => WITHIN,
        },
        answered: answered.is_some(),
    })
}

/// Finds the connection, opens a stream on it and has the far end accept it: what a node does for a
/// local program.
async fn request(connects: &dyn Connects, peer: NodeKey, deadline: Instant) -> Option<()> {
    let connection = connects.connect(peer, deadline).await?;
    let (mut sender, receiver) = connection.open(deadline).await.ok()?;
    let open = Frame::Open(Open {
        session: [1; 16],
        destination: peer,
        service: "figure".to_owned(),
        budget: deadline.saturating_duration_since(clock::now()),
        resume_offset: 0,
        trace: None,
        hops: RemainingHops::NONE,
        via: Vec::new(),
    });
    let open = encoded(&open).expect("it is a short frame");
    sender.write(open, deadline).await.ok()?;
    let answer = FrameReader::stream(receiver, PROTOCOL.max)
        .next_by(deadline)
        .await;
    matches!(answer, Ok(Frame::Accept { .. })).then_some(())
}

/// The time within which 99 of 100 of `samples` were answered, in milliseconds.
///
/// # Panics
/// If there is none.
pub fn p99_ms<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
    let mut took: Vec<Duration> = samples.into_iter().map(|sample| sample.took).collect();
    took.sort();
    let rank = (took.len() * 99).div_ceil(100);
    took[rank - 1].as_secs_f64() * 1e3
}

/// Each of a thousand every five seconds, which is as often as it is dialed.
const HOLES_PER_S: u32 = 200;
/// How long a program waits for a service: the default of `open_timeout_ms`.
pub const WITHIN: Duration = Duration::from_secs(5);
/// No longer, so that those who wait for black holes are two hundred at a time at the most.
const HOLE_WITHIN: Duration = Duration::from_secs(1);
