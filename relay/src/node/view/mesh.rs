//! What a node tells about the mesh: asked of the router, or of another node.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    admin::{
        QuestionError, meant,
        view::{EchoView, MeshView, RouteDetailView, RouteView},
    },
    clock,
    echo::{EchoError, echo},
    id::NodeKey,
    mesh::Mesh,
    navigator::{Inspection, NavigatorEvent},
    node::atlas,
    routes::{Fit, Kind, Way, ways_to},
    wire::RemainingHops,
};

pub(super) async fn routes(mesh: Arc<Mesh>) -> Result<Vec<RouteView>, QuestionError> {
    let seen = inspect(&mesh, None).await?;
    Ok(atlas::routes(&seen))
}

pub(super) async fn route(mesh: Arc<Mesh>, name: String) -> Result<RouteDetailView, QuestionError> {
    let destination = atlas::destination(&*inspect(&mesh, None).await?, &name)?;
    let seen = inspect(&mesh, Some(destination)).await?;
    Ok(atlas::route(&seen, destination))
}

pub(super) async fn whole(mesh: Arc<Mesh>) -> Result<MeshView, QuestionError> {
    let seen = inspect(&mesh, None).await?;
    Ok(atlas::mesh(&seen))
}

async fn inspect(mesh: &Mesh, of: Option<NodeKey>) -> Result<Box<Inspection>, QuestionError> {
    let asked = async {
        let (answer, heard) = oneshot::channel();
        let inspect = NavigatorEvent::Inspect { of, answer };
        mesh.navigator.send(inspect).await.ok()?;
        heard.await.ok()
    };
    let seen = timeout(INSPECT_WITHIN, asked).await.ok().flatten();
    seen.ok_or(QuestionError::NoRouter)
}

/// Asks for an echo over the way that requests take now; the router is not asked.
pub(super) async fn echoed(
    mesh: Arc<Mesh>,
    name: String,
    hop: Option<usize>,
) -> Result<EchoView, QuestionError> {
    let (to, destination) = known(&mesh, &name)?;
    let name_of = |key: NodeKey| match mesh.node_id(key) {
        Some(id) => id.to_string(),
        None => key.to_string(),
    };
    let ways = ways_to(&mesh, Kind::Interactive, destination);
    let Some(way) = ways.into_iter().find(|way| way.fit() != Fit::Gone) else {
        return Ok(EchoView {
            asked: to.clone(),
            to,
            path: Vec::new(),
            rtt_us: None,
            error: Some("no path".to_owned()),
        });
    };
    let nodes = || std::iter::once(way.first.peer_key).chain(way.hops.as_slice().iter().copied());
    let links = nodes().count();
    let hop = hop.unwrap_or(links);
    let asked = hop.checked_sub(1).and_then(|index| nodes().nth(index));
    let asked = asked.ok_or(QuestionError::NoHop { hop, links })?;
    let answer = echo(&mesh, &until(&way, hop), clock::now() + ECHO_WITHIN).await;
    let path = std::iter::once(mesh.id.key()).chain(nodes());
    let rtt = answer.as_ref().ok();
    Ok(EchoView {
        to,
        path: path.map(name_of).collect(),
        asked: name_of(asked),
        rtt_us: rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        error: answer.err().map(|error| match error {
            EchoError::Unreachable { at, next } => {
                format!("{} has no link to {}", name_of(at), name_of(next))
            }
            EchoError::NoLink | EchoError::TimedOut | EchoError::TooMany => error.to_string(),
        }),
    })
}

/// The first `links` links of a way, of which there is one at least.
fn until(way: &Arc<Way>, links: usize) -> Arc<Way> {
    let hops = way.hops.as_slice();
    match hops.get(..links - 1).and_then(RemainingHops::try_new) {
        Some(before) if before != way.hops => Way::new(way.first.clone(), before, way.standing()),
        Some(_) | None => way.clone(),
    }
}

fn known(mesh: &Mesh, asked: &str) -> Result<(String, NodeKey), QuestionError> {
    let own = (mesh.id.to_string(), mesh.id.key());
    let peers = mesh.links.snapshot();
    let names = mesh.names.load();
    let ids = names.values().chain(peers.values().map(|peer| &peer.id));
    let known = ids.map(|id| (id.to_string(), id.key())).chain([own]);
    // A node may be known as a peer and by what others say.
    let known: BTreeMap<String, NodeKey> = known.collect();
    let (name, key) = meant(asked, known)?;
    match key == mesh.id.key() {
        true => Err(QuestionError::Itself(name)),
        false => Ok((name, key)),
    }
}

/// The router answers within a signature's time, and a queue of a thousand before that.
const INSPECT_WITHIN: Duration = Duration::from_secs(1);
/// Below the time that an answer of the admin API may take.
const ECHO_WITHIN: Duration = Duration::from_millis(1_500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        deadline::testnet::after,
        node::testing::{Fleet, id, peer, until as eventually},
        routes::Standing,
    };

    #[tokio::test(start_paused = true)]
    async fn echo_takes_as_long_as_the_path_there_and_back() {
        let fleet = Fleet::new();
        let near = fleet.start(1, &peer(2)).await;
        let far = fleet.start(2, "").await;
        let (mesh, to) = (near.mesh().clone(), id(2).key());
        eventually("a link", || mesh.links.get(to).is_some()).await;
        let ask = |name: &str, hop| echoed(mesh.clone(), name.to_owned(), hop);
        let echo = ask("n2", None).await.unwrap();
        assert_eq!(
            (echo.path, echo.error),
            (vec!["r/n1".into(), "r/n2".into()], None)
        );
        // 10 ms each way, and what the link's own timers add.
        let rtt_us = echo.rtt_us.unwrap();
        assert!((20_000..25_000).contains(&rtt_us), "{rtt_us}");
        let itself = QuestionError::Itself("r/n1".to_owned());
        assert_eq!(ask("n1", None).await, Err(itself));
        assert_eq!(ask("n2", Some(1)).await.unwrap().asked, "r/n2");
        for hop in [0, 2] {
            let error = QuestionError::NoHop { hop, links: 1 };
            assert_eq!(ask("n2", Some(hop)).await, Err(error));
        }
        for node in [near, far] {
            assert!(node.shutdown(after(2_000)).await.is_empty());
        }
        let gone = ask("n2", None).await.unwrap();
        assert_eq!((gone.rtt_us, gone.path.len()), (None, 0));
        // The router has ended with the node.
        assert_eq!(routes(mesh).await, Err(QuestionError::NoRouter));
    }

    #[tokio::test(start_paused = true)]
    async fn first_links_of_a_way_lead_to_the_node_at_their_end() {
        let fleet = Fleet::new();
        let near = fleet.start(1, &peer(2)).await;
        let far = fleet.start(2, "").await;
        let mesh = near.mesh();
        let keys = [id(2), id(3), id(4)].map(|id| id.key());
        eventually("a link", || mesh.links.get(keys[0]).is_some()).await;
        let first = mesh.links.get(keys[0]).unwrap();
        let hops = RemainingHops::try_new(&keys[1..]).unwrap();
        let way = Way::new(first, hops, Standing::InUse);
        for links in 1..=3 {
            let part = until(&way, links);
            assert_eq!(part.destination, keys[links - 1]);
            assert_eq!(part.hops.as_slice(), &keys[1..links]);
        }
        for node in [near, far] {
            assert!(node.shutdown(after(2_000)).await.is_empty());
        }
    }
}
