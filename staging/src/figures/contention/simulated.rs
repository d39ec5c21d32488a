//! The figure on virtual time, where distances are as long as one likes and times are exact.

use std::{cell::Cell, sync::Arc, thread, time::Duration};

use causeway::{clock, id::NodeKey};
use tokio::task::JoinSet;

use super::{
    NAME,
    load::{self, Connects, Sample, WITHIN, p99_ms},
    misbehaving::Misbehaviour,
    responder::Greeting,
    scene::{Distances, Scene, Size, simulate},
};
use crate::{
    figures::{
        Context,
        rounds::Rounds,
        row::{Budget, Row},
    },
    sim::fleet::sleep,
};

/// How large the simulations are.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Black holes.
    pub holes: usize,
    /// Turns of the load, of a quarter of a second each.
    pub turns: usize,
    /// Peers that are asked for at once, to see how fast they are dialed.
    pub dialed: usize,
    /// Lines of the node's `[limits]`, so that fewer black holes fill it too.
    pub limits: &'static str,
}

/// What the figure is made with.
pub const FULL: Extent = Extent {
    holes: 1_000,
    turns: 80,
    dialed: 256,
    limits: "",
};

/// What one round of one side showed.
#[derive(Debug)]
struct Run {
    /// How long the node took from its start to be linked with those that stay.
    started: Duration,
    /// While the holes were holes.
    calm: Vec<Sample>,
    /// How long a peer that did not answer for [`AWAY`] was not linked after that.
    back: Duration,
    /// From the moment at which all holes answered, until all were linked.
    healing: Vec<Sample>,
    /// How long that took.
    healed: Duration,
}

/// Healthy requests beside black holes, and while all of these heal.
///
/// # Errors
/// A simulation could not be run.
pub fn black_holes(context: &Context, extent: Extent) -> anyhow::Result<Vec<Row>> {
    let mut calm = Ratios::new();
    let mut healing = Ratios::new();
    let mut back = Rounds::default();
    let mut started = (Duration::ZERO, Duration::ZERO);
    let (mut healed, mut unanswered) = (Duration::ZERO, 0);
    for round in 0..context.rounds {
        context.say(&format!(
            "{} black holes, simulated, round {} of {}",
            extent.holes,
            round + 1,
            context.rounds
        ));
        let seed = FIRST_SEED + u64::from(round);
        let run = |holes| {
            let extent = Extent { holes, ..extent };
            move || beside_holes(seed, extent)
        };
        let (with, without) = both(run(extent.holes), run(0))?;
        calm.push(&with.calm, &without.calm);
        healing.push(&with.healing, &without.calm);
        back.push(with.back.as_secs_f64(), without.back.as_secs_f64());
        started.0 = started.0.max(with.started);
        started.1 = started.1.max(without.started);
        healed = healed.max(with.healed);
        let all = [&with.calm, &with.healing, &without.calm];
        let failed = |samples: &Vec<Sample>| samples.iter().filter(|it| !it.answered).count();
        unanswered += all.map(failed).iter().sum::<usize>();
    }
    let holes = extent.holes;
    let mut rows = calm.rows(&format!("beside {holes} black holes"));
    rows.extend(healing.rows(&format!("while {holes} heal")));
    let case = format!("start among {holes} black holes: until the living are linked, worst");
    let row = Row::stated(NAME, case, "s", started.0.as_secs_f64());
    rows.push(row.beside(started.1.as_secs_f64()));
    let case =
        format!("peer that was away for 10 s, beside {holes} black holes: until it is linked");
    rows.push(Row::compared(NAME, case, "s", &back, None));
    rows.push(
        Row::stated(
            NAME,
            format!("{holes} heal at once: until all are linked, worst"),
            "s",
            healed.as_secs_f64(),
        )
        .promised(Budget::AtMost(RECOVERY_S)),
    );
    rows.push(
        Row::stated(
            NAME,
            "healthy requests without an answer, all rounds",
            "requests",
            unanswered as f64,
        )
        .promised(Budget::AtMost(0.0)),
    );
    Ok(rows)
}

/// Healthy requests beside one peer that misbehaves.
///
/// # Errors
/// A simulation could not be run.
pub fn misbehaving(context: &Context, extent: Extent) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for what in Misbehaviour::ALL {
        let case = format!("p99 of all, 70 ms, beside a peer that {}", what.words());
        let mut rounds = Rounds::default();
        let mut per_s: f64 = f64::INFINITY;
        for round in 0..context.rounds {
            context.say(&format!(
                "{case}, round {} of {}",
                round + 1,
                context.rounds
            ));
            let seed = FIRST_SEED + u64::from(round);
            let run = |what| move || beside_misbehaviour(seed, what, extent.turns / 4);
            let ((with, did), (without, _)) = both(run(Some(what)), run(None))?;
            rounds.push(p99_ms(&with), p99_ms(&without));
            per_s = per_s.min(did);
        }
        rows.push(Row::compared(NAME, case, "ms", &rounds, Some(BUDGET)));
        let case = format!("{} at the node, least of the rounds", what.counted());
        rows.push(Row::stated(NAME, case, "1/s", per_s));
    }
    Ok(rows)
}

/// The manager that dials under one lock, beside Causeway in the same scenes.
///
/// # Errors
/// A simulation could not be run.
pub fn stand_in(context: &Context, extent: Extent) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (distance, rtt) in [(NEAR, 10), (FAR, 220)] {
        context.say(&format!("dials a second at {rtt} ms, and under one lock"));
        let dials = |manager| move || dials_per_s(manager, distance, extent.dialed);
        let (ours, theirs) = both(dials(Dialing::Causeway), dials(Dialing::UnderLock))?;
        let case = format!("peers dialed at {rtt} ms; beside: under one lock");
        rows.push(Row::stated(NAME, case, "1/s", ours).beside(theirs));
    }
    context.say("black holes under one lock");
    let short = Extent {
        turns: UNDER_LOCK_TURNS,
        ..extent
    };
    let (ours, theirs) = both(
        || async { beside_holes(FIRST_SEED, short).await.calm },
        || under_lock(extent.holes),
    )?;
    let case = format!(
        "p99 of all, beside {} black holes; beside: under one lock, at most {} s",
        extent.holes,
        WITHIN.as_secs()
    );
    rows.push(Row::stated(NAME, case, "ms", p99_ms(&ours)).beside(p99_ms(&theirs)));
    Ok(rows)
}

/// Runs both sides at the same time: virtual time does not know how busy the machine is.
fn both<A, B, FA, FB>(
    ours: impl FnOnce() -> FA + Send,
    theirs: impl FnOnce() -> FB + Send,
) -> anyhow::Result<(A, B)>
where
    A: Send,
    B: Send,
    FA: Future<Output = A>,
    FB: Future<Output = B>,
{
    thread::scope(|threads| {
        let name = thread::Builder::new().name("theirs".to_owned());
        let theirs = name.spawn_scoped(threads, || simulate(theirs))?;
        let ours = simulate(ours)?;
        let theirs = theirs.join();
        let theirs = theirs.unwrap_or_else(|_| Err(anyhow::anyhow!("a simulation panicked")))?;
        Ok((ours, theirs))
    })
}

async fn beside_holes(seed: u64, extent: Extent) -> Run {
    let Extent {
        holes,
        turns,
        limits,
        ..
    } = extent;
    let size = Size {
        holes,
        limits,
        ..CROWD
    };
    let mut scene = Scene::new(seed, size, DISTANCES, Greeting::Hello);
    let started = scene.start().await;
    let calm = load::run(&scene, &scene.crowd, 0, |turn| turn < turns).await;
    scene.set_reachable(0, false);
    sleep(AWAY).await;
    scene.set_reachable(0, true);
    let linked = || scene.mesh().links.get(scene.crowd.linked[0].key).is_some();
    let back = scene.fleet.until("it is back", GIVE_UP, linked).await;
    if holes == 0 {
        return Run {
            started,
            calm,
            back,
            healing: Vec::new(),
            healed: Duration::ZERO,
        };
    }
    scene.heal();
    let began = clock::now();
    let healed = Cell::new(None);
    let watch = async {
        while !scene.is_healed() && clock::now() - began < GIVE_UP {
            sleep(Duration::from_millis(10)).await;
        }
        healed.set(Some(clock::now() - began));
    };
    let load = load::run(&scene, &scene.crowd, turns, |_| healed.get().is_none());
    let (healing, ()) = tokio::join!(load, watch);
    Run {
        started,
        calm,
        back,
        healing,
        healed: healed.get().unwrap_or(GIVE_UP),
    }
}

/// Also returns how often a second the peer did it.
async fn beside_misbehaviour(
    seed: u64,
    what: Option<Misbehaviour>,
    turns: usize,
) -> (Vec<Sample>, f64) {
    let mut scene = Scene::new(seed, CROWD, MIDDLE, Greeting::Hello);
    scene.start().await;
    let mut bad = JoinSet::new();
    if let Some(what) = what {
        let peer = Arc::new(scene.stranger("misbehaving", MIDDLE[0]));
        bad.spawn(what.go_on(peer, scene.fleet.address(scene.node)));
        // Until it is in the swing.
        sleep(Duration::from_secs(1)).await;
    }
    let count = || what.map_or(0, |what| what.count(&scene.mesh().counts));
    let (began, before) = (clock::now(), count());
    let samples = load::run(&scene, &scene.crowd, 0, |turn| turn < turns).await;
    let did = (count() - before) as f64 / (clock::now() - began).as_secs_f64();
    (samples, did)
}

/// Healthy requests to the stand-in, which is asked for black holes as often as Causeway is.
async fn under_lock(holes: usize) -> Vec<Sample> {
    let size = Size { holes, ..CROWD };
    let scene = Scene::new(FIRST_SEED, size, DISTANCES, Greeting::Nothing);
    load::run(&scene.lock_manager(), &scene.crowd, 0, |turn| {
        turn < UNDER_LOCK_TURNS
    })
    .await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialing {
    Causeway,
    UnderLock,
}

/// How many peers a second are connected to that become known and are asked for in one moment.
async fn dials_per_s(dialing: Dialing, distance: Distances, peers: usize) -> f64 {
    let size = Size {
        linked: 0,
        group: peers,
        groups: 1,
        holes: 0,
        limits: "",
    };
    let greeting = match dialing {
        Dialing::Causeway => Greeting::Hello,
        Dialing::UnderLock => Greeting::Nothing,
    };
    let mut scene = Scene::new(FIRST_SEED, size, distance, greeting);
    let connects = match dialing {
        Dialing::Causeway => {
            scene.start().await;
            load::Manager::admit(&scene, 0).await;
            load::Manager::connects(&scene)
        }
        Dialing::UnderLock => load::Manager::connects(&scene.lock_manager()),
    };
    connected_per_s(&connects, scene.crowd.groups[0].iter().map(|peer| peer.key)).await
}

async fn connected_per_s(
    connects: &Arc<dyn Connects>,
    peers: impl Iterator<Item = NodeKey>,
) -> f64 {
    let began = clock::now();
    let mut asked = JoinSet::new();
    for peer in peers {
        let connects = connects.clone();
        asked.spawn(async move {
            let connected = connects.connect(peer, began + DIALING_FOR).await;
            connected.map(|_| clock::now() - began)
        });
    }
    let ended = asked.join_all().await;
    let took: Vec<Duration> = ended.into_iter().flatten().collect();
    let last = took.iter().max().copied().unwrap_or(DIALING_FOR);
    took.len() as f64 / last.as_secs_f64()
}

/// Ratios of p99, with and without something, at each distance.
struct Ratios {
    /// For each distance: of first connects, and of all.
    rounds: Vec<[Rounds; 2]>,
}

impl Ratios {
    fn new() -> Self {
        Self {
            rounds: DISTANCES.iter().map(|_| Default::default()).collect(),
        }
    }

    fn push(&mut self, with: &[Sample], without: &[Sample]) {
        for (distance, [first, all]) in self.rounds.iter_mut().enumerate() {
            let p99 = |samples: &[Sample], only_first: bool| {
                let wanted = |it: &&Sample| it.distance == distance && (it.first || !only_first);
                p99_ms(samples.iter().filter(wanted))
            };
            first.push(p99(with, true), p99(without, true));
            all.push(p99(with, false), p99(without, false));
        }
    }

    fn rows(&self, when: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for (rounds, rtt) in self.rounds.iter().zip(DISTANCES) {
            for (rounds, which) in rounds.iter().zip(["first connects", "all"]) {
                let case = format!("p99 of {which}, {} ms, {when}", rtt.as_millis());
                rows.push(Row::compared(NAME, case, "ms", rounds, Some(BUDGET)));
            }
        }
        rows
    }
}

/// The nearest, the middle and the farthest that the figure knows.
const DISTANCES: Distances = &[
    Duration::from_millis(10),
    Duration::from_millis(70),
    Duration::from_millis(220),
];
const NEAR: Distances = &[Duration::from_millis(10)];
const MIDDLE: Distances = &[Duration::from_millis(70)];
const FAR: Distances = &[Duration::from_millis(220)];
/// At each distance, eight peers a second are asked for the first time, and as many that are linked.
/// A group is gone for longer than a peer that was removed needs to leave.
const CROWD: Size = Size {
    linked: 4,
    group: 2,
    groups: 20,
    holes: 0,
    limits: "",
};
const BUDGET: Budget = Budget::AtMost(1.1);
/// Four turns of the retry pool and one backoff.
const RECOVERY_S: f64 = 15.0;
/// Long enough for its link to be closed, and for dials to fail.
const AWAY: Duration = Duration::from_secs(10);
const GIVE_UP: Duration = Duration::from_secs(60);
/// Five seconds: a group is asked for once, so that the stand-in dials each peer once.
const UNDER_LOCK_TURNS: usize = CROWD.groups;
/// The stand-in makes 45 dials in this time at the farthest distance.
const DIALING_FOR: Duration = Duration::from_secs(10);
const FIRST_SEED: u64 = 4_000;
