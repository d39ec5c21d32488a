//! A node that says what a test wants, for tests of the server, the client and the CLI.

mod mesh;
mod policy;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    AdminAddress, AdminListener, Answer, LoopCheck, NodeView, QuestionError, serve, view::*,
};
use crate::{navigator::Inspection, node::atlas, telemetry::Metrics};

#[derive(Debug, Default)]
pub(crate) struct FakeNode {
    pub(crate) wedged: AtomicBool,
    pub(crate) unready: AtomicBool,
    /// Its router does not answer.
    pub(crate) silent: AtomicBool,
    pub(crate) echoes: AtomicUsize,
    pub(crate) metrics: Metrics,
}

impl FakeNode {
    /// Serves the node at `address` until the token is cancelled.
    pub(crate) fn serve(
        self: &Arc<Self>,
        address: &AdminAddress,
    ) -> (AdminAddress, CancellationToken, JoinHandle<()>) {
        let listener = AdminListener::bind(address).unwrap();
        let bound = listener.address().clone();
        let stop = CancellationToken::new();
        let served = tokio::task::spawn_local(serve(listener, self.clone(), stop.clone()));
        (bound, stop, served)
    }

    fn inspect(&self, of: Option<&str>) -> Result<Inspection, QuestionError> {
        match self.silent.load(Ordering::Relaxed) {
            true => Err(QuestionError::NoRouter),
            false => Ok(mesh::inspection(of)),
        }
    }
}

fn at_once<T: Send + 'static>(answer: Result<T, QuestionError>) -> Answer<T> {
    Box::pin(std::future::ready(answer))
}

impl NodeView for FakeNode {
    fn loops(&self) -> Vec<LoopCheck> {
        let wedged = self.wedged.load(Ordering::Relaxed);
        let check = |name: &str, wedged: bool| LoopCheck {
            name: name.into(),
            turned: Box::pin(async move {
                if wedged {
                    std::future::pending::<()>().await;
                }
            }),
        };
        vec![check("worker 0", false), check("worker 1", wedged)]
    }

    fn ready(&self) -> ReadyView {
        let reason = "no peer is up".to_owned();
        let unready = self.unready.load(Ordering::Relaxed);
        ReadyView {
            reasons: unready.then_some(reason).into_iter().collect(),
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn status(&self) -> StatusView {
        StatusView {
            node: "eu-west/fra-1".into(),
            uri: "spiffe://example.org/region/eu-west/node/fra-1".into(),
            key: "fa713e8e6d124339".into(),
            generation: 1_795_212_660_123,
            version: "0.1.0".into(),
            release: "0b7c1d9e22aa".into(),
            protocol: (1, 1),
            uptime_ms: 3 * 86_400_000 + 4 * 3_600_000,
            ready: self.ready(),
            bound: vec!["0.0.0.0:7400".into()],
            advertised: vec!["203.0.113.5:7400".into()],
            certificate_ends: "2027-02-18T22:11:00Z".into(),
            labels: BTreeMap::from([("rack".into(), "b7".into())]),
            peers_up: 1,
            peers: 3,
            services: vec![ServiceView {
                name: "rtp".into(),
                kind: "udp".into(),
                address: "127.0.0.1:5004".into(),
            }],
            listens: vec![
                ListenView {
                    kind: "udp".into(),
                    address: "127.0.0.1:6004".into(),
                    service: "game".into(),
                    to: "us-east".into(),
                    via: Some("us-east/iad-1".into()),
                },
                ListenView {
                    kind: "tcp".into(),
                    address: "127.0.0.1:6005".into(),
                    service: "files".into(),
                    to: "ap-south/bom-1".into(),
                    via: None,
                },
            ],
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        let row = |name: &str, state: &str, reason: &str| PeerView {
            name: name.into(),
            state: state.into(),
            state_ms: 192_000,
            reason: reason.into(),
            address: None,
            srtt_us: None,
            loss: None,
            services: 0,
        };
        vec![
            row("ap-south/bom-1", "backoff", "dial timed out after 4 s"),
            row(
                "seed.example.org:7400",
                "seeking",
                "the name does not resolve",
            ),
            PeerView {
                address: Some("198.51.100.7:7400".into()),
                srtt_us: Some(88_412),
                loss: Some(0.001_25),
                services: 2,
                ..row("us-east/iad-1", "up", "dialed")
            },
        ]
    }

    fn peer(&self, name: &str) -> Option<PeerDetailView> {
        let peer = self.peers().into_iter().find(|peer| peer.name == name)?;
        let up = peer.state == "up";
        let link = LinkView {
            generation: "fa713e8e6d124339-1795212660123-4".into(),
            direction: "dialed".into(),
            current: true,
            address: "198.51.100.7:7400".into(),
            age_ms: 192_000,
            srtt_us: Some(88_412),
            loss: Some(0.001_25),
            sent_bytes: 48_300_112,
            received_bytes: 1_024,
        };
        let transition = |ago_ms, from: &str, to: &str, reason: &str| TransitionView {
            ago_ms,
            from: from.into(),
            to: to.into(),
            reason: reason.into(),
        };
        Some(PeerDetailView {
            key: Some("13c0ffee13c0ffee".into()),
            release: up.then(|| "0b7c1d9e22aa".into()),
            labels: BTreeMap::new(),
            backoff_ms: (!up).then_some(2_140),
            addresses: vec!["198.51.100.7:7400".into(), "[2001:db8::7]:7400".into()],
            links: if up { vec![link] } else { Vec::new() },
            services: if up {
                vec!["game".into(), "files".into()]
            } else {
                Vec::new()
            },
            pair: up.then(|| PairView {
                condition: "up".into(),
                falls: 1,
                loss: 0.000_9,
                jitter_us: 312,
                round_trips: Some(RoundTripsView {
                    p50_us: 88_100,
                    p90_us: 90_250,
                    p99_us: 99_000,
                    max_us: 120_400,
                }),
            }),
            conditions: match up {
                true => vec![
                    transition(62_000, "up", "degraded", "too much is lost on the way out"),
                    transition(55_000, "degraded", "up", "recovered"),
                ],
                false => Vec::new(),
            },
            transitions: vec![
                transition(3_800_000, "idle", "dialing", "configured"),
                transition(3_796_000, "dialing", "backoff", "dial timed out after 4 s"),
                match up {
                    true => transition(192_000, "dialing", "up", "dialed"),
                    false => transition(192_000, "dialing", "backoff", &peer.reason),
                },
            ],
            peer,
        })
    }

    fn tasks(&self) -> Vec<TaskView> {
        let task = |name: &str, owner: &str, waits_for: &str, overdue| TaskView {
            name: name.into(),
            owner: owner.into(),
            age_ms: 61_500,
            waits_for: waits_for.into(),
            overdue,
        };
        vec![
            task("keeper", "us-east/iad-1", "message", false),
            task("reaper", "node", "timer", false),
            task("tcp listen", "listen 127.0.0.1:6005", "local_write", true),
        ]
    }

    fn routes(&self) -> Answer<Vec<RouteView>> {
        at_once(self.inspect(None).map(|seen| atlas::routes(&seen)))
    }

    fn route(&self, name: String) -> Answer<RouteDetailView> {
        at_once(self.inspect(None).and_then(|seen| {
            let destination = atlas::destination(&seen, &name)?;
            let seen = self.inspect(Some(&seen.names[&destination].to_string()))?;
            Ok(atlas::route(&seen, destination))
        }))
    }

    fn mesh(&self) -> Answer<MeshView> {
        at_once(self.inspect(None).map(|seen| atlas::mesh(&seen)))
    }

    fn echo(&self, name: String, hop: Option<usize>) -> Answer<EchoView> {
        let number = self.echoes.fetch_add(1, Ordering::Relaxed);
        at_once(mesh::echo(number, &name, hop))
    }

    fn policy(&self) -> Answer<Option<PolicyView>> {
        at_once(Ok(Some(policy::in_force())))
    }

    fn apply_policy(&self, signed: Vec<u8>) -> Answer<PolicyView> {
        at_once(policy::apply(&signed))
    }
}
