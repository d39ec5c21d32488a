//! Dials an address whose node is not known yet, until it has found out.

use std::{sync::Arc, time::Duration};

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
    keeper::{DialErrorKind, DialPool},
    mesh::Mesh,
    roster::RosterEvent,
    tasks::{Task, Wait},
};

/// Dials `targets`, accepts any node of the trust domain, hands the link to the roster and ends.
///
/// Ends without one where the addresses lead to this node itself.
pub(crate) async fn run(
    mesh: Arc<Mesh>,
    (endpoint, dialer): (Endpoint, Dialer),
    targets: Vec<HostPort>,
    task: Task,
) {
    let name = targets
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
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
        match dialed {
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
                return;
            }
            Err(failure) => warn!(address = name, error = %failure, "a seeker has found nobody"),
        }
        pool = DialPool::Retry;
        task.waits(Wait::Backoff);
        let share = jitter.random_range(0.0..1.0);
        let until = clock::now() + pause.mul_f64(share);
        pause = (pause * 2).min(mesh.config.shared().backoff_max);
        tokio::select! {
            biased;
            () = task.stopping() => return,
            () = clock::sleep_until(Some(until)) => {}
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
