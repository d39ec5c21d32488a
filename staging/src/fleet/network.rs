//! The network between the nodes of a fleet: an emulator in a thread of this process.

use std::{
    fmt::Write,
    io,
    net::SocketAddr,
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, bail};
use causeway::clock;
use netem::{
    control::Client,
    proxy::{Proxy, ProxyError},
    regions,
    report::Report,
    topology::Topology,
};
use tokio::{sync::oneshot, time::timeout};

use super::switch::Switch;

/// A hub that delays what nodes on this machine send each other as long as their regions would.
///
/// Every node has a front there, to which the others send in place of its own address. Dropping
/// the network ends it, at once and without a report; so does the end of this process.
#[derive(Debug)]
pub struct Network {
    topology: Topology,
    fronts: Vec<SocketAddr>,
    /// The socket on which it takes commands, removed at its end.
    control: PathBuf,
    /// The thread carries until this is closed.
    stop: Option<UnixStream>,
    /// What it did, until that was told.
    done: Option<oneshot::Receiver<io::Result<Report>>>,
    thread: Option<JoinHandle<()>>,
}

/// A node, as the network knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// Its region, as the matrix names it.
    pub region: &'static str,
    /// Where it binds.
    pub address: SocketAddr,
}

impl Network {
    /// Opens a front for each of `places` and a control socket at `control`; from then on it
    /// carries.
    ///
    /// The operating system chooses the fronts' ports as it opens them, so none of them can be
    /// taken. The wait is the quarter of a second in which the emulator measures this machine's
    /// timers.
    ///
    /// # Errors
    /// A region is not in the matrix, or the system has no sockets, threads or timers to give.
    ///
    /// # Cancel safety
    /// Cancel safe: what was started ends by itself.
    pub async fn start(places: &[Place], control: PathBuf) -> anyhow::Result<Self> {
        let topology = topology(places)?;
        let (stop, stopped) = UnixStream::pair().context("there are no sockets")?;
        let (say_bound, bound) = oneshot::channel();
        let (say_done, done) = oneshot::channel();
        let (carried, at) = (topology.clone(), control.clone());
        let thread = thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || carry(&carried, &at, &stopped, say_bound, say_done))
            .context("the emulator's thread could not be started")?;
        let mut network = Self {
            topology,
            fronts: Vec::new(),
            control,
            stop: Some(stop),
            done: Some(done),
            thread: Some(thread),
        };
        network.fronts = bound
            .await
            .context("the emulator's thread ended")?
            .context("the network between the nodes could not be opened")?;
        Ok(network)
    }

    /// Where each node is reached, in the order of the places.
    pub fn fronts(&self) -> &[SocketAddr] {
        &self.fronts
    }

    /// The median of the one-way delay between two nodes, by their places in the order of
    /// [`Network::start`].
    pub fn distance(&self, from: usize, to: usize) -> Duration {
        self.topology.model(from, to).delay
    }

    /// Cuts and heals what lies between two nodes, by their places likewise.
    pub fn switch(&self, a: usize, b: usize) -> Switch {
        let [a, b] = [a, b].map(|place| self.topology.hosts()[place].name());
        Switch::new(Client::new(&self.control), a, b)
    }

    /// Waits until it has ended, which it should not do by itself, and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.done().await {
            Ok(_) => anyhow::anyhow!(GONE),
            Err(error) => error,
        }
    }

    /// Ends it and returns what it did. What is under way is gone.
    ///
    /// # Errors
    /// It failed, or did not end by the deadline; then its thread ends with this process.
    ///
    /// # Cancel safety
    /// Cancel safe: it ends all the same.
    pub async fn stop(mut self, deadline: Duration) -> anyhow::Result<Report> {
        self.stop = None;
        if let Ok(report) = timeout(deadline, self.done()).await {
            // Dropping it joins the thread, which has nothing left to do.
            return report;
        }
        // Waited for long enough.
        self.thread = None;
        bail!("the emulator did not end within {deadline:?}")
    }

    async fn done(&mut self) -> anyhow::Result<Report> {
        let done = self.done.as_mut().context(GONE)?;
        let report = done.await;
        self.done = None;
        report.context(GONE)?.context("the emulator failed")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        let give_up_at = clock::now() + DROP_DEADLINE;
        while !thread.is_finished() {
            if clock::now() >= give_up_at {
                return;
            }
            thread::park_timeout(DROP_POLL);
        }
        // Its panic was printed, and shows as a report that never came.
        let _ = thread.join();
    }
}

/// The whole life of the thread.
fn carry(
    topology: &Topology,
    control: &Path,
    stop: &UnixStream,
    say_bound: oneshot::Sender<Result<Vec<SocketAddr>, ProxyError>>,
    say_done: oneshot::Sender<io::Result<Report>>,
) {
    let bound = Proxy::bind(topology, Some(control))
        .and_then(|proxy| Ok((proxy.fronts().map_err(ProxyError::Fronts)?, proxy)));
    let (fronts, proxy) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            // Who asked may have gone, here and below.
            let _ = say_bound.send(Err(error));
            return;
        }
    };
    if say_bound.send(Ok(fronts)).is_ok() {
        let _ = say_done.send(proxy.run(stop.as_fd()));
    }
}

fn topology(places: &[Place]) -> anyhow::Result<Topology> {
    let mut text = format!("seed = {SEED}\nmatrix = \"{MATRIX}\"\n");
    for Place {
        name,
        region,
        address,
    } in places
    {
        write!(
            text,
            "\n[[host]]\nname = \"{name}\"\nregion = \"{region}\"\naddress = \"{address}\"\n\
             front = \"127.0.0.1:0\"\n"
        )
        .expect("a string takes everything");
    }
    let mut topology: Topology = text.parse()?;
    regions::apply(&mut topology)?;
    Ok(topology)
}

/// Round trips that were measured between the regions of AWS.
const MATRIX: &str = "aws";
/// The same luck for each packet of each pair in every run.
const SEED: u64 = 1;
const GONE: &str = "the emulator has ended by itself";
/// Many times what one turn of its loop takes.
const DROP_DEADLINE: Duration = Duration::from_secs(1);
const DROP_POLL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::net::UdpSocket;

    use super::*;

    /// Two programs at the distance between Dublin and Virginia.
    async fn two() -> (Network, [UdpSocket; 2], TempDir) {
        let socket = || UdpSocket::bind("127.0.0.1:0");
        let sockets = [socket().await.unwrap(), socket().await.unwrap()];
        let place = |name, region, socket: &UdpSocket| Place {
            name,
            region,
            address: socket.local_addr().unwrap(),
        };
        let places = [
            place("eu-1", "eu-west-1", &sockets[0]),
            place("us-1", "us-east-1", &sockets[1]),
        ];
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("network.sock");
        let network = Network::start(&places, control).await.unwrap();
        (network, sockets, directory)
    }

    #[tokio::test]
    async fn a_packet_to_a_front_takes_as_long_as_between_the_regions_and_comes_from_a_front() {
        let (network, [eu, us], directory) = two().await;
        let (fronts, sent_at) = (network.fronts().to_owned(), clock::now());
        eu.send_to(b"hello", fronts[1]).await.unwrap();
        let mut buffer = [0; 16];
        let (length, from) = us.recv_from(&mut buffer).await.unwrap();
        let took = clock::now() - sent_at;
        assert_eq!((&buffer[..length], from), (&b"hello"[..], fronts[0]));
        // No packet takes less than half of the median delay of its pair.
        let distance = network.distance(0, 1);
        assert!(distance > Duration::from_millis(20), "{distance:?}");
        assert!(took >= distance / 2, "{took:?} for {distance:?}");

        let report = network.stop(Duration::from_secs(10)).await.unwrap();
        assert!(report.packets.conserved, "{report:?}");
        assert_eq!(report.packets.delivered, 1);
        let left = directory.path().read_dir().unwrap().count();
        assert_eq!(left, 0, "its control socket is gone with it");
    }

    #[tokio::test]
    async fn nothing_passes_a_cut_either_way_until_it_is_healed() {
        let (network, [eu, us], _directory) = two().await;
        let (fronts, switch) = (network.fronts().to_owned(), network.switch(0, 1));
        switch.cut().await.unwrap();
        eu.send_to(b"lost", fronts[1]).await.unwrap();
        us.send_to(b"lost", fronts[0]).await.unwrap();
        // Time for the two to be read and dropped.
        tokio::time::sleep(Duration::from_millis(100)).await;
        switch.heal().await.unwrap();
        eu.send_to(b"here", fronts[1]).await.unwrap();
        us.send_to(b"here", fronts[0]).await.unwrap();
        let mut buffer = [0; 16];
        for socket in [&us, &eu] {
            let length = socket.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"here");
        }
        let report = network.stop(Duration::from_secs(10)).await.unwrap();
        assert_eq!(report.packets.dropped["cut"], 2, "{report:?}");
    }

    #[tokio::test]
    async fn dropping_a_network_frees_its_fronts() {
        let (network, _sockets, _directory) = two().await;
        let front = network.fronts()[0];
        UdpSocket::bind(front).await.unwrap_err();
        drop(network);
        UdpSocket::bind(front).await.unwrap();
    }

    #[tokio::test]
    async fn a_region_that_the_matrix_does_not_have_is_named() {
        let place = |name, region, port| Place {
            name,
            region,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let places = [
            place("a", "eu-west-1", 7_401),
            place("b", "eu-west-9", 7_402),
        ];
        let error = Network::start(&places, PathBuf::new()).await.unwrap_err();
        assert!(format!("{error:#}").contains("eu-west-9"), "{error:#}");
    }
}
