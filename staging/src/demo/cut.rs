//! The task that cuts one link of the mesh, heals it, and watches which paths are used meanwhile.

use std::time::{Duration, Instant};

use causeway::clock;
use futures_util::future::join;
use tokio::sync::{oneshot, watch};

use super::mesh::CUT;
use crate::{
    failover::{ASK_INTERVAL, Failover},
    fleet::{Fleet, paths::PathClient, switch::Switch},
    traffic::trace::Trace,
};

/// A link that is to be cut, and whom to ask about it.
#[derive(Debug)]
pub(super) struct Cut {
    /// The link.
    pub switch: Switch,
    /// When it is cut, from the start of traffic.
    pub cut_at: Duration,
    /// When it is healed, likewise.
    pub heal_at: Duration,
    /// The nodes at its ends, each for its path to the other, in the order of the ways of
    /// [`Failover`].
    pub ends: [PathClient; 2],
    /// Where what happens is published.
    pub published: watch::Sender<Failover>,
    /// Where the flows between its ends leave what they have of it, in the same order.
    pub traced: [Option<oneshot::Sender<Trace>>; 2],
}

impl Cut {
    /// Where the flow between these two nodes, by their places in the mesh, leaves its trace, if
    /// that is wanted and was not asked for before.
    pub(super) fn take_traced(&mut self, ends: (usize, usize)) -> Option<oneshot::Sender<Trace>> {
        let way = match ends {
            CUT => 0,
            (from, to) if (to, from) == CUT => 1,
            _ => return None,
        };
        self.traced[way].take()
    }

    /// Cuts and heals, and asks every [`ASK_INTERVAL`] until `stop_at`.
    ///
    /// The moment of the cut is the one just before it was asked for, and that of a path the one
    /// when it was told: what is measured from the one to the other is never too short.
    ///
    /// # Errors
    /// The emulator did not do as it was told.
    ///
    /// # Cancel safety
    /// Not cancel safe: the link stays as it is then.
    pub(super) async fn run(self, origin: Instant, stop_at: Instant) -> anyhow::Result<()> {
        let age = |now: Instant| now.saturating_duration_since(origin);
        let mut step = Step::Cut;
        let mut next_ask = origin;
        loop {
            let next_step = match step {
                Step::Cut => origin + self.cut_at,
                Step::Heal => origin + self.heal_at,
                Step::End => stop_at,
            };
            clock::sleep_until(Some(next_step.min(next_ask))).await;
            let now = clock::now();
            if now >= next_step {
                match step {
                    Step::Cut => {
                        self.switch.cut().await?;
                        self.published.send_modify(|it| it.handle_cut(age(now)));
                        step = Step::Heal;
                    }
                    Step::Heal => {
                        self.switch.heal().await?;
                        self.published.send_modify(|it| it.handle_healed(age(now)));
                        step = Step::End;
                    }
                    Step::End => return Ok(()),
                }
                continue;
            }
            join(self.ask(0, &age), self.ask(1, &age)).await;
            // After a stall the missed ones are not made up for.
            next_ask = (next_ask + ASK_INTERVAL).max(clock::now());
        }
    }

    async fn ask(&self, way: usize, age: &impl Fn(Instant) -> Duration) {
        let path = self.ends[way].ask().await;
        let at = age(clock::now());
        self.published
            .send_modify(|it| it.handle_path(at, way, path));
    }
}

/// A link that is cut, and what of it is known.
#[derive(Debug)]
pub(super) struct Tested {
    seen: watch::Receiver<Failover>,
    /// Of the flows between its ends, in the order of the ways; each comes when its flow ends.
    traces: [oneshot::Receiver<Trace>; 2],
    arrived: [Option<Trace>; 2],
}

impl Tested {
    /// Takes what flows that have ended left.
    pub(super) fn take_traces(&mut self) {
        for (arrived, trace) in self.arrived.iter_mut().zip(&mut self.traces) {
            // One that is not there yet is looked for at the next end of anything.
            *arrived = arrived.take().or_else(|| trace.try_recv().ok());
        }
    }

    /// What is known by now.
    pub(super) fn failover(&self) -> Failover {
        let mut failover = self.seen.borrow().clone();
        for (way, trace) in self.arrived.iter().enumerate() {
            if let Some(trace) = trace {
                failover.handle_trace(way, trace);
            }
        }
        failover
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Cut,
    Heal,
    End,
}

/// Who cuts the link, and what will be seen of it.
pub(super) fn prepare(fleet: &Fleet) -> (Cut, Tested) {
    let (a, b) = CUT;
    let region = |place| {
        let node = fleet.nodes().nth(place);
        node.map(|(_, region, _)| region).expect("the mesh has it")
    };
    let (published, seen) = watch::channel(Failover::new(region(a), region(b)));
    let [(there, from_there), (back, from_back)] = [oneshot::channel(), oneshot::channel()];
    let cut = Cut {
        switch: fleet.switch(a, b),
        cut_at: CUT_AT,
        heal_at: HEAL_AT,
        ends: [fleet.path_client(a, b), fleet.path_client(b, a)],
        published,
        traced: [Some(there), Some(back)],
    };
    let tested = Tested {
        seen,
        traces: [from_there, from_back],
        arrived: [None, None],
    };
    (cut, tested)
}

/// When the link is cut, from the start of traffic: every flow has long been steady.
const CUT_AT: Duration = Duration::from_secs(5);
/// When it is healed: long enough after the cut that a node without another path is told from one
/// that has it, and shorter than the silence after which nodes give a connection up.
const HEAL_AT: Duration = Duration::from_secs(9);
/// The shortest run in which a link is cut: traffic comes back to a link once that has been well
/// for five seconds, and a busy machine may take as much again.
pub(super) const SHORTEST_RUN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UdpSocket, UnixListener},
    };

    use super::*;
    use crate::fleet::network::{Network, Place};

    const MS: Duration = Duration::from_millis(1);

    /// A node's admin API: the path to `to` goes over "ca/ca-1" while the link is cut.
    async fn node(socket: PathBuf, to: &str, link: watch::Receiver<Failover>) {
        let listener = UnixListener::bind(socket).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await;
            let is_cut = link.borrow().cut.is_some() && link.borrow().healed.is_none();
            let over = if is_cut { "\"ca/ca-1\", " } else { "" };
            let answer = format!(
                "HTTP/1.0 200 OK\r\n\r\n[{{\"to\": \"{to}\", \"kind\": \"interactive\", \
                 \"path\": [{over}\"{to}\"]}}]"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    async fn network(directory: &Path) -> Network {
        let place = |name, region, socket: &UdpSocket| Place {
            name,
            region,
            address: socket.local_addr().unwrap(),
        };
        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0"),
            UdpSocket::bind("127.0.0.1:0"),
        );
        let places = [
            place("us-1", "us-east-1", &a.await.unwrap()),
            place("eu-1", "eu-west-1", &b.await.unwrap()),
        ];
        Network::start(&places, directory.join("network.sock"))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_link_is_cut_and_healed_and_what_its_ends_say_meanwhile_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let socket = |name| directory.path().join(name);
        let network = network(directory.path()).await;
        let (published, seen) = watch::channel(Failover::new("us", "eu"));
        let client = |own: &str, to: &str, file| {
            PathClient::new(socket(file), own.to_owned(), to.to_owned())
        };
        let cut = Cut {
            switch: network.switch(0, 1),
            cut_at: 200 * MS,
            // Room for a stall of a busy machine, as there is after it.
            heal_at: 1_000 * MS,
            ends: [
                client("us/us-1", "eu/eu-1", "us"),
                client("eu/eu-1", "us/us-1", "eu"),
            ],
            published,
            traced: [None, None],
        };
        let origin = clock::now();
        tokio::select! {
            ended = cut.run(origin, origin + 1_800 * MS) => ended.unwrap(),
            () = node(socket("us"), "eu/eu-1", seen.clone()) => {}
            () = node(socket("eu"), "us/us-1", seen.clone()) => {}
        }
        let failover = seen.borrow().clone();
        let (cut, healed) = (failover.cut.unwrap(), failover.healed.unwrap());
        assert!(cut >= 200 * MS && healed >= 1_000 * MS, "{failover:?}");
        for way in &failover.ways {
            assert!(cut + way.detected.unwrap() <= healed, "{failover:?}");
            assert!(way.returned.is_some(), "{failover:?}");
            let detour = way.detour.as_ref().unwrap().regions().to_vec();
            assert_eq!(detour, [way.from, "ca", way.to]);
        }
        let report = network.stop(Duration::from_secs(10)).await.unwrap();
        assert!(report.paths.iter().all(|path| !path.cut), "{report:?}");
    }
}
