//! netem's userspace emulator between the nodes, in a thread of the test's process.

use std::{
    net::SocketAddr,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::PathBuf,
    thread::{self, JoinHandle},
};

use netem::{
    control::{Client, Command, Paths},
    proxy::Proxy,
    report::Report,
    topology::Topology,
};

/// Carries packets until it is stopped or dropped.
pub(crate) struct Network {
    fronts: Vec<SocketAddr>,
    control: PathBuf,
    /// The thread carries until this is closed.
    stop: UnixStream,
    thread: JoinHandle<std::io::Result<Report>>,
}

impl Network {
    /// Opens a front for every host, and a control socket.
    pub(crate) fn start(topology: &str, control: PathBuf) -> Self {
        let topology: Topology = topology.parse().expect("the test describes a network");
        let proxy = Proxy::bind(&topology, Some(&control)).expect("there are ports enough");
        let fronts = proxy.fronts().expect("they are bound");
        let (stop, stopped) = UnixStream::pair().expect("there are sockets");
        let thread = thread::spawn(move || proxy.run(stopped.as_fd()));
        Self {
            fronts,
            control,
            stop,
            thread,
        }
    }

    /// Where each host is reached, in the order of the topology.
    pub(crate) fn fronts(&self) -> &[SocketAddr] {
        &self.fronts
    }

    /// Drops every packet between two hosts from now on, without a word to anybody.
    pub(crate) async fn cut(&self, from: &str, to: &str) {
        self.ask(Command::Cut(both_ways(from, to))).await;
    }

    /// Lets packets pass again.
    pub(crate) async fn heal(&self, from: &str, to: &str) {
        self.ask(Command::Heal(both_ways(from, to))).await;
    }

    /// Ends it, and says what it did.
    pub(crate) fn stop(self) -> Report {
        drop(self.stop);
        let report = self.thread.join().expect("the emulator does not panic");
        report.expect("the emulator can wait for its sockets")
    }

    async fn ask(&self, command: Command) {
        let client = Client::new(&self.control);
        // The client waits in place, and this thread has packets to count meanwhile.
        let answer = tokio::task::spawn_blocking(move || client.ask(&command)).await;
        answer
            .expect("it does not panic")
            .expect("the emulator does what it is told");
    }
}

fn both_ways(from: &str, to: &str) -> Paths {
    Paths {
        from: from.to_owned(),
        to: to.to_owned(),
        one_way: false,
    }
}
