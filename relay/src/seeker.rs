//! Dials an address whose node is not known yet, until it has found out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tracing::{info, warn};

use crate::{
    clock,
    code::CloseCode,
    config::HostPort,
    deadline::Endpoint,
    dial::{DialRequest, Dialer},
    identity::Expect,
    keeper::{DialError, DialErrorKind, DialPool},
    mesh::Mesh,
    roster::RosterEvent,
    tasks::{Task, Wait},
};

/// Addresses that are dialed to find out whose they are.
#[derive(Debug)]
pub(crate) struct Seeking {
    pub(crate) targets: Vec<HostPort>,
    pub(crate) since: Instant,
    /// The last dial, and when the next one is.
    pub(crate) failed: ArcSwapOption<(DialError, Instant)>,
}

impl Seeking {
    pub(crate) fn new(now: Instant, targets: Vec<HostPort>) -> Self {
        Self {
            targets,
            since: now,
            failed: ArcSwapOption::empty(),
        }
    }

    /// What it is called while no better name is known.
    pub(crate) fn name(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        targets.join(", ")
    }
}

/// Dials its addresses, accepts any node of the trust domain, hands the link to the roster and ends.
///
/// Ends without one where the addresses lead to this node itself.
pub(crate) async fn run(
    mesh: Arc<Mesh>,
    (endpoint, dialer): (Endpoint, Dialer),
    seeking: Arc<Seeking>,
    task: Task,
) {
    let (name, targets) = (seeking.name(), seeking.targets.clone());
    let mut jitter = Pcg64Mcg::seed_from_u64(mesh.seed_for(name.as_bytes()));
    let mut pause = FIRST_PAUSE;
    let mut pool = DialPool::Fresh;
    loop {
        task.waits(Wait::Dial);
        let request = DialRequest {
            endpoint: endpoint.clone(),
            expect: Expect::AnyOfTrustDomain,
            targets: targets.clone(),
            current_link: None,
        };
        let dialed = tokio::select! {
            biased;
            () = task.stopping() => return,
            dialed = dialer.dial(pool, request) => dialed,
        };
        let error = match dialed {
            Ok(established) => {
                info!(peer = %established.peer, address = name, "a seeker has found a peer");
                let found = RosterEvent::Found {
                    established: Box::new(established),
                    targets,
                };
                // The roster waits for nobody; an error means that the node ends.
                let _ = mesh.roster.send(found).await;
                return;
            }
            Err(failure) if failure.error.kind == DialErrorKind::Refused(CloseCode::Myself) => {
                info!(address = name, "a seeker has found this node itself");
                let _ = mesh.roster.send(RosterEvent::Myself { targets }).await;
                return;
            }
            Err(failure) => failure.error,
        };
        warn!(address = name, %error, "a seeker has found nobody");
        pool = DialPool::Retry;
        task.waits(Wait::Backoff);
        let share = jitter.random_range(0.0..1.0);
        let until = clock::now() + pause.mul_f64(share);
        seeking.failed.store(Some(Arc::new((error, until))));
        pause = (pause * 2).min(mesh.config.shared().backoff_max);
        tokio::select! {
            biased;
            () = task.stopping() => return,
            () = clock::sleep_until(Some(until)) => {}
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
