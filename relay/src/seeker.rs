//! Dials an address whose node is not known yet, until it has found out.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tracing::{debug, info, warn};

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
        // Two processes of one name push each other out by dialing.
        while mesh.duplicate.load(Ordering::Relaxed) {
            task.waits(Wait::Backoff);
            let until = clock::now() + mesh.config.shared().backoff_max;
            if !sleep_until(&task, until).await {
                return;
            }
        }
        task.waits(Wait::Dial);
        let request = DialRequest {
            endpoint: endpoint.clone(),
            expect: Expect::AnyOfTrustDomain,
            targets: targets.clone(),
        };
        let dialed = tokio::select! {
            biased;
            () = task.stopping() => return,
            dialed = dialer.dial(pool, request) => dialed,
        };
        let failure = match dialed {
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
            Err(failure) => failure,
        };
        if let Some(known) = failure.known {
            // A full roster has reports enough.
            let _ = mesh.roster.try_send(RosterEvent::Stale { known });
        }
        // Once: it goes on for as long as nobody is there.
        if pool == DialPool::Fresh {
            warn!(address = name, error = %failure, "a seeker has found nobody yet");
        } else {
            debug!(address = name, error = %failure, "a seeker has found nobody");
        }
        pool = DialPool::Retry;
        task.waits(Wait::Backoff);
        let share = jitter.random_range(0.0..1.0);
        let until = clock::now() + pause.mul_f64(share);
        seeking.failed.store(Some(Arc::new((failure.error, until))));
        if !sleep_until(&task, until).await {
            return;
        }
        pause = (pause * 2).min(mesh.config.shared().backoff_max);
    }
}

/// `false` if the task is to end.
async fn sleep_until(task: &Task, until: Instant) -> bool {
    tokio::select! {
        biased;
        () = task.stopping() => false,
        () = clock::sleep_until(Some(until)) => true,
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
