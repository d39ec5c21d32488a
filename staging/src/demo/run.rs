//! One run: a fleet, the traffic across it, and the loop that watches both.

use std::{
    io::{self, Stdout},
    panic,
    process::ExitStatus,
    time::{Duration, Instant},
};

use causeway::{admin, clock};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::{
    cut::{self, Cut, Tested},
    mesh::{self, Ways},
};
use crate::{
    fleet::{Exit, Fleet, Remains, ports::Ports},
    report::End,
    screen::Screen,
    signals::Signals,
    traffic::{
        flow::{Flow, INTERVAL},
        ledger::FlowTotals,
        stream::{Stream, StreamTotals},
    },
    view::{FlowRow, NodeRow, Phase, Snapshot, StreamRow},
};

/// Why a run is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// For a reason to report.
    For(End),
    /// A node found one of its ports taken; others may be free.
    PortTaken {
        /// What to tell if it is not tried again.
        reason: String,
    },
}

/// What the end of a run came to.
#[derive(Debug)]
pub(super) struct Stopped {
    /// What did not go as it should.
    pub not_in_order: Vec<String>,
    /// What the network between the nodes did, if it could say.
    pub network: Option<netem::report::Report>,
}

/// A fleet and the traffic across it.
#[derive(Debug)]
pub(super) struct Run {
    fleet: Fleet,
    phase: Phase,
    total: Duration,
    /// When the mesh must be up.
    start_deadline: Instant,
    /// When traffic began.
    began_at: Option<Instant>,
    /// The ends of the traffic, until it begins.
    waiting: Option<Waiting>,
    nodes: Vec<watch::Receiver<NodeState>>,
    flows: Vec<Crossing<FlowTotals>>,
    /// How far it is between the ends of each of `flows`.
    distances: Vec<Duration>,
    stream: Crossing<StreamTotals>,
    /// What became of the link that is cut; none if all stay up.
    failover: Option<Tested>,
    /// Ends when everything has crossed. Publishes to `flows`, `stream` and `failover`.
    traffic: JoinSet<anyhow::Result<()>>,
    /// Ask the nodes how they are, for as long as the run lasts. Publish to `nodes`.
    watchers: JoinSet<()>,
}

/// What a node says about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct NodeState {
    peers_up: usize,
    /// Whether every listen knows a node that has its service.
    listens_lead: bool,
}

/// Something that crosses, and how far it has come.
#[derive(Debug)]
struct Crossing<T> {
    from: &'static str,
    to: &'static str,
    totals: watch::Receiver<T>,
}

/// Traffic that has not begun, and where it will publish how far it has come.
#[derive(Debug)]
struct Waiting {
    ways: Ways,
    flows: Vec<watch::Sender<FlowTotals>>,
    stream: watch::Sender<StreamTotals>,
    cut: Option<Cut>,
}

enum Wake {
    Signal(i32),
    FleetEnded(io::Result<Exit>),
    TrafficEnded(Result<anyhow::Result<()>, JoinError>),
    Frame,
}

impl Run {
    /// Starts the nodes and begins to ask them how they are. One link is to be cut if `cuts`.
    pub(super) async fn start(total: Duration, cuts: bool) -> anyhow::Result<Self> {
        let mut ports = Ports::default();
        let (specs, ways) = mesh::lay_out(&mut ports).await?;
        let fleet = Fleet::start(specs, ports).await?;

        let mut watchers = JoinSet::new();
        let mut nodes = Vec::new();
        for client in fleet.admin_clients(ASK_DEADLINE) {
            let (publish, state) = watch::channel(NodeState::default());
            watchers.spawn(watch_node(client, publish));
            nodes.push(state);
        }
        let (mut senders, mut flows) = (Vec::new(), Vec::new());
        for way in &ways.flows {
            let (publish, totals) = watch::channel(FlowTotals::default());
            let (from, to) = (way.from, way.to);
            senders.push(publish);
            flows.push(Crossing { from, to, totals });
        }
        let distance = |way: &mesh::FlowWay| fleet.distance(way.ends.0, way.ends.1);
        let distances = ways.flows.iter().map(distance).collect();
        let (publish, totals) = watch::channel(StreamTotals::default());
        let (from, to) = (ways.stream.from, ways.stream.to);
        let (cut, failover) = cuts.then(|| cut::prepare(&fleet)).unzip();
        Ok(Self {
            fleet,
            phase: Phase::Starting,
            total,
            start_deadline: clock::now() + START_DEADLINE,
            began_at: None,
            waiting: Some(Waiting {
                ways,
                flows: senders,
                stream: publish,
                cut,
            }),
            nodes,
            flows,
            distances,
            stream: Crossing { from, to, totals },
            failover,
            traffic: JoinSet::new(),
            watchers,
        })
    }

    /// Watches and shows the run until everything has crossed or something ends it.
    ///
    /// The nodes still run afterwards, so far as they did not end by themselves.
    pub(super) async fn drive(
        &mut self,
        signals: &mut Signals,
        screen: &mut Screen<Stdout>,
    ) -> Ended {
        let mut next_frame = clock::now();
        loop {
            let wake = tokio::select! {
                biased;
                signal = signals.next() => Wake::Signal(signal),
                ended = self.fleet.next_exit() => Wake::FleetEnded(ended),
                Some(ended) = self.traffic.join_next() => Wake::TrafficEnded(ended),
                () = clock::sleep_until(Some(next_frame)) => Wake::Frame,
            };
            let now = clock::now();
            let ended = match wake {
                Wake::Signal(signal) => Some(Ended::For(End::Interrupted(signal))),
                Wake::FleetEnded(ended) => Some(self.on_fleet_ended(ended)),
                Wake::TrafficEnded(ended) => self.on_traffic_ended(ended).map(Ended::For),
                Wake::Frame => {
                    next_frame = now + FRAME;
                    let ended = self.advance(now);
                    let shown = screen.show(&self.snapshot(now));
                    ended.or_else(|| shown.err().map(unshown)).map(Ended::For)
                }
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Lets the nodes end in order, or at once if another signal comes, and removes what they left.
    ///
    /// `last` is shown meanwhile: nodes that end are not what the run came to.
    pub(super) async fn stop(
        mut self,
        last: &Snapshot,
        signals: &mut Signals,
        screen: &mut Screen<Stdout>,
    ) -> Stopped {
        self.traffic.abort_all();
        self.watchers.abort_all();
        let mut show = |phase| {
            let last = last.clone();
            // What it cannot be shown on is no reason to leave anything behind.
            let _ = screen.show(&Snapshot { phase, ..last });
        };
        show(Phase::Stopping);
        let killed = tokio::select! {
            biased;
            _ = signals.next() => Vec::new(),
            killed = self.fleet.stop(STOP_DEADLINE) => killed,
        };
        show(Phase::Done);
        let killed = killed.into_iter();
        let killed = killed
            .map(|name| format!("{name} did not end within {STOP_DEADLINE:?} and was killed"));
        let mut not_in_order: Vec<_> = killed.collect();
        let Remains { directory, network } = self.fleet.remove().await;
        if let Err(error) = directory {
            not_in_order.push(format!("a temporary directory is left over: {error}"));
        }
        let network = network.map_err(|error| not_in_order.push(format!("{error:#}")));
        Stopped {
            not_in_order,
            network: network.ok(),
        }
    }

    /// The run as it is now.
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let elapsed = self.began_at.map_or(Duration::ZERO, |began_at| {
            now.saturating_duration_since(began_at).min(self.total)
        });
        let node = |((name, region, pid), state): (_, &watch::Receiver<NodeState>)| NodeRow {
            name,
            region,
            pid,
            peers_up: state.borrow().peers_up,
        };
        let flow = |(flow, distance): (&Crossing<FlowTotals>, &Duration)| FlowRow {
            from: flow.from,
            to: flow.to,
            distance: *distance,
            totals: *flow.totals.borrow(),
        };
        Snapshot {
            phase: self.phase,
            elapsed,
            total: self.total,
            nodes: self.fleet.nodes().zip(&self.nodes).map(node).collect(),
            flows: self.flows.iter().zip(&self.distances).map(flow).collect(),
            stream: StreamRow {
                from: self.stream.from,
                to: self.stream.to,
                totals: *self.stream.totals.borrow(),
            },
            failover: self.failover.as_ref().map(Tested::failover),
        }
    }

    /// Goes on to the next phase if it is time for it.
    fn advance(&mut self, now: Instant) -> Option<End> {
        let ready = |state: &NodeState, peers| state.listens_lead && state.peers_up == peers;
        match self.phase {
            Phase::Starting => {
                let peers = self.nodes.len() - 1;
                if self.nodes.iter().all(|state| ready(&state.borrow(), peers)) {
                    self.begin(now);
                } else if now >= self.start_deadline {
                    return Some(End::Failed(self.who_is_not_ready()));
                }
            }
            Phase::Crossing if self.began_at.is_some_and(|at| now >= at + self.total) => {
                self.phase = Phase::Settling;
            }
            Phase::Crossing | Phase::Settling | Phase::Stopping | Phase::Done => {}
        }
        None
    }

    fn begin(&mut self, now: Instant) {
        let Some(Waiting {
            ways,
            flows,
            stream,
            mut cut,
        }) = self.waiting.take()
        else {
            return;
        };
        self.phase = Phase::Crossing;
        self.began_at = Some(now);
        let stop_at = now + self.total;
        // Spread over one interval: all at the same instant would be a burst every 20 ms.
        let step = INTERVAL / u32::try_from(ways.flows.len()).expect("there are a few");
        let mut start_at = now;
        for (id, (way, published)) in (0..).zip(ways.flows.into_iter().zip(flows)) {
            let flow = Flow {
                id,
                near: way.near,
                far: way.far,
                origin: now,
                start_at,
                stop_at,
                traced: cut.as_mut().and_then(|cut| cut.take_traced(way.ends)),
            };
            self.traffic.spawn(flow.run(published));
            start_at += step;
        }
        let stream_way = Stream {
            near: ways.stream.near,
            far: ways.stream.far,
            stop_at,
        };
        self.traffic.spawn(stream_way.run(stream));
        if let Some(cut) = cut {
            self.traffic.spawn(cut.run(now, stop_at));
        }
    }

    fn on_fleet_ended(&self, ended: io::Result<Exit>) -> Ended {
        match ended {
            Ok(Exit::Node(index, status)) => self.on_node_ended(index, status),
            Ok(Exit::Network(error)) => Ended::For(End::Failed(format!("{error:#}"))),
            Err(error) => {
                let reason = format!("the nodes cannot be waited for: {error}");
                Ended::For(End::Failed(reason))
            }
        }
    }

    fn on_node_ended(&self, index: usize, status: ExitStatus) -> Ended {
        let name = self.name_of(index);
        let log = self.fleet.log_tail(index);
        // The words of the operating system's own message for an address in use.
        let port_taken = self.phase == Phase::Starting
            && log
                .iter()
                .any(|line| line.contains("ddress already in use"));
        let mut reason = format!("{name} ended by itself, with {status}; its last words:");
        for line in log {
            reason += "\n  ";
            reason += &line;
        }
        if port_taken {
            Ended::PortTaken { reason }
        } else {
            Ended::For(End::Failed(reason))
        }
    }

    fn on_traffic_ended(&mut self, ended: Result<anyhow::Result<()>, JoinError>) -> Option<End> {
        if let Some(tested) = &mut self.failover {
            tested.take_traces();
        }
        match ended {
            Ok(Ok(())) => self.traffic.is_empty().then_some(End::Completed),
            Ok(Err(error)) => Some(End::Failed(format!("{error:#}"))),
            Err(error) => panic::resume_unwind(error.into_panic()),
        }
    }

    fn who_is_not_ready(&self) -> String {
        let peers = self.nodes.len() - 1;
        let states = (0..).zip(&self.nodes).map(|(index, state)| {
            let (name, state) = (self.name_of(index), *state.borrow());
            match state.listens_lead {
                _ if state.peers_up < peers => {
                    format!("{name} has {} of {peers} peers up", state.peers_up)
                }
                true => format!("{name} is ready"),
                false => format!("{name} knows no way for a listen"),
            }
        });
        let states: Vec<_> = states.collect();
        format!(
            "the mesh is not up after {START_DEADLINE:?}: {}",
            states.join(", ")
        )
    }

    fn name_of(&self, index: usize) -> &'static str {
        self.fleet
            .nodes()
            .nth(index)
            .map_or("a node", |(name, ..)| name)
    }
}

/// Asks a node how it is, again and again, and publishes what it says.
///
/// What a node does not answer leaves its last word standing: when it is gone, the others say so.
async fn watch_node(client: admin::Client, publish: watch::Sender<NodeState>) {
    loop {
        if let Ok(status) = client.status().await {
            publish.send_replace(NodeState {
                peers_up: usize::try_from(status.peers_up).expect("32 bits fit"),
                listens_lead: status.listens.iter().all(|listen| listen.via.is_some()),
            });
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

fn unshown(error: io::Error) -> End {
    End::Failed(format!("the run cannot be shown: {error}"))
}

/// Often enough to look alive, seldom enough to cost nothing.
const FRAME: Duration = Duration::from_millis(100);
const ASK_INTERVAL: Duration = Duration::from_millis(200);
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// A mesh between these regions is up in about a second; the rest is for a machine that compiles
/// something else at the same time.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// More than a node's own shutdown takes at most, by default 5 s.
const STOP_DEADLINE: Duration = Duration::from_secs(8);
